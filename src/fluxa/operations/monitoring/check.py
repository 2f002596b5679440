"""What a routine check is, and how it is judged: a value against bounds. Not: which there are (checks). Pure."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
    """The values above which a check warns and fails; None: never."""

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
    """What a check saw: the worst value, of what, and more for people; a value of None is not known."""

    value: float | None
    subject: str = ""
    said: str = ""


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
    """

    name: str
    unit: str
    bounds: Bounds
    needs: tuple[str, ...]
    look: Callable[[Seen], Found]
    action: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check.

    Attributes:
        check: its name.
        verdict: how it came out.
        value: the worst that was found; None if it is not known.
        unit: of the value.
        subject: where that was: a target, a route, a queue, an outside service.
        warning: above this it warns.
        failed: above this it fails.
        said: more of it, for people.
        action: what to do first; empty where all is well.
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
        verdict = Verdict.UNKNOWN
    elif bounds.failed is not None and found.value > bounds.failed:
        verdict = Verdict.FAILED
    elif bounds.warning is not None and found.value > bounds.warning:
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
    )
