"""What a routine check is, and how it is judged: a value against bounds. Not: which there are (checks). Pure."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from fluxa.operations.alarms.rule import Comparison
from fluxa.operations.monitoring.pages import Page


class Verdict(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "UNKNOWN"
    """It could not be found out, which is neither good nor bad."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The values beyond which a check warns and fails; None: never."""

    warning: float | None
    failed: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was read.

    Attributes:
        pages: one a process that answered.
        missing: processes that did not, with the reason.
        not_ready: processes that say that they cannot work, with the reason.
    """

    pages: Sequence[Page]
    missing: Mapping[str, str] = field(default_factory=dict)
    not_ready: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What a check saw.

    Attributes:
        value: the worst there is; None if it is not known.
        subject: of what.
        said: more of it, for people.
        is_idle: whether it is not known because too little happened for anything to be wrong.
    """

    value: float | None
    subject: str = ""
    said: str = ""
    is_idle: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One routine check.

    Attributes:
        name: what it is called in settings and options.
        unit: of its value.
        bounds: by themselves.
        needs: metrics without which nothing is known; none for what is known even of a process that is gone.
        look: finds the value.
        action: what to do first if it is not well.
        comparison: on which side of its bounds it is not well.
    """

    name: str
    unit: str
    bounds: Bounds
    needs: tuple[str, ...]
    look: Callable[[Seen], Found]
    action: str
    comparison: Comparison = Comparison.ABOVE

    def is_beyond(self, value: float, bound: float | None) -> bool:
        """Whether a value is on the wrong side of a bound."""
        if bound is None:
            return False
        match self.comparison:
            case Comparison.ABOVE:
                return value > bound
            case Comparison.BELOW:
                return value < bound
            case _:
                assert_never(self.comparison)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check.

    Attributes:
        check: its name.
        verdict: how it came out.
        value: the worst that was found; None if it is not known.
        unit: of the value.
        subject: where that was: a target, a route, a queue, an outside service.
        warning: beyond this it warns.
        failed: beyond this it fails.
        said: more of it, for people.
        action: what to do first; empty where all is well.
        comparison: whether above or below the bounds is beyond them.
    """

    check: str
    verdict: Verdict
    value: float | None
    unit: str
    subject: str
    warning: float | None
    failed: float | None
    said: str
    action: str
    comparison: Comparison


def judged(checks: Sequence[Check], seen: Seen, bounds: Mapping[str, Bounds]) -> Sequence[Outcome]:
    """The outcome of every check.

    Args:
        checks: which.
        seen: all that was read.
        bounds: instead of the checks' own, by name.
    """
    return [_judged(check, seen, bounds.get(check.name, check.bounds)) for check in checks]


def worst(outcomes: Sequence[Outcome]) -> Verdict:
    """The worst verdict there is; one that is not known is worse than a warning."""
    order = (Verdict.FAILED, Verdict.UNKNOWN, Verdict.WARNING)
    return next((one for one in order if any(of.verdict is one for of in outcomes)), Verdict.OK)


def _judged(check: Check, seen: Seen, bounds: Bounds) -> Outcome:
    known = not check.needs or any(name in page.families for page in seen.pages for name in check.needs)
    found = check.look(seen) if known else Found(None, said="No target that was read tells of it.")
    verdict, said = Verdict.OK, found.said
    if found.value is None:
        verdict = Verdict.OK if found.is_idle else Verdict.UNKNOWN
    elif check.is_beyond(found.value, bounds.failed):
        verdict = Verdict.FAILED
    elif check.is_beyond(found.value, bounds.warning):
        verdict = Verdict.WARNING
    if verdict is Verdict.OK and check.needs and seen.missing:
        # What was read is well; what was not read may be the worst.
        verdict = Verdict.UNKNOWN
        said = f"{said + '; ' if said else ''}targets that could not be read: {len(seen.missing)}"
    return Outcome(
        check.name,
        verdict,
        found.value,
        check.unit,
        found.subject,
        bounds.warning,
        bounds.failed,
        said,
        "" if verdict is Verdict.OK else check.action,
        check.comparison,
    )
