"""`fluxa redrive`: look at redrives that were ordered, watch them, pause, resume and cancel them."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.dlq import desk
from fluxa.cli.commands.dlq.watching import refuse_if_nothing_moved, tell
from fluxa.cli.commands.dlq.watching import watch as watch_task
from fluxa.cli.commands.ground import noted
from fluxa.cli.errors import stderr
from fluxa.postgres.transaction import Also
from fluxa.queue.dead_letters.tasks import RedriveState, RedriveTask, RedriveTasks

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Watch redrives, pause, resume and cancel them.")

Name = Annotated[str, typer.Argument(metavar="REDRIVE", help="As fluxa redrive list shows it.")]
_Answer = TypeVar("_Answer")
_Verb = Callable[[RedriveTasks, str, Also], Coroutine[Any, Any, RedriveTask]]
_UNSAID: tuple[object, ...] = ((), None, "", {})
_OPEN = (RedriveState.RUNNING, RedriveState.PAUSED, RedriveState.FAILED)


@app.command("list")
def list_tasks(
    context: typer.Context,
    queue_name: Annotated[str | None, typer.Option("--queue", help="Only those of this queue.")] = None,
    unfinished: Annotated[bool, typer.Option("--open", help="Only those that are not done or cancelled.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Redrives at most.")] = 50,
    as_json: output.AsJson = False,
) -> None:
    """List redrives, newest first."""
    states = _OPEN if unfinished else ()
    tasks = asyncio.run(_ask(output.effective(context).settings, lambda of: of.list(queue_name, states, limit=limit)))
    output.print_list(
        tasks,
        ("redrive", "queue", "state", "letters", "moved", "refused", "quarantined", "gone", "rate", "by", "ordered"),
        lambda task: (
            task.redrive_id,
            task.queue,
            task.state,
            f"{task.handled}/{task.total}",
            task.moved,
            task.refused,
            task.quarantined,
            task.gone,
            f"{task.rate_per_s:g}/s" if task.rate_per_s else "",
            task.created_by,
            output.moment(task.created_at),
        ),
        empty="There are no such redrives. Order one: fluxa dlq redrive",
        as_json=as_json,
    )


@app.command()
def show(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Show one redrive whole."""
    task = asyncio.run(_ask(output.effective(context).settings, lambda of: of.get(name)))
    if as_json:
        output.print_json(task)
        return
    facts: dict[str, object] = {field: getattr(task, field) for field in task.__struct_fields__ if field != "meant"}
    meant = {f"meant: {one.name}": getattr(task.meant, one.name) for one in dataclasses.fields(task.meant)}
    said = [(what, value) for what, value in {**facts, "gone": task.gone, **meant}.items() if value not in _UNSAID]
    output.print_table(("", ""), said, empty="")


@app.command()
def watch(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Show a redrive's progress until it ends or is paused; takes part in it, should no worker run."""
    settings = output.effective(context).settings
    task = watch_task(settings, asyncio.run(_ask(settings, lambda of: of.get(name))), show=not as_json)
    if as_json:
        output.print_json(task)
    else:
        tell(task)
    refuse_if_nothing_moved(task)


@app.command()
def pause(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Stop a redrive until it is resumed."""
    _order(context, name, "redrive.paused", RedriveTasks.pause, as_json=as_json)


@app.command()
def resume(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Let a paused or failed redrive go on where it was; workers do it, or fluxa redrive watch."""
    _order(context, name, "redrive.resumed", RedriveTasks.resume, as_json=as_json)


@app.command()
def cancel(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """End a redrive; what was sent again stays sent."""
    _order(context, name, "redrive.cancelled", RedriveTasks.cancel, as_json=as_json)


def _order(context: typer.Context, name: str, action: str, verb: _Verb, *, as_json: bool) -> None:
    settings = output.effective(context).settings

    async def run() -> RedriveTask:
        async with desk.opened(settings) as at:
            return await verb(at.tasks, name, noted(settings, at.database, action, f"redrive:{name}"))

    task = asyncio.run(run())
    if as_json:
        output.print_json(task)
        return
    done = f"{task.handled} of {task.total} looked at, {task.moved} sent again"
    stderr().print(f"Redrive {task.redrive_id} is {task.state}: {done}.", markup=False)


async def _ask(settings: Settings, verb: Callable[[RedriveTasks], Coroutine[Any, Any, _Answer]]) -> _Answer:
    async with desk.opened(settings) as at:
        return await verb(at.tasks)
