"""Every metric, its labels, and the log fields that others may rely on; a house test compares them with the code."""

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """Kinds of Prometheus metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; names and units as Prometheus asks (base units, `_total`).

    Attributes:
        name: the family's name as scraped.
        kind: counter, gauge or histogram.
        help: what it counts.
        labels: label names, all of bounded cardinality.
        buckets: upper bounds of a histogram.
        absent: whether it is not shown before it is known; one without labels is shown from the beginning else.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    absent: bool = False


_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OUTSIDE = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_HANDLER = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_LATE = (0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3600.0)
_HTTP = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

METRICS: tuple[Metric, ...] = (
    Metric(
        "fluxa_stage_events_total",
        Kind.COUNTER,
        "Events that finished a stage",
        ("stage", "status", "error_code"),
    ),
    Metric("fluxa_stage_duration_seconds", Kind.HISTOGRAM, "Seconds a stage took", ("stage",), _FAST),
    Metric("fluxa_events_duplicate_total", Kind.COUNTER, "Events acknowledged that were stored before"),
    Metric(
        "fluxa_records_parked_total",
        Kind.COUNTER,
        "Records sent to the dead letters",
        ("queue", "error_code", "retry_class"),
    ),
    Metric(
        "fluxa_records_retried_total",
        Kind.COUNTER,
        "Failed attempts that will be repeated",
        ("queue", "error_code"),
    ),
    Metric("fluxa_leases_lost_total", Kind.COUNTER, "Deliveries lost to another worker", ("queue",)),
    Metric(
        "fluxa_flush_events",
        Kind.HISTOGRAM,
        "Events written by one flush",
        (),
        (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
    ),
    Metric("fluxa_flush_duration_seconds", Kind.HISTOGRAM, "Seconds a flush took", ("status",), _FAST),
    Metric(
        "http_request_duration_seconds",
        Kind.HISTOGRAM,
        "Seconds a request took",
        ("method", "route", "status_code"),
        _HTTP,
    ),
    Metric("http_requests_active", Kind.GAUGE, "Requests being answered", ("method", "route")),
    Metric(
        "http_requests_errors_total",
        Kind.COUNTER,
        "Requests answered with a 5xx",
        ("method", "route", "status_code"),
    ),
    Metric(
        "fluxa_authentication_failures_total",
        Kind.COUNTER,
        "Requests refused because the caller was not known (401) or may not (403)",
        ("route", "status", "reason"),
    ),
    Metric("fluxa_outages_total", Kind.COUNTER, "Times a dependency stopped answering", ("dependency",)),
    Metric("fluxa_dependency_up", Kind.GAUGE, "1 while a dependency answers", ("dependency",)),
    Metric(
        "fluxa_process_restarts_total",
        Kind.COUNTER,
        "Times the supervisor started a process again",
        ("process",),
    ),
    Metric("fluxa_maintenance_total", Kind.COUNTER, "Turns of background duties", ("task", "status")),
    Metric(
        "fluxa_worker_records_total",
        Kind.COUNTER,
        "Records that a handler finished, by outcome: done, retried, parked, snoozed",
        ("queue", "outcome"),
    ),
    Metric("fluxa_handler_duration_seconds", Kind.HISTOGRAM, "Seconds a call of a handler took", ("queue",), _HANDLER),
    Metric("fluxa_worker_in_flight", Kind.GAUGE, "Records in hand, read when scraped", ("queue",)),
    Metric("fluxa_breaker_open", Kind.GAUGE, "1 while a queue rests or is being probed in this process", ("queue",)),
    Metric("fluxa_breaker_changes_total", Kind.COUNTER, "Changes of a queue's breaker", ("queue", "state")),
    Metric("fluxa_memory_guard_closed", Kind.GAUGE, "1 while the process claims nothing for want of memory"),
    Metric("fluxa_loop_blocked_seconds_total", Kind.COUNTER, "Seconds for which handlers kept the event loop"),
    Metric(
        "fluxa_queue_depth",
        Kind.GAUGE,
        "Messages in a queue, delayed and leased ones included; absent when unknown",
        ("queue",),
    ),
    Metric("fluxa_queue_ready", Kind.GAUGE, "Messages that a claim would find now; absent when unknown", ("queue",)),
    Metric("fluxa_queue_in_flight", Kind.GAUGE, "Messages under lease; absent when unknown", ("queue",)),
    Metric("fluxa_queue_oldest_age_seconds", Kind.GAUGE, "Age of the oldest message; absent when unknown", ("queue",)),
    Metric("fluxa_queue_dead", Kind.GAUGE, "Messages in the dead-letter queue; absent when unknown", ("queue",)),
    Metric(
        "fluxa_queue_dead_by_code",
        Kind.GAUGE,
        "Dead letters by error code, counted to 5000 each; absent when unknown",
        ("queue", "error_code"),
    ),
    Metric(
        "fluxa_queue_error_streak",
        Kind.GAUGE,
        "Failures since the last success, of the worker that has most; absent when unknown",
        ("queue",),
    ),
    Metric(
        "fluxa_queue_last_success_timestamp_seconds",
        Kind.GAUGE,
        "When any worker last finished a record; absent when unknown",
        ("queue",),
    ),
    Metric("fluxa_queue_workers", Kind.GAUGE, "Worker processes that serve a queue; absent when unknown", ("queue",)),
    Metric("fluxa_queue_paused", Kind.GAUGE, "1 while an operator has paused a queue; absent when unknown", ("queue",)),
    Metric(
        "fluxa_queue_breaker",
        Kind.GAUGE,
        "1 for the state of the worst breaker of a queue's workers; absent when unknown",
        ("queue", "state"),
    ),
    Metric("fluxa_queue_redrives", Kind.GAUGE, "Redrives that have not ended; absent when unknown", ("queue",)),
    Metric(
        "fluxa_queue_redrive_remaining",
        Kind.GAUGE,
        "Dead letters that open redrives still have to look at; absent when unknown",
        ("queue",),
    ),
    Metric(
        "fluxa_queue_watermark_exceeded",
        Kind.GAUGE,
        "1 while a watermark is exceeded and has not cleared since; absent when unknown",
        ("queue", "measure"),
    ),
    Metric(
        "fluxa_queue_watermark_crossings_total", Kind.COUNTER, "Times a watermark was exceeded", ("queue", "measure")
    ),
    Metric(
        "fluxa_queue_unknown",
        Kind.GAUGE,
        "1 for each part of a queue's health that could not be found out",
        ("queue", "part"),
    ),
    Metric(
        "fluxa_queue_probe_failures_total",
        Kind.COUNTER,
        "Questions about queues that were not answered",
        ("queue", "probe"),
    ),
    Metric(
        "fluxa_redrive_letters_total",
        Kind.COUNTER,
        "Dead letters that redrives looked at: moved, refused, quarantined or gone",
        ("queue", "outcome"),
    ),
    Metric("fluxa_redrives_ended_total", Kind.COUNTER, "Redrives that ended", ("queue", "state")),
    Metric("fluxa_redrives_running", Kind.GAUGE, "Redrives that are to be worked on now"),
    Metric(
        "worker_backend_requests_total",
        Kind.COUNTER,
        "Calls of outside services, those that were kept here included",
        ("target", "status"),
    ),
    Metric(
        "worker_backend_request_duration_seconds",
        Kind.HISTOGRAM,
        "Seconds a call of an outside service took",
        ("target",),
        _OUTSIDE,
    ),
    Metric(
        "fluxa_native_dead_oldest_age_seconds",
        Kind.GAUGE,
        "Age of the oldest message that SQS had moved aside by itself; it forgets them after 14 days",
        ("queue",),
    ),
    Metric("fluxa_tokens_refused_total", Kind.COUNTER, "Access tokens that were not accepted", ("reason",)),
    Metric(
        "fluxa_cron_runs_total", Kind.COUNTER, "Due times that were sent, skipped or failed", ("schedule", "status")
    ),
    Metric("fluxa_refresh_reuse_total", Kind.COUNTER, "Sessions ended because a refresh token was shown twice"),
    Metric("fluxa_ledger_acts_total", Kind.COUNTER, "Acts that were committed to the audit log", ("action",)),
    Metric("fluxa_tracing_enabled", Kind.GAUGE, "1 where the process sends traces"),
    Metric("fluxa_trace_exporter_up", Kind.GAUGE, "1 while the collector takes traces, as the last export went"),
    Metric(
        "fluxa_trace_spans_total",
        Kind.COUNTER,
        "Spans by what became of them: exported; dropped, because too many waited; failed",
        ("outcome",),
    ),
    Metric(
        "fluxa_slow_statements_total",
        Kind.COUNTER,
        "Statements that took longer than database_slow_ms",
        ("statement",),
    ),
    Metric(
        "fluxa_cache_requests_total",
        Kind.COUNTER,
        "What caches were asked, by whether they had the answer: hit or miss",
        ("cache", "result"),
    ),
    Metric(
        "fluxa_synthetic_success",
        Kind.GAUGE,
        "1 where a synthetic check is well, 0 where it failed so often that it is believed; absent when unknown",
        ("check", "target"),
    ),
    Metric(
        "fluxa_synthetic_duration_seconds",
        Kind.HISTOGRAM,
        "Seconds a synthetic check took; of a canary until its event was read",
        ("check",),
        _OUTSIDE,
    ),
    Metric(
        "fluxa_synthetic_leg_seconds",
        Kind.HISTOGRAM,
        "Seconds of a canary event's way: accept, store, read",
        ("leg",),
        _HTTP,
    ),
    Metric("fluxa_synthetic_runs_total", Kind.COUNTER, "Synthetic checks by what they found", ("check", "result")),
    Metric("fluxa_ledger_anchors_total", Kind.COUNTER, "Anchors of the audit log that were written"),
    Metric(
        "fluxa_ledger_faults",
        Kind.GAUGE,
        "What is wrong with the audit log, as it was last verified; absent when unknown",
        absent=True,
    ),
    Metric(
        "fluxa_tenant_faults",
        Kind.GAUGE,
        "What is wrong with the separation of tenants, as it was last checked; absent when unknown",
        absent=True,
    ),
    Metric(
        "fluxa_audit_sink_entries_total", Kind.COUNTER, "Entries of the audit log that arrived at a sink", ("sink",)
    ),
    Metric(
        "fluxa_audit_sink_lag_entries",
        Kind.GAUGE,
        "Entries of the audit log that have not arrived at a sink; absent when unknown",
        ("sink",),
    ),
    Metric(
        "fluxa_audit_sink_lag_seconds",
        Kind.GAUGE,
        "Age of the oldest entry that has not arrived at a sink; absent when unknown",
        ("sink",),
    ),
    Metric(
        "fluxa_audit_sink_failing",
        Kind.GAUGE,
        "1 while the last delivery to a sink failed; absent when unknown",
        ("sink",),
    ),
    Metric("fluxa_cron_lateness_seconds", Kind.HISTOGRAM, "Seconds from a due time to its run", (), _LATE),
    Metric("fluxa_alarm_firing", Kind.GAUGE, "Subjects of an alarm that fire", ("alarm", "severity")),
    Metric("fluxa_alarm_value", Kind.GAUGE, "What an alarm that is not well has found", ("alarm", "subject")),
    Metric("fluxa_alarm_notices_total", Kind.COUNTER, "What was told of alarms", ("alarm", "notice")),
    Metric("fluxa_alarm_evaluation_age_seconds", Kind.GAUGE, "Seconds since alarms were last looked at"),
)
"""All metrics that Fluxa makes itself."""

PROCESS: tuple[Metric, ...] = (
    Metric("process_cpu_seconds_total", Kind.COUNTER, "Processor time that the process has used, in seconds"),
    Metric("process_resident_memory_bytes", Kind.GAUGE, "Memory that the process holds"),
    Metric("process_virtual_memory_bytes", Kind.GAUGE, "Addresses that the process has taken"),
    Metric("process_start_time_seconds", Kind.GAUGE, "When the process began, in seconds since 1970"),
    Metric("process_open_fds", Kind.GAUGE, "Files and sockets that the process has open"),
    Metric("process_max_fds", Kind.GAUGE, "How many it may have"),
)
"""What the client library tells of a process by the names that all programs use, where the system lets it."""

LOG_FIELDS: tuple[str, ...] = (
    "timestamp",
    "level",
    "event",
    "service",
    "correlation_id",
    "event_id",
    "stage",
    "status",
    "error_code",
    "latency_ms",
    "events",
    "detail",
    "trace_id",
    "span_id",
)
"""The fields of a log line that others may rely on (PIPE-10)."""
