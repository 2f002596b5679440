"""The demonstration, chapter by chapter: set up, tamper, stream, kill, wait, audit, draw, show how to look further."""

import asyncio
import datetime as dt
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path

from demo import flights, incidents, ledger, mischief, picture
from demo.audit import Audit, Latency
from demo.ledger import Ledger, number
from demo.mischief import Kind
from demo.screen import Bars, Screen
from demo.sender import Sender
from demo.stack import Stack
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode

CONNECTIONS = 3
AHEAD_MAX = 15_000
"""How many events the sender may be ahead of the processors."""
_KILL_AT = 0.4
_POLL_S = 0.2
_STALLED_S = 90.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for.

    Attributes:
        events: departures to send.
        seed: of the mischief.
        output: folder for pictures.
    """

    events: int
    seed: int
    output: Path


@dataclass(slots=True)
class Run:
    """What happened so far."""

    ledger: Ledger = field(default_factory=Ledger)
    to_be_parked: dict[tuple[str, str], str] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    killed: int = 0
    replaced: int = 0
    began: float = 0.0
    began_at: dt.datetime = field(default_factory=SystemClock().now)
    sending_s: float = 0.0
    storing_s: float = 0.0


async def tamper(stack: Stack, screen: Screen, sender: Sender, run: Run, folder: Path) -> None:
    """Alter a stored object and tighten a schema while their events wait in the queue."""
    screen.chapter("1  Tamper with what waits in the queue")
    before = incidents.objects(stack)
    diary = next(incidents.diaries(flights.flights(2000), days=1))
    gate = incidents.gate_change()
    processors = stack.processors()
    incidents.freeze(processors)
    await sender.send(iter([diary, gate]))
    (stored,) = incidents.objects(stack) - before
    incidents.alter(stored)
    await incidents.tighten_schema(stack, folder)
    await _kill(stack, run, processors)
    run.to_be_parked[diary.identity] = ErrorCode.HASH_MISMATCH
    run.to_be_parked[gate.identity] = ErrorCode.SCHEMA_VALIDATION
    kib = len(diary.text) // 1024
    screen.step(f"sent {diary.identity[1]} ({kib} KiB, so its data went to the object store)")
    screen.step(f"changed one digit of the stored object {stored.name[:16]}…")
    screen.step(f"sent {gate.identity[1]}, then registered a schema for {incidents.GATE} that it does not fit")
    screen.step(f"meanwhile the processors were frozen, then killed; {len(processors)} new ones take over")


async def stream(wish: Wish, stack: Stack, screen: Screen, sender: Sender, audit: Audit, run: Run) -> None:
    """Send everything, kill a processor on the way, and wait until all is processed."""
    screen.chapter(f"2  Stream {number(wish.events)} departures of 2013")
    days = 12 if wish.events > 20_000 else 2  # noqa: PLR2004 - a small run reads few days
    large = itertools.islice(incidents.diaries(flights.flights(), days=days + 1), 1, None)
    lines = itertools.chain(mischief.lines(flights.flights(wish.events), wish.seed), large)
    expected = round(wish.events * (1 + mischief.TWICE + mischief.FORGED + mischief.MALFORMED)) + days
    before = run.ledger.kinds.total()
    run.began, run.began_at = time.monotonic(), SystemClock().now()
    with screen.bars(expected) as bars:
        bars.resize(expected, wish.events + days)
        pace = Pace(run.ledger)
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_watch(bars, audit, pace))
            killing = tasks.create_task(_kill_midway(stack, bars, run, wish.events))
            await sender.send(lines, connections=CONNECTIONS, progress=bars.sent, turn=pace.turn)
            run.sending_s = time.monotonic() - run.began
            bars.resize(run.ledger.kinds.total() - before, run.ledger.distinct)
            await killing
            await _until_processed(audit, run)
            run.storing_s = time.monotonic() - run.began
            watch.cancel()
        bars.stored(await audit.progress())


class Pace:
    """Keeps the sender at most so many events ahead of the processors."""

    def __init__(self, book: Ledger) -> None:
        self._book = book
        self._stored = 0
        self._moved = asyncio.Event()

    def stored(self, events: int) -> None:
        """So many are stored by now."""
        self._stored = events
        self._moved.set()

    async def turn(self) -> None:
        """Wait while the sender is too far ahead."""
        while self._book.distinct - self._stored > AHEAD_MAX:
            self._moved.clear()
            await self._moved.wait()


async def _watch(bars: Bars, audit: Audit, pace: Pace) -> None:
    while True:
        await asyncio.sleep(_POLL_S)
        stored = await audit.progress()
        bars.stored(stored)
        pace.stored(stored)


async def _kill(stack: Stack, run: Run, processes: dict[str, int]) -> dict[str, int]:
    """Kill processes and wait for those that replace them."""
    incidents.kill(processes)
    run.killed += len(processes)
    now = await stack.replaced(processes)
    run.replaced += len(now)
    return now


async def _kill_midway(stack: Stack, bars: Bars, run: Run, events: int) -> None:
    """Kill the first processor without warning once enough was sent, and see that it is replaced."""
    while run.ledger.distinct < events * _KILL_AT:
        await asyncio.sleep(0.05)
    name, pid = next(iter(stack.processors().items()))
    run.marks["processor killed"] = time.monotonic() - run.began
    bars.say(f"[red]●[/] SIGKILL to {name} (process {pid})")
    now = await _kill(stack, run, {name: pid})
    bars.say(f"[green]●[/] the supervisor started {name} again (process {now[name]})")


async def _until_processed(audit: Audit, run: Run) -> None:
    """Wait until everything is stored or parked, or nothing has moved for so long that it never will."""
    done, moved = -1, time.monotonic()
    while done < run.ledger.distinct and time.monotonic() - moved < _STALLED_S:
        now = await audit.progress()
        if now != done:
            done, moved = now, time.monotonic()
        await asyncio.sleep(0.1)


async def report(wish: Wish, stack: Stack, screen: Screen, audit: Audit, run: Run) -> bool:
    """Compare book and database, draw, and show how to look further; whether everything agrees."""
    screen.chapter("3  What became of them (each line by query, against the sender's own book)")
    found = await audit.found(await stack.queue_depth("events"))
    checks = ledger.audit(run.ledger, found, run.to_be_parked)
    checks.append(ledger.Check("processors killed without warning, and replaced", str(run.killed), str(run.replaced)))
    screen.checks(checks)
    screen.chapter("4  How it went")
    _figures(screen, run, found.stored.total(), await audit.latency(run.began_at))
    course = await audit.course(run.began_at)
    wish.output.mkdir(parents=True, exist_ok=True)
    picture.draw(course, run.marks, wish.output / "flow.png")
    received, stored = picture.CHART_COLOURS
    screen.console.print(
        f"\n  events a second: [{received}]━━[/] received  [{stored}]━━[/] stored  [red]┊[/] a processor killed"
    )
    screen.ansi(picture.in_characters(course, run.marks))
    screen.save(wish.output / "demo.svg")
    await _story(stack, screen, audit)
    good = all(check.holds for check in checks)
    for surprise in run.ledger.surprises[:10]:
        screen.console.print(f"[red]●[/] {surprise}")
    return good


def _figures(screen: Screen, run: Run, stored: int, latency: Latency) -> None:
    book = run.ledger
    repeats = ", ".join(f"{times} × {why}" for why, times in sorted(book.repeats.items())) or "none"
    refused = ", ".join(f"{times} {code}" for code, times in sorted(book.refused.items()))
    screen.figures(
        [
            (
                "lines sent",
                f"{number(book.kinds.total())} in {number(book.requests)} requests, {number(AHEAD_MAX)} ahead at most",
            ),
            ("acknowledged", f"{number(book.accepted)}, of these {number(book.kinds[Kind.AGAIN])} again"),
            ("refused at the door", f"{number(book.refused.total())}: {refused}"),
            ("requests repeated", repeats),
            ("acknowledged a second", f"{number(round(book.accepted / run.sending_s))} over {run.sending_s:.1f} s"),
            (
                "stored a second",
                f"{number(round(stored / run.storing_s))} over {run.storing_s:.1f} s, to the last event",
            ),
            (
                "door to table",
                f"p50 {latency.p50_s:.2f} s · p95 {latency.p95_s:.2f} s · p99 {latency.p99_s:.2f} s",
            ),
        ]
    )


async def _story(stack: Stack, screen: Screen, audit: Audit) -> None:
    story = await audit.busiest_story()
    screen.chapter(f"5  The story of one aircraft on one day: fluxa trace {story}")
    screen.ansi(await stack.command("trace", story, coloured=True))
    screen.chapter("6  What was parked: fluxa dlq list")
    screen.ansi(await stack.command("dlq", "list", coloured=True))
