"""PGMQ as a queue engine: its tables and names, with fenced acknowledgement and claims that stay cheap."""

from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.backends.pgmq.insight import PgmqInsight

__all__ = ["PgmqBackend", "PgmqInsight"]
