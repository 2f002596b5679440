"""`fluxa alarm`: which alarms there are, how they stand, take them on, silence them, see whether messages arrive."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from fluxa.apps.database import migrated
from fluxa.apps.operations.alarms import alarm_rules, targets_of
from fluxa.apps.settings import Settings
from fluxa.cli import output
from fluxa.cli.commands.ground import actor, opened
from fluxa.cli.commands.operations import alarm_words
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode
from fluxa.kernel.ids import Tenant
from fluxa.operations.alarms.notices import QUEUE, send_test
from fluxa.operations.alarms.rule import Rule
from fluxa.operations.alarms.rules import link, prometheus, rule_named
from fluxa.operations.alarms.store import Alarm, AlarmStore, Happening, Silence
from fluxa.operations.ledger.ledger import Ledger
from fluxa.queue.producer import Producer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See what needs somebody, and why.")

T = TypeVar("T")
Name = Annotated[str, typer.Argument(metavar="ALARM", help="As fluxa alarm rules shows it.")]
Subject = Annotated[str | None, typer.Option("--subject", help="Only this queue, service or schedule.")]

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_STALE_S = 60.0


@app.command("list")
def list_alarms(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show which alarms fire, are about to, or are not known; why that may be, and what to do first."""
    settings = output.effective(context).settings
    rules = alarm_rules(settings)

    async def read(store: AlarmStore) -> tuple[list[Alarm], list[Silence], tuple[str, float] | None]:
        return await store.all(), await store.silences(), await store.turn()

    alarms, silences, turn = _with_store(context, read)
    if as_json:
        for one in alarms:
            output.print_json(alarm_words.facts(one, silences, rules, settings.runbook_url))
    else:
        alarm_words.print_alarms(alarms, silences, rules, settings.runbook_url)
    if turn is None or turn[1] > _STALE_S:
        age = "" if turn is None else f" since {turn[1]:.0f} s"
        stderr().print(f"Nobody looks at alarms{age}: fluxa station (or fluxa up) does.", markup=False)


@app.command()
def show(context: typer.Context, name: Name, as_json: output.AsJson = False) -> None:
    """Show one alarm whole: why it may fire, what to do, when it does, where it does now, what happened."""
    settings = output.effective(context).settings
    rule = rule_named(alarm_rules(settings), name)

    async def read(store: AlarmStore) -> tuple[list[Alarm], list[Silence], list[Happening]]:
        standing = [one for one in await store.all() if one.alarm == rule.name]
        return standing, await store.silences(), await store.history(rule.name, limit=20)

    alarms, silences, history = _with_store(context, read)
    url = settings.runbook_url
    if as_json:
        known = {**_rule(rule), "runbook_url": link(rule.runbook, url)}
        standing = [alarm_words.facts(one, silences, [rule], url) for one in alarms]
        output.print_json({"rule": known, "alarms": standing, "history": history})
        return
    alarm_words.print_rule(rule, alarms, silences, url)
    alarm_words.print_history(history)


@app.command()
def ack(
    context: typer.Context,
    name: Name,
    subject: Subject = None,
    note: Annotated[str, typer.Option(help="For the others.")] = "",
) -> None:
    """Take on an alarm that fires: it is told no more until it is over."""
    rule = rule_named(alarm_rules(output.effective(context).settings), name)
    subjects = _with_store(context, lambda store: store.ack(rule.name, subject, by=actor(), note=note))
    stderr().print(
        f"{rule.name} is yours{_listed(subjects)}. First: {rule.action_for(subjects[0] if len(subjects) == 1 else '')}",
        markup=False,
    )


@app.command()
def unack(context: typer.Context, name: Name, subject: Subject = None) -> None:
    """Give an alarm back: it is told again."""
    rule = rule_named(alarm_rules(output.effective(context).settings), name)
    subjects = _with_store(context, lambda store: store.unack(rule.name, subject, by=actor()))
    stderr().print(f"{rule.name} is nobody's{_listed(subjects)}.", markup=False)


