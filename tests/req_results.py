"""A pytest plugin that writes down how the tests of each requirement ended, for the validation matrix."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

FILE = ".state/req-results.json"
_WORST_FIRST = ("failed", "skipped", "passed")


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no results."""
    config.pluginmanager.register(_Results(config.rootpath / FILE), "req-results")


class _Results:
    """Collects during a run, writes at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, dict[str, object]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember the worst of a test's phases; the cases of one test count together."""
        report = yield
        rows = sorted({str(row) for mark in item.iter_markers("req") for row in mark.args})
        if rows and (report.when == "call" or report.outcome != "passed"):
            test = item.nodeid.partition("[")[0]
            before = self._found.get(test, {}).get("outcome", "passed")
            worst = min(str(before), report.outcome, key=_WORST_FIRST.index)
            self._found[test] = {"rows": rows, "outcome": worst}
        return report

    def pytest_sessionfinish(self) -> None:
        """Add this run's results to those of earlier runs."""
        if not self._found:
            return
        before = json.loads(self._path.read_text("utf-8")) if self._path.exists() else {}
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(before | self._found, indent=1, sort_keys=True), "utf-8")
