"""`fluxa cron`: look at schedules and their history, add, change, stop and run them. Not: running what is due."""

import asyncio
import datetime as dt
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fluxa.apps.database import migrated
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.dlq import desk
from fluxa.cli.commands.ground import note, noted, whoami
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel import json
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron import Missed, Schedule
from fluxa.operations.cron.runner import CronRunner
from fluxa.operations.cron.schedules import Run, Schedules, Standing
from fluxa.telemetry.catalogue import silent

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Send records at set times.")

Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="As fluxa cron list shows it.")]


@app.command("list")
def list_schedules(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show all schedules, when each is due, and how its last run went."""
    found = asyncio.run(_all(output.effective(context).settings))
    output.print_list(
        found,
        ("schedule", "when", "zone", "queue", "next", "last", "result", "by"),
        lambda standing: (
            standing.schedule.name,
            standing.schedule.expression,
            standing.schedule.timezone,
            standing.schedule.queue,
            output.moment(standing.next_at) if standing.enabled else "disabled",
            output.moment(standing.last_due_at),
            standing.last_status,
            standing.declared_by or standing.changed_by,
        ),
        empty='There are no schedules. Add one: fluxa cron add NAME "0 9 * * 1" --queue QUEUE',
        as_json=as_json,
        facts=_facts,
    )


@app.command()
def show(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Show one schedule whole."""
    standing = asyncio.run(_get(output.effective(context).settings, name))
    facts = _facts(standing)
    if as_json:
        output.print_json(facts)
    else:
        output.print_table(("", ""), ((what, value) for what, value in facts.items() if value is not None), empty="")


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of a-z, 0-9, _ and -.")],
    expression: Annotated[str, typer.Argument(metavar="WHEN", help="Five fields as in crontab, or @daily and so on.")],
    queue: Annotated[str, typer.Option("--queue", help="Where the record goes.")],
    body: Annotated[str, typer.Option(help="JSON that the record holds, or @FILE.")] = "{}",
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Where these hours are: Europe/Vienna.")] = "UTC",
    key: Annotated[str | None, typer.Option(help="Key of the record, for queues that keep keys in order.")] = None,
    missed: Annotated[Missed, typer.Option(help="What becomes of times that passed unseen.")] = Missed.ONCE,
    replace: Annotated[bool, typer.Option("--replace", help="Change the schedule of this name.")] = False,
) -> None:
    """Add a schedule; it is due from its next time on."""
    schedule = Schedule(name, expression, queue, _body(body), timezone=timezone, key=key, missed=missed)
    schedule.check()
    standing = asyncio.run(_add(output.effective(context).settings, schedule, replace=replace))
    stderr().print(f"Schedule {name} is due next at {output.moment(standing.next_at)}.", markup=False)


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove a schedule; its history stays."""

    async def run(settings: Settings) -> None:
        async with migrated(settings, "cron") as database:
            also = noted(settings, database, "schedule.removed", f"schedule:{name}")
            await Schedules(database).remove(name, also=also)

    asyncio.run(run(output.effective(context).settings))
    stderr().print(f"Schedule {name} is removed.", markup=False)


@app.command()
def enable(context: typer.Context, name: Name) -> None:
    """Let a schedule run again, from its next time on."""
    standing = asyncio.run(_switch(output.effective(context).settings, name, enabled=True))
    stderr().print(f"Schedule {name} is due next at {output.moment(standing.next_at)}.", markup=False)


@app.command()
def disable(context: typer.Context, name: Name) -> None:
    """Stop a schedule until it is enabled."""
    asyncio.run(_switch(output.effective(context).settings, name, enabled=False))
    stderr().print(f"Schedule {name} is disabled.", markup=False)


@app.command("run")
def run_now(context: typer.Context, name: Name) -> None:
    """Send a schedule's record now, beside its times."""
    print(asyncio.run(_run_now(output.effective(context).settings, name)))


@app.command()
def history(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="SCHEDULE", help="Only this one.")] = None,
    status: Annotated[str | None, typer.Option(help="Only sent, manual, skipped or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Runs at most.")] = 50,
    as_json: output.AsJson = False,
) -> None:
    """List runs, latest first."""
    runs = asyncio.run(_history(output.effective(context).settings, name, status, limit))
    output.print_list(
        runs,
        ("schedule", "due", "result", "record", "at", "worker", "detail"),
        lambda run: (
            run.name,
            output.moment(run.due_at),
            run.status,
            run.record_id,
            output.moment(run.started_at),
            run.worker,
            run.detail,
        ),
        empty="Nothing was run yet.",
        as_json=as_json,
    )


