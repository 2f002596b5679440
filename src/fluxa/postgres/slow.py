"""Notices statements that take long, by their name and never with what they were given. Not: logging or counting."""

from fluxa.kernel.clock import Clock
from fluxa.postgres import sql
from fluxa.telemetry.catalogue import Hook, StatementSlow

_OWN = frozenset({"begin", "commit", "copy"})
"""What is no statement of a file but has a name of its own."""


class SlowStatements:
    """A stopwatch for statements.

    Args:
        hook: hears `StatementSlow`.
        clock: measures.
        over_s: how long a statement may take without being told of.
    """

    def __init__(self, *, hook: Hook, clock: Clock, over_s: float) -> None:
        self._hook = hook
        self._over_s = over_s
        self.monotonic = clock.monotonic

    def ended(self, statement: str, began_s: float) -> None:
        """A statement that began then is over, whatever came of it: one that was cancelled took its time as well."""
        latency_s = self.monotonic() - began_s
        if latency_s >= self._over_s:
            name = statement if statement in _OWN else sql.name_of(statement)
            self._hook(StatementSlow(name, latency_s))
