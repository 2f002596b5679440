"""`fluxa queue pause` and `resume`: an operator's word, with who and why."""

import asyncio
from typing import Annotated

import typer

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.ground import noted, whoami
from fluxa.cli.commands.queue.desk import known, opened
from fluxa.cli.commands.queue.listing import Queue
from fluxa.cli.errors import stderr
from fluxa.queue.health.controls import Control, Controls

By = Annotated[str | None, typer.Option("--by", help="Who says so; you, if not given.")]


def pause(
    context: typer.Context,
    queue: Queue,
    reason: Annotated[str, typer.Option("--reason", help="Why; whoever finds the queue paused reads it.")],
    by: By = None,
    as_json: output.AsJson = False,
) -> None:
    """Claim nothing more from a queue, on any machine; what is in hand is finished, and new work is taken in."""
    control = asyncio.run(_say(output.effective(context).settings, queue, by or whoami(), reason))
    _tell(control, as_json=as_json)


def resume(context: typer.Context, queue: Queue, by: By = None, as_json: output.AsJson = False) -> None:
    """Claim from a queue again."""
    control = asyncio.run(_say(output.effective(context).settings, queue, by or whoami(), None))
    _tell(control, as_json=as_json)


def _tell(control: Control, *, as_json: bool) -> None:
    if as_json:
        output.print_json(control)
    else:
        done = "is paused" if control.paused else "goes on"
        stderr().print(f"{control.queue} {done}; workers heed it within two seconds.", markup=False)


async def _say(settings: Settings, queue: str, by: str, reason: str | None) -> Control:
    async with opened(settings) as desk:
        await known(desk, queue)
        controls = Controls(desk.database)
        if reason is None:
            also = noted(settings, desk.database, "queue.resumed", f"queue:{queue}", by=by)
            return await controls.resume(queue, by, also=also)
        also = noted(settings, desk.database, "queue.paused", f"queue:{queue}", by=by, reason=reason)
        return await controls.pause(queue, by, reason, also=also)