@app.command("next")
def next_times(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="SCHEDULE", help="Only this one.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Due times for each.")] = 5,
    as_json: output.AsJson = False,
) -> None:
    """List the next due times of enabled schedules."""
    found = asyncio.run(_all(output.effective(context).settings))
    if name is not None and name not in (standing.schedule.name for standing in found):
        raise FluxaError(ErrorCode.NOT_FOUND, f"There is no schedule {name}.")
    rows = sorted(
        (due_at, standing.schedule.name)
        for standing in found
        if standing.enabled and name in (None, standing.schedule.name)
        for due_at in itertools.islice(_from(standing), count)
    )
    output.print_list(
        rows,
        ("due", "schedule"),
        lambda one: (output.moment(one[0]), one[1]),
        empty="No schedule is enabled.",
        as_json=as_json,
        facts=lambda one: {"schedule": one[1], "due_at": one[0]},
    )


def _from(standing: Standing) -> Iterable[dt.datetime]:
    return itertools.chain((standing.next_at,), standing.schedule.timetable.after(standing.next_at))


def _body(text: str) -> bytes:
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{text[1:]} cannot be read: {error.strerror}.") from None
    try:
        json.decode(text)
    except FluxaError as error:
        raise CommandError(
            ErrorCode.INVALID_REQUEST,
            f"The body is no JSON: {error.detail}.",
            action="Put it in single quotes; for anything else than JSON, say --body @FILE.",
        ) from None
    return text.encode()


def _facts(standing: Standing) -> Mapping[str, Any]:
    schedule = standing.schedule
    return {
        "schedule": schedule.name,
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "queue": schedule.queue,
        "key": schedule.key,
        "missed": schedule.missed,
        "body": schedule.body.decode("utf-8", "replace"),
        "enabled": standing.enabled,
        "next_at": standing.next_at if standing.enabled else None,
        "declared_by": standing.declared_by,
        "changed_by": standing.changed_by,
        "changed_at": standing.changed_at,
        "last_due_at": standing.last_due_at,
        "last_status": standing.last_status,
        "last_detail": standing.last_detail or None,
    }


async def _all(settings: Settings) -> list[Standing]:
    async with migrated(settings, "cron") as database:
        return await Schedules(database).all()


async def _get(settings: Settings, name: str) -> Standing:
    async with migrated(settings, "cron") as database:
        return await Schedules(database).get(name)


async def _add(settings: Settings, schedule: Schedule, *, replace: bool) -> Standing:
    async with desk.opened(settings, schedule.queue) as at:
        schedules = Schedules(at.database)
        also = noted(
            settings,
            at.database,
            "schedule.added",
            f"schedule:{schedule.name}",
            expression=schedule.expression,
            timezone=schedule.timezone,
            queue=schedule.queue,
            replace=replace,
        )
        await schedules.add(schedule, by=whoami(), replace=replace, also=also)
        return await schedules.get(schedule.name)


async def _switch(settings: Settings, name: str, *, enabled: bool) -> Standing:
    async with migrated(settings, "cron") as database:
        schedules = Schedules(database)
        action = "schedule.enabled" if enabled else "schedule.disabled"
        also = noted(settings, database, action, f"schedule:{name}")
        await (schedules.enable if enabled else schedules.disable)(name, by=whoami(), also=also)
        return await schedules.get(name)


async def _run_now(settings: Settings, name: str) -> str:
    queue = (await _get(settings, name)).schedule.queue
    async with desk.opened(settings, queue) as at:
        runner = CronRunner(at.database, at.backend, at.registry, clock=SystemClock(), hook=silent, worker=whoami())
        record_id = await runner.run_now(name)
        await note(settings, at.database, "schedule.run", f"schedule:{name}", record_id=record_id)
        return record_id


async def _history(settings: Settings, name: str | None, status: str | None, limit: int) -> list[Run]:
    async with migrated(settings, "cron") as database:
        return await Schedules(database).history(name=name, status=status, limit=limit)
