"""The Grafana dashboard, made from the catalogue of metrics: an overview, then every metric in its section. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, assert_never

from fluxa.operations.monitoring.rules import PRODUCT
from fluxa.telemetry.catalogue import METRICS, PROCESS, Kind, Metric

UID = "fluxa"
_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA_VERSION = 39
_COLUMNS = 24
_OF_JOB = 'job=~"$job"'
_RATE = "[$__rate_interval]"

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Events": ("fluxa_stage_", "fluxa_events_", "fluxa_flush_", "fluxa_records_", "fluxa_leases_"),
    "HTTP": ("http_",),
    "Who comes in": ("fluxa_authentication_", "fluxa_tokens_", "fluxa_refresh_"),
    "Queues": ("fluxa_queue_", "fluxa_native_"),
    "Workers": ("fluxa_worker_", "fluxa_handler_", "fluxa_breaker_", "fluxa_memory_", "fluxa_loop_"),
    "Redrives": ("fluxa_redrive",),
    "Outside services": ("worker_backend_",),
    "Schedules": ("fluxa_cron_",),
    "Processes and database": (
        "fluxa_outages_",
        "fluxa_dependency_",
        "fluxa_process_",
        "fluxa_maintenance_",
        "fluxa_slow_",
        "fluxa_cache_",
        "process_",
    ),
    "Audit log and tenants": ("fluxa_ledger_", "fluxa_audit_", "fluxa_tenant"),
    "Alarms": ("fluxa_alarm_",),
    "Traces": ("fluxa_trac",),
    "Other": ("",),
}
"""The sections by title, with what the names of their metrics begin with."""

_OF_EACH_PROCESS = {"http_requests_active", "fluxa_worker_in_flight"}
"""Gauges of which every process has its own part; others say the same wherever they are read."""
_UNITS: Mapping[str, str] = {
    # A moment goes to Grafana in milliseconds; the query multiplies.
    "_timestamp_seconds": "dateTimeFromNow",
    "_start_time_seconds": "dateTimeFromNow",
    "_seconds": "s",
    "_bytes": "bytes",
}
_QUANTILES_BY: Mapping[str, tuple[str, ...]] = {"http_request_duration_seconds": ("route",)}


@dataclass(frozen=True, slots=True)
class _Figure:
    """One number of the overview."""

    title: str
    expression: str
    unit: str = "short"
    bad_above: float | None = None


_OVERVIEW = (
    _Figure("Processes not read", f'count(up{{product="{PRODUCT}"}} == 0) or vector(0)', bad_above=0),
    _Figure("Alarms firing", "sum(max by (alarm, severity) (fluxa_alarm_firing))", bad_above=0),
    _Figure(
        "Events stored",
        f'sum(rate(fluxa_stage_events_total{{stage="persist",status="success"}}{_RATE})) or vector(0)',
        "eps",
    ),
    _Figure(
        "Requests, p95",
        f"histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{_RATE})))",
        "s",
    ),
    _Figure(
        "Requests answered with 5xx",
        f"100 * (sum(rate(http_requests_errors_total{_RATE})) or vector(0))"
        f" / sum(rate(http_request_duration_seconds_count{_RATE}))",
        "percent",
        bad_above=1,
    ),
    _Figure("Requests refused", f"60 * sum(rate(fluxa_authentication_failures_total{_RATE})) or vector(0)", "opm"),
    _Figure("Messages waiting", "sum(max by (queue) (fluxa_queue_ready))"),
    _Figure("Dead letters", "sum(max by (queue) (fluxa_queue_dead))", bad_above=0),
)


def section_of(metric: Metric) -> str:
    """The title of the section that shows a metric; `Other` for one that nobody has placed."""
    return next(title for title, starts in SECTIONS.items() if metric.name.startswith(starts))


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; it asks for the data source and the jobs that it is to show."""
    ids = count(1)
    panels: list[dict[str, Any]] = []
    bottom = 0
    for title, drawn in _sections():
        panels.append(_row(title, bottom, next(ids)))
        bottom += 1
        for start in range(0, len(drawn), 3 if title != "Overview" else 8):
            line = drawn[start : start + (3 if title != "Overview" else 8)]
            width, height = (8, 8) if title != "Overview" else (3, 4)
            for column, panel in enumerate(line):
                place = {"x": column * width, "y": bottom, "w": width, "h": height}
                panels.append({"id": next(ids), "gridPos": place, **panel})
            bottom += height
    return {
        "uid": UID,
        "title": "Fluxa",
        "tags": [PRODUCT],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "panels": panels,
    }


