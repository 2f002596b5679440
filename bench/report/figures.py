"""Turns measurements into medians and ratios, and holds them to the bars. Pure: no clock, no files, no database."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
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


class Curve(msgspec.Struct, frozen=True):
    """A rate over time.

    Attributes:
        window_s: seconds of each window.
        rates: work a second in each window, in order.
    """

    window_s: float
    rates: tuple[float, ...]


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
    Bar(
        "single_vs_before", "one event a request, against the commit before identity, tenants and telemetry", 0.87, 1.0
    ),
    Bar("single_cpu_vs_before", "the same: CPU of the ingest process for a request", 1.15, 1.0, True),
    Bar("events_idle_p99_ms", "an event's way to the processor on an idle stack, 99th percentile, ms", 10, 3, True),
    Bar("drain_vs_best_peer", "records drained from a full queue by handlers that do nothing, against a peer", 3, 6),
    Bar("backlog_10m_vs_empty", "records handled with 10 million others waiting, against a short queue", 0.9, 1.0),
    Bar(
        "held_snapshot_vs_start",
        "records handled after ten minutes under a held snapshot, against a new queue",
        0.8,
        0.95,
    ),
    Bar("idle_p99_ms", "enqueue to handler start on an idle queue, 99th percentile, ms", 10, 3, True),
)
"""The bars this benchmark answers."""


def figure(measured: Sequence[Measured], settings: str, unit: str = "events/s") -> Figure:
    """The rates of several rounds.

    Raises:
        statistics.StatisticsError: if there are none.
    """
    return of_values([one.rate for one in measured], unit, measured[0].count, settings)


def of_values(values: Sequence[float], unit: str, count: int, settings: str) -> Figure:
    """Any values of several rounds."""
    return Figure(statistics.median(values), min(values), max(values), unit, count, settings, tuple(values))


def best_of(figures: Mapping[str, Figure], names: Iterable[str]) -> str:
    """The contestant with the highest median.

    Raises:
        ValueError: if none of them was measured.
    """
    return max((name for name in names if name in figures), key=lambda name: figures[name].median)


def ratio(upper: Figure, lower: Figure) -> tuple[float, ...]:
    """Round by round: what shared a round shared the machine's mood."""
    return tuple(over / under for over, under in zip(upper.rounds, lower.rounds, strict=True))
