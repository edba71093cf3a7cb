"""One candidate: recipe, measurements, margins, and the command that makes it again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autoprune.fronts.front import Front
from autoprune.fronts.requirements import Requirements
from autoprune.measure.measurement import VERIFY, WHOLE, Latency, Measurement
from autoprune.measure.reading import Reading, binding_slices, reading_name, shipped
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.commands import verb_command
from autoprune.views.terminal.pages import plain_table, say


def print_point(console: Console, front: Front, point: Point, *, everything: bool = True) -> None:
    """A candidate as it was measured, held against the requirements of a front.

    Args:
        everything: whether the slices of all metrics are shown, or those of the main metric alone.
    """
    record, requirements, candidate = front.record, front.requirements, point.candidate
    say(console, f"candidate {candidate.number} of {record.name} ({candidate.name}, {candidate.key})", style="bold")
    recipe = yaml.safe_dump(candidate.recipe, sort_keys=False) if candidate.recipe else "the dense model\n"
    say(console, "\nrecipe\n" + "".join(f"  {line}\n" for line in recipe.splitlines()))
    if candidate.rejected:
        say(console, f"rejected: {candidate.rejected}\n")
    before = record.baseline.candidate
    shown = [candidate.latest()]
    searched = candidate.beside(before, "search")
    assert searched is not None, "whatever is archived was measured for the search"
    _print_measurement(console, record, *searched, point.found, everything=everything)
    pair = candidate.beside(before, VERIFY)
    if pair is not None and point.verified:
        shown.append(pair[0])
        _print_measurement(console, record, *pair, point.verified, everything=everything)
    elif not candidate.rejected:
        say(console, f"\nnot verified on test data: {phrases.verifying(front, point)}", style="yellow")
    say(console, "± is where 95 of 100 re-measurements lie, error the standard error of the ratio.", style="dim")
    if not everything:
        whole = verb_command(record, "show", str(candidate.number))
        console.print(f"slices of the other metrics: {whole}", style="dim", soft_wrap=True, highlight=False)
    for other in candidate.measurements:
        if other is not searched[0] and other not in shown:
            ratios = ", ".join(f"{name} {phrases.ratio(timed.ratio)}" for name, timed in other.latency.items())
            say(console, f"also measured for {other.purpose} on {phrases.machine(record, other.machine)}: {ratios}")
    if requirements.items:
        console.print()
        console.print(_margins(requirements, point))
    if not candidate.rejected:
        console.print(f"\nartifact  {point.folder}", soft_wrap=True, highlight=False)
    console.print(f"\nmake it again\n  {record.command(point)}", soft_wrap=True, highlight=False, markup=False)


def _print_measurement(
    console: Console,
    record: Record,
    measured: Measurement,
    before: Measurement,
    found: Mapping[str, Reading],
    *,
    everything: bool,
) -> None:
    say(console, f"\nmeasurements (for {measured.purpose}, on {before.split} data)", style="bold")
    say(console, f"on {phrases.machine(record, measured.machine)}", style="dim")
    sliced = list(measured.quality) if everything else record.metrics
    console.print(_measurements(before, measured, found, metrics=record.metrics, sliced=sliced))


def _measurements(
    before: Measurement,
    measured: Measurement,
    found: Mapping[str, Reading],
    *,
    metrics: Sequence[str],
    sliced: Collection[str],
) -> Table:
    table = plain_table()
    for name in ("", "value", "baseline", "ratio", "±", "error"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    table.add_column("", ratio=1)

    def add(label: str, value: str, was: str, reading: Reading | None, note: str) -> None:
        error = "" if reading is None or not reading.error > 0 else f"{reading.error:.4f}"
        row = (label, value, was, phrases.ratio(reading.ratio) if reading else phrases.NOTHING)
        table.add_row(*(Text(text) for text in (*row, phrases.plus_minus(reading)[1:] if reading else "", error, note)))

    for name, by_slice in measured.quality.items():
        binds = binding_slices(before, name)
        for slice_name, value in by_slice.items():
            was = before.quality[name].get(slice_name)
            if was is None or (slice_name != WHOLE and name not in sliced):  # an older version knew fewer slices
                continue
            reading = found[reading_name(name, slice_name)]
            note = (
                ""
                if slice_name == WHOLE
                else _binding_note(before, name, slice_name, binds=binds, main=name in metrics)
            )
            worst = found.get("worst_slice")
            if name in metrics and slice_name in binds and worst is not None and reading.ratio == worst.ratio:
                note = "binds, the worst"
            add(name if slice_name == WHOLE else f"  {name}.{slice_name}", f"{value:.4f}", f"{was:.4f}", reading, note)
    for label, count, was_count in (
        ("size_bytes", measured.size_bytes, before.size_bytes),
        ("memory_bytes", measured.memory_bytes, before.memory_bytes),
    ):
        add(label, f"{count:,}", f"{was_count:,}", found[label], "")
    whole = shipped(measured, before)
    if whole is not None:
        note = "all that lies in the folder: titles, ids, histories"
        add("folder_bytes", f"{measured.folder_bytes:,}", f"{before.folder_bytes:,}", whole, note)
    if measured.history_bytes:
        note = "of the folder: histories, that users without a row are served from"
        add("history_bytes", f"{measured.history_bytes:,}", f"{before.history_bytes or 0:,}", None, note)
    for name, latency in measured.latency.items():
        timed = found.get(f"latency_ms.{name}")
        if timed is None:
            add(f"latency_ms.{name}", phrases.NOTHING, phrases.NOTHING, None, "the baseline was timed elsewhere")
            continue
        value_ms, was_ms = f"{timed.value:.3f}", f"{before.latency[name].median_ms:.3f}"
        add(f"latency_ms.{name}", value_ms, was_ms, timed, _timing_note(latency, timed))
    return table


def _binding_note(before: Measurement, name: str, slice_name: str, *, binds: list[str], main: bool) -> str:
    if slice_name in binds:
        return "binds" if main else ""
    if slice_name in before.asides:
        return f"aside: {before.asides[slice_name]}"
    return f"does not bind, {phrases.why_idle(before, name, slice_name)}"


def _timing_note(latency: Latency, timed: Reading) -> str:
    p95 = f"p95 {latency.p95_ms / latency.median_ms * timed.value:.3f} ms"
    if len(latency.rounds) < 2:
        return f"{p95}, {latency.ratio_low:.3f}-{latency.ratio_high:.3f}x within"
    return f"{p95}, {len(latency.rounds)} rounds {min(latency.rounds):.3f}-{max(latency.rounds):.3f}x"


def _margins(requirements: Requirements, point: Point) -> Table:
    """How far inside each limit the search's values, and the verified ones, are; and what is sure of the latter."""
    table = plain_table("requirements")
    table.add_column("")
    looks = [("search", point.found)] + [("verified", point.verified)] * bool(point.verified)
    for name, _ in looks:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("bound at 95 %", justify="right", no_wrap=True)
    table.add_column("")
    for item in requirements.items:
        cells, missed = [], False
        for _, found in looks:
            if item.reading not in found:
                cells.append("not measured")
                continue
            by = item.violation(found[item.reading])
            missed = missed or by > 0
            cells.append(f"{-by:+.1%} {'missed' if by > 0 else 'holds '}")
        known = point.known.get(item.reading)
        sure = [phrases.bound(item, known), phrases.certainty(item, known)] if known else ["", ""]
        table.add_row(item.text, *cells, *sure, style="yellow" if missed else "")
    return table
