"""The model card of a shipped artifact: what it is, what it lost and gained, its caveats, how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from autoprune.artifacts.formats import OWN, Use, find_format
from autoprune.fronts.front import Front
from autoprune.measure.measurement import SEARCH, VERIFY, WHOLE, Latency, Measurement
from autoprune.measure.reading import Reading, binding_slices
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.intervals import legend, plus_minus, telling
from autoprune.views.measured import Kind, Row, measured_rows
from autoprune.views.origin import made_how
from autoprune.views.pace import faster, smaller, workloads

FILE = "README.md"
"""The name of the card in an artifact's folder. The card is not hashed, so it can be rewritten."""

LABELS = {
    "folder_bytes": "whole folder",
    "history_bytes": "of it, histories for users without a row",
}
"""The labels of sizes in the card that differ from their names in requirements."""


def write_card(front: Front, point: Point, folder: Path, *, bare: bool = False, made_by: str = "") -> Path:
    """Writes the card of an artifact into its folder.

    Args:
        front: the front, under the requirements that the point was picked by.
        folder: a copy of the point's artifact, or the folder written in the front's format.
        bare: whether the copy holds only the model, without titles and histories.
        made_by: the command line that made the copy.

    Raises:
        AutopruneError: the folder holds no artifact.
    """
    from autoprune.artifacts import artifact  # here, because it imports torch

    path, form = folder / FILE, find_format(front.format, bare=bare)
    if front.format == OWN:
        made = artifact.read_card(folder)
    else:  # the hashes are those of the artifact's own files, the provenance is the same
        made = {name: content for name, content in artifact.read_card(point.folder).items() if name != "files"}
    text = card(front, point, made=made, made_by=made_by, use=form.use(folder, "."), losses=form.losses(point.folder))
    path.write_text(text, encoding="utf-8")
    return path


def card(
    front: Front,
    point: Point,
    *,
    made: Mapping[str, Any] | None = None,
    made_by: str = "",
    use: Use | None = None,
    losses: Sequence[str] = (),
) -> str:
    """The card as Markdown.

    Args:
        front: the front, under the requirements that the point was picked by.
        made: `artifact.json` of the artifact, if available: files with their hashes, and the provenance.
        made_by: the command line that picked the point.
        use: how the written folder is used, if one was written.
        losses: what the conversion to the front's format lost, a sentence each.
    """
    paragraphs = [
        _head(front, point),
        _recipe(point),
        _trade(front, point),
        _slices(front, point),
        _required(front, point),
        _caveats(front, point, losses),
        *(_use(use) if use else ()),
        made_how(front.record, point, made or {}, made_by=made_by),
        _files(made or {}),
    ]
    return "\n\n".join(one for one in paragraphs if one) + "\n"


def _head(front: Front, point: Point) -> str:
    record = front.record
    task = record.definition["task"]["name"]
    lines = [f"# {record.name} {point.number}: {phrases.name(point)}"]
    warning = phrases.standing(front, point)
    if warning:
        lines.append(f"> **Warning: {warning}.**")
    if not point.verified:
        lines.append(f"> **Not verified on test data.** Run `{phrases.verifying(front, point)}`, then pick again.")
    what = "The dense model" if not point.number else f"A compressed model, candidate {point.number}"
    lines.append(
        f"{what} of the study `{record.name}`: task `{task}`"
        + (f", {record.described}" if record.described else "")
        + f" (digest `{record.definition['data']}`). "
        + _summary(record, point)
    )
    return "\n\n".join(lines)


def _summary(record: Record, point: Point) -> str:
    """Bytes, quality and latency in two sentences."""
    size, split = point.known["size_bytes"], "test" if point.verified else "validation"
    scores = {metric: point.known[metric] for metric in record.metrics}
    if not point.number:
        values = ", ".join(f"{metric} {score.value:.4f}" for metric, score in scores.items())
        return f"{phrases.byte_count(size.value)}; {values} ({split} data)."
    text = (
        f"{phrases.byte_count(size.value)}, {smaller(point)}: {phrases.ratio(size.ratio)} of the dense model's bytes; "
        f"{', '.join(f'{_sure(score)} of its {metric}' for metric, score in scores.items())} ({split} data)."
    )
    where = phrases.machine(record, point.candidate.latest(VERIFY if workloads(point.verified) else SEARCH).machine)
    return f"{text} Latency, on {where}: {speed}." if (speed := faster(point)) else text


