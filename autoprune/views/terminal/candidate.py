"""One candidate: recipe, measurements, margins, and the command to repeat it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoprune.fronts.front import Front
from autoprune.fronts.requirements import Requirement
from autoprune.measure.measurement import VERIFY, WHOLE, Latency, Measurement
from autoprune.measure.reading import Reading, binding_slices, reading_name
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.intervals import legend, plus_minus
from autoprune.views.measured import Kind, Row, measured_rows
from autoprune.views.terminal.pages import plain_table, say


def print_point(console: Console, front: Front, point: Point, *, everything: bool = True) -> None:
    """Prints the measurements of a candidate, and its margins to the requirements of a front.

    Args:
        everything: whether the slices of all metrics are shown, or only those of the main metrics.
    """
    record, requirements, candidate = front.record, front.requirements, point.candidate
    say(console, f"candidate {candidate.number} of {record.name} ({candidate.name}, {candidate.key})", style="bold")
    recipe = yaml.safe_dump(candidate.recipe, sort_keys=False) if candidate.recipe else "the dense model\n"
    say(console, "\nrecipe\n" + "".join(f"  {line}\n" for line in recipe.splitlines()))
    if candidate.rejected:
        say(console, f"rejected early, not fully measured: {candidate.rejected}\n")
    before = record.baseline.candidate
    shown = [candidate.latest()]
    searched = candidate.beside(before, "search")
    assert searched is not None, "the search measured every archived candidate"
    _print_measurement(console, record, *searched, point.found, everything=everything)
    pair = candidate.beside(before, VERIFY)
    if pair is not None and point.verified:
        shown.append(pair[0])
        _print_measurement(console, record, *pair, point.verified, everything=everything)
    elif not candidate.rejected:
        say(console, f"\nnot verified on test data; verify it:\n  {phrases.verifying(front, point)}", style="yellow")
    if point.number:
        explained = legend([*point.found.values(), *point.verified.values()])
        say(console, f"error is the standard error of the ratio; {explained}", style="dim")
    if not everything:
        whole = record.verb("show", str(candidate.number))
        console.print(
            f"slices of the other metrics: {whole}", style="dim", markup=False, soft_wrap=True, highlight=False
        )
    for other in candidate.measurements:
        if other is not searched[0] and other not in shown:
            ratios = ", ".join(f"{name} {phrases.ratio(timed.ratio)}" for name, timed in other.latency.items())
            where = f"for {phrases.PURPOSES[other.purpose]} on {phrases.machine(record, other.machine)}"
            say(console, f"also measured {where}: {ratios}")
    # The baseline meets every requirement that is relative to it.
    items = [item for item in requirements.items if point.number or not item.relative]
    if items:
        console.print()
        console.print(_margins(items, point))
    if not candidate.rejected:
        console.print(f"\nartifact  {point.folder}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"\nto repeat it\n  {record.command(point)}", soft_wrap=True, highlight=False, markup=False)


def _print_measurement(
    console: Console,
    record: Record,
    measured: Measurement,
    before: Measurement,
    readings: Mapping[str, Reading],
    *,
    everything: bool,
) -> None:
    say(console, f"\nmeasurements for {phrases.PURPOSES[measured.purpose]}, on {before.split} data", style="bold")
    say(console, f"on {phrases.machine(record, measured.machine)}", style="dim")
    sliced = list(measured.quality) if everything else record.metrics
    console.print(_measurements(before, measured, readings, metrics=record.metrics, sliced=sliced))


def _measurements(
    before: Measurement,
    measured: Measurement,
    readings: Mapping[str, Reading],
    *,
    metrics: Sequence[str],
    sliced: Collection[str],
) -> Table:
    """A table of the measurement next to the baseline's; for the baseline, only the values."""
    itself = measured is before
    table = plain_table()
    for name in ("", "value") if itself else ("", "value", "baseline", "ratio", "±", "error"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    table.add_column("", ratio=1)
    for row in measured_rows(measured, before, readings):
        if row.kind is Kind.QUALITY and row.name != WHOLE and row.metric not in sliced:
            continue
        relative = [] if itself else [_value(row, row.before), *_against(row.reading)]
        if row.kind is Kind.QUALITY:
            note = _slice_note(before, readings, row.metric, row.name, main=row.metric in metrics, itself=itself)
        elif row.kind is Kind.LATENCY:
            note = _timing_note(measured.latency[row.name], row.reading, itself=itself)
        else:
            note = _bytes_note(row)
        table.add_row(*(Text(text) for text in (_label(row), _value(row, row.value), *relative, note)))
    return table


def _label(row: Row) -> str:
    if row.kind is Kind.QUALITY:
        return row.metric if row.name == WHOLE else f"  {row.metric}.{row.name}"
    return f"latency_ms.{row.name}" if row.kind is Kind.LATENCY else row.name


def _value(row: Row, value: float) -> str:
    if math.isnan(value):
        return phrases.NOTHING
    return f"{value:.3f}" if row.kind is Kind.LATENCY else f"{value:.4f}" if row.metric else f"{value:,}"


def _against(reading: Reading | None) -> tuple[str, str, str]:
    """Ratio, interval and error of a reading."""
    if reading is None:
        return phrases.NOTHING, "", ""
    error = f"{reading.error:.4f}" if reading.error > 0 else ""
    return phrases.ratio(reading.ratio), plus_minus(reading).removeprefix("±"), error


def _slice_note(
    before: Measurement, readings: Mapping[str, Reading], name: str, slice_name: str, *, main: bool, itself: bool
) -> str:
    """Whether a slice binds, and whether it is the one that lost most."""
    if slice_name == WHOLE:
        return ""
    if slice_name in before.asides:
        return f"aside: {before.asides[slice_name]}"
    if slice_name not in binding_slices(before, name):
        return f"does not bind, {phrases.why_idle(before, name, slice_name)}"
    if not main:
        return ""
    worst = readings.get("worst_slice")
    lost = worst is not None and readings[reading_name(name, slice_name)].ratio == worst.ratio
    return "binds, the worst" if lost and not itself else "binds"


def _bytes_note(row: Row) -> str:
    notes = {
        "vector_bytes": f"{phrases.byte_count(phrases.MILLION * row.value)} for a million texts",
        "folder_bytes": "the whole folder, with titles, ids, histories",
        "history_bytes": "part of the folder: histories, for users without a row",
    }
    return notes.get(row.name, "")


def _timing_note(latency: Latency, timed: Reading | None, *, itself: bool) -> str:
    if timed is None:
        return "the baseline was timed on another machine"
    p95 = f"p95 {latency.p95_ms / latency.median_ms * timed.value:.3f} ms{phrases.rate(latency, timed.value)}"
    if itself:
        return p95
    if len(latency.rounds) < 2:
        return f"{p95}, 1 process {latency.ratio_low:.3f}-{latency.ratio_high:.3f}x"
    return f"{p95}, {len(latency.rounds)} processes {min(latency.rounds):.3f}-{max(latency.rounds):.3f}x"


def _margins(items: Sequence[Requirement], point: Point) -> Table:
    """The margins of the search's and the verified values to each limit, and the bounds of the verified ones."""
    table = plain_table("requirements")
    table.add_column("")
    sides = [("search", point.searched)] + [("verified", point.verified)] * bool(point.verified)
    for name, _ in sides:
        table.add_column(name)
    table.add_column("bound at 95 %", justify="right", no_wrap=True)
    table.add_column("")
    for item in items:
        missed = any(item.reading in readings and item.violation(readings[item.reading]) > 0 for _, readings in sides)
        cells = [phrases.margin(item, readings) for _, readings in sides]
        known = point.known.get(item.reading)
        sure = [phrases.bound(item, known), phrases.certainty(item, known)] if known else ["", ""]
        table.add_row(item.text, *cells, *sure, style="yellow" if missed else "")
    return table
