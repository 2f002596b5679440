"""The benchmark's figures: medians, ratios round by round, and verdicts against the bars."""

import pytest

from bench.measure import Measured, percentile, together
from bench.pipeline.contest import PEERS, ratios
from bench.report.figures import Bar, best_of, figure, of_values, ratio

FIGURES = {
    "copy": figure([Measured(100, 1.0), Measured(100, 2.0), Measured(100, 1.0)], "how"),
    "fluxa bulk": figure([Measured(60, 1.0), Measured(60, 2.0), Measured(50, 1.0)], "how"),
    "pgqueuer": figure([Measured(5, 1.0), Measured(5, 2.0), Measured(5, 1.0)], "how"),
    "chancy": figure([Measured(4, 1.0), Measured(4, 2.0), Measured(4, 1.0)], "how"),
    "pgqueuer +group": figure([Measured(50, 1.0), Measured(50, 2.0), Measured(50, 1.0)], "how"),
    "fluxa single": figure([Measured(5, 1.0)] * 3, "how"),
    "static": figure([Measured(10, 1.0)] * 3, "how"),
    "fluxa idle p99": of_values([2.0, 9.0, 4.0], "ms", 300, "how"),
}


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio(FIGURES["fluxa bulk"], FIGURES["copy"]) == (0.6, 0.6, 0.5)


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio(FIGURES["copy"], figure([Measured(1, 1.0)], "how"))


def test_the_best_peer_counts_as_its_documentation_sets_it_up() -> None:
    assert best_of(FIGURES, PEERS) == "pgqueuer"
    assert ratios(FIGURES) == {
        "bulk_vs_copy": (0.6, 0.6, 0.5),
        "bulk_vs_best_peer": (12.0, 12.0, 10.0),
        "single_vs_static": (0.5, 0.5, 0.5),
        "events_idle_p99_ms": (2.0, 9.0, 4.0),
    }


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.2, "**missed**"), (0.35, "bar met"), (0.59, "bar met"), (0.6, "aim reached")]
)
def test_a_bar_is_missed_met_or_its_aim_reached(value: float, verdict: str) -> None:
    assert Bar("b", "m", 0.35, 0.6).verdict(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(11, "**missed**"), (10, "bar met"), (3, "aim reached")])
def test_for_latencies_less_is_more(value: float, verdict: str) -> None:
    assert Bar("b", "m", 10, 3, smaller_is_better=True).verdict(value) == verdict


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.99) == 100
    assert percentile(values, 0.5) == 51
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_slices_of_one_contestant_add_up() -> None:
    one = together([Measured(10, 1.0, {"p50_ms": 2.0}), Measured(30, 3.0, {"p50_ms": 4.0})])
    assert (one.count, one.elapsed_s, one.rate, one.extra) == (40, 4.0, 10.0, {"p50_ms": 3.0})
