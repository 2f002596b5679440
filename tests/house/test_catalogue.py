"""What the catalogue and the error table list is what the code does: nothing missing, nothing made up."""

import ast
import typing

from fluxa.kernel.errors import ERRORS, ErrorCode
from fluxa.telemetry import catalogue
from fluxa.telemetry.catalogue.spans import SPANS, SpanName
from house.tree import SOURCE, python_files, strings, syntax

CATALOGUE = SOURCE / "telemetry" / "catalogue"
METRICS = SOURCE / "telemetry" / "metrics.py"
HEARERS = {METRICS, SOURCE / "telemetry" / "log.py"}
ERROR_TABLE = SOURCE / "kernel" / "errors.py"

# Codes that users' handlers and the coming providers raise: dead letters and dashboards know them already (PIPE-9).
FOR_HANDLERS = {
    ErrorCode.HANDLER_TIMEOUT,
    ErrorCode.HANDLER_ERROR,
    ErrorCode.PROVIDER_THROTTLED,
    ErrorCode.PROVIDER_UNAVAILABLE,
    ErrorCode.PROVIDER_REJECTED,
}


def _attributes(owner: str) -> set[str]:
    """Members of an enum that the code names, outside of the table itself."""
    return {
        node.attr
        for path in python_files("src")
        if path != ERROR_TABLE
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == owner
    }


def test_every_error_code_has_a_row() -> None:
    assert set(ERRORS) == set(ErrorCode)


def test_every_error_code_is_used() -> None:
    indirectly = {ErrorCode.LEASE_LOST, ErrorCode.DB_CONNECTION_ERROR}  # by classes of their own in the table's file
    named = {ErrorCode[attribute] for attribute in _attributes("ErrorCode")}
    assert named | FOR_HANDLERS | indirectly == set(ErrorCode)


def test_rows_speak_in_sentences() -> None:
    for code, row in ERRORS.items():
        assert row.title, code
        assert not row.title.endswith("."), code
        assert row.action.endswith("."), code
        assert 400 <= row.status <= 599, code


def test_every_metric_is_fed() -> None:
    fed = {str(node.value) for path in python_files("src") if path.parent != CATALOGUE for node in strings(path)}
    unfed = [metric.name for metric in catalogue.METRICS if metric.name not in fed]
    assert not unfed, unfed


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


def test_every_signal_is_emitted() -> None:
    emitted = {
        ast.unparse(node.func).rpartition(".")[2]
        for path in python_files("src")
        if path not in HEARERS and CATALOGUE not in path.parents
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call)
    }
    signals = {kind.__name__ for kind in typing.get_args(catalogue.Signal)}
    assert signals
    assert not signals - emitted, f"listed, but emitted by nobody: {sorted(signals - emitted)}"


def test_every_span_has_a_kind_and_is_told_of() -> None:
    assert set(SPANS) == set(SpanName)
    told = {
        node.attr
        for path in python_files("src")
        if path != SOURCE / "telemetry" / "catalogue" / "spans.py"
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "SpanName"
    }
    assert told == {name.name for name in SpanName}
