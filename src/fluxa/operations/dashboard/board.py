"""The dashboard over a window: moments on an even grid of times, and a line of values each panel draws. Pure."""

import datetime as dt
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.dashboard.moment import Moment, Process, Remark, merged
from fluxa.operations.dashboard.panels import PANELS, Panel, Values

POINTS_MAX = 300
_STEPS_S = (5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_LINES_MAX = 8
_DIGITS = 6
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}
WINDOW_PATTERN = r"^([1-9][0-9]?[mh]|[1-9]d|1[0-4]d)$"
_WINDOW = re.compile(WINDOW_PATTERN)


@dataclass(frozen=True, slots=True)
class Kept:
    """A moment, and up to when it reaches.

    Attributes:
        at_s: seconds since 1970.
        moment: what was kept.
    """

    at_s: float
    moment: Moment


class Line(msgspec.Struct, frozen=True):
    """One line of a panel.

    Attributes:
        name: what it is of; empty where there is but one.
        values: one a time; null where it is not known.
    """

    name: str
    values: list[float | None]


class PanelView(msgspec.Struct, frozen=True, kw_only=True):
    """A panel, drawn.

    Attributes:
        name: what programs call it.
        title: what people read.
        unit: of its values: `/s`, `/min`, `s`, `%`, or empty for a count.
        about: how it is to be read.
        overview: whether its last value stands at the top.
        bad_above: beyond which value somebody should look; null: no value is bad by itself.
        known: whether anything was known of it at the last time.
        sparse: whether a value may be null because nothing happened, as a duration of no requests.
        lines: the highest ones.
        more: how many lines are left out.
    """

    name: str
    title: str
    unit: str
    about: str
    overview: bool
    bad_above: float | None
    known: bool
    sparse: bool
    lines: list[Line]
    more: int


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All panels over a window.

    Attributes:
        at: when it was made.
        window_s: seconds that it covers.
        step_s: seconds between two times; each value is of the seconds before its time.
        recorded_s: seconds since a station last wrote a moment down; null: none ever did.
        times: seconds since 1970.
        panels: in the order in which they are shown.
        processes: who was asked last, and whether they could be read.
        remarks: the routine checks that were not ok then.
    """

    at: dt.datetime
    window_s: int
    step_s: int
    recorded_s: float | None
    times: list[int]
    panels: list[PanelView]
    processes: list[Process]
    remarks: list[Remark]


def window_of(text: str) -> int:
    """The seconds of a window that somebody names: `15m`, `6h`, `2d`.

    Raises:
        FluxaError: `InvalidRequest` for what is none, or longer than is kept.
    """
    if _WINDOW.fullmatch(text) is None:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST,
            "A window is minutes, hours or days: 1m to 99m, 1h to 99h, 1d to 14d.",
            pointer="/window",
        )
    return int(text[:-1]) * _UNITS_S[text[-1]]


def step_of(window_s: int, least_s: float) -> int:
    """Seconds between two points: as few as are kept, and no more points than one can see."""
    return next((step for step in _STEPS_S if step >= least_s and window_s / step <= POINTS_MAX), _STEPS_S[-1])


def board(kept: Sequence[Kept], *, now: dt.datetime, window_s: int, least_s: float) -> Board:
    """The panels.

    Args:
        kept: moments of the window, in their order.
        now: where the window ends.
        window_s: its seconds.
        least_s: seconds between two moments that are kept.
    """
    now_s, step_s = now.timestamp(), step_of(window_s, least_s)
    end = math.floor(now_s / step_s) * step_s
    # The last time is the one that is not over yet: what was just written down is to be seen.
    times = list(range(end - (window_s // step_s - 1) * step_s + step_s, end + step_s + 1, step_s))
    slots = _slots(kept, times, step_s)
    latest = kept[-1] if kept else None
    return Board(
        at=now,
        window_s=window_s,
        step_s=step_s,
        recorded_s=None if latest is None else max(0.0, round(now_s - latest.at_s, 1)),
        times=times,
        panels=[_drawn(panel, slots) for panel in PANELS],
        processes=[] if latest is None else latest.moment.processes,
        remarks=[] if latest is None else latest.moment.remarks,
    )


def _slots(kept: Sequence[Kept], times: Sequence[int], step_s: int) -> list[Moment | None]:
    """The moment of each time: all that ended in the step before it; else one that reaches over its middle."""
    inside: dict[int, list[Moment]] = defaultdict(list)
    for one in kept:
        inside[math.ceil(one.at_s / step_s) * step_s].append(one.moment)
    slots: list[Moment | None] = []
    following = 0
    for time in times:
        if found := inside.get(time):
            slots.append(merged(found))
            continue
        middle = time - step_s / 2
        while following < len(kept) and kept[following].at_s < middle:
            following += 1
        reaching = kept[following] if following < len(kept) else None
        covered = reaching is not None and reaching.at_s - reaching.moment.over_s <= middle
        slots.append(reaching.moment if reaching is not None and covered else None)
    return slots


def _drawn(panel: Panel, slots: Sequence[Moment | None]) -> PanelView:
    drawn = [None if slot is None else panel.draw(slot) for slot in slots]
    names = list(dict.fromkeys(name for values in drawn if values is not None for name in values))
    lines = [Line(name, [_value(values, name, panel.rest) for values in drawn]) for name in names]
    shown = sorted(lines, key=_height, reverse=True)[:_LINES_MAX] if len(lines) > _LINES_MAX else lines
    return PanelView(
        name=panel.name,
        title=panel.title,
        unit=panel.unit,
        about=panel.about,
        overview=panel.overview,
        bad_above=panel.bad_above,
        known=any(values is not None for values in drawn[-2:]),
        sparse=panel.sparse,
        lines=shown,
        more=len(lines) - len(shown),
    )


def _height(line: Line) -> float:
    return max((value for value in line.values if value is not None), default=-math.inf)


def _value(values: Values | None, name: str, rest: float | None) -> float | None:
    if values is None:
        return None
    value = values.get(name, rest)
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def last_of(view: PanelView) -> Mapping[str, float | None]:
    """The last value of each line: of the last two times, since the step under way may have none yet."""
    return {
        line.name: next((one for one in reversed(line.values[-2:]) if one is not None), None) for line in view.lines
    }
