"""The worker process and the application of the user that it runs."""
