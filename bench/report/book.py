"""The file of results: one entry for each part of the benchmark, replaced when that part is measured again."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.report.figures import Curve, Figure


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one part of the benchmark found.

    Attributes:
        title: of its section.
        said: sentences below the title: what was measured and how.
        conditions: of the machine while it ran, by name.
        ratios: the values of its bars, one for each round.
        figures: by contestant, in the order of the table.
        curves: by contestant.
        picture: its file, seen from the page; empty if there is none.
        notes: what was not like for like, and what was left out.
        profile: where the time goes.
    """

    title: str
    said: tuple[str, ...] = ()
    conditions: dict[str, str]
    ratios: dict[str, tuple[float, ...]]
    figures: dict[str, Figure]
    curves: dict[str, Curve] = {}
    picture: str = ""
    notes: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()


class _Book(msgspec.Struct):
    parts: dict[str, Part] = {}


def read(file: Path) -> dict[str, Part]:
    """The parts measured so far, by name; none if there is no file."""
    if not file.exists():
        return {}
    return msgspec.json.decode(file.read_bytes(), type=_Book).parts


def write(file: Path, parts: Mapping[str, Part]) -> None:
    """Put all parts into the file at once: an interrupted run leaves the old one."""
    beside = file.with_suffix(".new")
    beside.write_bytes(document(parts))
    beside.replace(file)


def ratios(parts: Mapping[str, Part]) -> dict[str, tuple[float, ...]]:
    """Every bar's values that any part found."""
    return {name: values for part in parts.values() for name, values in part.ratios.items()}


def document(parts: Mapping[str, Part]) -> bytes:
    """The machine-readable results: `ratios` by the bars' names, medians of the rounds."""
    found = ratios(parts)
    content = {
        "ratios": {name: round(statistics.median(values), 4) for name, values in found.items()},
        "spread": {name: [round(min(values), 4), round(max(values), 4)] for name, values in found.items()},
        "parts": dict(parts),
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
