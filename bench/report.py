"""Turns measurements into medians, ratios and text. Pure: no clock, no files, no database."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from bench.measure import Measured


class Figure(msgspec.Struct, frozen=True):
    """What was measured in the rounds of one contestant.

    Attributes:
        median: the middle round.
        low: the least.
        high: the most.
        unit: of all three.
        count: events, requests or samples in each round.
        settings: how it was set up.
        rounds: each round's value, in order.
    """

    median: float
    low: float
    high: float
    unit: str
    count: int
    settings: str
    rounds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the design: what must be reached, and what should be."""

    name: str
    meaning: str
    least: float
    aim: float
    smaller_is_better: bool = False

    def verdict(self, value: float) -> str:
        """How a value stands to the bar."""
        sign = -1 if self.smaller_is_better else 1
        if sign * value >= sign * self.aim:
            return "aim reached"
        return "bar met" if sign * value >= sign * self.least else "**missed**"


BARS = (
    Bar("bulk_vs_copy", "Fluxa over HTTP, end to end, against `COPY` of the same rows", 0.35, 0.6),
    Bar("bulk_vs_best_peer", "the same against the best Python queue on Postgres", 5, 10),
    Bar("single_vs_static", "one event a request, durable, against a static answer of the same server", 0.4, 0.7),
    Bar("idle_p99_ms", "enqueue to handler start on an idle stack, 99th percentile, ms", 10, 3, smaller_is_better=True),
)
"""The bars this benchmark answers."""

PEERS = ("pgqueuer", "procrastinate", "chancy")


def figure(measured: Sequence[Measured], settings: str, unit: str = "events/s") -> Figure:
    """The rates of several rounds.

    Raises:
        statistics.StatisticsError: if there are none.
    """
    return of_values([one.rate for one in measured], unit, measured[0].count, settings)


def of_values(values: Sequence[float], unit: str, count: int, settings: str) -> Figure:
    """Any values of several rounds."""
    return Figure(statistics.median(values), min(values), max(values), unit, count, settings, tuple(values))


def best_peer(figures: Mapping[str, Figure]) -> str:
    """The peer with the highest median.

    Raises:
        ValueError: if no peer was measured.
    """
    return max((name for name in PEERS if name in figures), key=lambda name: figures[name].median)


def ratio(upper: Figure, lower: Figure) -> tuple[float, ...]:
    """Round by round: what shared a round shared the machine's mood."""
    return tuple(over / under for over, under in zip(upper.rounds, lower.rounds, strict=True))


def ratios(figures: Mapping[str, Figure]) -> dict[str, tuple[float, ...]]:
    """The bars' values in each round, by name."""
    return {
        "bulk_vs_copy": ratio(figures["fluxa bulk"], figures["copy"]),
        "bulk_vs_best_peer": ratio(figures["fluxa bulk"], figures[best_peer(figures)]),
        "single_vs_static": ratio(figures["fluxa single"], figures["static"]),
        "idle_p99_ms": figures["fluxa idle p99"].rounds,
    }


def _amount(value: float) -> str:
    if value >= 100:  # noqa: PLR2004 - three digits say enough
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.2f}"


def markdown(
    figures: Mapping[str, Figure],
    conditions: Mapping[str, str],
    notes: Sequence[str],
    profile: Sequence[str],
    *,
    chart: str,
) -> str:
    """The page with conditions, bars, figures, what was not like for like, and where the time goes."""
    found = ratios(figures)
    lines = [
        "# Benchmark",
        "",
        "Made by `make bench`: one run, one Postgres, every contestant in every round, each on a fresh database.",
        "Ratios are taken round by round, because the machine's speed drifts; the median of them counts.",
        "",
        f"![Rates of all contestants]({chart})",
        "",
        "## Bars",
        "",
        "| bar | value | spread | at least | aim | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for bar in BARS:
        values = found[bar.name]
        middle = statistics.median(values)
        lines.append(
            f"| `{bar.name}`: {bar.meaning} | **{middle:.3g}** | {min(values):.3g} – {max(values):.3g} "
            f"| {bar.least:g} | {bar.aim:g} | {bar.verdict(middle)} |"
        )
    lines += ["", f"The best peer was {best_peer(figures)}.", "", "## Figures", ""]
    lines += ["| contestant | median | min – max | unit | a round | how |", "|---|---:|---:|---|---:|---|"]
    lines += [
        f"| {name} | **{_amount(one.median)}** | {_amount(one.low)} – {_amount(one.high)} | {one.unit} "
        f"| {_amount(one.count)} | {one.settings} |"
        for name, one in figures.items()
    ]
    lines += ["", "## Conditions", ""]
    lines += [f"- {name}: {value}" for name, value in conditions.items()]
    lines += ["", "## Not like for like", ""]
    lines += [f"- {note}" for note in notes]
    lines += ["", "## Where the time goes", ""]
    lines += [f"- {found}" for found in profile]
    return "\n".join(lines) + "\n"


def document(figures: Mapping[str, Figure], conditions: Mapping[str, str]) -> bytes:
    """The machine-readable results: `ratios` by the bars' names, medians of the rounds."""
    found = ratios(figures)
    content = {
        "ratios": {name: round(statistics.median(values), 4) for name, values in found.items()},
        "spread": {name: [round(min(values), 4), round(max(values), 4)] for name, values in found.items()},
        "conditions": dict(conditions),
        "figures": dict(figures),
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
