"""What an alarm rule is: a measure, a threshold, and what a person should know. Not: which there are (rules)."""

import enum
import math
from dataclasses import dataclass
from typing import assert_never

PROBES = ("health", "metrics", "api_health", "api_ready", "api_metrics", "queues_health")
"""Routes that monitors ask: their 503 tells of a fault, and is none."""


class Severity(enum.StrEnum):
    """How soon somebody must look."""

    CRITICAL = "critical"
    """Now, at any hour: work fails, or somebody attacks."""
    WARNING = "warning"
    """Today: it becomes critical if it is left alone."""


class Comparison(enum.StrEnum):
    """On which side of the threshold it is bad."""

    ABOVE = "above"
    BELOW = "below"


class Measure(enum.StrEnum):
    """What a rule looks at; each gives one reading a subject, in the unit that is named here."""

    FAILED_WORK_SHARE = "failed_work_share"
    """Failed attempts of processors and handlers among all, in percent; one reading."""
    DEAD_LETTERS = "dead_letters"
    """Dead letters of a queue; a reading a queue."""
    TAMPERED_LETTERS = "tampered_letters"
    """Dead letters of a queue whose digest did not fit; a reading a queue."""
    SERVER_ERROR_SHARE = "server_error_share"
    """Requests answered with 5xx among all, in percent; a reading a service."""
    DATABASE_CPU = "database_cpu"
    """Use of the database's processors, in percent of all of them; one reading."""
    QUEUE_DEPTH = "queue_depth"
    """Messages that wait, in percent of the queue's own watermark; a reading a queue."""
    QUEUE_AGE = "queue_age"
    """Age of the oldest message, in percent of the queue's own watermark; a reading a queue."""
    UNSERVED_QUEUE = "unserved_queue"
    """1 for a queue with work that no process serves, else 0; a reading a queue."""
    SILENT_PROCESS = "silent_process"
    """Seconds since a process that did not say goodbye was heard of; a reading a service."""
    MISSED_SCHEDULE = "missed_schedule"
    """Seconds for which a due schedule waits to be run; a reading a schedule."""
    AUTHENTICATION_FAILURES = "authentication_failures"
    """Requests answered with 401 or 403, a minute; one reading."""
    LEDGER_FAULTS = "ledger_faults"
    """Faults that the last verification of the audit ledger found; one reading, if there was one."""
    TENANT_FAULTS = "tenant_faults"
    """Faults that the last check of the tenants' policies found; one reading, if there was one."""
    AUDIT_SINK_LAG = "audit_sink_lag"
    """Seconds for which the oldest entry of the audit log waits to arrive at a sink; a reading a sink."""
    SYNTHETIC_FAILURES = "synthetic_failures"
    """Targets at which a synthetic check has failed; a reading a check, where they are done."""


_WORDS = {
    Measure.FAILED_WORK_SHARE: ("failed attempts", " %"),
    Measure.DEAD_LETTERS: ("dead letters", ""),
    Measure.TAMPERED_LETTERS: ("altered dead letters", ""),
    Measure.SERVER_ERROR_SHARE: ("answers of 5xx", " %"),
    Measure.DATABASE_CPU: ("use of processors", " %"),
    Measure.QUEUE_DEPTH: ("depth", " % of the watermark"),
    Measure.QUEUE_AGE: ("age of the oldest message", " % of the watermark"),
    Measure.UNSERVED_QUEUE: ("work that nobody serves", ""),
    Measure.SILENT_PROCESS: ("silence", " s"),
    Measure.MISSED_SCHEDULE: ("delay", " s"),
    Measure.AUTHENTICATION_FAILURES: ("answers of 401 and 403", " a minute"),
    Measure.LEDGER_FAULTS: ("faults in the audit log", ""),
    Measure.TENANT_FAULTS: ("faults in policies", ""),
    Measure.AUDIT_SINK_LAG: ("lag", " s"),
    Measure.SYNTHETIC_FAILURES: ("failing targets", ""),
}
"""For people: what is found, and its unit."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When somebody must look at something.

    Attributes:
        name: CamelCase; the same in Fluxa and in Prometheus.
        title: what is the matter, in a few words.
        measure: what is looked at.
        per: what a reading is of: `queue`, `service`, `schedule`, `sink`, `check`; empty if there is one reading only.
        threshold: the value beyond which it is bad.
        for_s: seconds for which it must be bad before it fires.
        severity: how soon somebody must look.
        cause: what is likely behind it.
        first_action: what to do first.
        runbook: the id of the runbook for it.
        expression: the same for Prometheus; `{threshold}` and `{window}` are filled in.
        comparison: on which side of the threshold it is bad.
        clear_at: the value that is good again; None: the threshold itself.
        clear_after_s: seconds for which it must be good before it is resolved.
        window_s: seconds that rates are taken over.
        count_min: how much must have happened in the window for a share of it to mean anything.
        unknown_after_s: seconds for which it may be unknown before that is told.
        enabled: whether it is looked at.
    """

    name: str
    title: str
    measure: Measure
    threshold: float
    for_s: float
    severity: Severity
    cause: str
    first_action: str
    runbook: str
    expression: str
    per: str = ""
    comparison: Comparison = Comparison.ABOVE
    clear_at: float | None = None
    clear_after_s: float = 60.0
    window_s: float = 300.0
    count_min: float = 0.0
    unknown_after_s: float = 300.0
    enabled: bool = True

    def __post_init__(self) -> None:
        if self.clear_at is not None and self.is_bad(self.clear_at):
            raise ValueError(f"{self.name} would be good again at {self.clear_at:g}, which is bad")

    def is_bad(self, value: float) -> bool:
        """Whether a value is beyond the threshold."""
        match self.comparison:
            case Comparison.ABOVE:
                return value > self.threshold
            case Comparison.BELOW:
                return value < self.threshold
            case _:
                assert_never(self.comparison)

    def is_good(self, value: float) -> bool:
        """Whether a value is far enough from the threshold to count towards the end of the alarm."""
        if self.is_bad(value):
            return False
        clear_at = self.threshold if self.clear_at is None else self.clear_at
        return value <= clear_at if self.comparison is Comparison.ABOVE else value >= clear_at

    def action_for(self, subject: str) -> str:
        """What to do first where this subject is concerned; empty: any."""
        return self.first_action.replace(self.per.upper(), subject) if self.per and subject else self.first_action

    @property
    def found(self) -> str:
        """What is found, for people."""
        return _WORDS[self.measure][0]

    @property
    def unit(self) -> str:
        """What that is counted in, to stand behind a number."""
        return _WORDS[self.measure][1]

    @property
    def quiet(self) -> float:
        """The value of what is not there any more."""
        return 0.0 if self.comparison is Comparison.ABOVE else math.inf


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found of one subject.

    Attributes:
        subject: of which queue, service, schedule, sink or check; empty where there is one only.
        value: in the measure's unit; None: it could not be found out, which is neither good nor bad.
        detail: more of it, for people; why, if it is not known.
    """

    subject: str
    value: float | None
    detail: str = ""
