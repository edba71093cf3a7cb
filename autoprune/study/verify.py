"""The search may not grade itself: its finalists are measured once more, on data that it never saw."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from autoprune.config import overridden, structured
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.machine import machine
from autoprune.measure.measurement import VERIFY, Latency
from autoprune.recipes.recipe import digest
from autoprune.record.archive import ROUNDS, Archive
from autoprune.record.folder import driving, note_machine
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.study.driver import StudyConfig
from autoprune.study.job import LOCATED, find_device, make_task
from autoprune.study.remeasure import remeasure, rounds_of, time_again, with_round
from autoprune.tasks.task import Task


def verify(
    folder: Path,
    limits: Limits = UNCHANGED,
    *,
    everything: bool = False,
    again: bool = False,
    rounds: int = ROUNDS,
    working: Callable[[str], None] = lambda words: None,
) -> Front:
    """Measures the finalists of a study once more, on test data; returns the front with what was found.

    This process measures quality and times each artifact once, then `rounds` - 1 others time each once more. What
    was verified on this machine before is left as it is, so that an interrupted verification goes on where it stopped.

    Args:
        folder: of the study.
        limits: in place of the study's own requirements, and what finalists must be writable in.
        everything: whether every candidate that has an artifact is verified, not the finalists alone.
        again: whether what was verified on this machine is measured anew, in place of what it was.
        rounds: processes that time each artifact; an interval of latency takes at least 2.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: another process drives the study, its data is not what it was, or an artifact is damaged.
    """
    if rounds < 1:
        raise AutopruneError(f"rounds: a whole number >= 1 must be given, but got {rounds}.")
    Record(folder)  # refuses a folder that holds no study before a lock is made in it
    with driving(folder):
        note_machine(folder, machine())
        record = Record(folder, Archive(folder / "archive.jsonl", mending=True))
        front = Front(record, limits)
        whole = [point for point in record.points if not point.candidate.rejected]
        points = whole if everything else front.finalists
        missing = [point for point in points if again or not rounds_of(point.candidate)]
        if missing:
            working("reading data")
            task, study = task_again(record)
            seconds, device = study.latency_seconds, find_device(study.device)
            remeasure(record, task, missing, device=device, latency_seconds=seconds, working=working)
            del task  # the processes that follow need its memory
        for number in range(2, rounds + 1):
            late = [point for point in points if rounds_of(record.archive.candidates[point.candidate.key]) < number]
            if any(point.number for point in late):  # of the baseline alone there is no ratio
                working(f"timing in process {number} of {rounds}: reading data")
                _run_round(record, late, number=number, of=rounds, working=working)
        baseline = record.archive.candidates[record.baseline.candidate.key].here(VERIFY, str(machine()["id"]))
        if baseline is not None:  # verified here before, and elsewhere since
            record.archive.add(baseline)
    return Front(Record(folder), limits)


def _run_round(
    record: Record, points: Sequence[Point], *, number: int, of: int, working: Callable[[str], None]
) -> None:
    """Has a fresh process time artifacts once; each is archived as soon as it is known."""
    with closing(timed_elsewhere(record, points)) as timed:  # whatever ends this ends the process too
        for done, (point, latency) in enumerate(timed, start=1):
            record.archive.add(with_round(record.archive.candidates[point.candidate.key], latency))
            working(f"timing in process {number} of {of}: {done}/{len(points)}")


def timed_elsewhere(record: Record, points: Sequence[Point]) -> Generator[tuple[Point, dict[str, Latency]], None, None]:
    """Artifacts as a fresh process times them, each as soon as it is known.

    Raises:
        AutopruneError: the process failed; it has said why.
    """
    # Ctrl-C reaches both processes; this one ends the other, which need not say anything.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "from autoprune.study.verify import time_here; time_here(*sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, str(record.folder), *(str(point.number) for point in points)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "it was asked for"
        try:
            for line in process.stdout:
                found = json.loads(line)
                latency = {name: Latency.from_json(entry) for name, entry in found["latency"].items()}
                yield record.point(found["number"]), latency
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise AutopruneError(
            f"the process that timed artifacts ended with {process.returncode}, see above. What was measured is kept; "
            "the same command goes on from here."
        )


def time_here(folder: str, *numbers: str) -> None:
    """Times candidates of a study in this process; writes a line of JSON for each, or says on stderr what is wrong."""
    record = Record(Path(folder))
    try:
        task, study = task_again(record)
        points = [record.point(int(number)) for number in numbers]
        device, seconds = find_device(study.device), study.latency_seconds
        for point, latency in time_again(record, task, points, device=device, latency_seconds=seconds):
            entry = {name: vars(timed) for name, timed in latency.items()}
            print(json.dumps({"number": point.number, "latency": entry}), flush=True)
    except AutopruneError as error:
        sys.exit(str(error))


def task_again(record: Record) -> tuple[Task, StudyConfig]:
    """The task of a study, on the same data, and what the study was told."""
    source = record.folder / "study.yaml"
    section = dict(record.definition["task"])
    section["data"] = dict(section.get("data") or {})
    places = {}
    for entry in LOCATED:  # left out of the definition, since what lies there is hashed
        for key, held in ((f"task.{entry}", section), (f"task.data.{entry}", section["data"])):
            place = overridden(record.overrides, key)
            if place is not None:
                held[entry] = places[key] = place
    keys = ", ".join(f"{key}=…" for key in places or ["task.data.path"])
    try:
        task = make_task(section)
    except AutopruneError as error:
        raise AutopruneError(
            f"study {record.name!r} cannot read its data again: {error}\n"
            f"If it has moved, mend {keys} among the overrides in {source}."
        ) from error
    now = digest(task.fingerprint())
    if now != record.definition["data"]:
        where = f" in {', '.join(repr(str(place)) for place in places.values())}" if places else ""
        raise AutopruneError(
            f"study {record.name!r} was searched on other data than there is now{where} (digest "
            f"{record.definition['data']} then, {now} now; now {task.describe()}): what is measured now could not be "
            f"compared. Bring the old data back, mend {keys} among the overrides in {source}, or search anew "
            "under another study.name."
        )
    told = dict(record.definition["study"])
    seconds = overridden(record.overrides, "study.latency_seconds")
    return task, structured(StudyConfig, told if seconds is None else {**told, "latency_seconds": seconds}, "study")
