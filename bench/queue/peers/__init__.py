"""Workers of the Python queues that are compared, each in a process of its own."""
