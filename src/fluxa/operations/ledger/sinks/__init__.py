"""Sends the audit log on to where others look at it: to files, over HTTP, to syslog. Not: the audit log itself."""

from fluxa.operations.ledger.sinks.sink import Sink, SinkKind

__all__ = ["Sink", "SinkKind"]
