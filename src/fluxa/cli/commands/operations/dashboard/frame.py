"""One picture of `fluxa dashboard`: a line, its last and its highest value each. Pure: the board is given."""

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fluxa.operations.dashboard.board import Board, Line, PanelView, last_of

_BARS = "▁▂▃▄▅▆▇█"
_UNKNOWN = "UNKNOWN"
_NOTHING = "-"
_STALE_S = 60.0
_LINES = 5
_FEW = 4
_SPARK_MAX, _SPARK_MIN = 60, 12
_BESIDE = 66
"""Columns that a line takes besides its picture."""


def frame(board: Board, *, width: int = 160) -> Group:
    """The picture.

    Args:
        board: what to show.
        width: columns of the terminal.
    """
    return Group(*_head(board), _table(board, width), *_remarks(board))


def _head(board: Board) -> Iterator[Text]:
    yield (
        Text()
        .append("fluxa dashboard  ", style="bold")
        .append(f"{board.at:%Y-%m-%d %H:%M:%SZ}", style="dim")
        .append(f"  the last {_span(board.window_s)}, a column at least {_span(board.step_s)}", style="dim")
    )
    if board.recorded_s is None:
        yield Text(
            "There is no history yet. A station writes it (fluxa up has one), with dashboard_period_s above 0: "
            "the first values come within seconds of its start.",
            style="yellow",
        )
    elif board.recorded_s > _STALE_S:
        yield Text(
            f"Nothing was written down for {_span(board.recorded_s)}: what goes on is not known. Is there a station?",
            style="bold red",
        )
    for one in board.processes:
        if one.reason:
            yield Text(f"✗ {one.service or 'a process'} was not read: {one.target}: {one.reason}", style="bold red")
    yield Text()


def _table(board: Board, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("panel", no_wrap=True)
    table.add_column("line", no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column("last", justify="right", no_wrap=True)
    table.add_column("highest", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    columns = max(_SPARK_MIN, min(_SPARK_MAX, width - _BESIDE))
    for panel in board.panels:
        for place, row in enumerate(_rows(panel, columns)):
            table.add_row(Text(panel.title, style="cyan") if not place else "", *row)
    return table


def _rows(panel: PanelView, columns: int) -> Iterator[tuple[Text | str, ...]]:
    if not panel.lines:
        yield "", _lacking(panel), "", ""
    last = last_of(panel)
    lines, more, idle = _told(panel)
    for line in lines[:_LINES]:
        known = [value for value in line.values if value is not None]
        now = last[line.name]
        shown = _lacking(panel) if now is None else Text(amount(now, panel.unit), style=_style(panel, now))
        highest = amount(max(known), panel.unit) if known else ""
        yield escape(line.name) or "all", shown, highest, spark(_squeezed(line, columns))
    if more := more + len(lines[_LINES:]):
        yield Text(f"and {more} more", style="dim"), "", "", ""
    if idle:
        yield Text(f"and {idle} more, all 0", style="dim"), "", "", ""


def _told(panel: PanelView) -> tuple[Sequence[Line], int, int]:
    """The lines that say something, how many more may, and how many do not; where there are few, all."""
    if len(panel.lines) <= _FEW:
        return panel.lines, panel.more, 0
    told = [line for line in panel.lines if any(line.values)] or panel.lines[:1]
    if len(told) == len(panel.lines):
        return told, panel.more, 0
    return told, 0, len(panel.lines) - len(told) + panel.more  # the highest are shown: what is left out is not higher


def _style(panel: PanelView, value: float) -> str:
    return "bold red" if panel.bad_above is not None and value > panel.bad_above else ""


def _lacking(panel: PanelView) -> Text:
    if panel.known and (panel.sparse or not panel.lines):
        return Text(_NOTHING, style="dim")
    return Text(_UNKNOWN, style="bold magenta")


def _remarks(board: Board) -> Iterator[Text]:
    for one in board.remarks:
        yield Text(f"\n{one.check} is {one.verdict}: {one.said} {one.action}", style="yellow")


def _squeezed(line: Line, columns: int) -> list[float | None]:
    """As many values as there are columns: of those that share one, the highest that is known."""
    size = max(1, -(-len(line.values) // columns))
    parts = [line.values[start : start + size] for start in range(0, len(line.values), size)]
    return [max((value for value in part if value is not None), default=None) for part in parts]


def spark(values: Sequence[float | None]) -> Text:
    """A line of bars, from nothing to the highest; what is not known is a gap."""
    top = max((value for value in values if value is not None), default=0.0)
    text = Text(style="cyan")
    for value in values:
        text.append(" " if value is None else _BARS[round(value / top * (len(_BARS) - 1)) if top > 0 else 0])
    return text


def amount(value: float, unit: str) -> str:
    """A value with its unit, as short as it can be read."""
    match unit:
        case "s":
            return _span(value)
        case "":
            return _short(value)
        case _:
            return f"{_short(value)} {unit}"


def _short(value: float) -> str:
    for least, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= least:
            return f"{value / least * (10 if letter == 'k' else 1):.3g}{letter}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004 - three digits


def _span(seconds: float) -> str:
    if not seconds:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for least, size, unit in ((172800, 86400, "d"), (7200, 3600, "h"), (120, 60, "min")):
        if seconds >= least:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
