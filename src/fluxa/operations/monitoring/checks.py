"""The routine checks of an operator: what is looked at on metrics pages, and from when on it is not well. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from fluxa.operations.alarms.rule import PROBES, Comparison, Severity
from fluxa.operations.monitoring.check import Bounds, Check, Found, Seen
from fluxa.operations.monitoring.pages import buckets_by, quantile
from fluxa.telemetry.catalogue import CallEnding

LASTING = ("stream_events", "process_queues")
"""Routes that take as long as their callers want."""
_SHARE_OF_AT_LEAST = 20
"""A share of fewer means nothing."""
_CACHE_AT_LEAST = 100
_CACHE_A_SECOND = 0.5
"""A cache that forgets within seconds is right to have nothing at hand for those who seldom ask."""
_MINUTE_S = 60.0
_REQUESTS, _CALLS = "http_request_duration_seconds", "worker_backend_requests_total"
_CACHED = "fluxa_cache_requests_total"


def _highest(found: Iterator[Found] | Sequence[Found], *, quiet: str) -> Found:
    known = [one for one in found if one.value is not None]
    return max(known, key=lambda one: one.value or 0.0) if known else Found(0.0, said=quiet)


def _listed(found: Mapping[str, str], *, good: str) -> Found:
    said = "; ".join(f"{target}: {reason}" for target, reason in found.items())
    return Found(float(len(found)), next(iter(found), ""), said or good)


def _targets(seen: Seen) -> Found:
    if not seen.pages and not seen.missing:
        return Found(None, said="There is no target.")
    return _listed(seen.missing, good=f"all {len(seen.pages)} were read")


def _ready(seen: Seen) -> Found:
    return _listed(seen.not_ready, good="all that were read")


def _share(subject: str, part: float, whole: float) -> Found:
    said = f"{part:g} of {whole:g}"
    if whole < _SHARE_OF_AT_LEAST:
        return Found(0.0, subject, f"{said}: too few to judge" if whole else "")
    return Found(100.0 * part / whole, subject, said)


def _server_errors(seen: Seen) -> Found:
    shares = []
    for page in seen.pages:
        counts = [
            (labels["status_code"], value)
            for labels, value in page.of("http_request_duration_seconds_count")
            if labels.get("route") not in PROBES
        ]
        failed = sum(value for status, value in counts if status.startswith("5"))
        shares.append(_share(page.target, failed, sum(value for _, value in counts)))
    return _highest(shares, quiet="no requests")


def _active(seen: Seen) -> Found:
    return _highest([Found(page.total("http_requests_active"), page.target) for page in seen.pages], quiet="")


def _p95(histogram: str, label: str, ignored: Sequence[str] = ()) -> Callable[[Seen], Found]:
    def look(seen: Seen) -> Found:
        found = [
            Found(quantile(0.95, buckets), subject, f"of {max(buckets.values(), default=0.0):g}")
            for subject, buckets in buckets_by(seen.pages, histogram, label).items()
            if subject not in ignored
        ]
        return _highest(found, quiet="none yet")

    return look


def _a_minute(name: str, label: str) -> Callable[[Seen], Found]:
    def look(seen: Seen) -> Found:
        total, most = 0.0, Found(0.0)
        for page in seen.pages:
            for labels, value in page.of(name):
                if page.over_s is None:
                    return Found(None, page.target, "It does not say since when it counts: use --over.")
                rate = value / page.over_s * _MINUTE_S
                total += rate
                if rate > (most.value or 0.0):
                    most = Found(rate, labels.get(label, ""))
        return Found(total, most.subject, "" if total else "none")

    return look


def _calls(seen: Seen) -> Found:
    shares = []
    for page in seen.pages:
        for target in sorted({labels["target"] for labels, _ in page.of("worker_backend_requests_total")}):
            whole = page.total("worker_backend_requests_total", target=target)
            good = page.total("worker_backend_requests_total", target=target, status=CallEnding.DELIVERED.value)
            shares.append(_share(target, whole - good, whole))
    return _highest(shares, quiet="no calls")


def _work(seen: Seen) -> Found:
    failed = worked = 0.0
    for page in seen.pages:
        failed += page.total("fluxa_stage_events_total", stage=("process", "persist"), status="failure")
        failed += page.total("fluxa_worker_records_total", outcome=("retried", "parked"))
        worked += page.total("fluxa_stage_events_total", stage="process")
        worked += page.total("fluxa_worker_records_total", outcome=("done", "retried", "parked"))
    return _share("", failed, worked)


def _caches(seen: Seen) -> Found:
    found = []
    for page in seen.pages:
        least = max(_CACHE_AT_LEAST, _CACHE_A_SECOND * (page.over_s or 0.0))
        for cache in sorted({labels["cache"] for labels, _ in page.of(_CACHED)}):
            whole, hits = page.total(_CACHED, cache=cache), page.total(_CACHED, cache=cache, result="hit")
            if whole >= least:
                found.append(Found(100.0 * hits / whole, f"{cache} of {page.target}", f"{hits:g} of {whole:g}"))
    if not found:
        return Found(None, said="too few requests to judge", is_idle=True)
    return min(found, key=lambda one: one.value or 0.0)


def _dead(seen: Seen) -> Found:
    # Several processes tell of the same queue.
    queues: dict[str, float] = {}
    for page in seen.pages:
        for labels, value in page.of("fluxa_queue_dead"):
            queues[labels["queue"]] = max(value, queues.get(labels["queue"], 0.0))
    if not queues:
        return Found(None, said="No target that was read looks at queues: name the processor's or the station's.")
    fullest = max(queues, key=lambda queue: queues[queue])
    total = sum(queues.values())
    return Found(total, fullest if total else "", f"in {len(queues)} queues")


def _dependencies(seen: Seen) -> Found:
    down = [
        f"{labels['dependency']} of {page.target}"
        for page in seen.pages
        for labels, value in page.of("fluxa_dependency_up")
        if value == 0
    ]
    return Found(float(len(down)), down[0] if down else "", "; ".join(down))


def _alarms(severity: Severity) -> Callable[[Seen], Found]:
    def look(seen: Seen) -> Found:
        told: dict[str, float] = {}
        of_any = False
        for page in seen.pages:
            for labels, value in page.of("fluxa_alarm_firing"):
                of_any = True
                if labels["severity"] == severity and value:
                    told[labels["alarm"]] = max(value, told.get(labels["alarm"], 0.0))
        if not of_any:
            return Found(None, said="No target that was read looks at alarms: name the station's.")
        return Found(sum(told.values()), next(iter(told), ""), ", ".join(told))

    return look


def _traces(seen: Seen) -> Found:
    enabled = [page for page in seen.pages if page.total("fluxa_tracing_enabled")]
    if not enabled:
        return Found(0.0, said="off everywhere (otel_enabled)")
    broken = [f"{page.target} cannot export" for page in enabled if not page.total("fluxa_trace_exporter_up")]
    broken += [f"{page.target} has it off" for page in seen.pages if not page.total("fluxa_tracing_enabled")]
    return Found(float(len(broken)), "", "; ".join(broken) or f"on in all {len(enabled)}, exporters up")


def _spans(seen: Seen) -> Found:
    lost = sum(page.total("fluxa_trace_spans_total", outcome=("dropped", "failed")) for page in seen.pages)
    return _share(
        "", lost, lost + sum(page.total("fluxa_trace_spans_total", outcome="exported") for page in seen.pages)
    )


CHECKS: tuple[Check, ...] = (
    Check("targets", "targets", Bounds(0, 0), (), _targets, "Start what is gone; open its port to whoever scrapes."),
    Check("readiness", "targets", Bounds(0, 0), (), _ready, "See what is not ready: fluxa doctor."),
    Check(
        "server_errors", "%", Bounds(0.1, 1), (_REQUESTS,), _server_errors, "Look in that service's log for error_code."
    ),
    Check(
        "active_requests",
        "requests",
        Bounds(200, 1000),
        ("http_requests_active",),
        _active,
        "Find what they wait for: the database first (fluxa doctor). Add processes if nothing is slow.",
    ),
    Check(
        "request_p95",
        "s",
        Bounds(0.5, 2),
        (_REQUESTS,),
        _p95(_REQUESTS, "route", (*PROBES, *LASTING)),
        "Look at slow statements and at the database's load.",
    ),
    Check(
        "authentication_failures",
        "/min",
        Bounds(10, 60),
        ("fluxa_authentication_failures_total",),
        _a_minute("fluxa_authentication_failures_total", "reason"),
        "Look in the logs for Authentication failed: from one address or many, one key or many.",
    ),
    Check(
        "call_failures", "%", Bounds(1, 10), (_CALLS,), _calls, "See whether that service is up, and our credential."
    ),
    Check(
        "call_p95",
        "s",
        Bounds(2, 10),
        ("worker_backend_request_duration_seconds",),
        _p95("worker_backend_request_duration_seconds", "target"),
        "Ask whoever runs that service.",
    ),
    Check(
        "work_failures",
        "%",
        Bounds(0.5, 1),
        ("fluxa_stage_events_total", "fluxa_worker_records_total"),
        _work,
        "See why: fluxa dlq list, and error_code in the processor's and the worker's log.",
    ),
    Check(
        "slow_statements",
        "/min",
        Bounds(1, 30),
        ("fluxa_slow_statements_total",),
        _a_minute("fluxa_slow_statements_total", "statement"),
        "The log names each with its time; explain that statement in Postgres.",
    ),
    Check(
        "cache_hit_rate",
        "%",
        Bounds(80, None),
        (_CACHED,),
        _caches,
        "Of postgres: give the database more memory. Of others: see whether many ask once each, or the process is new.",
        Comparison.BELOW,
    ),
    Check(
        "dead_letters",
        "letters",
        Bounds(0, 100),
        ("fluxa_queue_dead",),
        _dead,
        "See why: fluxa dlq list --queue QUEUE.",
    ),
    Check(
        "dependencies",
        "down",
        Bounds(0, 0),
        ("fluxa_dependency_up",),
        _dependencies,
        "Bring back what does not answer.",
    ),
    Check(
        "critical_alarms",
        "alarms",
        Bounds(0, 0),
        ("fluxa_alarm_firing",),
        _alarms(Severity.CRITICAL),
        "See what to do first: fluxa alarm show ALARM.",
    ),
    Check(
        "warning_alarms",
        "alarms",
        Bounds(0, None),
        ("fluxa_alarm_firing",),
        _alarms(Severity.WARNING),
        "See what to do first: fluxa alarm show ALARM.",
    ),
    Check(
        "trace_export",
        "targets",
        Bounds(0, 0),
        ("fluxa_tracing_enabled",),
        _traces,
        "Correct otel_enabled and otel_exporter_otlp_endpoint, or bring the collector back.",
    ),
    Check(
        "spans_lost",
        "%",
        Bounds(0.1, 5),
        ("fluxa_trace_spans_total",),
        _spans,
        "Give the collector room, or keep fewer traces: otel_traces_sampler.",
    ),
)
"""All of them, in the order in which an operator asks."""
