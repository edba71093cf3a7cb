"""The results of a verification next to those of the search."""

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
from autoprune.views.terminal.pages import WIDE, plain_table, print_table, say


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The picks of the profiles after an earlier verification.

    Attributes:
        machine: fingerprint of the machine that verified last.
        picks: the pick of each profile.
    """

    machine: str
    picks: Mapping[str, Point | None]


def earlier(record: Record) -> Earlier | None:
    """The picks before a new verification; None if there was no verification yet."""
    if not record.baseline.verified:
        return None
    return Earlier(machine=record.baseline.candidate.latest(VERIFY).machine, picks=Front(record).picks())


def print_verified(console: Console, front: Front, *, everything: bool = False, before: Earlier | None = None) -> None:
    """Prints the finalists on test data, which points fell, and which picks changed.

    Args:
        everything: whether every verified candidate is shown, not only the finalists.
        before: the picks after the previous verification.
    """
    record = front.record
    points = [point for point in (record.points if everything else front.finalists) if point.verified]
    units = points[0].candidate.latest(VERIFY).units[record.metric][WHOLE]
    say(console, f"{record.name}: {len(points)} verified on test data ({units} units)", style="bold")
    print_table(console, verified_table(front, points, wide=console.width >= WIDE))
    say(console, legend(reading for point in points for reading in point.verified.values()), style="dim")
    say(console, phrases.machines(record), style="dim")
    chosen = [point for point in front.searched if point.number and point.verified]
    if not chosen:
        say(console, "Only the baseline is on the front." if len(front) else front.explain_empty())
        return
    say(console, headline(front))
    say(console, f"{len(front.falls)} of {phrases.counted(len(chosen), 'point')} on the search's front fell.")
    say_falls(console, front, everything=everything)
    lost = [point.verified["quality"].ratio - point.found["quality"].ratio for point in chosen]
    say(
        console,
        f"The front's {record.metric} ratios changed from validation to test by {statistics.median(lost):+.3f}x in the "
        f"median, {min(lost):+.3f}x at worst.",
    )
    if phrases.optimism(front):
        say(console, phrases.optimism(front))
    print_evidence(console, front)
    for line in pick_changes(front, before):
        say(console, line)


def print_evidence(console: Console, front: Front) -> None:
    """Prints whether the pick meets each requirement by its value and its bound, and what others meet by value alone.

    Prints nothing without requirements, or without a verified pick.
    """
    if not len(front) or not front.requirements.items or not front.pick().verified:
        return
    pick = front.pick()
    say(console, f"\nThe pick, #{pick.number} ({phrases.name(pick)}), against the requirements:", style="bold")
    table = plain_table()
    for name in ("requirement", "value", "bound at 95 %", ""):
        table.add_column(name, justify="right" if name in ("value", "bound at 95 %") else "left", no_wrap=True)
    for item in front.requirements.items:
        reading = pick.verified.get(item.reading)
        cells = ["-", "-", "not measured"]
        if reading is not None:
            value = phrases.ratio(reading.ratio) if item.relative else phrases.absolute(item.reading, reading.value)
            cells = [value, phrases.bound(item, reading), phrases.certainty(item, reading)]
        table.add_row(*(Text(text) for text in (item.text, *cells)))
    print_table(console, table)
    others = [point for point in front if point.number not in (0, pick.number) and point.verified]
    doubted = {point.number: _by_value_alone(front, point) for point in others}
    sure = [f"#{number}" for number, texts in doubted.items() if not texts]
    if sure:
        say(console, f"Others on the front that meet all of them by bounds: {', '.join(sure)}.")
    alone = [f"#{number} ({', '.join(texts)})" for number, texts in doubted.items() if texts]
    if alone:
        say(console, f"Others on the front that meet some by value alone: {', '.join(alone)}.")


def _by_value_alone(front: Front, point: Point) -> list[str]:
    found = point.verified
    return [
        item.text
        for item in front.requirements.items
        if item.reading in found and found[item.reading].binds and not item.sure(found[item.reading])
    ]


def pick_changes(front: Front, before: Earlier | None = None) -> list[str]:
    """Which picks changed from the search to the verification, and since a verification on another machine."""
    now, record = front.picks(), front.record
    lines = [_changes("by the search's values -> verified", front.picks(verified=False), now)]
    here = record.baseline.candidate.latest(VERIFY).machine
    if before is not None and before.machine != here:
        where = f"as verified on {phrases.machine(record, before.machine)} -> on {phrases.machine(record, here)}"
        lines.append(_changes(where, before.picks, now))
    return lines


def _changes(what: str, before: Mapping[str, Point | None], now: Mapping[str, Point | None]) -> str:
    def number(point: Point | None) -> str:
        return "nothing" if point is None else f"#{point.number}"

    changed = [
        f"{profile} {number(before[profile])} -> {number(point)}"
        for profile, point in now.items()
        if number(before[profile]) != number(point)
    ]
    return f"Picks of the profiles, {what}: {', '.join(changed) or 'none changed'}."


def verified_table(front: Front, points: Sequence[Point], *, wide: bool) -> Table:
    """A table of the search's values next to the verified ones, as ratios to the baseline.

    Args:
        points: verified points.
        wide: whether there is room for the size and the search's worst slice.
    """
    on_front, fallen = {point.number for point in front}, {fall.point.number for fall in front.falls}
    metric = front.record.metric
    table = plain_table()
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("recipe", ratio=1, min_width=12)
    heads = [f"{metric}\nsearch", f"{metric}\ntest"]
    others = front.columns
    heads += [f"{name}\ntest" for name in others]
    heads += ["worst slice\nsearch", "worst slice\ntest", "size"] if wide else ["worst\ntest"]
    room = wide or not others
    for head in (*heads, *["latency\nsearch"] * room, "latency\nverified"):
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
        cells += [phrases.cell(name, point.verified, **show, sure=wide) for name in others]
        if wide:
            cells.append(phrases.cell("worst_slice", point.found, value=False))
        cells.append(phrases.cell("worst_slice", point.verified, value=False, sure=wide))
        if wide:
            cells.append(phrases.cell("size_bytes", point.found, value=True, relative=not first))
        cells += [phrases.cell("latency_ms", point.searched, **show)] * room
        cells.append(phrases.cell("latency_ms", point.verified, **show, sure=room))
        row = [Text(str(point.number)), mark, Text(phrases.name(point)), *(Text(text) for text in cells)]
        table.add_row(*row, style="dim" if first else "")
    return table
