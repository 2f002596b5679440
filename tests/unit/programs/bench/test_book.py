"""The benchmark's results: parts are measured one by one, and each replaces only itself in the file and the page."""

from pathlib import Path

import msgspec
import pytest

import bench.__main__ as program
from bench.report import book
from bench.report.book import Part
from bench.report.figures import BARS, Curve, of_values
from bench.report.page import markdown


def _part(title: str, **values: tuple[float, ...]) -> Part:
    return Part(
        title=title,
        conditions={"machine": "m"},
        ratios=values,
        figures={"fluxa": of_values([1.0, 3.0, 2.0], "jobs/s", 10, "how")},
        curves={"fluxa": Curve(10.0, (9.0, 8.0, 7.0, 6.0, 5.0))},
        picture="pictures/p.svg",
        notes=("a note",),
        profile=("a hot spot",),
    )


def test_results_hold_the_median_of_each_ratio() -> None:
    found = msgspec.json.decode(book.document({"a": _part("A", drain_vs_best_peer=(2.0, 9.0, 4.0))}))
    assert found["ratios"] == {"drain_vs_best_peer": 4.0}
    assert found["spread"] == {"drain_vs_best_peer": [2.0, 9.0]}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    parts = {"a": _part("A", idle_p99_ms=(1.0,)), "b": _part("B")}
    book.write(tmp_path / "results.json", parts)
    assert book.read(tmp_path / "results.json") == parts
    assert book.read(tmp_path / "other.json") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_part_replaces_itself_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(program, "_PAGE", tmp_path / "RESULTS.md")
    program.keep("drain", _part("Drain", drain_vs_best_peer=(1.0,)))
    program.keep("pipeline", _part("Pipeline", bulk_vs_copy=(0.5,)))
    program.keep("drain", _part("Drain", drain_vs_best_peer=(6.0,)))
    assert list(book.read(tmp_path / "results.json")) == ["pipeline", "drain"]
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| 3 | 6 | aim reached" in page
    assert "| 0.35 | 0.6 | bar met" in page
    assert page.index("## Pipeline") < page.index("## Drain")


def test_the_page_says_which_bar_was_not_measured_and_shows_what_was() -> None:
    page = markdown({"a": _part("A", idle_p99_ms=(2.0,))})
    assert all(f"`{bar.name}`" in page for bar in BARS)
    assert page.count("not measured yet") == len(BARS) - 1
    for expected in ("- a note", "- a hot spot", "(pictures/p.svg)", "| fluxa | **2.00** |"):
        assert expected in page
    assert "| fluxa | 9.00 | 8.00 | 7.00 | 6.00 | 5.00 | 5 of 10 s |" in page


def test_the_pages_of_this_tree_agree() -> None:
    assert (program.FOLDER / "RESULTS.md").read_text() == markdown(book.read(program.FOLDER / "results.json"))


def test_parts_are_named_alone_or_in_groups() -> None:
    assert program.wanted(["queue", "idle"]) == ["idle", "drain", "backlog", "snapshot"]
    assert program.wanted(["all"]) == list(program.JOBS)
    with pytest.raises(ValueError, match="there is no part speed"):
        program.wanted(["speed"])


def test_the_queue_parts_take_little_more_than_half_an_hour() -> None:
    assert sum(program.JOBS[name].takes_s for name in program.GROUPS["queue"]) <= 35 * 60
