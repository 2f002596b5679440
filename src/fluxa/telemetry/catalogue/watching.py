"""Signals of what watches the engines themselves: slow statements. Gathered with all others in `catalogue.signals`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StatementSlow:
    """A statement took longer than `database_slow_ms`.

    Attributes:
        statement: its name in the `.sql` file; `begin`, `commit`, `copy`, or `unnamed` for a user's own.
        latency_s: seconds from sending it to its answer.
    """

    statement: str
    latency_s: float
