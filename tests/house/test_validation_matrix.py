"""The validation matrix tells the truth: it has every row, and a row is proved only if all its tests passed."""

import json
import re
import subprocess
import sys
from pathlib import Path

from house.tree import ROOT, python_files
from house.validation_matrix import PAGE, REQUIREMENTS, page, rows
from req_results import FILE

TABLE = """
| PIPE-1 | One. |
| PIPE-2 | Two. |
| PIPE-3 | Three. |
| PIPE-4 | Four. |
| PIPE-5 | Five. |

- PIPE-5: a wheel.
"""
RESULTS = {
    "tests/a.py::test_one": {"rows": ["PIPE-1", "PIPE-2"], "outcome": "passed"},
    "tests/a.py::test_two": {"rows": ["PIPE-2"], "outcome": "failed"},
    "tests/b.py::test_three": {"rows": ["PIPE-3"], "outcome": "skipped"},
    "tests/b.py::test_five": {"rows": ["PIPE-5"], "outcome": "passed"},
}


def test_a_row_is_as_good_as_its_worst_proof() -> None:
    assert [row.result for row in rows(TABLE, RESULTS)] == ["proved", "**broken**", "partly run", "open", "in part"]


def test_the_page_links_each_row_to_its_tests() -> None:
    text = page(rows(TABLE, RESULTS))
    assert "| PIPE-2 | Two. | **broken** | [a.py](../tests/a.py) 1/2 |" in text
    assert "| PIPE | 5 | 1 | 1 | 1 |" in text
    assert "Five.<br>*Still missing: a wheel.*" in text


def test_the_committed_page_has_every_requirement() -> None:
    wanted = re.findall(r"^\| ([A-Z]+-[\w-]+) \|", REQUIREMENTS.read_text("utf-8"), re.MULTILINE)
    shown = re.findall(r"^\| ([A-Z]+-[\w-]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert shown == wanted, "run make matrix"
    assert len(wanted) == len(set(wanted))


SPOILT = """
import pytest

@pytest.mark.req("PIPE-1")
@pytest.mark.parametrize("good", [True, False, True])
def test_it(good):
    assert good
"""


def test_the_committed_page_links_tests_that_exist() -> None:
    linked = set(re.findall(r"\]\(\.\./(tests/[^)]+)\)", PAGE.read_text("utf-8")))
    assert linked
    assert not [file for file in linked if not (ROOT / file).is_file()], "run make test, then make matrix"


def test_a_test_counts_with_the_worst_of_its_cases(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = req(*rows)\n", "utf-8")
    (tmp_path / "test_spoilt.py").write_text(SPOILT, "utf-8")
    command = [
        "env",
        f"PYTHONPATH={ROOT / 'tests'}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "req_results",
    ]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, timeout=60)
    written = json.loads((tmp_path / FILE).read_text("utf-8"))
    assert written == {"test_spoilt.py::test_it": {"rows": ["PIPE-1"], "outcome": "failed"}}


def test_no_test_is_marked_for_a_row_that_does_not_exist() -> None:
    known = {row.id for row in rows(REQUIREMENTS.read_text("utf-8"), {})}
    marked = {
        row
        for path in python_files("tests")
        for arguments in re.findall(r"pytest\.mark\.req\(([^)]*)\)", path.read_text("utf-8"))
        for row in re.findall(r'"([^"]+)"', arguments)
    }
    assert marked
    assert not marked - known, f"no such rows: {sorted(marked - known)}"
