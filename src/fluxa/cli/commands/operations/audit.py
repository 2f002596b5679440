"""`fluxa audit`: see who did what, verify that nothing was altered, export it, anchor it. Works on the database."""

import asyncio
import contextlib
import datetime as dt
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fluxa.apps.database import migrated
from fluxa.apps.engines import anchor_store
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.errors import FAILED, CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.operations.ledger import Entry, Head, Ledger, Sought
from fluxa.operations.ledger.anchors import Anchors
from fluxa.operations.ledger.export import export as exported
from fluxa.operations.ledger.export import line_of, verify_lines
from fluxa.operations.ledger.sinks.cursors import Cursor, Cursors, SinkStanding
from fluxa.operations.ledger.verify import Progress as Told
from fluxa.operations.ledger.verify import Report, Verifier

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See who did what; prove that nothing was altered.")

Tenant = Annotated[str | None, typer.Option(help="Whose log; default_tenant if not given.")]
OneOrAll = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's; all if not given.")]
Moment = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"], help="UTC.")]


@app.command("list")
def list_entries(
    context: typer.Context,
    tenant: Tenant = None,
    actor: Annotated[str | None, typer.Option(help="Only what this one did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, or all of a noun: session.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what was done to this.")] = None,
    correlation: Annotated[str | None, typer.Option(help="Only this story.")] = None,
    since: Moment = None,
    until: Moment = None,
    before: Annotated[int | None, typer.Option(min=1, help="Only entries before this number: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Entries at most.")] = 50,
    as_json: output.AsJson = False,
) -> None:
    """List entries, the newest first."""
    settings = output.effective(context).settings
    sought = Sought(actor, action, subject, correlation, _utc(since), _utc(until))
    entries = asyncio.run(_page(settings, tenant or settings.default_tenant, sought, before, limit))
    if as_json:
        for entry in entries:
            print(line_of(entry).decode())
        return
    output.print_table(
        ("number", "at", "actor", "action", "subject", "detail"),
        (
            (entry.number, output.moment(entry.at), entry.actor, entry.action, entry.subject, entry.detail)
            for entry in entries
        ),
        empty="There are no such entries.",
    )


@app.command()
def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, help="As fluxa audit list shows it.")],
    tenant: Tenant = None,
    as_json: output.AsJson = False,
) -> None:
    """Show one entry whole."""
    settings = output.effective(context).settings
    entry = asyncio.run(_get(settings, tenant or settings.default_tenant, number))
    if as_json:
        print(line_of(entry).decode())
        return
    facts = {name: getattr(entry, name) for name in entry.__struct_fields__}
    facts |= {"at": entry.at.isoformat(), "previous": entry.previous.hex(), "hash": entry.hash.hex()}
    output.print_table(("", ""), facts.items(), empty="")


@app.command()
def verify(
    context: typer.Context,
    tenant: OneOrAll = None,
    file: Annotated[Path | None, typer.Option("--file", help="Verify an export, without the database.")] = None,
    anchors: Annotated[bool, typer.Option("--anchors/--no-anchors", help="Compare with the anchors.")] = True,
    as_json: output.AsJson = False,
) -> None:
    """Check every entry against its hash, the one before, the head and all anchors; exit code 1 if one is wrong."""
    if file is not None and not file.is_file():
        raise CommandError(ErrorCode.NOT_FOUND, f"There is no file {file}.", action="Check the path.")
    settings = output.effective(context).settings
    report = asyncio.run(_verify(settings, tenant, file, anchors=anchors, show=not as_json))
    if as_json:
        output.print_json(report)
    else:
        output.print_table(
            ("tenant", "entry", "fault", "what"),
            ((one.tenant, one.number, one.fault, one.detail) for one in report.findings),
            empty="Nothing was altered.",
        )
        stderr().print(
            f"{report.entries} entries of {report.chains} tenants checked, {report.anchors} anchors compared.",
            markup=False,
        )
    if report.faults:
        raise CommandError(
            ErrorCode.HASH_MISMATCH,
            f"The audit log is not whole: {report.faults} faults.",
            action="Find out who could write to the database; keep it as it is, and an export of it.",
        )


@app.command()
def export(
    context: typer.Context,
    tenant: OneOrAll = None,
    after: Annotated[int, typer.Option(min=0, help="Leave out entries up to this number.")] = 0,
    to: Annotated[Path | None, typer.Option("--to", help="A new file; standard output if not given.")] = None,
) -> None:
    """Write the log as lines of JSON, which fluxa audit verify --file can check anywhere."""
    asyncio.run(_export(output.effective(context).settings, tenant, after, to))


