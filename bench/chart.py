"""Draws the rates as one picture."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from bench.report import Figure

mpl.use("Agg")
from matplotlib import pyplot as plt

_OURS, _CEILING, _PEER = "#0f766e", "#94a3b8", "#c2410c"


def draw(figures: Mapping[str, Figure], file: Path) -> None:
    """Bars of all end-to-end rates, on a logarithmic scale, with their spread."""
    names = [name for name, one in figures.items() if one.unit == "events/s"]
    names.sort(key=lambda name: figures[name].median)
    medians = [figures[name].median for name in names]
    spread = [
        [figures[name].median - figures[name].low for name in names],
        [figures[name].high - figures[name].median for name in names],
    ]
    picture, axes = plt.subplots(figsize=(9, 0.5 * len(names) + 1.2), layout="constrained")
    axes.barh(names, medians, xerr=spread, color=[_colour(name) for name in names], height=0.62, capsize=3)
    for place, value in enumerate(medians):
        axes.annotate(
            f"{value:,.0f}".replace(",", "\u2009"),
            (value, place),
            xytext=(10, 8),
            textcoords="offset points",
            fontsize=8,
            va="center",
            color="#475569",
        )
    axes.set_xscale("log")
    axes.set_xlim(left=min(medians) / 2, right=max(medians) * 3)
    axes.set_xlabel("events stored a second (median, min and max of the rounds; logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    picture.savefig(file)
    plt.close(picture)


def _colour(name: str) -> str:
    if name.startswith("fluxa"):
        return _OURS
    return _CEILING if name in {"copy", "claim_insert_delete", "static", "static bare"} else _PEER
