"""Decides from readings whether an alarm fires, is over, or is not known, and what is to be told. Pure."""

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from fluxa.operations.alarms.rule import Reading, Rule


class Phase(enum.StrEnum):
    """How an alarm stands."""

    OK = "ok"
    PENDING = "pending"
    """It is bad, and not yet for long enough."""
    FIRING = "firing"


class Notice(enum.StrEnum):
    """What people are told."""

    FIRING = "firing"
    REPEATED = "repeated"
    """It still fires, and nobody has acknowledged it."""
    RESOLVED = "resolved"
    UNKNOWN = "unknown"
    """It is not known whether all is well, and has not been for a while."""
    KNOWN = "known"
    """It is known again."""
    TEST = "test"
    """Somebody wants to see whether messages arrive."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an alarm stands for one subject, and what was told of it.

    Attributes:
        phase: how it stands.
        since: when that began.
        value: what was last found; None if it is not known.
        detail: more of it.
        good_since: since when a firing one has been good, without a break.
        unknown_since: since when it is not known.
        told_firing: the beginning of the firing that was told and not yet taken back.
        told_unknown: whether it was told that it is not known.
        told_at: when anything was told.
    """

    phase: Phase
    since: dt.datetime
    value: float | None = None
    detail: str = ""
    good_since: dt.datetime | None = None
    unknown_since: dt.datetime | None = None
    told_firing: dt.datetime | None = None
    told_unknown: bool = False
    told_at: dt.datetime | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember of it."""
        return (
            self.phase is Phase.OK and self.unknown_since is None and self.told_firing is None and not self.told_unknown
        )


def fresh(now: dt.datetime) -> Standing:
    """How an alarm stands of which nothing was known before."""
    return Standing(Phase.OK, now)


def advance(rule: Rule, standing: Standing, reading: Reading, now: dt.datetime) -> Standing:
    """How an alarm stands after a reading.

    What is not known lets nothing fire and resolves nothing: the time that it lasts counts neither for
    the alarm nor against it. A clock that was set back makes nothing happen earlier.
    """
    standing = _not_ahead(standing, now)
    if reading.value is None:
        unknown_since = standing.unknown_since or now
        return replace(standing, value=None, detail=reading.detail, unknown_since=unknown_since, good_since=None)
    if standing.phase is Phase.PENDING and standing.unknown_since is not None:
        standing = replace(standing, since=standing.since + (now - standing.unknown_since))
    standing = replace(standing, value=reading.value, detail=reading.detail, unknown_since=None)
    match standing.phase:
        case Phase.OK:
            return _bad(rule, standing, now, now) if rule.is_bad(reading.value) else standing
        case Phase.PENDING:
            if not rule.is_bad(reading.value):
                return replace(standing, phase=Phase.OK, since=now)
            return _bad(rule, standing, standing.since, now)
        case Phase.FIRING:
            return _while_firing(rule, standing, reading.value, now)
        case _:
            assert_never(standing.phase)


def _bad(rule: Rule, standing: Standing, since: dt.datetime, now: dt.datetime) -> Standing:
    if (now - since).total_seconds() >= rule.for_s:
        return replace(standing, phase=Phase.FIRING, since=now, good_since=None)
    return replace(standing, phase=Phase.PENDING, since=since)


def _while_firing(rule: Rule, standing: Standing, value: float, now: dt.datetime) -> Standing:
    if not rule.is_good(value):
        return replace(standing, good_since=None)
    good_since = standing.good_since or now
    if (now - good_since).total_seconds() >= rule.clear_after_s:
        return replace(standing, phase=Phase.OK, since=now, good_since=None)
    return replace(standing, good_since=good_since)


def _not_ahead(standing: Standing, now: dt.datetime) -> Standing:
    """A standing none of whose times is in the future."""

    def at_most(at: dt.datetime | None) -> dt.datetime | None:
        return None if at is None else min(at, now)

    told_firing = standing.told_firing
    since = min(standing.since, now)
    if told_firing == standing.since:
        told_firing = since  # it names the same firing still
    return replace(
        standing,
        since=since,
        good_since=at_most(standing.good_since),
        unknown_since=at_most(standing.unknown_since),
        told_firing=told_firing,
        told_at=at_most(standing.told_at),
    )


def due(
    rule: Rule,
    standing: Standing,
    now: dt.datetime,
    *,
    silenced: bool = False,
    acknowledged: bool = False,
    repeat_s: float = 14_400.0,
) -> tuple[Standing, Sequence[Notice]]:
    """What is to be told now, and how the alarm stands once it is.

    It compares how things are with what was told, so that nothing is left untold by a silence that ends, or by a
    process that died in between.

    Args:
        rule: the alarm's.
        standing: how it stands.
        now: the time.
        silenced: whether nothing is to be told.
        acknowledged: whether somebody has taken it on, and it need not be repeated.
        repeat_s: seconds after which a firing alarm is told again.
    """
    if silenced:
        return standing, ()
    notices: list[Notice] = []
    is_unknown = (
        standing.unknown_since is not None and (now - standing.unknown_since).total_seconds() >= rule.unknown_after_s
    )
    if is_unknown and not standing.told_unknown:
        notices.append(Notice.UNKNOWN)
    if standing.told_unknown and standing.unknown_since is None:
        notices.append(Notice.KNOWN)
    told_unknown = is_unknown or (standing.told_unknown and standing.unknown_since is not None)
    told_firing = standing.told_firing
    if standing.phase is Phase.FIRING:
        if told_firing != standing.since:
            notices.append(Notice.FIRING)
        elif not acknowledged and _since_told_s(standing, now) >= repeat_s:
            notices.append(Notice.REPEATED)
        told_firing = standing.since
    elif told_firing is not None:
        notices.append(Notice.RESOLVED)
        told_firing = None
    if not notices:
        return standing, ()
    told = replace(standing, told_firing=told_firing, told_unknown=told_unknown, told_at=now)
    return told, tuple(notices)


def _since_told_s(standing: Standing, now: dt.datetime) -> float:
    return 0.0 if standing.told_at is None else (now - standing.told_at).total_seconds()


def gone(rule: Rule, subject: str) -> Reading:
    """The reading of a subject that there was, and that is not there any more."""
    return Reading(subject, rule.quiet, "It is not there any more.")
