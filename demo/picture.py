"""Draws how the run went: as a picture for a browser, and in characters for the terminal."""

from pathlib import Path

import matplotlib as mpl
import plotext

from demo.audit import Course

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

RECEIVED, STORED, MARK = "#0284c7", "#0f766e", "#be123c"
CHART_COLOURS = ("blue", "green")
"""In the terminal: what was received, what was stored."""

_COLUMNS, _ROWS = 96, 15
_WHITE_BACKGROUND = "\x1b[48;5;15m"
_QUANTILES = (("p99", "#a7dcd6", 5.0), ("p95", "#2fa39a", 1.8), ("p50", "#0b4f4a", 1.8))


def draw(course: Course, marks: dict[str, float], file: Path) -> None:
    """Flow above, latency below, what was done to the system as vertical lines.

    Args:
        course: second by second.
        marks: what happened, to seconds from the start.
        file: where to; its ending names the format.
    """
    picture, (above, below) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, layout="constrained")
    seconds = sorted(course.flow)
    received = [course.flow[second][0] for second in seconds]
    stored = [course.flow[second][1] for second in seconds]
    above.fill_between(seconds, received, color=RECEIVED, alpha=0.18, step="mid", linewidth=0)
    above.step(seconds, received, color=RECEIVED, where="mid", linewidth=1.4, label="received")
    above.step(seconds, stored, color=STORED, where="mid", linewidth=2, label="stored")
    above.set_ylabel("events a second")
    above.yaxis.set_major_formatter(EngFormatter(sep=""))
    above.set_ylim(bottom=0)
    above.set_title("What came through the door, and what was stored", loc="left", fontsize=11, weight="bold")
    arrivals = sorted(course.latency)
    for place, (name, colour, width) in enumerate(_QUANTILES):
        values = [max(0.001, course.latency[second][2 - place]) for second in arrivals]
        below.plot(arrivals, values, color=colour, linewidth=width, label=name)
    below.set_yscale("log")
    below.set_ylabel("seconds")
    below.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    below.yaxis.set_minor_formatter(NullFormatter())
    below.set_xlabel("seconds since the first event")
    below.set_title("From the door to the table, by second of arrival", loc="left", fontsize=11, weight="bold")
    for axes in (above, below):
        _finish(axes, marks, named=axes is above)
    picture.savefig(file, dpi=120)
    plt.close(picture)


def _finish(axes: Axes, marks: dict[str, float], *, named: bool) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    for what, second in marks.items():
        axes.axvline(second, color=MARK, linestyle=(0, (4, 3)), linewidth=1)
        if named:
            axes.annotate(
                what,
                (second, 1),
                xycoords=("data", "axes fraction"),
                xytext=(5, -4),
                textcoords="offset points",
                color=MARK,
                fontsize=9,
                va="top",
            )
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower right", bbox_to_anchor=(1, 1.0), borderaxespad=0.2)


def in_characters(course: Course, marks: dict[str, float]) -> str:
    """The flow as ANSI text, as wide as plotext takes the terminal to be."""
    figure = plotext.figure
    figure.clear()
    figure.theme("simple")
    figure.plot_size(_COLUMNS, _ROWS)
    seconds = sorted(course.flow)
    for place, colour in enumerate(CHART_COLOURS):
        values = [course.flow[second][place] for second in seconds]
        marker = plotext.marker("braille", plotext.pixel(colour))
        figure.draw(figure.signal(seconds, values, marker=marker).lines())
    for second in marks.values():
        figure.line(second, orientation=1, pixel=plotext.pixel("red"), style="dotted")
    figure.ruler("x").lim(seconds[0], seconds[-1])
    moments = [float(second) for second in seconds[:: max(1, len(seconds) // 8)]]
    figure.ruler("x").ticks(moments, [f"{moment:g}" for moment in moments])
    highest = max(max(pair) for pair in course.flow.values())
    steps = _steps(highest)
    figure.ruler("y").lim(0, highest * 1.05)
    figure.legend(active=False)
    figure.ruler("y").ticks(steps, [f"{step / 1000:g}k" for step in steps])
    figure.label("seconds since the first event")
    return str(figure.build()).replace(_WHITE_BACKGROUND, "")


def _steps(highest: float) -> list[float]:
    """Round numbers from 0 to the highest value, four or five of them."""
    step = next(size for size in (100, 250, 500, 1000, 2000, 2500, 5000, 10_000, 20_000, 50_000) if highest / size < 5)  # noqa: PLR2004
    return [float(step * place) for place in range(int(highest / step) + 1)]
