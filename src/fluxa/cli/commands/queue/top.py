"""`fluxa queue top`: queues as they live, in a terminal that is redrawn; in a pipe, one picture."""

import asyncio
import contextlib
import sys
from typing import Annotated, Any

import msgspec
import typer
from rich.live import Live

from fluxa.apps.serving.process import stop_on_signals
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.queue.desk import Desk, looking
from fluxa.cli.commands.queue.frame import Look, Pace, frame
from fluxa.cli.errors import UNREACHABLE
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError


def top(
    context: typer.Context,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="One picture of two looks, then end; so it is in a pipe.")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Watch the queues: depth, age, rates, breakers, redrives; Ctrl-C ends it.

    in/s counts messages put in, repeats included. done, retry and dead count records that workers finished. What is
    not known is UNKNOWN.
    """
    settings = output.effective(context).settings
    one = once or as_json or not sys.stdout.isatty()
    reached = asyncio.run(_once(settings, interval, as_json=as_json) if one else _watch(settings, interval))
    if not reached:
        raise typer.Exit(UNREACHABLE)


async def _once(settings: Settings, interval_s: float, *, as_json: bool) -> bool:
    pace, clock = Pace(), SystemClock()
    async with looking(settings) as desk:
        pace.saw(await _look(desk, clock))
        await asyncio.sleep(interval_s)
        look = await _look(desk, clock)
        pace.saw(look)
    if as_json:
        output.print_json(_as_json(look, pace))
    else:
        console = output.stdout()
        console.print(frame(look, pace, outage=_why(desk.outage), width=console.width))
    return desk.outage is None


async def _watch(settings: Settings, interval_s: float) -> bool:
    pace, clock, ended = Pace(), SystemClock(), asyncio.Event()
    async with looking(settings) as desk:
        outage = desk.outage
        with (
            stop_on_signals(ended.set),
            Live(console=output.stdout(), screen=True, auto_refresh=False, vertical_overflow="crop") as live,
        ):
            while not ended.is_set():
                outage = await _opened(desk) if outage else None
                look = await _look(desk, clock)
                pace.saw(look)
                picture = frame(look, pace, outage=_why(outage), width=live.console.width)
                live.update(picture, refresh=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval_s):
                        await ended.wait()
    return True


async def _opened(desk: Desk) -> DatabaseUnavailableError | None:
    """Try once more to reach a database that was away when the command began."""
    try:
        await desk.database.start()
    except DatabaseUnavailableError as error:
        return error
    return None


async def _look(desk: Desk, clock: Clock) -> Look:
    snapshot = await desk.reader.read()
    try:
        sent = await desk.insight.sent()
    except FluxaError:  # shown as UNKNOWN
        sent = None
    return Look(clock.monotonic(), snapshot, sent)


def _why(outage: DatabaseUnavailableError | None) -> str:
    return "" if outage is None else f"Postgres cannot be reached, so nothing is known: {outage.detail}"


def _as_json(look: Look, pace: Pace) -> dict[str, Any]:
    return {
        "taken_at": look.snapshot.taken_at,
        "unknown": look.snapshot.unknown,
        "queues": [
            {**msgspec.structs.asdict(health), "rates_per_s": pace.rates(health.queue)}
            for health in look.snapshot.queues
        ],
    }
