"""`fluxa queue peek` and `send`: look at messages without claiming them, and put work in."""

import asyncio
import datetime as dt
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import typer

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.queue import words
from fluxa.cli.commands.queue.desk import known, opened
from fluxa.cli.commands.queue.listing import Queue
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.backend import Defect
from fluxa.queue.envelope import decode
from fluxa.queue.insight import Peeked
from fluxa.queue.producer import Producer
from fluxa.queue.record import Record

_SHORT = 80
_BATCH = 500
_EVENTS = "events"


def peek(
    context: typer.Context,
    queue: Queue,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Messages at most.")] = 10,
    after: Annotated[str | None, typer.Option(help="Begin behind this message.", metavar="ID")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The messages' texts whole, as the engine holds them.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Look at the oldest messages of a queue. Nothing is claimed, counted as an attempt, or changed."""
    found = asyncio.run(_peek(output.effective(context).settings, queue, limit, after))
    if raw and not as_json:
        for message in found:
            sys.stdout.write(message.raw + "\n")
        return
    if as_json:
        for message in found:
            output.print_json(_as_json(message, with_raw=raw))
        return
    now = SystemClock().now()
    columns = ("message", "is", "sent", "claims", "records", "record", "key", "attempts", "body")
    output.print_table(columns, (_row(message, now) for message in found), empty=f"There are no messages in {queue}.")


async def _peek(settings: Settings, queue: str, limit: int, after: str | None) -> list[Peeked]:
    if after is not None and not after.isdecimal():
        raise typer.BadParameter(f"{after!r} is no message id", param_hint="--after")
    async with opened(settings) as desk:
        await known(desk, queue)
        if queue in desk.registry:
            await desk.backend.create(queue)
        return await desk.insight.peek(queue, limit=limit, after=after)


def _row(message: Peeked, now: dt.datetime) -> Sequence[object]:
    content = decode(message.raw, message_id=message.message_id, enqueued_at=message.enqueued_at)
    start = (message.message_id, _is(message, now), words.ago(message.enqueued_at, now), message.received_count)
    if isinstance(content, Defect):
        return (*start, "?", "", "", "", f"{content.code}: {content.detail}")
    first = content[0]
    return (*start, len(content), first.id, first.key, first.attempt, _short(first.body))


def _is(message: Peeked, now: dt.datetime) -> str:
    if message.is_due:
        return "ready"
    left = words.duration(max(0.0, (message.due_at - now).total_seconds()))
    return f"{'claimed' if message.received_count else 'delayed'}, {left} left"


def _short(body: bytes) -> str:
    text = " ".join(body[: _SHORT * 4].decode(errors="replace").split())
    return text if len(text) <= _SHORT and len(body) <= _SHORT * 4 else f"{text[:_SHORT]}…"


def _as_json(message: Peeked, *, with_raw: bool) -> dict[str, Any]:
    content = decode(message.raw, message_id=message.message_id, enqueued_at=message.enqueued_at)
    facts: dict[str, Any] = {
        "message_id": message.message_id,
        "received_count": message.received_count,
        "enqueued_at": message.enqueued_at,
        "due_at": message.due_at,
        "is_due": message.is_due,
    }
    if isinstance(content, Defect):
        facts["defect"] = {"code": content.code, "detail": content.detail}
    else:
        facts["records"] = [_record(one) for one in content]
    return {**facts, "raw": message.raw} if with_raw else facts


def _record(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "key": record.key,
        "attempt": record.attempt,
        "redrives": record.redrives,
        "correlation_id": record.correlation_id,
        "created_at": record.created_at,
        "headers": record.headers,
        "body_bytes": len(record.body),
        "body": _short(record.body),
    }


@dataclass(frozen=True, slots=True)
class _How:
    """How records are sent."""

    key: str | None
    delay_s: float
    correlation_id: str
    record_id: str | None


def send(
    context: typer.Context,
    queue: Queue,
    data: Annotated[list[str] | None, typer.Option("--data", help="A record's body as JSON; repeatable.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="Bodies, one JSON value a line.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="What the records are kept in order or apart by.")] = None,
    delay: Annotated[float, typer.Option(min=0, help="Seconds before they can be worked on.")] = 0.0,
    correlation_id: Annotated[str, typer.Option(help="The story they belong to; a new one if not given.")] = "",
    record_id: Annotated[str | None, typer.Option("--id", help="The record's id, where there is one record.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Put records into a queue: from --data, a file, or standard input, one JSON value a line.

    They are sent in batches of 500; each batch is stored whole before the next one is read.
    """
    if queue == _EVENTS:
        raise CommandError(
            ErrorCode.REFUSED,
            "Events enter by the door of ingest, which checks them; what came past it would only be parked.",
            action="Send them with fluxa events send.",
        )
    if record_id is not None and (len(data or ()) != 1 or file is not None):
        raise typer.BadParameter("names one record: give one --data", param_hint="--id")
    how = _How(key, delay, correlation_id, record_id)
    sent = asyncio.run(_send(output.effective(context).settings, queue, data, file, how, as_json=as_json))
    stderr().print(f"{sent} record{'s' * (sent != 1)} sent to {queue}.", markup=False)


async def _send(
    settings: Settings, queue: str, data: list[str] | None, file: Path | None, how: _How, *, as_json: bool
) -> int:
    sent = 0
    async with opened(settings) as desk:
        await known(desk, queue)
        await desk.backend.create(queue)
        producer = Producer(desk.backend, desk.registry, SystemClock())
        bodies = _bodies(data, file)
        try:
            while batch := await asyncio.to_thread(lambda: list(itertools.islice(bodies, _BATCH))):
                ids = await producer.send(
                    queue,
                    batch,
                    key=how.key,
                    delay_s=how.delay_s,
                    correlation_id=how.correlation_id,
                    ids=None if how.record_id is None else [how.record_id],
                )
                sent += len(ids)
                if as_json:
                    for one in ids:
                        output.print_json({"id": one})
        except FluxaError as error:
            if not sent:
                raise
            raise CommandError(
                error.code, f"{error.detail} {sent} records were sent before that.", action=error.spec.action
            ) from error
    return sent


def _bodies(data: list[str] | None, file: Path | None) -> Iterator[bytes]:
    """The bodies, checked one by one as they are read.

    Raises:
        CommandError: `MalformedJson`, with the line.
    """
    for number, text in enumerate(data or (), start=1):
        yield _json(text.encode(), f"--data number {number}")
    if file is not None:
        with file.open("rb") as stream:
            yield from _lines(stream)
    elif data is None:
        if sys.stdin.isatty():
            stderr().print("One JSON value a line; end with Ctrl-D.", style="dim")
        yield from _lines(sys.stdin.buffer)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    for number, line in enumerate(stream, start=1):
        if text := line.strip():
            yield _json(text, f"line {number}")


def _json(text: bytes, where: str) -> bytes:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(
            ErrorCode.MALFORMED_JSON, f"{where} is no JSON: {error}.", action='Text is written as "text", with quotes.'
        ) from None
    return text
