"""The worker's half of a queue: claim, keep leases, call handlers, settle."""
