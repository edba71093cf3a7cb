"""Two studies side by side."""

from __future__ import annotations

from rich.console import Console

from autoprune.views import phrases
from autoprune.views.compare import Best, Comparison, Side
from autoprune.views.terminal.pages import plain_table, say

LEGEND = (
    "Sizes and latencies are ratios to the baseline; # is the number of a candidate.",
    "Hypervolume is how much a front covers in all objectives at once; more is better.",
)
"""The legend of the table."""

NAMED = 6
"""Beaten points that are named, at most."""


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Prints which points are beaten, the hypervolumes, and the best size and latency at each quality."""
    one, other = comparison.sides
    split = "verified values (test data)" if comparison.verified else "the search's values (validation data)"
    say(console, f"{one.name} against {other.name}: {split}, by {', '.join(comparison.objectives)}", style="bold")
    table = plain_table()
    table.add_column("")
    for side in comparison.sides:
        table.add_column(side.name, justify="right", overflow="fold")
    table.add_row(f"{comparison.metric} of the baseline", *(f"{side.quality:.4f}" for side in comparison.sides))
    table.add_row("points on the front", *(str(side.points) for side in comparison.sides))
    table.add_row("beaten by the other front", *(f"{len(side.beaten)} of {side.points}" for side in comparison.sides))
    table.add_row(f"hypervolume above {comparison.floor:g}x", *(f"{side.hypervolume:.3f}" for side in comparison.sides))
    table.add_row("  of both together", f"{comparison.together:.3f}", "")
    for level in one.best:
        for name in ("size", "latency") if comparison.machine else ("size",):
            cells = [_best(side.best[level].get(name)) for side in comparison.sides]
            table.add_row(f"best {name} at {comparison.metric} >= {level:g}x", *cells)
    console.print(table)
    for ours, theirs in ((one, other), (other, one)):
        say(console, _beaten(ours, theirs))
    for line in LEGEND:
        say(console, line, style="dim")
    for note in comparison.notes:
        say(console, note, style="yellow")


def _best(best: Best | None) -> str:
    return phrases.NOTHING if best is None else f"{phrases.ratio(best.ratio)} (#{best.number})"


def _beaten(ours: Side, theirs: Side) -> str:
    if not ours.beaten:
        return f"{theirs.name} beats none of {ours.name}."
    named = [f"#{number} (by #{by})" for number, by in list(ours.beaten.items())[:NAMED]]
    more = len(ours.beaten) - len(named)
    return f"{theirs.name} beats these of {ours.name}: {', '.join(named)}{f' and {more} more' if more else ''}."
