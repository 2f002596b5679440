"""Writes the page of results from the parts that were measured. Pure: parts in, text out."""

import statistics
from collections.abc import Mapping, Sequence

from bench.report.book import Part, ratios
from bench.report.figures import BARS, Curve, Figure

_OPENING = (
    "# Benchmark",
    "",
    'Made by `make bench`. `make bench ARGS="--list"` tells its parts and how long each takes; a part that is measured',
    "again replaces its section here.",
    "",
    "How to read it: within a part all contestants share one Postgres and take turns, each on a fresh database.",
    "**Only ratios count**: they are taken round by round, because the machine's speed drifts, and the median of the",
    "rounds stands in the table. Rates of different parts were not taken in the same minute.",
)


def markdown(parts: Mapping[str, Part]) -> str:
    """The page: the bars, then each part with its figures, conditions and what was not like for like."""
    lines = [*_OPENING, "", "## Bars", "", *_bars(parts)]
    for part in parts.values():
        lines += ["", *_section(part)]
    return "\n".join(lines) + "\n"


def amount(value: float) -> str:
    """A number as people read it: three digits say enough."""
    if value >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.2f}"


def _bars(parts: Mapping[str, Part]) -> list[str]:
    found = ratios(parts)
    lines = ["| bar | value | spread | at least | aim | |", "|---|---:|---:|---:|---:|---|"]
    for bar in BARS:
        values = found.get(bar.name)
        if values is None:
            lines.append(f"| `{bar.name}`: {bar.meaning} | | | {bar.least:g} | {bar.aim:g} | not measured yet |")
            continue
        middle = statistics.median(values)
        lines.append(
            f"| `{bar.name}`: {bar.meaning} | **{middle:.3g}** | {min(values):.3g} – {max(values):.3g} "
            f"| {bar.least:g} | {bar.aim:g} | {bar.verdict(middle)} |"
        )
    return lines


def _section(part: Part) -> list[str]:
    lines = [f"## {part.title}", "", *part.said]
    if part.picture:
        lines += ["", f"![{part.title}]({part.picture})"]
    lines += ["", *_figures(part.figures)]
    if part.curves:
        lines += ["", *_curves(part.curves)]
    lines += ["", "Conditions:", "", *(f"- {name}: {value}" for name, value in part.conditions.items())]
    for heading, sentences in (("Not like for like:", part.notes), ("Where the time goes:", part.profile)):
        lines += _list(heading, sentences)
    return lines


def _list(heading: str, sentences: Sequence[str]) -> list[str]:
    return ["", heading, "", *(f"- {one}" for one in sentences)] if sentences else []


def _figures(figures: Mapping[str, Figure]) -> list[str]:
    lines = ["| contestant | median | min – max | unit | a round | how |", "|---|---:|---:|---|---:|---|"]
    lines += [
        f"| {name} | **{amount(one.median)}** | {amount(one.low)} – {amount(one.high)} | {one.unit} "
        f"| {amount(one.count)} | {one.settings} |"
        for name, one in figures.items()
    ]
    return lines


def _curves(curves: Mapping[str, Curve]) -> list[str]:
    """First, middle and last windows as numbers; the picture has them all."""
    lines = ["| curve | first window | after a quarter | half | three quarters | last window | windows |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|")
    for name, curve in curves.items():
        last = len(curve.rates) - 1
        told = (curve.rates[round(last * share)] for share in (0, 0.25, 0.5, 0.75, 1))
        lines.append(
            f"| {name} | {' | '.join(amount(one) for one in told)} | {len(curve.rates)} of {curve.window_s:g} s |"
        )
    return lines
