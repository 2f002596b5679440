"""`fluxa dlq redrive`: order a redrive, and watch it unless told not to."""

import asyncio
from typing import Annotated

import typer

from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.dlq import desk
from fluxa.cli.commands.dlq.watching import refuse_if_nothing_moved, staying, tell, watch
from fluxa.cli.commands.ground import noted, whoami
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.dead_letters.choice import REDRIVES_MAX, RedrivePlan
from fluxa.queue.dead_letters.tasks import RedriveTask, new_redrive_id


def redrive(
    context: typer.Context,
    queue_name: desk.Queue = "events",
    code: desk.Codes = None,
    message_id: desk.Ids = None,
    record: desk.Records = None,
    key: desk.Keys = None,
    since: desk.Since = None,
    until: desk.Until = None,
    everything: Annotated[bool, typer.Option("--all", help="All that may be sent again.")] = False,
    force: Annotated[
        list[str] | None, typer.Option("--force", help="Also this permanent or security code; repeatable.")
    ] = None,
    max_redrives: Annotated[
        int, typer.Option("--max-redrives", min=0, help="Leave letters that were sent back so often; 0: leave none.")
    ] = REDRIVES_MAX,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Letters a second, at most.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait: workers do it.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Send dead letters back to their queue; never permanent or security failures unless forced by code.

    It is a task that outlives this command: stop it here with Ctrl-C, and workers, or fluxa redrive watch, go on.
    """
    which = desk.must_choose(desk.chosen(code, message_id, record, key, since, until), everything=everything)
    settings = output.effective(context).settings
    forced, redrives_max = tuple(force or ()), max_redrives or None
    if dry_run:
        _show_plan(asyncio.run(_plan(settings, queue_name, which, forced, redrives_max)), as_json=as_json)
        return
    task = asyncio.run(_create(settings, queue_name, which, forced, redrives_max, rate))
    if detach:
        if as_json:
            output.print_json(task)
        else:
            output.stdout().print(task.redrive_id, markup=False)
            stderr().print(
                f"Ordered: {task.total} dead letters. See fluxa redrive watch {task.redrive_id}", markup=False
            )
        return
    task = watch(settings, task, show=not as_json)
    if as_json:
        output.print_json(task)
    else:
        tell(task)
    refuse_if_nothing_moved(task)


async def _plan(
    settings: Settings, queue: str, which: DeadLetterFilter, forced: tuple[str, ...], redrives_max: int | None
) -> RedrivePlan:
    async with desk.opened(settings, queue) as at:
        return await at.tasks.plan(queue, which, forced, redrives_max=redrives_max)


async def _create(
    settings: Settings,
    queue: str,
    which: DeadLetterFilter,
    forced: tuple[str, ...],
    redrives_max: int | None,
    rate: float | None,
) -> RedriveTask:
    async with desk.opened(settings, queue) as at:
        name = new_redrive_id()
        also = noted(settings, at.database, "redrive.ordered", f"redrive:{name}", queue=queue, forced=list(forced))
        return await at.tasks.create(
            queue, which, forced, rate, whoami(), redrives_max=redrives_max, redrive_id=name, also=also
        )


def _show_plan(plan: RedrivePlan, *, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "dry_run": True,
                "planned": plan.by_code,
                "planned_by_class": plan.by_class,
                "moved": 0,
                "refused": plan.refused_by_code,
                "refused_as_loops": plan.looped,
                "quarantined": plan.quarantined,
                "total": plan.total,
            }
        )
    else:
        console = stderr()
        console.print(f"{plan.moving} would be sent again{desk.counted(plan.by_code)}.", markup=False)
        if plan.quarantined:
            console.print(f"{plan.quarantined} were altered and would be quarantined.", markup=False)
        for line in staying(plan.refused_by_code, plan.looped):
            console.print(line, markup=False)
    if plan.refused and not plan.moving:
        raise CommandError(
            ErrorCode.REFUSED,
            "Nothing would be sent again.",
            action=" ".join(staying(plan.refused_by_code, plan.looped)),
        )