@app.command()
def silence(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="For whoever wonders about the quiet.")],
    name: Annotated[str | None, typer.Argument(metavar="ALARM", help="Without one: all alarms.")] = None,
    subject: Subject = None,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="90s, 30m, 2h or 7d; 30 days at most.")] = "1h",
) -> None:
    """Tell nothing of an alarm for a while; it is looked at all the same."""
    rule = None if name is None else rule_named(alarm_rules(output.effective(context).settings), name).name
    made = _with_store(
        context, lambda store: store.silence(rule, subject, by=actor(), reason=reason, for_s=_seconds(for_))
    )
    stderr().print(
        f"{rule or 'All alarms'} silenced until {output.moment(made.ends_at)}; "
        f"to end it before: fluxa alarm unsilence {made.silence_id}",
        markup=False,
    )


@app.command()
def unsilence(
    context: typer.Context,
    silence_id: Annotated[int, typer.Argument(metavar="SILENCE", help="As fluxa alarm silences shows it.")],
) -> None:
    """End a silence now."""
    _with_store(context, lambda store: store.unsilence(silence_id, by=actor()))
    stderr().print(f"Silence {silence_id} has ended.", markup=False)


@app.command()
def silences(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Show what is silenced, by whom and why."""
    found = _with_store(context, lambda store: store.silences(ended=ended))
    output.print_list(
        found,
        ("silence", "alarm", "subject", "until", "by", "reason"),
        lambda one: (
            one.silence_id,
            one.alarm or "all",
            one.subject or "all",
            output.moment(one.ends_at),
            one.by,
            one.reason,
        ),
        empty="Nothing is silenced.",
        as_json=as_json,
    )


@app.command()
def rules(
    context: typer.Context,
    as_json: output.AsJson = False,
    as_prometheus: Annotated[bool, typer.Option("--prometheus", help="As a rules file for Prometheus.")] = False,
) -> None:
    """Show which alarms there are, when each fires, and what to do first."""
    settings = output.effective(context).settings
    found = alarm_rules(settings)
    if as_prometheus:
        # JSON is YAML, and a rules file is YAML.
        output.print_json(prometheus(found, runbook_url=settings.runbook_url))
        return
    output.print_list(
        found,
        ("alarm", "severity", "fires when", "runbook", "first action"),
        lambda rule: (
            rule.name if rule.enabled else f"{rule.name} (off)",
            rule.severity,
            alarm_words.condition(rule),
            rule.runbook,
            rule.first_action,
        ),
        empty="There are no alarms.",
        as_json=as_json,
        facts=_rule,
    )


@app.command()
def test(context: typer.Context) -> None:
    """Send a marked message to everybody who is told of alarms, the way that alarms go."""
    settings = output.effective(context).settings
    for record_id in asyncio.run(_send_test(settings)):
        print(record_id)
    stderr().print("The messages are on their way; fluxa dlq list --queue alarm_notify shows those that are lost.")


async def _send_test(settings: Settings) -> list[str]:
    clock = SystemClock()
    async with opened(settings, "alarm") as on:
        await on.backend.create(QUEUE)
        return await send_test(
            Producer(on.backend, on.registry, clock),
            targets_of(settings),
            by=actor(),
            now=clock.now(),
            runbook_url=settings.runbook_url,
        )


def _with_store(context: typer.Context, work: Callable[[AlarmStore], Awaitable[T]]) -> T:
    settings = output.effective(context).settings

    async def run() -> T:
        async with migrated(settings, "alarm") as database:
            return await work(AlarmStore(database, tenant=Tenant(settings.default_tenant), audit=Ledger(database)))

    return asyncio.run(run())


def _seconds(text: str) -> float:
    try:
        return float(text[:-1]) * _UNITS_S[text[-1:]]
    except (KeyError, ValueError):
        raise CommandError(
            ErrorCode.INVALID_REQUEST, f"{text!r} is no time.", action="Write it as 90s, 30m, 2h or 7d."
        ) from None


def _rule(rule: Rule) -> dict[str, Any]:
    names = (
        *("name", "title", "measure", "per", "comparison", "threshold", "clear_at", "for_s", "clear_after_s"),
        *("window_s", "count_min", "unknown_after_s", "severity", "cause", "first_action", "runbook", "enabled"),
    )
    return {name: getattr(rule, name) for name in names}


def _listed(subjects: list[str]) -> str:
    named = [subject for subject in subjects if subject]
    return f": {', '.join(named)}" if named else ""
