"""The layout of all tables and texts in a terminal."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 150
"""From this width a table shows absolute values besides the ratios."""

WIDEST = 1000
"""A width that no table reaches."""

NARROWEST = 80
"""The smallest width of a table: a narrower terminal folds its lines, so no number is cut."""

COMMAND = "  autoprune "
"""The start of a line to copy. It is not folded, because its first row would be a different command."""


def terminal() -> Console:
    """Standard output."""
    console = Console()
    return console if console.width >= NARROWEST else Console(width=NARROWEST)


def say(console: Console, text: str, *, style: str = "") -> None:
    """Prints lines of text; long lines are folded with a hanging indent, except commands."""
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
    """Prints a table at the width of the console, or wider if its numbers need it: none is cut."""
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