@app.command()
def anchor(context: typer.Context, tenant: OneOrAll = None, as_json: output.AsJson = False) -> None:
    """Keep the ends of the log outside of the database now; the station does so every audit_anchor_period_s."""
    heads = asyncio.run(_anchor(output.effective(context).settings, tenant))
    output.print_list(
        heads,
        ("tenant", "entry", "hash"),
        lambda head: (head.tenant, head.number, head.hash.hex()),
        empty="The audit log has no entries yet.",
        as_json=as_json,
        facts=lambda head: {"tenant": head.tenant, "number": head.number, "hash": head.hash.hex(), "at": head.at},
    )


@app.command()
def sinks(
    context: typer.Context,
    tenants: Annotated[bool, typer.Option("--tenants", help="Show how far each tenant's log is.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Show where the log is sent on to, how far that is, and what failed; exit code 1 if the last delivery did."""
    settings = output.effective(context).settings
    standings, cursors = asyncio.run(_sinks(settings))
    kinds = {name: given.kind for name, given in settings.audit_sinks.items()}
    if as_json:
        for one in standings:
            of = {cursor.tenant: cursor.number for cursor in cursors if cursor.sink == one.sink}
            facts = msgspec.to_builtins(one, builtin_types=(dt.datetime,))
            output.print_json({**facts, "kind": kinds.get(one.sink), "cursors": of})
    elif tenants:
        rows = ((one.sink, one.tenant, one.number, output.moment(one.at)) for one in cursors)
        output.print_table(("sink", "tenant", "entry", "arrived at"), rows, empty="Nothing has been sent yet.")
    else:
        output.print_table(
            ("sink", "kind", "sent", "behind", "oldest s", "arrived at", "last error", "at"),
            (
                (
                    one.sink,
                    kinds.get(one.sink, "not in the settings"),
                    one.sent,
                    one.behind,
                    round(one.oldest_s, 1),
                    output.moment(one.sent_at),
                    one.error,
                    output.moment(one.error_at),
                )
                for one in standings
            ),
            empty="The settings name no audit_sinks.",
        )
    if any(one.failing and one.sink in kinds for one in standings):
        raise typer.Exit(FAILED)


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return None if moment is None else moment.replace(tzinfo=dt.UTC)


@contextlib.asynccontextmanager
async def _ledger(settings: Settings) -> AsyncIterator[Ledger]:
    async with migrated(settings, "audit") as database:
        yield Ledger(database)


async def _sinks(settings: Settings) -> tuple[list[SinkStanding], list[Cursor]]:
    async with migrated(settings, "audit") as database:
        kept = Cursors(database)
        return await kept.standings(list(settings.audit_sinks)), await kept.cursors()


async def _page(settings: Settings, tenant: str, sought: Sought, before: int | None, limit: int) -> list[Entry]:
    async with _ledger(settings) as ledger:
        return await ledger.page(tenant, sought, before=before, limit=limit)


async def _get(settings: Settings, tenant: str, number: int) -> Entry:
    async with _ledger(settings) as ledger:
        return await ledger.get(tenant, number)


async def _anchor(settings: Settings, tenant: str | None) -> list[Head]:
    async with _ledger(settings) as ledger:
        heads = await ledger.heads(tenant)
    await Anchors(anchor_store(settings)).write(heads)
    return heads


async def _verify(settings: Settings, tenant: str | None, file: Path | None, *, anchors: bool, show: bool) -> Report:
    kept = await Anchors(anchor_store(settings)).all(tenant) if anchors else []
    with _bar(show=show and file is None) as told:
        if file is not None:
            with file.open("rb") as lines:
                return verify_lines(lines, kept)
        async with migrated(settings, "audit") as database:
            return await Verifier(database).verify(tenant, anchors=kept, progress=told)


@contextlib.contextmanager
def _bar(*, show: bool) -> Iterator[Told]:
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True, disable=not (show and sys.stderr.isatty())) as progress:
        bar = progress.add_task("verifying", total=None)
        yield lambda done, of: progress.update(bar, completed=done, total=of)


async def _export(settings: Settings, tenant: str | None, after: int, to: Path | None) -> None:
    with contextlib.ExitStack() as stack:
        # A file that is there is not written over: it may be the only whole copy.
        write = sys.stdout.buffer.write if to is None else stack.enter_context(_new(to)).write
        async with _ledger(settings) as ledger:
            async for line in exported(ledger, tenant, after=after):
                write(line + b"\n")
        sys.stdout.flush()


def _new(path: Path) -> BinaryIO:
    try:
        return path.open("xb")
    except FileExistsError:
        raise CommandError(
            ErrorCode.REFUSED, f"{path} is there already.", action="Name another file, or move that one away."
        ) from None
