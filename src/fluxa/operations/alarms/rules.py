"""The alarms that Fluxa has, what settings make of them, and the same for Prometheus. Pure."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.alarms.rule import PROBES, Measure, Rule, Severity

_FAILED = (
    '(sum(increase(fluxa_stage_events_total{{stage=~"process|persist",status="failure"}}[{window}])) or vector(0))'
    ' + (sum(increase(fluxa_worker_records_total{{outcome=~"retried|parked"}}[{window}])) or vector(0))'
)
_WORKED = (
    '(sum(increase(fluxa_stage_events_total{{stage="process"}}[{window}])) or vector(0))'
    ' + (sum(increase(fluxa_worker_records_total{{outcome!="snoozed"}}[{window}])) or vector(0))'
)
_UNPROBED = f'{{{{route!~"{"|".join(PROBES)}"}}}}'
_VALUE = 'max by (subject) (fluxa_alarm_value{{alarm="{name}"}}) > {threshold}'
_EMPTY_FOR_S = 300.0
"""Who redrives letters empties their queue for as long as they take to fail again: that is one incident, told once."""

WORK = (
    Rule(
        name="ProcessorErrorRate",
        title="Processors and handlers fail",
        measure=Measure.FAILED_WORK_SHARE,
        threshold=1.0,
        clear_at=0.5,
        for_s=60.0,
        count_min=20.0,
        severity=Severity.CRITICAL,
        cause="A bad deployment, or the database cannot be reached.",
        first_action="Look at error_code in the processor's and the worker's log; roll back if it began with a "
        "deployment.",
        runbook="processor-error-rate",
        expression=f"100 * ({_FAILED}) / (({_WORKED}) >= {{count_min}}) > {{threshold}}",
    ),
    Rule(
        name="DLQDepth",
        title="Dead letters wait for a person",
        measure=Measure.DEAD_LETTERS,
        per="queue",
        threshold=0.0,
        for_s=0.0,
        clear_after_s=_EMPTY_FOR_S,
        severity=Severity.WARNING,
        cause="A record that cannot be processed (a poison pill), or a fault that outlasted its retries.",
        first_action="See why they were parked: fluxa dlq list --queue QUEUE. Redrive what failed for a passing reason "
        "only.",
        runbook="dlq-triage",
        expression="max by (queue) (fluxa_queue_dead) > {threshold}",
    ),
    Rule(
        name="QueueDepthHigh",
        title="A queue is deeper than its watermark",
        measure=Measure.QUEUE_DEPTH,
        per="queue",
        threshold=100.0,
        clear_at=80.0,
        for_s=60.0,
        severity=Severity.WARNING,
        cause="More comes in than is worked off: a load spike, slow handlers, or too few workers.",
        first_action="See what holds it up: fluxa queue show QUEUE. Add workers or concurrency if its handlers are "
        "well.",
        runbook="queue-backlog",
        expression='max by (queue) (fluxa_queue_watermark_exceeded{{measure="depth"}}) > 0',
    ),
    Rule(
        name="QueueOldestAge",
        title="The oldest message of a queue waits too long",
        measure=Measure.QUEUE_AGE,
        per="queue",
        threshold=100.0,
        clear_at=80.0,
        for_s=60.0,
        severity=Severity.WARNING,
        cause="Its work is stuck behind something slow, is being retried again and again, or the queue is paused.",
        first_action="See what holds it up: fluxa queue show QUEUE.",
        runbook="queue-backlog",
        expression='max by (queue) (fluxa_queue_watermark_exceeded{{measure="oldest_age_s"}}) > 0',
    ),
    Rule(
        name="QueueUnserved",
        title="Nobody serves a queue that has work",
        measure=Measure.UNSERVED_QUEUE,
        per="queue",
        threshold=0.0,
        for_s=120.0,
        clear_after_s=0.0,
        severity=Severity.CRITICAL,
        cause="Its worker was not started, has crashed, or serves other queues.",
        first_action="Start a worker for it: fluxa worker --app PLACE --queues QUEUE.",
        runbook="queue-unserved",
        expression="max by (queue) (fluxa_queue_ready) > 0 and on (queue) max by (queue) (fluxa_queue_workers) == 0",
    ),
    Rule(
        name="MissedSchedule",
        title="A schedule is due and nobody runs it",
        measure=Measure.MISSED_SCHEDULE,
        per="schedule",
        threshold=120.0,
        for_s=0.0,
        clear_after_s=0.0,
        severity=Severity.WARNING,
        cause="No process that knows its queue is running, or its transaction fails each time.",
        first_action="See its runs: fluxa cron history SCHEDULE; start the process that knows its queue.",
        runbook="missed-schedule",
        expression=_VALUE,
    ),
)
"""What the work itself tells."""

SERVICES = (
    Rule(
        name="APIGateway5xx",
        title="Requests are answered with 5xx",
        measure=Measure.SERVER_ERROR_SHARE,
        per="service",
        threshold=1.0,
        clear_at=0.5,
        for_s=60.0,
        count_min=20.0,
        severity=Severity.CRITICAL,
        cause="Ingest or query times out or crashes.",
        first_action="Look in the log of the service for errors and time-outs; check /api/ready of each.",
        runbook="api-5xx",
        expression=f"100 * sum by (job) (increase(http_requests_errors_total{_UNPROBED}[{{window}}])) / (sum by (job) "
        f"(increase(http_request_duration_seconds_count{_UNPROBED}[{{window}}])) >= {{count_min}}) > {{threshold}}",
    ),
    Rule(
        name="DBHighCPU",
        title="The database's processors are busy",
        measure=Measure.DATABASE_CPU,
        threshold=80.0,
        clear_at=70.0,
        for_s=120.0,
        severity=Severity.WARNING,
        cause="A query that is inefficient or stuck, or a load spike.",
        first_action="Look in pg_stat_activity for stuck queries; the alarm names those that run longest.",
        runbook="db-high-cpu",
        expression=_VALUE,
    ),
    Rule(
        name="ProcessSilent",
        title="A process is not heard of any more",
        measure=Measure.SILENT_PROCESS,
        per="service",
        threshold=30.0,
        for_s=0.0,
        clear_after_s=0.0,
        severity=Severity.CRITICAL,
        cause="It was killed, its machine is gone, or it cannot reach the database.",
        first_action="Start it again, and find out who ended it: its log, and the kernel's for lack of memory.",
        runbook="process-silent",
        expression=_VALUE,
    ),
    Rule(
        name="SyntheticCheckFailed",
        title="A synthetic check fails",
        measure=Measure.SYNTHETIC_FAILURES,
        per="check",
        threshold=0.0,
        for_s=0.0,
        clear_after_s=0.0,
        severity=Severity.CRITICAL,
        cause="What users do does not work: a process is gone or not ready, or events are not taken, stored or found.",
        first_action="Ask again and see where it ends: fluxa synthetic run CHECK. Look at the log of the process that "
        "it names.",
        runbook="synthetic-check-failed",
        expression="count by (check) (min by (check, target) (fluxa_synthetic_success) == 0) > {threshold}",
    ),
)
"""How the processes and the database are."""

SECURITY = (
    Rule(
        name="TamperedRecords",
        title="Records were altered on their way",
        measure=Measure.TAMPERED_LETTERS,
        per="queue",
        threshold=0.0,
        for_s=0.0,
        clear_after_s=_EMPTY_FOR_S,
        severity=Severity.CRITICAL,
        cause="A producer that is broken, storage that is damaged, or somebody who tampers.",
        first_action="Keep them: fluxa dlq redrive --queue QUEUE --code HashMismatch puts them into quarantine. See "
        "who sent them.",
        runbook="tampered-records",
        expression='max by (queue) (fluxa_queue_dead_by_code{{error_code="HashMismatch"}}) > {threshold}',
    ),
    Rule(
        name="AuthenticationFailures",
        title="Many requests fail to authenticate",
        measure=Measure.AUTHENTICATION_FAILURES,
        threshold=60.0,
        clear_at=30.0,
        for_s=60.0,
        clear_after_s=300.0,
        severity=Severity.WARNING,
        cause="Somebody tries credentials, or a client still uses one that was revoked or rotated.",
        first_action="Look in the logs for Authentication failed: from one address or many, one key or many.",
        runbook="authentication-failures",
        expression='60 * sum(rate(http_request_duration_seconds_count{{status_code=~"401|403"}}[{window}]))'
        " > {threshold}",
    ),
    Rule(
        name="LedgerBroken",
        title="The audit ledger was altered",
        measure=Measure.LEDGER_FAULTS,
        threshold=0.0,
        for_s=0.0,
        clear_after_s=0.0,
        severity=Severity.CRITICAL,
        cause="Somebody changed rows of the ledger past its triggers, or a restore brought back an older state.",
        first_action="Find where the chain breaks: fluxa audit verify. Keep the database as it is for those who look.",
        runbook="ledger-broken",
        expression=_VALUE,
    ),
    Rule(
        name="TenantPoliciesBroken",
        title="Tenants are not kept apart",
        measure=Measure.TENANT_FAULTS,
        threshold=0.0,
        for_s=0.0,
        clear_after_s=0.0,
        severity=Severity.CRITICAL,
        cause="A policy of row-level security was dropped, changed, or does not apply to the role in use.",
        first_action="See which tables: fluxa tenants check.",
        runbook="tenant-policies",
        expression=_VALUE,
    ),
    Rule(
        name="AuditSinkLag",
        title="The audit log does not arrive where it is sent",
        measure=Measure.AUDIT_SINK_LAG,
        per="sink",
        threshold=300.0,
        clear_at=60.0,
        for_s=0.0,
        severity=Severity.WARNING,
        cause="The sink is away, refuses what it is sent, or its credential or certificate has ended.",
        first_action="See what last failed: fluxa audit sinks. Nothing is lost: what waits is sent later.",
        runbook="audit-sink-lag",
        expression="max by (sink) (fluxa_audit_sink_lag_seconds) > {threshold}",
    ),
)
"""What may be an attack."""

RULES: tuple[Rule, ...] = WORK + SERVICES + SECURITY
"""All of them."""


@dataclass(frozen=True, slots=True)
class Change:
    """What settings say about one rule; None: nothing.

    Attributes:
        enabled: whether it is looked at.
        threshold: the value beyond which it is bad.
        clear_at: the value that is good again.
        for_s: seconds for which it must be bad before it fires.
        clear_after_s: seconds for which it must be good before it is resolved.
        window_s: seconds that rates are taken over.
        count_min: how much must have happened in the window.
        unknown_after_s: seconds for which it may be unknown before that is told.
        severity: how soon somebody must look.
    """

    enabled: bool | None = None
    threshold: float | None = None
    clear_at: float | None = None
    for_s: float | None = None
    clear_after_s: float | None = None
    window_s: float | None = None
    count_min: float | None = None
    unknown_after_s: float | None = None
    severity: Severity | None = None


def changed(rules: Sequence[Rule], changes: Mapping[str, Change]) -> tuple[Rule, ...]:
    """The rules with what settings say about them.

    A threshold that is given alone takes its hysteresis along: what was good again at half of it still is.

    Raises:
        FluxaError: `Configuration` for a rule that there is not, or values that contradict each other.
    """
    known = {rule.name for rule in rules}
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(known))}."
            raise FluxaError(ErrorCode.CONFIGURATION, f"The settings change the alarm {name}, which is none. {hint}")
    return tuple(_changed(rule, changes[rule.name]) if rule.name in changes else rule for rule in rules)


def _changed(rule: Rule, change: Change) -> Rule:
    given = {name: value for name, value in dataclasses.asdict(change).items() if value is not None}
    if change.threshold is not None and change.clear_at is None and rule.clear_at is not None:
        given["clear_at"] = change.threshold * (rule.clear_at / rule.threshold)
    try:
        return dataclasses.replace(rule, **given)
    except ValueError as error:
        raise FluxaError(ErrorCode.CONFIGURATION, f"The settings of the alarm {rule.name}: {error}.") from None


def rule_named(rules: Sequence[Rule], name: str) -> Rule:
    """The rule of a name, however it is capitalised.

    Raises:
        FluxaError: `NotFound`, with the nearest name there is.
    """
    found = next((rule for rule in rules if rule.name.lower() == name.lower()), None)
    if found is None:
        near = difflib.get_close_matches(name, [rule.name for rule in rules], n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(rule.name for rule in rules)}."
        raise FluxaError(ErrorCode.NOT_FOUND, f"There is no alarm {name}. {hint}")
    return found


def prometheus(rules: Sequence[Rule] = RULES, *, runbook_url: str = "") -> dict[str, object]:
    """The rules as the content of a Prometheus rules file: the same names, times, causes and runbooks.

    Args:
        rules: which.
        runbook_url: what a runbook's id is put behind to make a link; the id alone if it is empty.
    """
    return {"groups": [{"name": "fluxa", "rules": [_exported(rule, runbook_url) for rule in rules if rule.enabled]}]}


def _exported(rule: Rule, runbook_url: str) -> dict[str, object]:
    expression = rule.expression.format(
        name=rule.name,
        threshold=f"{rule.threshold:g}",
        window=f"{rule.window_s:.0f}s",
        count_min=f"{rule.count_min:g}",
    )
    of = f" ({{{{ $labels.{'subject' if 'subject' in rule.expression else _label(rule)} }}}})" if rule.per else ""
    return {
        "alert": rule.name,
        "expr": expression,
        "for": f"{rule.for_s:.0f}s",
        "labels": {"severity": str(rule.severity), "product": "fluxa"},
        "annotations": {
            "summary": rule.title + of,
            "cause": rule.cause,
            "first_action": rule.first_action,
            "runbook": rule.runbook,
            "runbook_url": link(rule.runbook, runbook_url),
        },
    }


def _label(rule: Rule) -> str:
    """What Prometheus calls what a rule's readings are of: it names services by job."""
    return "job" if rule.per == "service" else rule.per


def link(runbook: str, base: str) -> str:
    """Where a runbook is read: its id behind the base, which may hold `{runbook}`; the id alone without a base."""
    if not base:
        return runbook
    return base.replace("{runbook}", runbook) if "{runbook}" in base else f"{base.rstrip('/')}/{runbook}"
