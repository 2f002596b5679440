"""The dashboard's picture in a terminal: gaps stay gaps, what is not known is UNKNOWN, many lines are few (OBS-4)."""

import datetime as dt
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fluxa.cli.commands.operations.dashboard.frame import amount, frame, spark
from fluxa.operations.dashboard.board import Board, Line, PanelView
from fluxa.operations.dashboard.moment import Process, Remark

pytestmark = pytest.mark.req("OBS-4")


def _panel(*lines: Line, known: bool = True, sparse: bool = False, more: int = 0, unit: str = "/s") -> PanelView:
    return PanelView(
        name="p",
        title="Panel",
        unit=unit,
        about="",
        overview=False,
        bad_above=5,
        known=known,
        sparse=sparse,
        lines=list(lines),
        more=more,
    )


def _shown(*panels: PanelView, width: int = 120, recorded_s: float | None = 3.0, **more: object) -> str:
    given_ = {"processes": [], "remarks": [], **more}
    board = Board(
        at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        window_s=3600,
        step_s=15,
        recorded_s=recorded_s,
        times=[1, 2, 3],
        panels=list(panels),
        **given_,  # type: ignore[arg-type]
    )
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(frame(board, width=width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_gap_in_a_line_is_a_gap_in_its_picture() -> None:
    assert spark([0.0, None, 4.0]).plain == "▁ █"


def test_what_is_not_known_is_told_from_what_did_not_happen() -> None:
    assert "UNKNOWN" in _shown(_panel(Line("a", [1.0, None, None]), known=False))
    assert "UNKNOWN" in _shown(_panel(known=False))
    assert "UNKNOWN" not in _shown(_panel(Line("a", [1.0, None, None]), sparse=True))
    assert "UNKNOWN" not in _shown(_panel(known=True))


def test_lines_that_are_zero_are_counted_and_not_shown() -> None:
    idle = [Line(f"q{number}", [0.0, 0.0, 0.0]) for number in range(6)]
    text = _shown(_panel(Line("busy", [0.0, 1.0, 2.0]), *idle, more=3))
    assert "busy" in text
    assert "q0" not in text
    assert "and 9 more, all 0" in text


def test_who_was_not_read_and_what_is_not_ok_stand_there() -> None:
    text = _shown(
        processes=[Process("http://h:1/metrics", "ingest", "no answer (ConnectError)")],
        remarks=[Remark("targets", "failed", "gone", "Start it.")],
    )
    assert "ingest was not read: http://h:1/metrics: no answer (ConnectError)" in text
    assert "targets is failed: gone Start it." in text
    assert "Is there a station?" in _shown(recorded_s=300.0)
    assert "There is no history yet" in _shown(recorded_s=None)


def test_a_name_of_a_queue_is_no_markup() -> None:
    assert "[bold]q[/]" in _shown(_panel(Line("[bold]q[/]", [1.0])))


@given(st.floats(0, 1e12), st.sampled_from(["", "s", "/s", "%", "/min"]))
def test_amounts_are_short(value: float, unit: str) -> None:
    assert 1 <= len(amount(value, unit)) <= 14


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=400), st.integers(60, 200))
def test_a_picture_fits_any_width(values: list[float | None], width: int) -> None:
    for line in _shown(_panel(Line("a" * 40, values)), width=width).splitlines()[2:]:
        assert len(line) <= width
