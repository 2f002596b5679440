"""Alarms in words for people at a terminal. Not: reading and changing them (alarm), or messages (notices)."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from fluxa.cli import output
from fluxa.operations.alarms.rule import Rule
from fluxa.operations.alarms.rules import link
from fluxa.operations.alarms.store import Alarm, Happening, Silence

_NAMED = 5
"""Subjects that are named over what is the same for all of them."""


def print_alarms(alarms: Sequence[Alarm], silences: Sequence[Silence], rules: Sequence[Rule], runbook_url: str) -> None:
    """How alarms stand, and of each that fires or is about to: why that may be, and what to do."""
    output.print_table(
        ("alarm", "subject", "state", "since", "value", "taken on by", "detail"),
        (
            (
                one.alarm,
                one.subject,
                state(one, silences),
                output.moment(one.standing.unknown_since or one.standing.since),
                "" if one.standing.value is None else f"{one.standing.value:.4g}",
                one.acked_by,
                one.standing.detail,
            )
            for one in alarms
        ),
        empty="All is well, as far as it is known.",
    )
    for rule in rules:
        subjects = [one.subject for one in alarms if one.alarm == rule.name and one.standing.phase != "ok"]
        if subjects:
            _explain(output.stdout(), rule, subjects, runbook_url)


def print_rule(rule: Rule, alarms: Sequence[Alarm], silences: Sequence[Silence], runbook_url: str) -> None:
    """One alarm whole: what to do, when it fires, and how it stands."""
    console = output.stdout()
    _explain(console, rule, [one.subject for one in alarms], runbook_url)
    _line(console, "Fires", condition(rule) if rule.enabled else "never: the settings turned it off")
    _line(console, "Is over", _end(rule))
    _line(console, "Not known", f"told after {rule.unknown_after_s:g} s; it neither fires nor is over by that")
    _line(console, "To change it", f"the settings, [alarms.{rule.name}]: threshold, for_s, clear_after_s and more")
    console.print()
    output.print_table(
        ("subject", "state", "since", "value", "taken on by", "detail"),
        (
            (
                one.subject,
                state(one, silences),
                output.moment(one.standing.unknown_since or one.standing.since),
                one.standing.value,
                one.acked_by,
                one.standing.detail,
            )
            for one in alarms
        ),
        empty="It is well everywhere.",
    )


def print_history(history: Sequence[Happening]) -> None:
    """What happened, latest first."""
    output.stdout().print()
    output.print_table(
        ("at", "subject", "what", "value", "by", "detail"),
        ((output.moment(one.at), one.subject, one.what, one.value, one.by, one.detail) for one in history),
        empty="Nothing has happened yet.",
    )


def condition(rule: Rule) -> str:
    """When a rule fires."""
    lasting = f" for {rule.for_s:g} s" if rule.for_s else ""
    each = f" (each {rule.per})" if rule.per else ""
    return f"{rule.found} {rule.comparison} {rule.threshold:g}{rule.unit}{lasting}{each}"


def state(alarm: Alarm, silences: Sequence[Silence]) -> str:
    """How an alarm stands, in a few words."""
    phase, unknown = alarm.standing.phase, alarm.standing.unknown_since is not None
    word = f"{phase}, not known now" if unknown and phase != "ok" else "not known" if unknown else str(phase)
    return f"{word} (silenced)" if any(one.covers(alarm.alarm, alarm.subject) for one in silences) else word


def facts(alarm: Alarm, silences: Sequence[Silence], rules: Sequence[Rule], runbook_url: str) -> dict[str, Any]:
    """How an alarm stands, for programs."""
    standing = alarm.standing
    rule = next((one for one in rules if one.name == alarm.alarm), None)
    return {
        "alarm": alarm.alarm,
        "subject": alarm.subject,
        "state": standing.phase,
        "unknown": standing.unknown_since is not None,
        "since": standing.since,
        "value": standing.value,
        "detail": standing.detail,
        "acked_by": alarm.acked_by,
        "ack_note": alarm.ack_note,
        "silenced": any(one.covers(alarm.alarm, alarm.subject) for one in silences),
        "severity": None if rule is None else rule.severity,
        "cause": None if rule is None else rule.cause,
        "first_action": None if rule is None else rule.action_for(alarm.subject),
        "runbook": None if rule is None else rule.runbook,
        "runbook_url": None if rule is None else link(rule.runbook, runbook_url),
    }


def _explain(console: Console, rule: Rule, subjects: Sequence[str], runbook_url: str) -> None:
    named = [subject for subject in subjects if subject]
    more = f" and {len(named) - _NAMED}" if len(named) > _NAMED else ""
    of = f" ({', '.join(named[:_NAMED])}{more})" if named else ""
    console.print()
    console.print(f"{rule.name}{of}, {rule.severity}: {rule.title}", style="bold", markup=False, soft_wrap=True)
    _line(console, "Likely cause", rule.cause)
    _line(console, "First action", rule.action_for(named[0] if len(named) == 1 else ""))
    url = link(rule.runbook, runbook_url)
    _line(console, "Runbook", rule.runbook if url == rule.runbook else f"{rule.runbook}  {url}")


def _end(rule: Rule) -> str:
    clear_at = rule.threshold if rule.clear_at is None else rule.clear_at
    side = "or less" if rule.comparison == "above" else "or more"
    lasting = f" for {rule.clear_after_s:g} s" if rule.clear_after_s else ""
    return f"at {clear_at:g}{rule.unit} {side}{lasting}"


def _line(console: Console, what: str, text: str) -> None:
    console.print(f"  {what + ':':<14}{text}", markup=False, soft_wrap=True)
