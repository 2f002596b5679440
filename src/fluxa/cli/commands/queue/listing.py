"""`fluxa queue list` and `show`: how queues are, as tables or JSON."""

import asyncio
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.queue import words
from fluxa.cli.commands.queue.desk import known, looking, warn_of_outage
from fluxa.cli.errors import UNREACHABLE, stderr
from fluxa.kernel.clock import SystemClock
from fluxa.queue.backend import BlockedKey, SlowFacts, SnapshotHolder
from fluxa.queue.health.facts import QueueHealth, RedriveProgress, Snapshot, WorkerState
from fluxa.queue.registry import QueueSpec

Queue = Annotated[str, typer.Argument(help="The queue's name.")]


def list_queues(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show how each queue is."""
    snapshot, reached = asyncio.run(_snapshot(output.effective(context).settings))
    if as_json:
        for health in snapshot.queues:
            output.print_json(health)
    else:
        output.stdout().print(table(snapshot))
    for part, reason in snapshot.unknown.items():
        stderr().print(f"Whether there are queues of other programs is UNKNOWN ({part}: {reason}).", markup=False)
    if not reached:
        raise typer.Exit(UNREACHABLE)


def show(context: typer.Context, queue: Queue, as_json: output.AsJson = False) -> None:
    """Show all that is known of one queue, why it may be slow, and what to do."""
    health, spec, reached = asyncio.run(_one(output.effective(context).settings, queue))
    if as_json:
        output.print_json(health)
    else:
        for part in _parts(health, spec, SystemClock().now()):
            output.stdout().print(part)
    if not reached:
        raise typer.Exit(UNREACHABLE)


async def _snapshot(settings: Settings) -> tuple[Snapshot, bool]:
    async with looking(settings) as desk:
        warn_of_outage(desk)
        return await desk.reader.read(), desk.outage is None


async def _one(settings: Settings, queue: str) -> tuple[QueueHealth, QueueSpec | None, bool]:
    async with looking(settings) as desk:
        warn_of_outage(desk)
        spec = desk.registry.get(queue) if queue in desk.registry else None
        if spec is None and desk.outage is None:
            await known(desk, queue)
        (health,) = (await desk.reader.read([queue], why_slow=True)).queues
        return health, spec, desk.outage is None


def table(snapshot: Snapshot) -> Table:
    """All queues, one a line."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("queue", "state"):
        found.add_column(name)
    for name in ("messages", "ready", "in flight", "oldest", "dead", "workers", "streak"):
        found.add_column(name, justify="right")
    for name in ("last success", "breaker", "watermark"):
        found.add_column(name)
    found.add_column("note", overflow="fold")
    for health in snapshot.queues:
        found.add_row(*_cells(health, snapshot.taken_at))
    return found


def _cells(health: QueueHealth, now: dt.datetime) -> Iterator[Text]:
    exact = health.exact is not False
    yield Text(health.queue)
    yield words.state(health)
    yield words.count(health.queue_length, exact=exact)
    yield words.count(health.ready, exact=exact)
    yield words.count(health.in_flight)
    yield words.age(health.oldest_age_s)
    yield words.count(health.dead, exact=exact, style="red")
    yield words.count(None if health.workers is None else len(health.workers))
    yield words.count(health.error_streak, style="red")
    yield words.success(health, now)
    yield words.breaker(health, now)
    yield words.watermark(health)
    yield words.note(health)


def _parts(health: QueueHealth, spec: QueueSpec | None, now: dt.datetime) -> Iterator[Table | Text]:
    yield _facts(health, spec, now)
    if health.dead_by_code:
        most_first = sorted(health.dead_by_code.items(), key=lambda pair: -pair[1])
        more = set(health.dead_at_least)
        yield _table("dead letters", ("code", "letters"), [(one, f"{n}{'+' * (one in more)}") for one, n in most_first])
    if health.workers:
        columns = ("worker", "in hand", "streak", "breaker", "heard of")
        yield _table("workers", columns, [_worker(one) for one in health.workers])
    if health.redrives:
        columns = ("redrive", "state", "looked at", "moved", "a second")
        yield _table("redrives", columns, [_redrive(one) for one in health.redrives])
    if health.why_slow is not None:
        yield from _slow(health.why_slow, now)
    if health.advice:
        yield Text("\nwhat to do", style="bold")
        for sentence in health.advice:
            yield Text(f"• {sentence}")


def _facts(health: QueueHealth, spec: QueueSpec | None, now: dt.datetime) -> Table:
    exact = health.exact is not False
    marks = spec.watermarks if spec else None
    rows: list[tuple[str, Text | str]] = [
        ("queue", Text(f"{health.queue}  ").append(health.description, style="dim")),
        ("state", words.state(health)),
        ("messages", words.count(health.queue_length, exact=exact)),
        ("ready", words.count(health.ready, exact=exact)),
        ("in flight", words.count(health.in_flight)),
        ("oldest", words.age(health.oldest_age_s)),
        ("dead letters", words.count(health.dead, exact=exact, style="red")),
        ("last success", words.success(health, now)),
        ("last failure", _last_failure(health, now)),
        ("error streak", words.count(health.error_streak, style="red")),
        ("breaker", words.breaker(health, now)),
        ("workers", words.count(None if health.workers is None else len(health.workers))),
        ("paused", _paused(health, now)),
        ("watermark", words.watermark(health)),
    ]
    if marks is not None:
        rows.append(("limits", f"messages {marks.depth}, oldest {marks.oldest_age_s} s, dead letters {marks.dead}"))
    found = Table(box=None, pad_edge=False, show_header=False)
    found.add_column(style="bold")
    found.add_column(overflow="fold")
    for row in rows:
        found.add_row(*row)
    return found


def _last_failure(health: QueueHealth, now: dt.datetime) -> Text:
    if health.workers is None:
        return words.unknown()
    code = f" ({health.last_error_code})" if health.last_error_code else ""
    return Text(words.ago(health.last_failure_at, now) + code)


def _paused(health: QueueHealth, now: dt.datetime) -> Text:
    if health.paused is None:
        return words.unknown()
    if health.pause is None:
        return Text("no", style="dim")
    pause = health.pause
    return Text(f"by {pause.by}, {words.ago(pause.since, now)}: {pause.reason}", style="blue")


def _worker(one: WorkerState) -> Sequence[object]:
    rest = f" until {output.moment(one.rests_until)}" if one.rests_until else ""
    return (one.worker, one.in_flight, one.error_streak, one.breaker + rest, f"{one.age_s:.0f}s ago")


def _redrive(one: RedriveProgress) -> Sequence[object]:
    return (one.redrive_id, one.state, f"{one.handled}/{one.total}", one.moved, one.rate_per_s or "no limit")


def _slow(facts: SlowFacts, now: dt.datetime) -> Iterator[Table | Text]:
    known: list[tuple[str, object]] = [
        ("dead rows", words.count(facts.dead_rows)),
        ("last cleaned up", words.ago(facts.last_autovacuum_at, now)),
        ("oldest under lease", "none" if facts.oldest_lease_s is None else words.duration(facts.oldest_lease_s)),
    ]
    if facts.blocked_keys is not None:
        known.append(("blocked keys", facts.blocked_keys))
    yield _table("why slow", ("", ""), known)
    if facts.holders is None:
        yield Text("who holds old snapshots: ").append(words.unknown())
    elif facts.holders:
        holders = [_holder(one) for one in facts.holders]
        yield _table("", ("old snapshot of", "pid", "age", "application", "statement"), holders)
    if facts.blocked:
        keys = [_blocked(one) for one in facts.blocked]
        yield _table("", ("blocked key", "message", "age", "tried again in"), keys)


def _blocked(one: BlockedKey) -> Sequence[object]:
    return (one.key, one.message_id, words.duration(one.age_s), words.duration(max(0.0, one.ready_in_s)))


def _holder(one: SnapshotHolder) -> Sequence[object]:
    age = words.UNKNOWN if one.age_s is None else words.duration(one.age_s)
    return (f"{one.kind} {one.name}", one.pid, age, one.application, one.query)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    found = Table(
        box=None,
        pad_edge=False,
        title=f"\n{title}" if title else None,
        title_style="bold",
        title_justify="left",
        header_style="dim",
        show_header=any(columns),
    )
    for name in columns:
        found.add_column(name, overflow="fold")
    for row in rows:
        found.add_row(*(cell if isinstance(cell, Text) else escape("" if cell is None else str(cell)) for cell in row))
    return found
