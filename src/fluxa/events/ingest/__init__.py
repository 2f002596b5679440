"""Takes CloudEvents over HTTP and has them durably queued before it answers."""
