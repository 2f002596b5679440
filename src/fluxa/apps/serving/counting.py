"""What each process counts for alarms, read from its own metrics: nothing is added to the way of a request."""

from collections.abc import Mapping

from fluxa.operations.alarms.measuring import LEDGER_FAULTS, TENANT_FAULTS
from fluxa.operations.alarms.rule import PROBES
from fluxa.operations.alarms.samples import DENIED, FAILED, REQUESTS, SERVER_ERRORS, WORKED
from fluxa.telemetry.metrics import Metrics

_PROCESSOR = "processor"
_GAUGES = {LEDGER_FAULTS: "fluxa_ledger_faults", TENANT_FAULTS: "fluxa_tenant_faults"}


def counted(service: str, metrics: Metrics) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The counters of a process since it began, and the gauges that alarms look at.

    Args:
        service: which; what ingest refuses is its clients' fault and no failed work, so that stages count in the
            processor only.
        metrics: what it has counted.
    """
    counters = dict.fromkeys((WORKED, FAILED, REQUESTS, SERVER_ERRORS, DENIED), 0.0)
    if service == _PROCESSOR:
        for (stage, status, _), events in metrics.totals("fluxa_stage_events_total").items():
            failed = status == "failure"
            counters[FAILED] += events if failed else 0.0
            counters[WORKED] += events if failed or stage == "process" else 0.0
    for (_, outcome), records in metrics.totals("fluxa_worker_records_total").items():
        counters[WORKED] += 0.0 if outcome == "snoozed" else records
        counters[FAILED] += records if outcome in ("retried", "parked") else 0.0
    for (_, route, status), requests in metrics.totals("http_request_duration_seconds").items():
        if route in PROBES:
            continue
        counters[REQUESTS] += requests
        counters[SERVER_ERRORS] += requests if status.startswith("5") else 0.0
        counters[DENIED] += requests if status in ("401", "403") else 0.0
    gauges = {name: value for name, metric in _GAUGES.items() for value in metrics.totals(metric).values()}
    return {name: value for name, value in counters.items() if value or name in (REQUESTS, WORKED)}, gauges
