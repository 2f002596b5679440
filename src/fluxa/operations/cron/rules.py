"""Decides which due times are run, which are let go, and when a schedule is due next. Pure."""

import datetime as dt
import enum
from dataclasses import dataclass
from typing import assert_never

from fluxa.operations.cron.timetable import Timetable

RUNS_MAX = 100
"""Missed due times that are made up for at most, however long nobody was there."""
GRACE_S = 60.0
"""How late a run may be and still be on time: a restart is no reason to let one go."""
_LOOK_BACK = dt.timedelta(minutes=2)


class Missed(enum.StrEnum):
    """What becomes of due times that passed while nobody was there to see them."""

    SKIP = "skip"
    """They are let go."""
    ONCE = "once"
    """One run makes up for all of them."""
    ALL = "all"
    """Each is run, the latest hundred at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about a schedule now.

    Attributes:
        runs: due times to run, oldest first.
        skipped: the first and the last of the due times that are let go; None if there are none.
        next_at: when it is due next.
    """

    runs: tuple[dt.datetime, ...]
    skipped: tuple[dt.datetime, dt.datetime] | None
    next_at: dt.datetime


def due(timetable: Timetable, *, next_at: dt.datetime, now: dt.datetime, missed: Missed) -> Plan:
    """What to do about a schedule that was to be looked at at `next_at`.

    Args:
        timetable: when it is due.
        next_at: the first due time that nobody has dealt with.
        now: the time.
        missed: what becomes of due times that passed.
    """
    most = RUNS_MAX if missed is Missed.ALL else 1
    passed = _latest(timetable, next_at, now, most + 1)
    runs = passed[-most:]
    match missed:
        case Missed.SKIP:
            runs = [at for at in runs if (now - at).total_seconds() <= GRACE_S]
        case Missed.ONCE | Missed.ALL:
            pass
        case _:
            assert_never(missed)
    let_go = [at for at in passed if at not in runs]
    skipped = (next(timetable.between(next_at, now)), let_go[-1]) if let_go else None
    return Plan(tuple(runs), skipped, timetable.first_after(now))


def corrected(timetable: Timetable, *, next_at: dt.datetime, now: dt.datetime) -> dt.datetime | None:
    """An earlier time to look at a schedule, if it waits for one beyond its next due time; None if it does not.

    That happens when the clock was ahead for a while and came back: without this nothing would be due until it
    gets there again. Due times that were run in the meantime have their rows and are not run again.
    """
    first = timetable.first_after(now)
    return first if next_at > first else None


def _latest(timetable: Timetable, since: dt.datetime, now: dt.datetime, most: int) -> list[dt.datetime]:
    """The latest due times up to now, so many at most; a year of minutes is not counted through for them."""
    span = _LOOK_BACK
    while True:
        start = max(since, now - span)
        found = list(timetable.between(start, now))
        if len(found) >= most or start == since:
            return found[-most:]
        span *= 2
