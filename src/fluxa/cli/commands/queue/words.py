"""How facts about queues are said to people: short numbers, ages, colours; UNKNOWN for what is not known, never 0."""

import datetime as dt
from collections.abc import Mapping

from rich.text import Text

from fluxa.queue.health.facts import QueueHealth, State, Watermark

UNKNOWN = "UNKNOWN"
NONE = "-"
_UNKNOWN_STYLE = "bold magenta"

STYLES: Mapping[State, str] = {
    State.OK: "green",
    State.HIGH: "yellow",
    State.FAILING: "red",
    State.UNSERVED: "yellow",
    State.RESTING: "red",
    State.PAUSED: "blue",
    State.FOREIGN: "dim",
    State.UNKNOWN: _UNKNOWN_STYLE,
}
"""The colour of each state."""


def state(health: QueueHealth) -> Text:
    """The one word, in its colour."""
    if health.state is State.UNKNOWN:
        return unknown()
    return Text(str(health.state), style=STYLES[health.state])


def unknown() -> Text:
    """What is said of what is not known."""
    return Text(UNKNOWN, style=_UNKNOWN_STYLE)


def count(value: float | None, *, exact: bool = True, style: str = "") -> Text:
    """A number in full; `~` before an estimate."""
    if value is None:
        return unknown()
    return Text(f"{'' if exact else '~'}{value:.0f}", style=style if value else "dim")


_THOUSAND = 1000.0
_WHOLE = 100


def short(value: float | None) -> Text:
    """A number in at most five characters: 999, 1.2k, 34k, 5.6M."""
    if value is None:
        return unknown()
    number = float(value)
    for unit in ("", "k", "M", "G"):
        if number < _THOUSAND or unit == "G":
            whole = not unit or number >= _WHOLE
            return Text(f"{number:.0f}{unit}" if whole else f"{number:.1f}{unit}")
        number /= _THOUSAND
    raise AssertionError("the last unit takes all")


def rate(value: float | None) -> Text:
    """Something a second; nothing is a dash, not known is UNKNOWN."""
    if value is None:
        return unknown()
    if value <= 0:
        return Text(NONE, style="dim")
    return Text(f"{value:.1f}") if value < 10 else short(value)  # noqa: PLR2004 - two digits say enough


def age(seconds: float | None) -> Text:
    """How long: 4s, 12m, 3h, 5d."""
    if seconds is None:
        return unknown()
    return Text(duration(seconds), style="" if seconds >= 1 else "dim")


def duration(seconds: float) -> str:
    """Seconds in their nearest unit."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def ago(moment: dt.datetime | None, now: dt.datetime) -> str:
    """How long ago; `never` for no moment."""
    return "never" if moment is None else f"{duration(max(0.0, (now - moment).total_seconds()))} ago"


def success(health: QueueHealth, now: dt.datetime) -> Text:
    """When it last did something right."""
    return unknown() if health.workers is None else Text(ago(health.last_success_at, now))


def breaker(health: QueueHealth, now: dt.datetime) -> Text:
    """The worst breaker of the workers, and how long the rest lasts."""
    if health.workers is None:
        return unknown()
    if health.breaker is None:
        return Text(NONE, style="dim")
    if health.breaker == "closed":
        return Text("closed", style="dim")
    rest_s = (health.rests_until - now).total_seconds() if health.rests_until else 0.0
    return Text(f"open {duration(rest_s)}" if rest_s > 0 else health.breaker.replace("_", " "), style="red")


def watermark(health: QueueHealth) -> Text:
    """Where it stands, and by what."""
    match health.watermark:
        case Watermark.UNKNOWN:
            return unknown()
        case Watermark.OK:
            return Text("ok", style="dim")
        case Watermark.HIGH:
            return Text("high: " + ", ".join(str(one.measure) for one in health.exceeded), style="yellow")


def note(health: QueueHealth) -> Text:
    """What a line has room for besides numbers: who paused it and why, redrives, gaps."""
    parts = []
    if health.pause is not None:
        parts.append(f"paused by {health.pause.by}: {health.pause.reason}")
    parts += [f"redrive {one.handled}/{one.total} {one.state}" for one in health.redrives or ()]
    parts += [f"{part}: {reason}" for part, reason in health.unknown.items()]
    return Text("; ".join(parts))
