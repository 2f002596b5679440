"""What the demonstration shows in the terminal, legible in 100 columns; also kept as a picture of the real output."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from demo.ledger import Check

WIDTH = 100
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Bars:
    """Two bars that move: acknowledged by the door, stored by the processors."""

    def __init__(self, progress: Progress, events: int) -> None:
        self._progress = progress
        self._sent = progress.add_task("sent and answered", total=events)
        self._stored = progress.add_task("stored or parked", total=events)

    def sent(self, lines: int) -> None:
        """So many more lines were answered."""
        self._progress.advance(self._sent, lines)

    def stored(self, events: int) -> None:
        """So many events are stored by now."""
        self._progress.update(self._stored, completed=events)

    def resize(self, sent: int, stored: int) -> None:
        """What is to come is known better now."""
        self._progress.update(self._sent, total=sent)
        self._progress.update(self._stored, total=stored)

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text)


class Screen:
    """The terminal."""

    def __init__(self) -> None:
        terminal = Console()
        width = min(WIDTH, terminal.width) if terminal.is_terminal else WIDTH
        self.console = Console(width=width, highlight=False, record=True)

    def chapter(self, title: str) -> None:
        """A heading."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left", style="cyan")

    def step(self, text: str) -> None:
        """Something that was done."""
        self.console.print(f"[green]●[/] {text}")

    @contextlib.contextmanager
    def bars(self, events: int) -> Iterator[Bars]:
        """Show progress while the block runs."""
        progress = Progress(
            TextColumn("  {task.description:<18}"),
            BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            expand=True,
        )
        with progress:
            yield Bars(progress, events)

    def figures(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values in two columns."""
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(style="bold")
        for name, value in rows:
            table.add_row(name, value)
        self.console.print(table)

    def checks(self, checks: Sequence[Check]) -> None:
        """What the sender's book says against what the database says."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("")
        table.add_column("claim")
        table.add_column("the sender's book", justify="right", overflow="fold")
        table.add_column("found by query", justify="right", overflow="fold")
        for check in checks:
            mark = "[green]✔[/]" if check.holds else "[bold red]✘[/]"
            table.add_row(mark, check.claim, check.expected, check.found if check.holds else f"[red]{check.found}[/]")
        self.console.print(table)

    def ansi(self, text: str) -> None:
        """Text that brings its own colours."""
        self.console.print(Text.from_ansi(text.rstrip("\n")))

    def verdict(self, *, good: bool, text: str) -> None:
        """The last word."""
        self.console.print()
        self.console.print(Panel(Group(text), border_style="green" if good else "red", padding=(0, 2)))

    def save(self, file: Path) -> None:
        """Keep everything shown so far as a picture, which loads no fonts from elsewhere."""
        svg = self.console.export_svg(title="make demo", theme=DIMMED_MONOKAI, clear=False)
        file.write_text(_FONT_FACE.sub("", svg), "utf-8")
