"""A front as a table, with its legend and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoprune.fronts.front import Front
from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import OBJECTIVES, is_cost
from autoprune.record.looks import Look
from autoprune.record.point import Point
from autoprune.views import looks, phrases
from autoprune.views.headline import headline
from autoprune.views.intervals import legend
from autoprune.views.marks import marks
from autoprune.views.pace import timed
from autoprune.views.rows import listed
from autoprune.views.terminal.pages import WIDE, plain_table, print_table, say

MOST = 20
"""Points of a front that are shown without --all."""

MOST_FAINT = 4
"""Points with a loss on a slice too faint to bind that are named, at most."""

MOST_FALLS = 8
"""Fallen points that are named without --all."""

MOST_LOOKS = 20
"""Looks that were not made and are shown, at most."""


def print_front(console: Console, front: Front, *, sort: str = "quality", everything: bool = False) -> None:
    """Prints the front with its picks, or why it is empty.

    Args:
        sort: how the points are ordered, as in `autoprune.views.order.ordered`.
        everything: whether all points of a long front are shown, and looks below it.

    Raises:
        AutopruneError: there is no reading `sort`.
    """
    if len(front):
        _print_points(console, front, sort=sort, everything=everything)
    else:
        say(console, front.explain_empty())
    for line in phrases.notes(front):
        say(console, line, style="yellow")
    if everything and (promises := looks.choosing(front)):
        _print_looks(console, front, promises)


def _print_looks(console: Console, front: Front, promises: Promises) -> None:
    """Prints promising looks whose recipes were not made."""
    left = looks.unmade(front, promises)
    shown = sorted(promises.thinned(left, MOST_LOOKS), key=lambda look: -promises.gains(look)[0])
    some = f", {len(shown)} of them are shown" * (len(shown) < len(left))
    state = f"{len(left)} recipes on their front were not made{some}" if left else "all on their front were made"
    kind = "Closer looks" if promises is front.closer else "Looks"
    say(console, f"\n{kind}, not measurements: {state}", style="bold")
    if shown:
        print_table(console, looks_table(front, promises, shown))
    for line in looks.sentences(front):
        say(console, line, style="dim")


def looks_table(front: Front, promises: Promises, shown: Sequence[Look]) -> Table:
    """A table of looks: promised values, and how far each was trained. Only candidates have numbers."""
    table = plain_table()
    table.add_column("recipe", ratio=1, min_width=12)
    for head in (f"{front.record.metric}\npromised", "size\npromised", "epochs\ntrained"):
        table.add_column(head, justify="right", no_wrap=True)
    for look in shown:
        readings = promises.readings(look)
        cells = [phrases.cell(name, readings, value=False) for name in ("quality", "size_bytes")]
        cells.append(f"{look.epochs} of {look.of_epochs}" if look.of_epochs else phrases.NOTHING)
        table.add_row(*(Text(text) for text in (look.summary, *cells)))
    return table


def _print_points(console: Console, front: Front, *, sort: str, everything: bool) -> None:
    record = front.record
    others = listed(front, sort=sort)[1:]
    say(console, f"{record.name}: {phrases.count(front)}. Required: {phrases.required(front)}.", style="bold")
    if (pick := front.pick()).number:
        say(console, headline(front))
        if alone := phrases.evidence(front, pick):
            say(console, alone)
    picks = front.picks()
    shown = others if everything else thinned(front, others, picks)
    points, wide = [record.baseline, *shown], console.width >= WIDE
    print_table(console, front_table(front, points, picks=picks, sort=sort, wide=wide))
    if len(shown) < len(others):
        say(console, f"{len(shown)} of {len(others)} points are shown, spread over the front; --all shows all.")
    for line in footer(front, points, picks=picks, wide=wide):
        say(console, line, style="dim")
    say_falls(console, front, everything=everything)


def thinned(front: Front, points: Sequence[Point], picks: Mapping[str, Point | None]) -> list[Point]:
    """At most `MOST` points that represent all, in their order; always with the picks and the knee."""
    if len(points) <= MOST:
        return list(points)
    kept = {point.number for point in [front.pick(), front.knee, *picks.values()] if point is not None}
    kept &= {point.number for point in points}
    spread = [point.number for point in front.thinned(MOST) if point.number and point.number not in kept]
    room = min(MOST - len(kept), len(spread))
    kept |= {spread[at * len(spread) // room] for at in range(room)}
    return [point for point in points if point.number in kept]


def front_table(
    front: Front, points: Sequence[Point], *, picks: Mapping[str, Point | None], wide: bool, sort: str = "quality"
) -> Table:
    """The baseline, then the front, relative to the baseline; on test data where verified.

    Args:
        points: the rows, the baseline first.
        picks: the pick of each profile.
        sort: how the points are ordered; the reading gets a column.
        wide: whether there is room for absolute values and the search's; otherwise only the baseline shows absolute
            values, and only points that are not verified show search values.
    """
    metric, verified = front.record.metric, any(point.verified for point in points)
    others = shown_beside(front, sort)
    beside = marks(front, picks, short=not wide)
    marked = any(beside.get(point.number) for point in points)
    table = plain_table()
    table.add_column("#", justify="right", no_wrap=True)
    if marked:
        table.add_column("", max_width=18 if wide else 5)
    table.add_column("recipe", ratio=1, min_width=12)
    split = "test" if verified else "validation"
    if wide and verified:
        table.add_column(f"{metric}\nvalidation", justify="right", no_wrap=True)
    table.add_column(f"{metric}\n{split}", justify="right", no_wrap=True)
    if len(front.letters) > 1:
        table.add_column("", no_wrap=True)
    if wide:
        table.add_column(f"{metric}\nfor sure", justify="right", no_wrap=True)
    for name in others:
        head = f"{name}\n{'' if is_cost(name) else split}" if wide else name.replace(".", ".\n", 1)
        table.add_column(head.rstrip(), justify="right", no_wrap=True)
    table.add_column(f"worst slice\n{split}" if wide else f"worst\n{split}", justify="right", no_wrap=True)
    table.add_column("\nsize", justify="right", no_wrap=True)
    table.add_column("\n".join(["latency", *list(timed(front.record.baseline))[:1]]), justify="right", no_wrap=True)
    for point in points:
        cells = [str(point.number), *[beside.get(point.number, "")] * marked, phrases.name(point)]
        cells += _cells(front, point, others, wide=wide, verified=verified)
        table.add_row(*(Text(text) for text in cells), style="" if point.number else "dim")
    return table


def _cells(front: Front, point: Point, others: Sequence[str], *, wide: bool, verified: bool) -> list[str]:
    """The readings of a row; `?` follows values that are not verified if others are."""
    first, sure = not point.number, bool(point.verified)
    show = {"value": wide or first, "relative": wide or not first}
    unsure = " ?" if verified and not sure else ""
    room = wide or not others
    beyond = "*" if front.record.beyond(point) else ""
    return [
        *[phrases.cell("quality", point.found, **show)] * (wide and verified),
        phrases.cell("quality", point.known, **show, sure=sure) + unsure,
        *[front.letters.get(point.number, "")] * (len(front.letters) > 1),
        *[phrases.for_sure(point.known["quality"]) + unsure] * wide,
        *(
            phrases.cell(name, point.known, value=first, relative=not first, sure=sure and wide) + unsure
            for name in others
        ),
        phrases.cell("worst_slice", point.known, value=False, sure=sure and wide) + beyond + unsure,
        phrases.cell("size_bytes", point.known, **show),
        phrases.cell("latency_ms", point.known, **show, sure=sure and room) + unsure,
    ]


def shown_beside(front: Front, sort: str) -> list[str]:
    """The readings with a column of their own: those of `Front.columns`, and the one that sorts the points."""
    usual = {"quality", front.record.metric, "worst_slice", "size_bytes", "latency_ms", *OBJECTIVES}
    return [*front.columns, *([sort] if sort not in usual and sort not in front.columns else [])]


def footer(front: Front, points: Sequence[Point], *, picks: Mapping[str, Point | None], wide: bool) -> list[str]:
    """The legend of the table."""
    record = front.record
    pick = "pick is what the requirements prefer" + (", knee is where the front bends most" if front.knee else "")
    dense = "Row 0 is the dense model; numbers with x are ratios to it"
    lines = [f"{dense}; worst is the slice that lost most; {pick}."]
    lines.append(f"Each profile picks, under its own limits: {phrases.picks(picks)}.")
    if any(point.verified for point in points[1:]):
        tested = " and ".join([", ".join(record.metrics), "worst slice"])
        shown = (reading for point in points for reading in point.verified.values())
        lines.append(f"{tested} are on test data, latency was timed again; {legend(shown)}")
        if any(not point.verified for point in points):
            lines.append("? marks a value that is not verified: the search's own, on validation data.")
    faint = [(point, beyond) for point in points if (beyond := record.beyond(point))]
    if faint:
        most = sorted(faint, key=lambda pair: pair[1][1])[:MOST_FAINT]
        named = ", ".join(f"#{point.number} keeps {phrases.ratio(ratio)} of {name}" for point, (name, ratio) in most)
        lines.append(f"* marks a larger loss on a slice that is too faint in the baseline to bind: {named}.")
    if wide:
        lines.append("for sure: lower bound of the true ratio, with 95 % confidence (one-sided).")
    if len(front.letters) > 1:
        lines.append("Points that share a letter cannot be told apart in quality.")
    return [*lines, phrases.machines(record)]


def say_falls(console: Console, front: Front, *, everything: bool = False) -> None:
    """Prints a line for each point that fell in the verification."""
    falls = front.falls if everything else front.falls[:MOST_FALLS]
    for fall in falls:
        say(console, f"#{fall.point.number} fell when verified: it {fall.reason}", style="yellow")
    if len(falls) < len(front.falls):
        say(console, f"{len(front.falls) - len(falls)} more fell; --all names them.", style="yellow")
