"""`fluxa events`: send, get, list and follow events, over HTTP as any client would."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

import msgspec
import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.client.connection import find_target, get, relocate
from fluxa.cli.client.send import Sender, SendLimits, Summary
from fluxa.cli.client.source import Line, Wrap, read_events
from fluxa.cli.client.tail import follow
from fluxa.cli.errors import FAILED, CommandError, stderr
from fluxa.kernel import json
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Send, get, list and follow events.")

_PAGE = 1000
Type = Annotated[str | None, typer.Option("--type", help="The event's type.")]
Source = Annotated[str | None, typer.Option("--source", help="Where the event comes from.")]
Subject = Annotated[str | None, typer.Option("--subject", help="What it happened to.")]


@app.command()
def send(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(help="NDJSON, a JSON event, or an array of them; - for standard input.")
    ] = None,
    type_: Type = None,
    source: Source = None,
    subject: Subject = None,
    data: Annotated[str | None, typer.Option(help="JSON data of one event; @FILE reads it from a file.")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="The event's id; a new one if not given.")] = None,
    correlation: Annotated[str | None, typer.Option(help="The story it belongs to.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Events of one request.")] = 500,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Requests under way at once.")] = 4,
    patience_s: Annotated[float, typer.Option(min=0, help="Seconds for which a request is repeated.")] = 60.0,
    as_json: output.AsJson = False,
) -> None:
    """Send events and wait until each is acknowledged or refused.

    One event: --type, --source and --data. Many: a file; lines that are no events yet become the data of one
    if --type and --source are given. Sending again is harmless: an event is stored once by its source and id.
    """
    settings = output.effective(context).settings
    wrap = _wrap(type_, source, subject, event_id, correlation)
    if file is None:
        summary = _send(settings, [_single(wrap, data)].__iter__(), SendLimits(patience_s=patience_s), None)
    else:
        if data is not None or event_id is not None:
            raise typer.BadParameter("--data and --id are for one event, not for a file")
        limits = SendLimits(batch_events=batch, requests=parallel, patience_s=patience_s)
        with _opened(file) as (stream, size):
            summary = _send(settings, read_events(stream, wrap), limits, size, show=not as_json)
    _report(summary, as_json=as_json)


def _wrap(
    type_: str | None, source: str | None, subject: str | None, event_id: str | None, correlation: str | None
) -> Wrap | None:
    if type_ is None and source is None:
        return None
    if type_ is None or source is None:
        raise typer.BadParameter("--type and --source are given together")
    return Wrap(type=type_, source=source, subject=subject, id=event_id, correlationid=correlation)


def _single(wrap: Wrap | None, data: str | None) -> Line:
    if wrap is None:
        raise typer.BadParameter("give a FILE (- for standard input), or one event by --type, --source and --data")
    content = b"null" if data is None else data.encode()
    if data is not None and data.startswith("@"):
        with _opened(data[1:]) as (stream, _):
            content = stream.read()
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CommandError(
            ErrorCode.INVALID_REQUEST,
            f"--data is not JSON: {error}.",
            action="""Quote it for the shell, as in --data '{"n": 1}'; text is JSON in double quotes: '"text"'.""",
        ) from None
    text = wrap.around(msgspec.json.format(content, indent=-1))
    return Line(1, text if data is not None else text.replace(b',"data":null', b""), len(text))


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file and its size, if it has one."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    try:
        with Path(file).open("rb") as stream:
            yield stream, Path(file).stat().st_size
    except OSError as error:
        raise CommandError(
            ErrorCode.INVALID_REQUEST,
            f"{file} cannot be read: {error.strerror}.",
            action="Name a file, or - for stdin.",
        ) from None


def _send(
    settings: Settings, lines: Iterator[Line], limits: SendLimits, size: int | None, *, show: bool = False
) -> Summary:
    target = find_target(settings)
    with _progress(size) if show else nullcontext(lambda _events, _bytes: None) as advance:
        sender = Sender(target, limits, clock=SystemClock(), progress=advance)
        try:
            return asyncio.run(sender.run(lines))
        except FluxaError:
            if sender.summary.accepted:
                stderr().print(f"{sender.summary.accepted} events are durable; then:", markup=False)
            raise


@contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int, int], None]]:
    count, elapsed = TextColumn("{task.fields[events]} events"), TimeElapsedColumn()
    # How far it has come is known in bytes only, and only of a file.
    columns = (SpinnerColumn(), count, elapsed) if size is None else (SpinnerColumn(), count, BarColumn(), elapsed)
    with Progress(*columns, console=stderr(), transient=True) as progress:
        task = progress.add_task("sent", total=size, events=0)
        sent = 0

        def advance(events: int, read: int) -> None:
            nonlocal sent
            sent += events
            progress.update(task, advance=read, events=sent)

        yield advance


def _report(summary: Summary, *, as_json: bool) -> None:
    refused = sum(summary.refused.values())
    if as_json:
        output.print_json(
            {
                "accepted": summary.accepted,
                "refused": refused,
                "refused_by_code": summary.refused,
                "repeats": summary.repeats,
                "examples": summary.examples,
            }
        )
    else:
        console = stderr()
        repeated = f", {summary.repeats} requests were repeated" if summary.repeats else ""
        console.print(f"{summary.accepted} accepted, {refused} refused{repeated}.", markup=False)
        for one in summary.examples:
            where = f" at {one['pointer']}" if one["pointer"] else ""
            console.print(f"  line {one['line']}: {one['code']}: {one['detail']}{where}", markup=False)
        if refused > len(summary.examples):
            console.print(f"  … and {refused - len(summary.examples)} more.", markup=False)
    if refused:
        raise typer.Exit(FAILED)


@app.command("get")
def get_event(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
    source: Source = None,
    as_json: output.AsJson = False,
) -> None:
    """Show one stored event."""
    target = find_target(output.effective(context).settings)
    params = {"source": source} if source is not None else {}
    item = asyncio.run(get(target, f"/v1/events/{quote(event_id, safe='')}", params))
    if as_json:
        output.print_json(item)
        return
    facts = {name: value for name, value in item.items() if name != "event"}
    output.print_table(("", ""), facts.items(), empty="")
    output.stdout().print_json(json.text(item["event"]))


@app.command("list")
def list_events(
    context: typer.Context,
    type_: Type = None,
    source: Source = None,
    subject: Subject = None,
    correlation: Annotated[str | None, typer.Option(help="Only events of this story.")] = None,
    time_from: Annotated[str | None, typer.Option("--from", help="Happened at this time or later (RFC 3339).")] = None,
    time_to: Annotated[str | None, typer.Option("--to", help="Happened before this time (RFC 3339).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Events at most.")] = 20,
    as_json: output.AsJson = False,
) -> None:
    """List stored events, newest first."""
    given = {"type": type_, "source": source, "subject": subject, "correlation_id": correlation}
    params = {name: value for name, value in {**given, "from": time_from, "to": time_to}.items() if value is not None}
    items = asyncio.run(_pages(output.effective(context).settings, params, limit))
    if as_json:
        for item in items:
            output.print_json(item)
        return
    output.print_table(
        ("stored", "type", "source", "id", "story", "data"),
        (_row(item) for item in items),
        empty="There are no such events.",
    )


async def _pages(settings: Settings, params: dict[str, str], limit: int) -> list[dict[str, Any]]:
    target = find_target(settings)
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while len(items) < limit:
        page = await get(target, "/v1/events", {**params, **cursor, "limit": min(_PAGE, limit - len(items))})
        items += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    return items


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    event = item["event"]
    data = json.text(event["data"]) if "data" in event else event.get("dataref", "")
    shown = data if len(data) <= 60 else data[:59] + "…"  # noqa: PLR2004 - what fits beside the rest
    return item["stored_at"][:23], event["type"], event["source"], event["id"], item["correlation_id"], shown


@app.command()
def tail(
    context: typer.Context,
    type_: Type = None,
    source: Source = None,
    subject: Subject = None,
    after: Annotated[str | None, typer.Option(help="Begin after this position of the stream.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Show new events as they are stored, until Ctrl-C; connects again by itself where it broke off."""
    given = {"type": type_, "source": source, "subject": subject}
    filters = {name: value for name, value in given.items() if value is not None}
    asyncio.run(_tail(output.effective(context).settings, filters, after, count, as_json=as_json))


async def _tail(
    settings: Settings, filters: dict[str, str], after: str | None, count: int | None, *, as_json: bool
) -> None:
    seen = 0
    console = output.stdout()
    target = find_target(settings)
    async for item in follow(lambda: relocate(settings, target), filters, after=after):
        if as_json:
            output.print_json(item)
        else:
            console.print("  ".join(str(cell) for cell in _row(item)), markup=False, soft_wrap=True)
        seen += 1
        if seen == count:
            return
