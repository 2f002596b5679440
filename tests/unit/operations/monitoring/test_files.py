"""Files for Prometheus and Grafana name metrics and labels that exist, and leave none out."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from fluxa.operations.alarms.rules import RULES
from fluxa.operations.monitoring.dashboard import SECTIONS, dashboard, expressions, section_of
from fluxa.operations.monitoring.rules import prometheus_config, rule_file
from fluxa.telemetry.catalogue import METRICS, PROCESS, Kind

pytestmark = pytest.mark.req("OBS-4", "ALARM-1")

_ALL = (*METRICS, *PROCESS)
_GIVEN_BY_PROMETHEUS = {"up": {"job", "instance", "product"}}
_NAME = re.compile(r"\b((?:fluxa|http|worker|process)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_BY = re.compile(r"\bby \(([^)]*)\)")


def _known() -> dict[str, set[str]]:
    """Every name that a scrape brings, with its labels."""
    known: dict[str, set[str]] = dict(_GIVEN_BY_PROMETHEUS)
    for metric in _ALL:
        labels = {*metric.labels, "job", "instance", "product"}
        if metric.kind is Kind.HISTOGRAM:
            known |= {f"{metric.name}_{part}": labels | {"le"} for part in ("bucket", "count", "sum")}
        else:
            known[metric.name] = labels
    return known


def _expressions() -> Iterator[str]:
    yield from expressions(dashboard())
    for group in rule_file()["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def _wrong(expression: str) -> set[str]:
    """Names and labels of an expression that nothing has."""
    known, wrong = _known(), set()
    asked = _NAME.findall(re.sub(r'"[^"]*"', lambda text: '"' + "x" * (len(text[0]) - 2) + '"', expression))
    for name, matchers in asked:
        if name not in known:
            wrong.add(name)
            continue
        wrong |= {label for label in _LABEL.findall(matchers) if label not in known[name]}
    labels = {label.strip() for by in _BY.findall(expression) for label in by.split(",")}
    there = set().union(*(known.get(name, set()) for name, _ in asked)) if asked else set()
    return wrong | {label for label in labels if label not in there and asked}


def test_every_metric_and_label_that_is_asked_for_exists() -> None:
    asked = list(_expressions())
    assert len(asked) > 100
    wrong = {expression: found for expression in asked if (found := _wrong(expression))}
    assert not wrong


def test_a_metric_or_label_that_does_not_exist_is_noticed() -> None:
    assert _wrong("rate(fluxa_nothing_total[5m])") == {"fluxa_nothing_total"}
    assert _wrong('sum(fluxa_queue_dead{code="x"})') == {"code"}
    assert _wrong("max by (colour) (fluxa_queue_dead)") == {"colour"}


def test_the_dashboard_shows_every_metric_once() -> None:
    board = dashboard()
    drawn = [panel["title"] for panel in board["panels"] if panel["type"] == "timeseries"]
    assert sorted(drawn) == sorted(metric.name for metric in _ALL)
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", *(title for title in SECTIONS if title in {section_of(metric) for metric in _ALL})]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_rules_hold_all_alarms_and_what_only_somebody_outside_sees() -> None:
    groups: dict[str, list[dict[str, Any]]] = {group["name"]: group["rules"] for group in rule_file()["groups"]}
    assert [one["alert"] for one in groups["fluxa"]] == [rule.name for rule in RULES]
    assert [one["alert"] for one in groups["fluxa-watching"]] == ["TargetDown", "AlarmsUnwatched", "TracesNotExported"]
    names = [one["record"] for one in groups["fluxa-recorded"]]
    assert "job_method_route_status_code:http_request_duration_seconds:p95_5m" in names
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*(?::[a-z0-9_]+){2}", name) for name in names)


def test_alerts_link_to_their_runbooks() -> None:
    for group in rule_file(runbook_url="https://books.example/{runbook}.md")["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                notes = rule["annotations"]
                assert notes["runbook_url"] == f"https://books.example/{notes['runbook']}.md"


def test_each_service_is_a_job_of_its_own() -> None:
    found = prometheus_config({"ingest": ["a:1", "b:1"], "query": ["c:2"]}, every_s=0.5)
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in found["scrape_configs"]}
    assert jobs == {"fluxa-ingest": ["a:1", "b:1"], "fluxa-query": ["c:2"]}
    assert found["global"]["scrape_interval"] == "500ms"
    assert prometheus_config({})["global"]["scrape_interval"] == "15s"
