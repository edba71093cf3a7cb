"""Do published intervals hold? Re-measurements of the same artifacts, counted: how many fall into the interval of one.

    calibrate.py quality STUDY [--runs runs] [--splits 200]       quality on disjoint halves of the test users
    calibrate.py latency STUDY [--runs runs] [--processes 40]     ratios of latency in separate processes

Quality: the users are split into halves at random; one half gives ratios and intervals exactly as `autoprune verify`
does, the other half is the re-measurement. Latency: a process times every artifact as a round of `verify` does; five
rounds in a row make a verification, every later process is a re-measurement of it (and every later five in a row one
of the whole verification). Both write the counts, one line a model and reading, to a .csv beside this file; latency
also the ratios that all processes found.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from autoprune.fronts.front import Front
from autoprune.measure.judge import Comparison, Judged, score
from autoprune.measure.measurement import WHOLE, Latency
from autoprune.measure.reading import FEWEST_UNITS, Reading, binding, reading_name, scored_reading, timed_reading
from autoprune.record.archive import ROUNDS
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.study.definition import Definition
from autoprune.study.evaluation.remeasure import Pair, Remeasurer
from autoprune.study.executors.executor import FreshProcess
from autoprune.tasks.task import Task

HERE = Path(__file__).parent


def main() -> None:
    """Reads the command line, counts, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "latency"])
    parser.add_argument("study")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--splits", type=int, default=200, help="of the users into halves")
    parser.add_argument("--processes", type=int, default=40, help="0: count again what was timed before")
    parser.add_argument("--models", type=int, default=12, help="verified finalists that are measured")
    arguments = parser.parse_args()
    record = Record(arguments.runs / arguments.study)
    finalists = [point for point in Front(record).finalists if point.number and point.verified]
    # from all over the list: the front, what profiles pick, and the presets
    spread = np.unique(np.linspace(0, len(finalists) - 1, arguments.models).round().astype(int))
    points = [finalists[at] for at in spread]
    if arguments.what == "quality":
        counts = quality(record, points, arguments.splits)
    else:
        counts = latency(record, points, arguments.processes)
    path = HERE / f"{arguments.what}-{arguments.study}.csv"
    counts.to_csv(path, index=False)
    kinds = counts.groupby("reading", sort=False)[["inside", "of"]].sum()
    kinds.loc["all"] = kinds.sum()
    print(kinds.assign(coverage=(kinds["inside"] / kinds["of"]).round(4)).to_string())
    print(f"wrote {path}")


def quality(record: Record, points: list[Point], splits: int) -> pd.DataFrame:
    """How often the ratio on one half of the test users lies in the interval that the other half gives."""
    task = Definition.of_record(record).make_task()
    baseline = score(task, record.baseline.load(), "test")
    rows = {point.number: score(task, point.load(), "test") for point in points}
    users = baseline[WHOLE][task.unit].unique()
    draw = np.random.default_rng(0)
    counts: dict[tuple[int, str], list[bool]] = {}
    for _ in range(splits):
        chosen = draw.permutation(users)[: len(users) // 2]
        halves = [_restrict(baseline, task, chosen, inside=inside) for inside in (True, False)]
        first, second = (Comparison(task, half) for half in halves)
        for number, whole in rows.items():
            pieces = [_restrict(whole, task, chosen, inside=inside) for inside in (True, False)]
            published = _readings(task, first.judge(pieces[0]), first.baseline)
            again = _readings(task, second.judge(pieces[1]), second.baseline)
            for name, reading in published.items():
                if reading.interval and name in again:
                    low, high = reading.interval
                    counts.setdefault((number, name), []).append(low <= again[name].ratio <= high)
    return _table(counts)


def _restrict(rows: dict[str, pd.DataFrame], task: Task, users: np.ndarray, *, inside: bool) -> dict[str, pd.DataFrame]:
    return {name: kept[kept[task.unit].isin(users) == inside] for name, kept in rows.items()}


def _readings(task: Task, judged: Judged, baseline: Judged) -> dict[str, Reading]:
    """The ratios that a report would show: the metrics as a whole, and the main one on slices that bind."""
    found = {}
    names = [WHOLE, *binding(baseline.quality[task.metric], baseline.units[task.metric])]
    for metric, values in judged.quality.items():
        for slice_name in names if metric == task.metric else [WHOLE]:
            name = reading_name(metric, slice_name)
            if name in judged.errors and judged.units[metric][slice_name] >= FEWEST_UNITS:
                ratio = values[slice_name] / baseline.quality[metric][slice_name]
                found[name] = scored_reading(values[slice_name], ratio, judged.errors[name])
    slices = [judged.quality[task.metric][name] / baseline.quality[task.metric][name] for name in names[1:]]
    if slices:
        found["worst_slice"] = scored_reading(min(slices), min(slices), judged.errors.get("worst_slice"))
    return found


def latency(record: Record, points: list[Point], processes: int) -> pd.DataFrame:
    """How often the ratio that a later process finds lies in the interval of five processes in a row."""
    path = HERE / f"rounds-{record.name}.csv"
    if processes:
        remeasurer = Remeasurer(Definition.of_record(record))
        timed: dict[str, list[float]] = {}
        for process in range(processes):
            with FreshProcess() as executor:
                for point in points:
                    pair = Pair(candidate=point.candidate, baseline=record.baseline.candidate)
                    for workload, one in executor.submit(remeasurer.time, pair).result().items():
                        timed.setdefault(f"{point.number}, {workload}", []).append(one.ratio)
            print(f"process {process + 1} of {processes}", flush=True)
        pd.DataFrame(timed).round(5).to_csv(path, index_label="process")
    counts: dict[tuple[int, str], list[bool]] = {}
    for column, rounds in pd.read_csv(path, index_col="process").items():
        number, workload = str(column).split(", ")
        ratios = rounds.tolist()
        for start in range(len(ratios) - ROUNDS):
            interval = _joined(ratios[start : start + ROUNDS]).interval
            assert interval is not None, "rounds have one"
            later = ratios[start + ROUNDS :]
            again = [_joined(later[at : at + ROUNDS]).ratio for at in range(len(later) - ROUNDS + 1)]
            for what, found_again in (("a process", later), ("a verification", again)):
                inside = [interval[0] <= one <= interval[1] for one in found_again]
                counts.setdefault((int(number), f"{workload}, {what}"), []).extend(inside)
    return _table(counts)


def _joined(ratios: list[float]) -> Reading:
    """What rounds of these ratios are published as."""
    first, *others = [
        Latency(median_ms=one, p95_ms=one, ratio=one, ratio_low=one, ratio_high=one, pairs=1) for one in ratios
    ]
    for one in others:
        first = first.with_round(one)
    return timed_reading(first, baseline_ms=1.0)


def _table(counts: dict[tuple[int, str], list[bool]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": number, "reading": name, "inside": sum(inside), "of": len(inside)}
            for (number, name), inside in counts.items()
        ]
    )


if __name__ == "__main__":
    main()
