"""Pure state machines that keep a fault where it is: values and the time in, a decision out."""
