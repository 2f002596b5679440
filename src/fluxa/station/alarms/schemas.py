"""What the routes of alarms take and answer."""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from fluxa.operations.alarms.rule import Rule
from fluxa.operations.alarms.rules import link
from fluxa.operations.alarms.store import Alarm, Happening, Silence
from fluxa.web.queries import PLAIN_TEXT, TEXT_MAX

Reason = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"\S")]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_MAX, pattern=PLAIN_TEXT)]


class AckRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken on.

    Attributes:
        subject: of which queue, service or schedule; all that fire, if it is left out.
        note: for the others.
    """

    subject: Text | None = None
    note: Annotated[str, Meta(max_length=1000)] = ""


class SilenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not told for a while.

    Attributes:
        reason: for whoever wonders about the quiet.
        for_s: seconds, 30 days at most.
        alarm: which; all, if it is left out.
        subject: of which queue, service or schedule; all, if it is left out.
    """

    reason: Reason
    for_s: Annotated[float, Meta(gt=0, le=30 * 86400)]
    alarm: Text | None = None
    subject: Text | None = None


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """When an alarm fires, and what to know then.

    Attributes:
        name: the alarm's.
        title: what is the matter.
        measure: what is looked at.
        per: what a subject is: queue, service or schedule; empty if there is one only.
        threshold: beyond which it is bad.
        for_s: seconds for which it must be bad.
        severity: critical or warning.
        cause: what is likely behind it.
        first_action: what to do first.
        runbook: the id of the runbook.
        runbook_url: where that is read.
        enabled: whether it is looked at.
    """

    name: str
    title: str
    measure: str
    per: str
    threshold: float
    for_s: float
    severity: str
    cause: str
    first_action: str
    runbook: str
    runbook_url: str
    enabled: bool

    @classmethod
    def of(cls, rule: Rule, runbook_url: str, subject: str = "") -> "RuleView":
        """As it is shown, of one subject or of any."""
        names = [name for name in cls.__struct_fields__ if name not in ("runbook_url", "first_action")]
        values = {name: getattr(rule, name) for name in names}
        first_action = rule.action_for(subject)
        return cls(**values, first_action=first_action, runbook_url=link(rule.runbook, runbook_url))


class AlarmView(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that is not well, or not known.

    Attributes:
        alarm: which.
        subject: of which queue, service or schedule; empty if there is one only.
        phase: ok, pending or firing.
        since: since when.
        unknown_since: since when it is not known; null if it is.
        value: what was found; null if it is not known.
        detail: more of it.
        acked_by: who has taken it on.
        ack_note: what they said.
        silenced: whether nothing is told of it.
        rule: when it fires, and what to do; null for one that settings do not have any more.
    """

    alarm: str
    subject: str
    phase: str
    since: dt.datetime
    unknown_since: dt.datetime | None
    value: float | None
    detail: str
    acked_by: str | None
    ack_note: str
    silenced: bool
    rule: RuleView | None

    @classmethod
    def of(cls, alarm: Alarm, rule: Rule | None, silences: list[Silence], runbook_url: str) -> "AlarmView":
        """As it is shown; what to do first is said for its subject."""
        standing = alarm.standing
        return cls(
            alarm=alarm.alarm,
            subject=alarm.subject,
            phase=str(standing.phase),
            since=standing.since,
            unknown_since=standing.unknown_since,
            value=standing.value,
            detail=standing.detail,
            acked_by=alarm.acked_by,
            ack_note=alarm.ack_note,
            silenced=any(one.covers(alarm.alarm, alarm.subject) for one in silences),
            rule=None if rule is None else RuleView.of(rule, runbook_url, alarm.subject),
        )


class AlarmsView(msgspec.Struct, frozen=True):
    """All alarms that are not well.

    Attributes:
        alarms: firing ones first.
        evaluator: who looks at them; null: nobody does, and nothing here is news.
        evaluated_s: seconds since that was last done.
    """

    alarms: list[AlarmView]
    evaluator: str | None
    evaluated_s: float | None


class AlarmHistory(msgspec.Struct, frozen=True):
    """One alarm whole.

    Attributes:
        rule: when it fires.
        alarms: where it is not well.
        history: what happened, latest first.
    """

    rule: RuleView
    alarms: list[AlarmView]
    history: list[Happening]


class Subjects(msgspec.Struct, frozen=True):
    """What was taken on or given back.

    Attributes:
        alarm: which.
        subjects: of which queues, services or schedules.
    """

    alarm: str
    subjects: list[str]


class Sent(msgspec.Struct, frozen=True):
    """The messages that are on their way.

    Attributes:
        ids: their records in the queue, one a target.
    """

    ids: list[str]