def _recipe(point: Point) -> str:
    if not point.candidate.recipe:
        return "## Recipe\n\nNone: this is the dense model."
    recipe = yaml.safe_dump(point.candidate.recipe, sort_keys=False).rstrip()
    return f"## Recipe\n\n{point.candidate.summary}\n\n```yaml\n{recipe}\n```"


def _measured(front: Front, point: Point) -> list[tuple[str, str, Measurement, Measurement, Mapping[str, Reading]]]:
    """The measurements, as (purpose, split, of the point, of the baseline, readings); the verified ones first."""
    baseline = front.record.baseline.candidate
    measured: list[tuple[str, str, Measurement, Measurement, Mapping[str, Reading]]] = []
    for purpose, split, readings in ((VERIFY, "test", point.verified), (SEARCH, "validation", point.found)):
        pair = point.candidate.beside(baseline, purpose)
        if pair is not None and readings:
            measured.append((purpose, split, *pair, readings))
    return measured


def _trade(front: Front, point: Point) -> str:
    measurements, rows = _measured(front, point), list[tuple[str, ...]]()
    for _, split, measured, before, readings in measurements:
        scored = [row for row in measured_rows(measured, before, readings) if row.kind is Kind.QUALITY]
        rows += [_line(f"{row.metric}, {split}", row) for row in scored if row.name == WHOLE]
        rows += [_line(f"{row.metric}, {split}, {row.name}", row) for row in scored if row.name in before.asides]
    purpose, _, measured, before, readings = measurements[0]
    for row in measured_rows(measured, before, readings):
        if row.kind is Kind.LATENCY:
            rows.append(_timed(row, measured.latency[row.name]))
        elif row.kind is not Kind.QUALITY:
            rows.append(_line(LABELS.get(row.name, row.name), row))
        if row.name == "vector_bytes":
            rows.append(_line("vectors of a million texts", row, times=phrases.MILLION))
    if not point.number:  # the dense model needs no second column
        rows = [row[:2] for row in rows]
    machine = phrases.machine(front.record, measured.machine)
    asides = "".join(f" {name}: {text}." for name, text in before.asides.items())
    return (
        "## Lost and gained\n\n"
        + _table(("", "this model", "dense model", "ratio") if point.number else ("", "value"), rows)
        + (f"\n\n{legend([*point.found.values(), *point.verified.values()])} " if point.number else "\n\n")
        + f"Latency was timed on {machine}, for {phrases.PURPOSES[purpose]}; it differs on other machines.{asides}"
    )


def _line(label: str, row: Row, *, times: int = 1) -> tuple[str, ...]:
    name = row.metric or row.name
    return label, *(phrases.absolute(name, times * value) for value in (row.value, row.before)), _sure(row.reading)


def _timed(row: Row, latency: Latency) -> tuple[str, ...]:
    label = f"latency, {row.name}"
    if row.reading is None:
        return label, phrases.NOTHING, phrases.NOTHING, "the baseline was timed on another machine"
    timed = [f"{ms:.3f} ms{phrases.rate(latency, ms)}" for ms in (row.value, row.before)]
    return label, *timed, _sure(row.reading)


