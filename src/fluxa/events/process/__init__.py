"""Takes events from the queue and stores each exactly once, or parks it with a reason."""
