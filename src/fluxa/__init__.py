"""Fluxa: events in, each processed exactly once, delivered through queues that cannot lose work."""

__version__ = "0.1.0"
