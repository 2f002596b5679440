"""Files for Prometheus and Alertmanager, made from the catalogue of metrics and from the alarms. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fluxa.operations.alarms import rules as alarms
from fluxa.operations.alarms.rule import Rule, Severity
from fluxa.telemetry.catalogue import METRICS, Kind, Metric

PRODUCT = "fluxa"
"""The label that all targets and all alerts carry, so that they are told from others in the same Prometheus."""
RULES_FILE = "fluxa.rules.yml"
QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_WINDOW = "5m"

WATCHING: tuple[Mapping[str, Any], ...] = (
    {
        "alert": "TargetDown",
        "expr": f'up{{product="{PRODUCT}"}} == 0',
        "for": "60s",
        "severity": Severity.CRITICAL,
        "summary": "Prometheus cannot read a process's metrics ({{ $labels.job }} at {{ $labels.instance }})",
        "cause": "The process is gone, its port is closed to Prometheus, or it does not answer in time.",
        "first_action": "Ask it yourself: fluxa metrics check TARGET. Start it again if it is gone.",
        "runbook": "target-down",
    },
    {
        "alert": "AlarmsUnwatched",
        "expr": "max(fluxa_alarm_evaluation_age_seconds) > 60 or absent(fluxa_alarm_firing)",
        "for": "60s",
        "severity": Severity.CRITICAL,
        "summary": "Nobody looks at Fluxa's own alarms",
        "cause": "No station runs, or it cannot reach the database.",
        "first_action": "Start one: fluxa station. See its log if it runs.",
        "runbook": "alarms-unwatched",
    },
    {
        "alert": "TracesNotExported",
        "expr": "fluxa_tracing_enabled == 1 and on (job, instance) fluxa_trace_exporter_up == 0",
        "for": "300s",
        "severity": Severity.WARNING,
        "summary": "Traces do not arrive ({{ $labels.job }} at {{ $labels.instance }})",
        "cause": "The collector is gone, or the process was told a wrong address.",
        "first_action": "See the flags and the exporter: fluxa metrics check. Correct otel_exporter_otlp_endpoint.",
        "runbook": "traces-not-exported",
    },
)
"""What only somebody outside can notice; the other alerts are Fluxa's own alarms."""


def rule_file(
    rules: Sequence[Rule] = alarms.RULES, *, runbook_url: str = "", hold_s: float | None = None
) -> dict[str, Any]:
    """The content of a Prometheus rules file: rates and quantiles of all metrics, and all alarms.

    Args:
        rules: the alarms, as the settings want them.
        runbook_url: what a runbook's id is put behind to make a link; the id alone if it is empty.
        hold_s: seconds for which it must be bad before an alert fires, instead of each alert's own: for rehearsals.
    """
    exported: Any = alarms.prometheus(rules, runbook_url=runbook_url)["groups"]
    content: dict[str, Any] = {
        "groups": [
            {"name": "fluxa-recorded", "rules": [one for metric in METRICS for one in recorded(metric)]},
            *exported,
            {"name": "fluxa-watching", "rules": [_alert(one, runbook_url) for one in WATCHING]},
        ]
    }
    alerts = (rule for group in content["groups"] for rule in group["rules"] if "alert" in rule)
    for alert in alerts if hold_s is not None else ():
        alert["for"] = _span(hold_s or 0.0)
    return content


def recorded(metric: Metric) -> Iterator[dict[str, str]]:
    """What is computed of a metric ahead of time: a counter's rate a second, a histogram's quantiles; by job."""
    by = ("job", *metric.labels)
    level = "_".join(by)
    match metric.kind:
        case Kind.COUNTER:
            yield {
                "record": f"{level}:{metric.name.removesuffix('_total')}:rate{_WINDOW}",
                "expr": f"sum by ({', '.join(by)}) (rate({metric.name}[{_WINDOW}]))",
            }
        case Kind.HISTOGRAM:
            for name, quantile in QUANTILES.items():
                inner = f"sum by ({', '.join((*by, 'le'))}) (rate({metric.name}_bucket[{_WINDOW}]))"
                yield {
                    "record": f"{level}:{metric.name}:{name}_{_WINDOW}",
                    "expr": f"histogram_quantile({quantile}, {inner})",
                }
        case Kind.GAUGE:
            pass  # it is its own last value


def _alert(one: Mapping[str, Any], runbook_url: str) -> dict[str, Any]:
    return {
        "alert": one["alert"],
        "expr": one["expr"],
        "for": one["for"],
        "labels": {"severity": str(one["severity"]), "product": PRODUCT},
        "annotations": {
            **{name: one[name] for name in ("summary", "cause", "first_action", "runbook")},
            "runbook_url": alarms.link(one["runbook"], runbook_url),
        },
    }


def prometheus_config(
    targets: Mapping[str, Sequence[str]],
    *,
    alertmanager: str = "127.0.0.1:9093",
    every_s: float = 15.0,
    rules_file: str = RULES_FILE,
) -> dict[str, Any]:
    """The content of Prometheus' own file.

    Args:
        targets: host and port of each process, by service.
        alertmanager: host and port of the one who is told of alerts.
        every_s: seconds between two scrapes, and between two looks at the rules.
        rules_file: where the rules are.
    """
    every = _span(every_s)
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [rules_file],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {
                "job_name": f"{PRODUCT}-{service}",
                "metrics_path": "/metrics",
                "static_configs": [{"targets": list(places), "labels": {"product": PRODUCT}}],
            }
            for service, places in targets.items()
        ],
    }


def alertmanager_config(url: str, *, wait_s: float = 30.0, repeat_s: float = 14400.0) -> dict[str, Any]:
    """The content of an Alertmanager's file that tells one receiver of everything, and of its end.

    Args:
        url: takes Alertmanager's webhooks.
        wait_s: seconds for which alerts of one kind are gathered.
        repeat_s: seconds after which what still fires is told again.
    """
    return {
        "route": {
            "receiver": "oncall",
            "group_by": ["alertname", "job"],
            "group_wait": _span(wait_s),
            "group_interval": _span(wait_s),
            "repeat_interval": _span(repeat_s),
        },
        "inhibit_rules": [
            {
                # Whoever hears that a process is gone need not hear what follows from it.
                "source_matchers": ['alertname="TargetDown"', f'product="{PRODUCT}"'],
                "target_matchers": ['severity="warning"', f'product="{PRODUCT}"'],
                "equal": ["job"],
            }
        ],
        "receivers": [{"name": "oncall", "webhook_configs": [{"url": url, "send_resolved": True}]}],
    }


def _span(seconds: float) -> str:
    """A time as both programs write it."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"
