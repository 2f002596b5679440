"""`fluxa dlq quarantine`: messages that were altered: look at them, let them go back, delete them, carry them off."""

import asyncio
import sys
from typing import Annotated

import typer

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.dlq import desk
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.queue.dead_letters.quarantine import Quarantine, Quarantined

app = typer.Typer(no_args_is_help=True, help="Messages that were altered: look at them, release or delete them.")

OneQueue = Annotated[str | None, typer.Option("--queue", help="Only those of this queue.")]
Numbers = Annotated[list[int], typer.Argument(metavar="ID...", help="As fluxa dlq quarantine list shows them.")]

_PAGE = 500


@app.command("list")
def list_messages(
    context: typer.Context,
    queue_name: OneQueue = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Messages at most.")] = 100,
    as_json: output.AsJson = False,
) -> None:
    """List what is in quarantine, first found first."""
    held = asyncio.run(_list(output.effective(context).settings, queue_name, limit))
    output.print_list(
        held,
        ("id", "queue", "dead letter", "code", "found", "redrive", "reason"),
        lambda one: (
            one.quarantine_id,
            one.queue,
            one.message_id,
            one.code,
            output.moment(one.found_at),
            one.redrive_id,
            one.reason,
        ),
        empty="Nothing is in quarantine.",
        as_json=as_json,
    )


@app.command()
def show(
    context: typer.Context,
    quarantine_id: Annotated[int, typer.Argument(metavar="ID", help="As fluxa dlq quarantine list shows it.")],
    as_json: output.AsJson = False,
) -> None:
    """Show one message as it was found."""
    held = asyncio.run(_get(output.effective(context).settings, quarantine_id))
    if as_json:
        output.print_json(held)
        return
    facts = {name: getattr(held, name) for name in held.__struct_fields__ if name != "raw"}
    output.print_table(("", ""), facts.items(), empty="")
    output.stdout().print(held.raw, markup=False, soft_wrap=True)


@app.command()
def release(context: typer.Context, ids: Numbers) -> None:
    """Put messages back among the dead letters, as they are; only by name."""
    released = asyncio.run(_release(output.effective(context).settings, ids))
    _refuse_none(released)
    stderr().print(
        f"{released} are dead letters again. A redrive sends them only if their code is forced.", markup=False
    )


@app.command()
def purge(
    context: typer.Context, ids: Numbers, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete messages for good; only by name."""
    if not yes:
        typer.confirm(f"Delete {len(ids)} messages in quarantine for good?", abort=True, err=True)
    deleted = asyncio.run(_purge(output.effective(context).settings, ids))
    _refuse_none(deleted)
    stderr().print(f"{deleted} deleted.", markup=False)


@app.command()
def export(context: typer.Context, queue_name: OneQueue = None) -> None:
    """Write all that is in quarantine to standard output, one JSON object a line."""
    count = asyncio.run(_export(output.effective(context).settings, queue_name))
    stderr().print(f"{count} messages written.", markup=False)


def _refuse_none(count: int) -> None:
    if not count:
        raise CommandError(
            ErrorCode.NOT_FOUND, "None of these is in quarantine.", action="See fluxa dlq quarantine list."
        )


async def _list(settings: Settings, queue: str | None, limit: int) -> list[Quarantined]:
    async with desk.opened(settings) as at:
        return await Quarantine(at.database, at.backend).list(queue, limit=limit)


async def _get(settings: Settings, quarantine_id: int) -> Quarantined:
    async with desk.opened(settings) as at:
        return await Quarantine(at.database, at.backend).get(quarantine_id)


async def _release(settings: Settings, ids: list[int]) -> int:
    async with desk.opened(settings) as at:
        return await Quarantine(at.database, at.backend).release(ids)


async def _purge(settings: Settings, ids: list[int]) -> int:
    async with desk.opened(settings) as at:
        return await Quarantine(at.database, at.backend).purge(ids)


async def _export(settings: Settings, queue: str | None) -> int:
    count = last = 0
    async with desk.opened(settings) as at:
        room = Quarantine(at.database, at.backend)
        while held := await room.list(queue, limit=_PAGE, after=last):
            for one in held:
                output.print_json(one)
            count += len(held)
            last = held[-1].quarantine_id
    sys.stdout.flush()
    return count
