"""PGMQ as a queue engine: its tables and names, with fenced acknowledgement and claims that stay cheap."""

from fluxa.queue.backends.pgmq.backend import PgmqBackend

__all__ = ["PgmqBackend"]
