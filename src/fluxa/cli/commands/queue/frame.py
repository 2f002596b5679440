"""One picture of `fluxa queue top`: rates from two looks, bars, colours. Pure: the looks are given."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from fluxa.cli.commands.queue import words
from fluxa.queue.health.facts import QueueHealth, Snapshot, State

_BAR = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment.

    Attributes:
        at_s: when, on a clock that never goes back.
        snapshot: how the queues were.
        sent: messages ever put into each queue, repeats included; None if unknown.
    """

    at_s: float
    snapshot: Snapshot
    sent: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Rates:
    """What a queue does in a second; None is unknown.

    Attributes:
        sent: messages put in, repeats included.
        done: records finished.
        retried: records that will be tried again.
        dead: records parked.
    """

    sent: float | None = None
    done: float | None = None
    retried: float | None = None
    dead: float | None = None


@dataclass(slots=True)
class Pace:
    """Rates between looks, over a few seconds so that they do not jump.

    Attributes:
        window_s: seconds over which they are taken.
    """

    window_s: float = 5.0
    _looks: list[Look] = field(default_factory=list)

    def saw(self, look: Look) -> None:
        """Remember a look; forget those that are too old."""
        self._looks.append(look)
        while len(self._looks) > 2 and look.at_s - self._looks[1].at_s >= self.window_s:  # noqa: PLR2004 - two ends
            self._looks.pop(0)

    def rates(self, queue: str) -> Rates:
        """What the queue does in a second; all unknown before there are two looks."""
        if len(self._looks) < 2:  # noqa: PLR2004 - a rate has two ends
            return Rates()
        first, last = self._looks[0], self._looks[-1]
        seconds = max(1e-6, last.at_s - first.at_s)
        sent = None
        # Where only its dead letters are here, the queue itself is elsewhere; where neither is, it was never made.
        if first.sent is not None and last.sent is not None and (queue in last.sent or f"{queue}_dlq" not in last.sent):
            sent = max(0, last.sent.get(queue, 0) - first.sent.get(queue, 0)) / seconds
        done, retried, dead = (_work(first, last, queue, what) for what in ("done", "retried", "parked"))
        return Rates(sent, *(None if value is None else value / seconds for value in (done, retried, dead)))


def _work(first: Look, last: Look, queue: str, what: str) -> int | None:
    """What the workers that were there both times did between; one that is new began with nothing."""
    before, after = _workers(first, queue), _workers(last, queue)
    if before is None or after is None:
        return None
    total = 0
    for worker, counts in after.items():
        total += max(0, int(getattr(counts, what)) - int(getattr(before.get(worker), what, 0)))
    return total


def _workers(look: Look, queue: str) -> dict[str, object] | None:
    found = next((one for one in look.snapshot.queues if one.queue == queue), None)
    if found is None or found.workers is None:
        return None
    return {one.worker: one for one in found.workers}


def bar(value: float | None, largest: float) -> Text:
    """A bar of how much of the largest this is, in eighths of a character."""
    if value is None:
        return words.unknown()
    eighths = 0 if largest <= 0 else max(1 if value else 0, round(value / largest * _BAR * 8))
    whole, rest = divmod(min(eighths, _BAR * 8), 8)
    return Text(("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(_BAR), style="cyan")


def frame(look: Look, pace: Pace, *, outage: str = "", width: int = 160) -> Group:
    """The picture.

    Args:
        look: what was seen last.
        pace: rates up to then.
        outage: why nothing can be reached, if so.
        width: columns of the terminal; in a narrow one what matters less is left out.
    """
    queues = look.snapshot.queues
    largest = max((one.queue_length or 0 for one in queues), default=0)
    found = Table(box=None, pad_edge=False, header_style="bold")
    shown = [width >= from_width for _, _, from_width in _COLUMNS]
    for (name, justify, _), is_shown in zip(_COLUMNS, shown, strict=True):
        if is_shown:
            found.add_column(name, justify=justify, no_wrap=True)
    for health in queues:
        cells = _cells(health, look, pace.rates(health.queue), largest)
        found.add_row(*(cell for cell, is_shown in zip(cells, shown, strict=True) if is_shown))
    parts: list[Text | Table] = [_head(look, outage), found, *_redrives(look)]
    notes = [line for health in queues for line in _notes(health)]
    parts += notes[:_NOTES_MAX]
    if len(notes) > _NOTES_MAX:
        parts.append(Text(f"… {len(notes) - _NOTES_MAX} more: fluxa queue list", style="dim"))
    return Group(*parts)


_NOTES_MAX = 8
_COLUMNS: tuple[tuple[str, JustifyMethod, int], ...] = (
    ("queue", "left", 0),
    ("state", "left", 0),
    ("messages", "right", 0),
    ("", "left", 122),
    ("oldest", "right", 0),
    ("in/s", "right", 0),
    ("done/s", "right", 0),
    ("retry/s", "right", 0),
    ("dead/s", "right", 98),
    ("dead", "right", 0),
    ("hands", "right", 108),
    ("breaker", "left", 90),
)
"""Heading, side, and the width of a terminal from which the column is shown."""


def _cells(health: QueueHealth, look: Look, rates: Rates, largest: float) -> Iterator[Text]:
    yield Text(health.queue)
    yield words.state(health)
    yield words.short(health.queue_length)
    yield bar(health.queue_length, largest)
    yield words.age(health.oldest_age_s)
    for value in (rates.sent, rates.done, rates.retried, rates.dead):
        yield words.rate(value)
    dead = words.short(health.dead)
    dead.stylize("red" if health.dead else "dim")
    yield dead
    yield words.unknown() if health.workers is None else Text(_hands(health))
    yield words.breaker(health, look.snapshot.taken_at)


def _hands(health: QueueHealth) -> str:
    workers = health.workers or ()
    return f"{sum(one.in_flight for one in workers)} in {len(workers)}" if workers else words.NONE


def _head(look: Look, outage: str) -> Text:
    queues = look.snapshot.queues
    counts = {state: sum(one.state is state for one in queues) for state in State}
    head = Text("fluxa queue top  ", style="bold").append(f"{look.snapshot.taken_at:%H:%M:%S} UTC", style="dim")
    for state, count in counts.items():
        if count and state is not State.FOREIGN:
            word = words.UNKNOWN if state is State.UNKNOWN else str(state)
            head.append("  ").append(f"{count} {word}", style=words.STYLES[state])
    if outage:
        head.append(f"\n✗ {outage}", style="bold red")
    return head.append("\n")


def _redrives(look: Look) -> Iterator[Text]:
    for health in look.snapshot.queues:
        for one in health.redrives or ():
            line = Text().append("redrive ", style="bold").append(f"{one.redrive_id} of {health.queue}  ")
            line.append_text(bar(one.handled, one.total)).append(f" {one.handled}/{one.total}, {one.moved} moved")
            pace = f", {one.rate_per_s:g}/s at most" if one.rate_per_s else ""
            yield line.append(f"{pace}, {one.state}", style="dim")


def _notes(health: QueueHealth) -> Iterator[Text]:
    if health.pause is not None:
        yield Text(f"{health.queue}: paused by {health.pause.by}: {health.pause.reason}", style="blue")
    for one in health.exceeded:
        yield Text(f"{health.queue}: {one.measure} is {one.value:.0f}, more than {one.limit:.0f}", style="yellow")
    for part, reason in health.unknown.items():
        yield Text(f"{health.queue}: {part} UNKNOWN: {reason}", style="magenta")
