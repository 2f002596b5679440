"""`fluxa dlq export` and `import`: dead letters out to a file of JSON lines, and back in."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import Progress

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.dlq import desk
from fluxa.cli.commands.ground import note
from fluxa.cli.errors import FAILED, CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.dead_letters import export as exporting
from fluxa.queue.dead_letters.imports import Importer, ImportReport


def export(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Where to; - for standard output.")],
    queue_name: desk.Queue = "events",
    code: desk.Codes = None,
    message_id: desk.Ids = None,
    record: desk.Records = None,
    key: desk.Keys = None,
    since: desk.Since = None,
    until: desk.Until = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if there is one.")] = False,
) -> None:
    """Write dead letters to a file, one JSON object a line, with all that is needed to read them back in."""
    which = desk.chosen(code, message_id, record, key, since, until)
    if file != "-" and Path(file).exists() and not overwrite:
        raise CommandError(
            ErrorCode.REFUSED, f"{file} exists.", action="Name another file, or say --overwrite to replace it."
        )
    with _written(file) as stream:
        count = asyncio.run(_export(output.effective(context).settings, queue_name, which, stream))
    stderr().print(f"{count} dead letters of {queue_name} written.", markup=False)


@contextlib.contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """A stream whose file has its name only once it is whole."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = Path(f"{file}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


async def _export(settings: Settings, queue: str, which: DeadLetterFilter, stream: BinaryIO) -> int:
    count = 0
    async with desk.opened(settings, queue) as at:
        total = (await at.backend.summarize_dead(queue, which)).total
        with Progress(console=stderr(), transient=True, disable=not sys.stderr.isatty()) as progress:
            bar = progress.add_task("written", total=total)
            async for line in exporting.export(at.backend, queue, which):
                stream.write(line)
                count += 1
                progress.update(bar, completed=count)
    return count


def read_in(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="Lines that fluxa dlq export wrote; - for standard input.")],
    queue_name: Annotated[
        str | None, typer.Option("--queue", help="The queue whose dead letters they become; else the one each names.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Read exported dead letters back in; what is there already is left out, so it is safe to repeat."""
    if file != "-" and not Path(file).is_file():
        raise CommandError(ErrorCode.NOT_FOUND, f"There is no file {file}.", action="Check the path.")
    with contextlib.nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
        size = None if file == "-" else Path(file).stat().st_size
        report = asyncio.run(_import(output.effective(context).settings, queue_name, stream, size))
    imported = dict(report.imported)
    if as_json:
        examples = [{"line": line, "reason": reason} for line, reason in report.examples]
        output.print_json(
            {
                "lines": report.lines,
                "imported": imported,
                "duplicates": report.duplicates,
                "refused": report.refused,
                "examples": examples,
            }
        )
    else:
        console = stderr()
        console.print(f"{sum(imported.values())} read in{desk.counted(imported)}.", markup=False)
        if report.duplicates:
            console.print(f"{report.duplicates} were there already.", markup=False)
        for line, reason in report.examples:
            console.print(f"line {line}: {reason}", markup=False)
        if report.refused:
            console.print(f"{report.refused} lines refused.", markup=False, style="bold red")
    if report.refused:
        raise typer.Exit(FAILED)


async def _import(settings: Settings, into: str | None, stream: BinaryIO, size: int | None) -> ImportReport:
    read = 0

    async def lines() -> AsyncIterator[bytes]:
        nonlocal read
        for line in stream:
            read += len(line)
            yield line

    subject = f"queue:{into or '*'}"
    async with desk.opened(settings, into) as at:
        await note(settings, at.database, "dead_letters.import_ordered", subject)
        with Progress(console=stderr(), transient=True, disable=not sys.stderr.isatty()) as progress:
            bar = progress.add_task("read", total=size)
            importer = Importer(at.database, at.backend, at.registry)
            report = await importer.run(lines(), into=into, on_progress=lambda _: progress.update(bar, completed=read))
        await note(settings, at.database, "dead_letters.imported", subject, letters=dict(report.imported))
        return report
