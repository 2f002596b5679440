"""`fluxa dlq list`, `show` and `purge`: look at dead letters, and delete them."""

import asyncio
import base64
import datetime as dt
import sys
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from rich.progress import Progress

from fluxa.apps.application import application
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.dlq import desk
from fluxa.cli.commands.ground import note
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import DeadLetterFilter, DeadSummary
from fluxa.queue.dead_letters import purge as purging
from fluxa.queue.dead_letters.choice import class_in, class_of
from fluxa.queue.dead_letters.pages import PAGE
from fluxa.queue.record import DeadLetter


def list_letters(
    context: typer.Context,
    queue_name: desk.Queue = "events",
    code: desk.Codes = None,
    message_id: desk.Ids = None,
    record: desk.Records = None,
    key: desk.Keys = None,
    since: desk.Since = None,
    until: desk.Until = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Letters at most.")] = 100,
    as_json: output.AsJson = False,
) -> None:
    """List dead letters, oldest first. They stay until they are sent again or deleted: none expires."""
    which = desk.chosen(code, message_id, record, key, since, until)
    settings = output.effective(context).settings
    found = asyncio.run(_list(settings, queue_name, which, limit))
    rows = [(letter, _class(letter, settings, queue_name)) for letter in found.letters]
    if as_json:
        for letter, kind in rows:
            output.print_json(_as_json(letter, kind))
        return
    output.print_table(
        ("id", "record", "code", "class", "attempts", "redrives", "last failure", "reason"),
        (
            (
                letter.message_id,
                letter.record.id,
                letter.code,
                kind,
                letter.attempts,
                letter.record.redrives,
                output.moment(letter.last_failed_at),
                letter.reason,
            )
            for letter, kind in rows
        ),
        empty=f"There are no such dead letters in {queue_name}_dlq.",
    )
    if found.summary.oldest_at is not None:
        age = _age(SystemClock().now() - found.summary.oldest_at)
        total = found.summary.total
        shown = f"{len(rows)} of {total} shown" if len(rows) < total else f"{total} in all"
        stderr().print(f"{shown}{desk.counted(found.summary.by_code)}; the oldest failed {age} ago.", markup=False)


@dataclass(frozen=True, slots=True)
class _Found:
    """A list of letters, and what there is besides."""

    letters: list[DeadLetter]
    summary: DeadSummary


async def _list(settings: Settings, queue: str, which: DeadLetterFilter, limit: int) -> _Found:
    async with desk.opened(settings, queue) as at:
        summary = await at.backend.summarize_dead(queue, which)
        found: list[DeadLetter] = []
        while len(found) < limit:
            size = min(PAGE, limit - len(found))
            after = found[-1].message_id if found else None
            page = await at.backend.dead_letters(queue, which, limit=size, after=after)
            found += page
            if len(page) < size:
                break
        return _Found(found, summary)


def show(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(help="As fluxa dlq list shows it.")],
    queue_name: desk.Queue = "events",
    as_json: output.AsJson = False,
) -> None:
    """Show one dead letter whole: why it failed, and its body."""
    which = DeadLetterFilter(message_ids=(message_id,))
    settings = output.effective(context).settings
    letters = asyncio.run(_list(settings, queue_name, which, 1)).letters
    if not letters:
        raise CommandError(
            ErrorCode.NOT_FOUND,
            f"There is no dead letter {message_id} in {queue_name}_dlq.",
            action="See fluxa dlq list; it may have been sent again or deleted.",
        )
    facts = _as_json(letters[0], _class(letters[0], settings, queue_name))
    if as_json:
        output.print_json(facts)
        return
    body = facts.pop("body", None) or f"base64: {facts.pop('body_base64')}"
    output.print_table(("", ""), facts.items(), empty="")
    output.stdout().print(body, markup=False, soft_wrap=True)


def purge(
    context: typer.Context,
    queue_name: desk.Queue = "events",
    code: desk.Codes = None,
    message_id: desk.Ids = None,
    record: desk.Records = None,
    key: desk.Keys = None,
    since: desk.Since = None,
    until: desk.Until = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters for good."""
    which = desk.must_choose(desk.chosen(code, message_id, record, key, since, until), everything=everything)
    settings = output.effective(context).settings
    summary = asyncio.run(_summary(settings, queue_name, which))
    if not summary.total:
        stderr().print(f"There are no such dead letters in {queue_name}_dlq.", markup=False)
        return
    if not yes:
        what = f"{summary.total} dead letters of {queue_name}{desk.counted(summary.by_code)}"
        typer.confirm(f"Delete {what} for good?", abort=True, err=True)
    deleted = asyncio.run(_purge(settings, queue_name, which, summary))
    stderr().print(f"{deleted} deleted.", markup=False)


async def _summary(settings: Settings, queue: str, which: DeadLetterFilter) -> DeadSummary:
    async with desk.opened(settings, queue) as at:
        return await at.backend.summarize_dead(queue, which)


async def _purge(settings: Settings, queue: str, which: DeadLetterFilter, summary: DeadSummary) -> int:
    """Delete what was counted: a letter that came since was not asked about."""
    meant = replace(which, up_to=summary.last_id)
    subject, counts = f"queue:{queue}", {"letters": summary.total, "codes": dict(summary.by_code)}
    async with desk.opened(settings, queue) as at:
        # It takes many transactions: that it was ordered is written down before the first, what came of it at the end.
        await note(settings, at.database, "dead_letters.purge_ordered", subject, **counts)
        with Progress(console=stderr(), transient=True, disable=not sys.stderr.isatty()) as progress:
            bar = progress.add_task("deleted", total=summary.total)
            deleted = await purging.purge(
                at.backend, queue, meant, on_progress=lambda count: progress.update(bar, completed=count)
            )
        await note(settings, at.database, "dead_letters.purged", subject, letters=deleted)
        return deleted


def _class(letter: DeadLetter, settings: Settings, queue: str) -> str:
    return class_of(letter, class_in(application(settings).registry, queue))


def _age(span: dt.timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def _as_json(letter: DeadLetter, kind: str) -> dict[str, Any]:
    record = letter.record
    facts: dict[str, Any] = {
        "id": letter.message_id,
        "queue": letter.queue,
        "event_id": record.id,
        "correlation_id": record.correlation_id,
        "key": record.key,
        "error_code": letter.code,
        "class": kind,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "redrives": record.redrives,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "parked_at": letter.parked_at,
        "readable": letter.readable,
        "headers": record.headers,
    }
    try:
        return {**facts, "body": record.body.decode()}
    except UnicodeDecodeError:
        return {**facts, "body_base64": base64.b64encode(record.body).decode()}
