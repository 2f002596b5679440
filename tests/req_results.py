"""A pytest plugin that writes down how the tests of each requirement ended, for the validation matrix."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

FILE = ".state/req-results.json"
_ROWS = "req"
_WORST_FIRST = ("failed", "skipped", "passed")


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no results."""
    leads = not hasattr(config, "workerinput")
    config.pluginmanager.register(_Results(config.rootpath / FILE, leads=leads), "req-results")


class _Results:
    """Collects during a run, writes at its end; of a run that is shared by processes, in the one that leads it."""

    def __init__(self, path: Path, *, leads: bool) -> None:
        self._path = path
        self._leads = leads
        self._found: dict[str, dict[str, object]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report the rows of its test: the process that leads knows reports, not tests."""
        report = yield
        rows = sorted({str(row) for mark in item.iter_markers("req") for row in mark.args})
        if rows:
            report.user_properties.append((_ROWS, rows))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the worst of a test's phases; the cases of one test count together."""
        rows = next((value for name, value in report.user_properties if name == _ROWS), None)
        if self._leads and rows and (report.when == "call" or report.outcome != "passed"):
            test = report.nodeid.partition("[")[0]
            before = self._found.get(test, {}).get("outcome", "passed")
            worst = min(str(before), report.outcome, key=_WORST_FIRST.index)
            self._found[test] = {"rows": rows, "outcome": worst}

    def pytest_sessionfinish(self) -> None:
        """Add this run's results to those of earlier runs."""
        if not self._found:
            return
        before = json.loads(self._path.read_text("utf-8")) if self._path.exists() else {}
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(before | self._found, indent=1, sort_keys=True), "utf-8")
