"""How all tables and texts stand on the page."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 150
"""Columns from which a table shows absolute values beside the ratios."""

WIDEST = 1000
"""Columns that no table reaches."""

NARROWEST = 80
"""Columns that a table is made for at least: a narrower terminal folds the lines, no number is cut."""

COMMAND = "  autoprune "
"""Begins a line that is copied: folded, its first row alone would be a command, too, and another one."""


def terminal() -> Console:
    """Standard output."""
    console = Console()
    return console if console.width >= NARROWEST else Console(width=NARROWEST)


def say(console: Console, text: str, *, style: str = "") -> None:
    """Prints lines of text; what does not fit goes on below, further in than its line began. Commands stay whole."""
    for line in text.splitlines() or [""]:
        for row in [line] if line.startswith(COMMAND) else _folded(line, console.width):
            console.print(row, style=style or None, markup=False, highlight=False, soft_wrap=True)


def _folded(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    rows = textwrap.wrap(
        line.strip(),
        width=width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return rows or [""]


def print_table(console: Console, table: Table) -> None:
    """Prints a table at the width of the console, or wider where its numbers take more: none is cut."""
    for column in table.columns:
        if column.no_wrap:
            lines = [line for cell in (column.header, *column.cells) for line in str(cell).splitlines()]
            column.min_width = max(map(cell_len, lines), default=0)
    width = console.width
    console.width = max(width, Measurement.get(console, console.options.update(width=WIDEST), table).minimum)
    console.print(table)
    console.width = width


def plain_table(title: str = "") -> Table:
    """A table without lines, one space between its columns."""
    return Table(
        box=None,
        header_style="bold",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=title or None,
        title_justify="left",
        title_style="bold",
    )
