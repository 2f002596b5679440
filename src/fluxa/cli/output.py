"""How results are printed: tables for people, JSON for programs. Not: errors."""

import datetime as dt
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fluxa.apps import settings
from fluxa.cli.errors import stderr
from fluxa.kernel import json

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
"""The option that every command has which prints data."""

_PIPE_WIDTH = 500


def stdout() -> Console:
    """Where results go that are meant for people."""
    # In a pipe nobody sees a window's edge, and an id that is folded at one cannot be searched for.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def print_json(value: object) -> None:
    """One JSON value on one line of standard output."""
    sys.stdout.write(json.text(value) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table for people; `empty` is said instead of a table without rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    if table.row_count:
        stdout().print(table)
    else:
        stderr().print(empty)


def print_list(
    found: Iterable[T],
    columns: Sequence[str],
    row: Callable[[T], Sequence[object]],
    *,
    empty: str,
    as_json: bool,
    facts: Callable[[T], object] | None = None,
) -> None:
    """What was found: for programs one JSON value a line, for people a table.

    Args:
        found: what there is to show.
        columns: of the table.
        row: its cells for one.
        empty: said instead of a table without rows.
        as_json: whether it is for programs.
        facts: what programs are told of one; itself, if not given.
    """
    if as_json:
        for one in found:
            print_json(one if facts is None else facts(one))
        return
    print_table(columns, (row(one) for one in found), empty=empty)


def moment(value: dt.datetime | None) -> str:
    """A time for people, in UTC to the second; empty for none."""
    return "" if value is None else value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def effective(context: typer.Context, **options: object) -> settings.Effective:
    """The settings in force for a command: its own options over `--set` over the rest.

    Raises:
        FluxaError: `Configuration`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return settings.load({**(context.find_root().obj or {}), **given})


def unasked(context: typer.Context) -> settings.Effective:
    """The same for a command that looks at settings: the secret manager is not asked, and what it holds is not set.

    Raises:
        FluxaError: `Configuration`.
    """
    return settings.load(context.find_root().obj or {}, managed=False)