def expressions(board: Mapping[str, Any]) -> Iterator[str]:
    """Everything that a dashboard asks Prometheus for."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def _sections() -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    yield "Overview", [_figure(one) for one in _OVERVIEW]
    for title in SECTIONS:
        if drawn := [_panel(metric) for metric in (*METRICS, *PROCESS) if section_of(metric) == title]:
            yield title, drawn


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "job",
            "type": "query",
            "label": "Service",
            "datasource": dict(_SOURCE),
            "query": f'label_values(up{{product="{PRODUCT}"}}, job)',
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _row(title: str, top: int, number: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _figure(one: _Figure) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if one.bad_above is not None:
        steps.append({"color": "red", "value": one.bad_above or 1e-9})  # Grafana colours from a step on
    return {
        "type": "stat",
        "title": one.title,
        "datasource": dict(_SOURCE),
        "fieldConfig": {
            "defaults": {"unit": one.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"},
        "targets": [_target(one.expression, "", "A")],
    }


def _panel(metric: Metric) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": metric.name,
        "description": metric.help,
        "datasource": dict(_SOURCE),
        "fieldConfig": {"defaults": {"unit": _unit(metric), "custom": {"fillOpacity": 10}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            _target(expression, legend, chr(ord("A") + place))
            for place, (expression, legend) in enumerate(_queries(metric))
        ],
    }


def _queries(metric: Metric) -> Iterator[tuple[str, str]]:
    """What is asked of a metric, and what the lines are called."""
    by = metric.labels or ("job", "instance")
    labels = ", ".join(by)
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    match metric.kind:
        case Kind.COUNTER:
            yield f"sum by ({labels}) (rate({metric.name}{{{_OF_JOB}}}{_RATE}))", legend
        case Kind.GAUGE:
            how = "sum" if metric.name in _OF_EACH_PROCESS else "max"
            factor = "1000 * " if _unit(metric) == "dateTimeFromNow" else ""
            yield f"{factor}{how} by ({labels}) ({metric.name}{{{_OF_JOB}}})", legend
        case Kind.HISTOGRAM:
            rate = f"(rate({metric.name}_bucket{{{_OF_JOB}}}{_RATE}))"
            of = _QUANTILES_BY.get(metric.name, metric.labels)
            each = "".join(f", {label}" for label in of)
            called = "".join(f" {{{{{label}}}}}" for label in of)
            yield f"histogram_quantile(0.5, sum by (le) {rate})", "p50"
            yield f"histogram_quantile(0.95, sum by (le{each}) {rate})", f"p95{called}"
            yield f"histogram_quantile(0.99, sum by (le) {rate})", "p99"
        case _:
            assert_never(metric.kind)


def _unit(metric: Metric) -> str:
    match metric.kind:
        case Kind.COUNTER:
            return "percentunit" if metric.name.endswith("_seconds_total") else "ops"
        case Kind.GAUGE | Kind.HISTOGRAM:
            return next((unit for suffix, unit in _UNITS.items() if metric.name.endswith(suffix)), "short")
        case _:
            assert_never(metric.kind)


def _target(expression: str, legend: str, ref: str) -> dict[str, Any]:
    return {"refId": ref, "datasource": dict(_SOURCE), "expr": expression, "legendFormat": legend or "__auto"}
