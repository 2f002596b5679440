"""Draws rates as bars and as curves over time."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from bench.report.figures import Curve, Figure

mpl.use("Agg")
from matplotlib import pyplot as plt

_OURS, _CEILING, _PEER = "#0f766e", "#94a3b8", "#c2410c"
_PEERS = ("#c2410c", "#b45309", "#7c3aed", "#475569", "#be185d")
_CEILINGS = frozenset({"copy", "claim_insert_delete"})


def bars(figures: Mapping[str, Figure], file: Path, *, unit: str = "events/s", label: str) -> None:
    """Bars of all rates of that unit, on a logarithmic scale, with their spread."""
    names = [name for name, one in figures.items() if one.unit == unit]
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
    axes.set_xlabel(f"{label} (median, min and max of the rounds; logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    picture.savefig(file)
    plt.close(picture)


def curves(found: Mapping[str, Curve], file: Path, *, label: str) -> None:
    """Rates over time, on a logarithmic scale: what falls to a tenth is seen as falling."""
    picture, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    peers = iter(_PEERS)
    for name, curve in found.items():
        ours = name.startswith("fluxa")
        times = [(place + 1) * curve.window_s for place in range(len(curve.rates))]
        axes.plot(
            times,
            [max(rate, 1.0) for rate in curve.rates],
            label=name,
            color=_OURS if ours else next(peers, _CEILING),
            linewidth=2 if ours else 1.4,
            linestyle="--" if ours and "envelopes of one" not in name else "-",
        )
    axes.set_yscale("log")
    axes.set_xlabel("seconds")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    picture.savefig(file)
    plt.close(picture)


def _colour(name: str) -> str:
    if name.startswith("fluxa"):
        return _OURS
    return _CEILING if name in _CEILINGS else _PEER
