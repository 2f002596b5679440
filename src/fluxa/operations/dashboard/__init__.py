"""The dashboard that is built in: what is kept of the metrics of all processes, and what is drawn of it."""
