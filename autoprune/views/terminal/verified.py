"""What a verification found, beside what the search saw."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoprune.fronts.front import Front
from autoprune.measure.measurement import VERIFY, WHOLE
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.headline import headline
from autoprune.views.intervals import legend
from autoprune.views.terminal.front import say_falls
from autoprune.views.terminal.pages import WIDE, plain_table, say


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What profiles picked by an earlier verification.

    Attributes:
        machine: fingerprint of the one that verified last.
        picks: by profile.
    """

    machine: str
    picks: Mapping[str, Point | None]


def earlier(record: Record) -> Earlier | None:
    """What profiles pick now, on the eve of a verification; None where none came before it."""
    if not record.baseline.verified:
        return None
    return Earlier(machine=record.baseline.candidate.latest(VERIFY).machine, picks=Front(record).picks())


def print_verified(console: Console, front: Front, *, everything: bool = False, before: Earlier | None = None) -> None:
    """The finalists on test data, how many of the front no longer hold, and which picks changed.

    Args:
        everything: whether every verified candidate is shown, not the finalists alone.
        before: what was picked by the verification before this one.
    """
    record = front.record
    points = [point for point in (record.points if everything else front.finalists) if point.verified]
    users = points[0].candidate.latest(VERIFY).units[record.metric][WHOLE]
    say(console, f"{record.name}: {len(points)} verified on test data ({users} units)", style="bold")
    console.print(verified_table(front, points, wide=console.width >= WIDE))
    say(console, legend(reading for point in points for reading in point.verified.values()), style="dim")
    say(console, phrases.machines(record), style="dim")
    chosen = [point for point in front.searched if point.number and point.verified]
    if not chosen:
        say(console, "Only the baseline is on the front." if len(front) else front.explain_empty())
        return
    say(console, headline(front))
    say(console, f"{len(front.falls)} of {len(chosen)} on the search's front (beside the baseline) fell.")
    say_falls(console, front, everything=everything)
    lost = [point.verified["quality"].ratio - point.found["quality"].ratio for point in chosen]
    say(
        console,
        f"{record.metric} of the front against the baseline, from validation to test: "
        f"{statistics.median(lost):+.3f}x in the median, {min(lost):+.3f}x at worst.",
    )
    if phrases.optimism(front):
        say(console, phrases.optimism(front))
    for line in pick_changes(front, before):
        say(console, line)


def pick_changes(front: Front, before: Earlier | None = None) -> list[str]:
    """Which profiles pick another candidate by verified values than by the search's, and than elsewhere before."""
    now, record = front.picks(), front.record
    lines = [_changes("by the search's values -> verified", front.picks(verified=False), now)]
    here = record.baseline.candidate.latest(VERIFY).machine
    if before is not None and before.machine != here:
        where = f"as verified on {phrases.machine(record, before.machine)} -> on {phrases.machine(record, here)}"
        lines.append(_changes(where, before.picks, now))
    return lines


def _changes(what: str, before: Mapping[str, Point | None], now: Mapping[str, Point | None]) -> str:
    def number(point: Point | None) -> str:
        return "nothing" if point is None else str(point.number)

    changed = [
        f"{profile} {number(before[profile])} -> {number(point)}"
        for profile, point in now.items()
        if number(before[profile]) != number(point)
    ]
    return f"Picks of the profiles, {what}: {', '.join(changed) or 'none changed'}."


def verified_table(front: Front, points: Sequence[Point], *, wide: bool) -> Table:
    """What the search saw beside what the verification found, as ratios to the baseline.

    Args:
        points: verified ones.
        wide: whether there is room for the size, and for the search's worst slice.
    """
    on_front, fallen = {point.number for point in front}, {fall.point.number for fall in front.falls}
    metric = front.record.metric
    table = plain_table()
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("recipe", ratio=1, min_width=12)
    heads = [f"{metric}\nsearch", f"{metric}\ntest"]
    heads += ["worst slice\nsearch", "worst slice\ntest", "size"] if wide else ["worst\ntest"]
    for head in (*heads, "latency\nsearch", "latency\nverified"):
        table.add_column(head, justify="right", no_wrap=True)
    for point in points:
        first = not point.number
        show = {"value": first, "relative": not first}
        mark = Text("front" if point.number in on_front else "", style="bold green")
        if point.number in fallen:
            mark = Text("fell", style="bold yellow")
        cells = [
            phrases.cell("quality", point.found, **show),
            phrases.cell("quality", point.verified, **show, sure=True),
        ]
        if wide:
            cells.append(phrases.cell("worst_slice", point.found, value=False))
        cells.append(phrases.cell("worst_slice", point.verified, value=False, sure=wide))
        if wide:
            cells.append(phrases.cell("size_bytes", point.found, value=True, relative=not first))
        cells += [
            phrases.cell("latency_ms", point.found, **show),
            phrases.cell("latency_ms", point.verified, **show, sure=True),
        ]
        row = [Text(str(point.number)), mark, Text(phrases.name(point)), *(Text(text) for text in cells)]
        table.add_row(*row, style="dim" if first else "")
    return table
