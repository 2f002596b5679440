"""Signals of what watches the engines: slow statements, synthetic checks. All are gathered in `catalogue.signals`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StatementSlow:
    """A statement took longer than `database_slow_ms`.

    Attributes:
        statement: its name in the `.sql` file; `begin`, `commit`, `copy`, or `unnamed` for a user's own.
        latency_s: seconds from sending it to its answer.
    """

    statement: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class SyntheticChecked:
    """A synthetic check was done.

    Attributes:
        check: which.
        target: host and port of a process, or `pipeline`.
        result: ok, failed or UNKNOWN: what it found this time.
        state: the same, as it counts after so many results in a row.
        changed: whether it counted otherwise before.
        duration_s: seconds that it took; None if it could not be done.
        legs: of a canary that arrived: seconds by leg.
        detail: why it is not well.
    """

    check: str
    target: str
    result: str
    state: str
    changed: bool
    duration_s: float | None
    legs: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""


OfWatching = StatementSlow | SyntheticChecked
"""All of them."""
