"""The HTTP side of the command line: how commands reach the services, send in bulk, and follow a stream."""
