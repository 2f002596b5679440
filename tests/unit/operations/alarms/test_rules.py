"""The table of alarms: what each tells, what settings make of it, and its copy for Prometheus."""

import dataclasses

import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.alarms.rule import Comparison, Rule, Severity
from fluxa.operations.alarms.rules import RULES, Change, changed, link, prometheus, rule_named
from fluxa.telemetry.catalogue import METRICS


@pytest.mark.req("ALARM-1", "ALARM-2", "ALARM-3", "ALARM-4", "ALARM-5")
def test_every_alarm_of_the_operating_manual_is_there_with_its_threshold() -> None:
    found = {rule.name: rule.threshold for rule in RULES}
    assert found["ProcessorErrorRate"] == 1.0
    assert found["DLQDepth"] == 0.0
    assert found["APIGateway5xx"] == 1.0
    assert found["DBHighCPU"] == 80.0
    assert {"QueueDepthHigh", "QueueOldestAge", "QueueUnserved", "ProcessSilent", "MissedSchedule"} <= found.keys()
    assert len(found) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_says_why_and_what_to_do_and_names_a_runbook(rule: Rule) -> None:
    assert rule.cause.endswith(".")
    assert rule.first_action.endswith(".")
    assert rule.runbook == rule.runbook.lower()
    assert not rule.title.endswith(".")
    assert rule.is_good(rule.quiet)


def test_settings_change_a_threshold_and_its_hysteresis_goes_along() -> None:
    rules = changed(RULES, {"DBHighCPU": Change(threshold=40.0), "DLQDepth": Change(enabled=False)})
    cpu = rule_named(rules, "dbhighcpu")
    assert (cpu.threshold, cpu.clear_at) == (40.0, 35.0)
    assert not rule_named(rules, "DLQDepth").enabled


def test_a_change_of_no_rule_and_a_contradiction_are_refused() -> None:
    with pytest.raises(FluxaError, match="Did you mean DLQDepth") as caught:
        changed(RULES, {"DLQDeph": Change(threshold=1.0)})
    assert caught.value.code == ErrorCode.CONFIGURATION
    with pytest.raises(FluxaError, match="would be good again at 90"):
        changed(RULES, {"DBHighCPU": Change(clear_at=90.0)})
    with pytest.raises(FluxaError, match="no alarm Nothing"):
        rule_named(RULES, "Nothing")


def test_prometheus_gets_the_same_names_times_and_words() -> None:
    groups = prometheus(RULES, runbook_url="https://books.example")["groups"]
    assert isinstance(groups, list)
    (group,) = groups
    exported = {one["alert"]: one for one in group["rules"]}
    assert exported.keys() == {rule.name for rule in RULES}
    for rule in RULES:
        one = exported[rule.name]
        assert one["for"] == f"{rule.for_s:.0f}s"
        assert one["labels"]["severity"] == rule.severity
        assert one["annotations"]["cause"] == rule.cause
        assert one["annotations"]["runbook_url"] == f"https://books.example/{rule.runbook}"
        assert "{{" not in one["expr"]
    assert exported["DLQDepth"]["expr"] == "max by (queue) (fluxa_queue_dead) > 0"


def test_a_runbook_is_linked_behind_or_inside_the_base() -> None:
    assert link("dlq-triage", "") == "dlq-triage"
    assert link("dlq-triage", "https://a.example/") == "https://a.example/dlq-triage"
    assert link("dlq-triage", "https://a.example/{runbook}.md") == "https://a.example/dlq-triage.md"


def test_what_is_bad_below_is_good_again_above() -> None:
    rule = dataclasses.replace(
        RULES[0], comparison=Comparison.BELOW, threshold=10.0, clear_at=20.0, severity=Severity.WARNING
    )
    assert rule.is_bad(9.0)
    assert not rule.is_good(15.0)
    assert rule.is_good(20.0)
    assert rule.is_good(rule.quiet)


def test_expressions_ask_for_metrics_that_there_are() -> None:
    known = {metric.name for metric in METRICS} | {"fluxa_alarm_value", "http_request_duration_seconds_count"}
    for rule in RULES:
        words = rule.expression.replace("{", " ").replace("(", " ").replace("[", " ").replace(")", " ").split()
        assert {word for word in words if word.startswith(("fluxa_", "http_"))} <= known, rule.name
