"""What the catalogue and the error table list is what the code does: nothing missing, nothing made up."""

import ast

from fluxa.kernel.errors import ERRORS, ErrorCode
from fluxa.telemetry import catalogue
from house.tree import SOURCE, python_files, syntax

METRICS = SOURCE / "telemetry" / "metrics.py"


def test_every_error_code_has_a_row() -> None:
    assert set(ERRORS) == set(ErrorCode)


def test_rows_speak_in_sentences() -> None:
    for code, row in ERRORS.items():
        assert row.title, code
        assert not row.title.endswith("."), code
        assert row.action.endswith("."), code
        assert 400 <= row.status <= 599, code


def test_metric_names_and_units_are_what_prometheus_asks() -> None:
    for metric in catalogue.METRICS:
        assert metric.name.endswith("_total") == (metric.kind is catalogue.Kind.COUNTER), metric.name
        assert not metric.name.endswith(("_ms", "_milliseconds", "_s")), metric.name
        assert bool(metric.buckets) == (metric.kind is catalogue.Kind.HISTOGRAM), metric.name


def test_no_metric_is_made_outside_the_catalogue() -> None:
    makers = {"Counter", "Gauge", "Histogram", "Summary"}
    strays = [
        str(path)
        for path in python_files("src")
        if path != METRICS
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("prometheus_client")
        and makers & {alias.name for alias in node.names}
    ]
    assert not strays, strays
