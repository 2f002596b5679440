"""A Postgres of Fluxa's own for one machine: found, made, started once, shared by processes, stopped by the last."""

from fluxa.postgres.embedded.server import EmbeddedPostgres, ServerStatus

__all__ = ["EmbeddedPostgres", "ServerStatus"]
