"""Two studies side by side."""

from __future__ import annotations

from rich.console import Console

from autoprune.views import phrases
from autoprune.views.compare import Best, Comparison, Side
from autoprune.views.terminal.pages import plain_table, say

LEGEND = (
    "Sizes and latencies are ratios to the baseline; # is the number of a candidate.",
    "The hypervolume is how much a front covers in all objectives at once: more is better.",
)
"""What has to be known to read the table."""

NAMED = 6
"""Beaten points that are named."""


def print_comparison(console: Console, found: Comparison) -> None:
    """Who beats whom, what each front covers, and what it gives at the same quality."""
    one, other = found.sides
    split = "verified values (test data)" if found.verified else "the search's values (validation data)"
    say(console, f"{one.name} against {other.name}: {split}, by {', '.join(found.objectives)}", style="bold")
    table = plain_table()
    table.add_column("")
    for side in found.sides:
        table.add_column(side.name, justify="right", overflow="fold")
    table.add_row(f"{found.metric} of the baseline", *(f"{side.quality:.4f}" for side in found.sides))
    table.add_row("points on the front", *(str(side.points) for side in found.sides))
    table.add_row("beaten by the other's", *(f"{len(side.beaten)} of {side.points}" for side in found.sides))
    table.add_row(f"hypervolume above {found.floor:g}x", *(f"{side.hypervolume:.3f}" for side in found.sides))
    table.add_row("  of both together", f"{found.together:.3f}", "")
    for level in one.best:
        for name in ("size", "latency") if found.machine else ("size",):
            cells = [_best(side.best[level].get(name)) for side in found.sides]
            table.add_row(f"best {name} at {found.metric} >= {level:g}x", *cells)
    console.print(table)
    for ours, theirs in ((one, other), (other, one)):
        say(console, _beaten(ours, theirs))
    for line in LEGEND:
        say(console, line, style="dim")
    for note in found.notes:
        say(console, note, style="yellow")


def _best(best: Best | None) -> str:
    return phrases.NOTHING if best is None else f"{phrases.ratio(best.ratio)} (#{best.number})"


def _beaten(ours: Side, theirs: Side) -> str:
    if not ours.beaten:
        return f"{theirs.name} beats none of {ours.name}."
    named = [f"#{number} (by #{by})" for number, by in list(ours.beaten.items())[:NAMED]]
    more = len(ours.beaten) - len(named)
    return f"{theirs.name} beats of {ours.name}: {', '.join(named)}{f' and {more} more' if more else ''}."
