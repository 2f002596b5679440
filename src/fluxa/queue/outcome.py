"""What became of a record: values that a handler returns and a backend carries out."""

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """Finished; the record leaves the queue."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Failed, to be tried again.

    Attributes:
        at: not before this time.
        code: the error code.
        detail: the error's text.
    """

    at: dt.datetime
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Failed for good; goes to `<queue>_dlq`.

    Attributes:
        code: the error code.
        detail: the error's text.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not yet: try again later without counting an attempt.

    Attributes:
        until: not before this time.
    """

    until: dt.datetime


Outcome = Done | Retry | Dead | Snooze

DONE = Done()
"""The outcome of nearly every record."""