def _slices(front: Front, point: Point) -> str:
    metric = front.record.metric
    _, split, measured, before, readings = _measured(front, point)[0]
    binds = binding_slices(before, metric)
    rows = []
    for row in measured_rows(measured, before, readings):
        if row.metric != metric or row.name in (WHOLE, *before.asides):
            continue
        note = "yes" if row.name in binds else f"no, {phrases.why_idle(before, metric, row.name)}"
        ratio = [_sure(row.reading)] if point.number else []
        rows.append((row.name, phrases.absolute(metric, row.value), *ratio, note))
    if not rows:
        return ""
    worst = f" The worst slice that binds: {_sure(readings['worst_slice'])}." if point.number else ""
    idle = "A slice that does not bind is too small, or too faint in the dense model, to be judged."
    text = f"{metric} on {split} data.{worst} {idle}"
    heads = ("", metric, "ratio", "binds") if point.number else ("", metric, "binds")
    return f"## Slices and perturbations\n\n{text}\n\n{_table(heads, rows)}"


def _required(front: Front, point: Point) -> str:
    if not front.requirements.items:
        return "## Requirements\n\nNone."
    if not point.number:
        return "## Requirements\n\nThis is the dense model, to which requirements are relative."
    measurements = [(split, readings) for _, split, _, _, readings in _measured(front, point)]
    rows = [
        (
            f"`{item.text}`",
            *(phrases.margin(item, readings).replace("missed", "**missed**") for _, readings in measurements),
        )
        for item in front.requirements.items
    ]
    table = _table(("", *(f"on {split} data" for split, _ in measurements)), rows)
    return "\n\n".join(part for part in ("## Requirements", table, phrases.evidence(front, point)) if part)


def _caveats(front: Front, point: Point, losses: Sequence[str]) -> str:
    record = front.record
    lines = []
    warning = phrases.standing(front, point)
    if warning:
        lines.append(f"{warning[0].upper()}{warning[1:]}.")
    if phrases.beyond(record, point):
        lines.append(f"It {phrases.beyond(record, point)}.")
    if not point.verified:
        lines.append(
            "All values are the search's own, on the validation data that it selected by, where some candidates look "
            f"good by luck. Verify it on test data: `{phrases.verifying(front, point)}`."
        )
    else:
        count = sum(bool(other.verified) for other in record.points)
        if count > 2 and point.number:
            lines.append(
                f"It is one of {count} candidates that were measured on test data. If it was chosen by these values, "
                "some of its quality is luck."
            )
        if phrases.optimism(front) and point.number:
            lines.append(phrases.optimism(front))
        letters = front.letters
        alike = [
            f"candidate {other}" if other else "the dense model"
            for other, shared in letters.items()
            if other != point.number and set(shared) & set(letters.get(point.number, ""))
        ]
        if alike:
            lines.append(f"Its quality cannot be told apart from that of {', '.join(alike)}.")
    if point.number and point.busy:
        lines.append("It was timed while the machine was busy with other work, so its latency is uncertain.")
    if front.format != OWN:
        same = "" if losses else "This folder gives the same answers as the measured artifact. "
        lines.append(f"{same}Sizes and latencies are those of autoprune's own artifact, not of {front.format}.")
    lines += losses
    if record.cut_short:
        lines.append(record.cut_short)
    if point.number and not telling(point.known["quality"]):
        lines.append("The uncertainty of its quality is unknown: it has no interval, or one that is too wide.")
    if not lines:
        return ""
    return "## Before you use it\n\n" + "\n".join(f"- {line}" for line in lines)


def _use(use: Use) -> list[str]:
    """How the written folder is used, and what it contains."""
    advice = f"\n\n{use.advice}" if use.advice else ""
    inside = [f"## Without autoprune\n\n{use.inside}"] if use.inside else []
    return [f"## Use it\n\nIn this folder:\n\n```\n{use.command}\n```{advice}", *inside]


def _files(made: Mapping[str, Any]) -> str:
    files = made.get("files")
    if not files:
        return ""
    rows = [(f"`{name}`", f"{facts['bytes']:,}", f"`{facts['sha256']}`") for name, facts in files.items()]
    return "## Files\n\n`autoprune.load` checks all of these files. This card is not one of them.\n\n" + _table(
        ("", "bytes", "SHA-256"), rows
    )


def _sure(reading: Reading | None) -> str:
    if reading is None:
        return phrases.NOTHING
    return f"{phrases.ratio(reading.ratio)} {plus_minus(reading)}".rstrip()


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) + ("---:",) * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
