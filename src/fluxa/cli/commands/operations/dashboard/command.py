"""`fluxa dashboard`: the panels live in a terminal; in a pipe one picture; as JSON; as a page to hand on."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from fluxa.apps.database import migrated
from fluxa.apps.serving.process import stop_on_signals
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.operations.dashboard.frame import frame
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.dashboard.board import Board, window_of
from fluxa.operations.dashboard.history import History
from fluxa.postgres.pool import Database
from fluxa.station.dashboard.snapshot import snapshot

app = typer.Typer(add_completion=False, help="See how everything does, and did.")


@app.command()
def dashboard(
    context: typer.Context,
    window: Annotated[str, typer.Option(help="How far back: 15m, 6h, 2d; 14 days at most.")] = "1h",
    interval: Annotated[float, typer.Option(min=0.5, max=300, help="Seconds between two pictures.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="One picture, then end; so it is in a pipe.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page that shows it as it is now, to hand on.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Watch requests, errors, queues, handlers, calls and checks of all processes; Ctrl-C ends it.

    A station writes down what it finds every few seconds, so there is nothing to set up. What is not known is UNKNOWN,
    and a gap in its line. The same in a browser: /dashboard on the station.
    """
    settings = output.effective(context).settings
    window_s = window_of(window)
    if html is not None:
        _write(html, snapshot(asyncio.run(_read(settings, window_s))))
        return
    if not (as_json or once) and sys.stdout.isatty():
        asyncio.run(_watch(settings, window_s, interval))
        return
    found = asyncio.run(_read(settings, window_s))
    if as_json:
        output.print_json(found)
        return
    console = output.stdout()
    console.print(frame(found, width=min(console.width, 160)))


async def _read(settings: Settings, window_s: int) -> Board:
    async with migrated(settings, "dashboard") as database:
        return await _board(database, settings, window_s)


async def _board(database: Database, settings: Settings, window_s: int) -> Board:
    return await History(database).read(window_s, least_s=settings.dashboard_period_s)


async def _watch(settings: Settings, window_s: int, interval_s: float) -> None:
    ended = asyncio.Event()
    last: RenderableType = Text()
    async with migrated(settings, "dashboard") as database:
        with (
            stop_on_signals(ended.set),
            Live(console=output.stdout(), screen=True, auto_refresh=False, vertical_overflow="crop") as live,
        ):
            while not ended.is_set():
                outage = ""
                try:
                    last = frame(await _board(database, settings, window_s), width=live.console.width)
                except FluxaError as error:  # shown above what was known before
                    outage = f"✗ {error.detail}"
                live.update(_under(outage, last), refresh=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval_s):
                        await ended.wait()


def _under(outage: str, picture: RenderableType) -> RenderableType:
    return Group(Text(outage, style="bold red"), picture) if outage else picture


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page, "utf-8")
    except OSError as error:
        raise CommandError(
            ErrorCode.CONFIGURATION, f"{file} cannot be written: {error.strerror}.", action="Name another file."
        ) from None
    stderr().print(f"The dashboard as it is now is in {file}.", markup=False)
