"""Shows a redrive while it runs, and takes part in it: without any worker the command does the work itself."""

import asyncio
import sys
from collections.abc import Iterator, Mapping

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fluxa.apps.settings import Settings
from fluxa.cli.commands.dlq import desk
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode
from fluxa.kernel.lifecycle import Lifetime
from fluxa.queue.dead_letters.runner import RedriveRunner
from fluxa.queue.dead_letters.tasks import RedriveState, RedriveTask
from fluxa.telemetry.catalogue import silent

_LOOK_S = 0.2


def watch(settings: Settings, task: RedriveTask, *, show: bool) -> RedriveTask:
    """Take part in a redrive until it runs no more; returns how it stands then.

    Raises:
        KeyboardInterrupt: after it was said how to go on.
    """
    try:
        return asyncio.run(_watch(settings, task, show=show))
    except KeyboardInterrupt:
        name = task.redrive_id
        stderr().print(
            f"Redrive {name} is not ended: workers go on with it, and so does fluxa redrive watch {name}. "
            f"To stop it: fluxa redrive pause {name}, or cancel.",
            markup=False,
        )
        raise


async def _watch(settings: Settings, task: RedriveTask, *, show: bool) -> RedriveTask:
    life = Lifetime()
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    async with desk.opened(settings) as at:
        try:
            runner = RedriveRunner(
                at.database,
                at.backend,
                clock=SystemClock(),
                hook=silent,
                registry=at.registry,
                listener=at.listener,
                only=task.redrive_id,
            )
            await life.start(runner)
            with Progress(
                *columns, console=stderr(), transient=True, disable=not (show and sys.stderr.isatty())
            ) as progress:
                bar = progress.add_task("redrive", total=task.total, completed=task.handled, rate="")
                while (task := await at.tasks.get(task.redrive_id)).state is RedriveState.RUNNING:
                    done = progress.tasks[0].speed
                    progress.update(bar, completed=task.handled, rate=f"{done:.0f}/s" if done else "")
                    await asyncio.sleep(_LOOK_S)
            return task
        finally:
            await life.stop()


def tell(task: RedriveTask) -> None:
    """What a redrive has done, for people."""
    console = stderr()
    console.print(f"{task.moved} sent again.", markup=False)
    if task.quarantined:
        console.print(
            f"{task.quarantined} were altered and are quarantined: fluxa dlq quarantine list",
            markup=False,
            style="bold red",
        )
    if task.gone:
        console.print(f"{task.gone} were gone: deleted, or moved by another redrive.", markup=False)
    for line in staying(task.refused_by_code, task.looped):
        console.print(line, markup=False)
    if task.state is not RedriveState.DONE:
        console.print(
            f"Redrive {task.redrive_id} is {task.state}{': ' if task.detail else ''}{task.detail}", markup=False
        )


def staying(refused_by_code: Mapping[str, int], looped: int) -> Iterator[str]:
    """Which letters stay, and what to do about them."""
    if refused_by_code:
        names = " ".join(f"--force {name}" for name in refused_by_code)
        yield f"{sum(refused_by_code.values())} stay{desk.counted(refused_by_code)}. Once the cause is mended: {names}"
    if looped:
        yield f"{looped} stay, since they came back too often. Once the cause is mended: --max-redrives 0"


def refuse_if_nothing_moved(task: RedriveTask) -> None:
    """End with an error where the reader would think that something happened.

    Raises:
        FluxaError: `Refused`, if all letters stayed; `Internal`, if the task failed.
    """
    if task.state is RedriveState.FAILED:
        raise CommandError(
            ErrorCode.INTERNAL,
            f"Redrive {task.redrive_id} failed: {task.detail}",
            action=f"Mend the cause, then: fluxa redrive resume {task.redrive_id}",
        )
    if task.refused and not task.moved:
        raise CommandError(
            ErrorCode.REFUSED,
            "Nothing was sent again: the same work would fail again, or was tampered with.",
            action=" ".join(staying(task.refused_by_code, task.looped)),
        )
