"""A search under executors that it does not know: several evaluations in flight, other orders, other processes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from made_looks import LastFirst
from rich.console import Console

from autoprune.artifacts import artifact
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.deadline import Deadline
from autoprune.errors import AutopruneError, Diverged, Failed
from autoprune.fronts.front import NOTHING_TRIED, Front
from autoprune.measure.judge import Judge
from autoprune.recipes import fit
from autoprune.recipes.store import Store
from autoprune.recommender.task import RecommenderTask
from autoprune.record.archive import Archive, Candidate
from autoprune.record.cut_short import CUT_SHORT
from autoprune.record.failures import FAILED, Failures
from autoprune.record.folder import STORE
from autoprune.record.looks import CLOSER_LOOKS, LOOKS, Look, Looks
from autoprune.record.record import Record
from autoprune.steps.quantize import Quantize
from autoprune.study import making
from autoprune.study.budget import Budget
from autoprune.study.evaluation import candidates
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.evaluation.loaded import timed
from autoprune.study.executors.executor import Executor, FreshProcess, Serial
from autoprune.study.executors.forked import can_fork
from autoprune.study.job import run_study
from autoprune.study.progress.progress import Expected, Progress, Watching
from autoprune.study.sampling import finds, refinement, scan
from autoprune.tasks.metric import MeanMetric
from autoprune.views.terminal import print_front

MADE = 3

SPACE: dict[str, Any] = {
    "prune": {"rows": {"sparsity": {"item": {"float": [0.0, 0.4], "step": 0.1}, "user": 0.0}}},
    "encode": {"method": {"choose": {"none": {}, "quantize": {"bits": {"any_of": [8, 4, 2]}}}}},
}
"""Thirty recipes, of which a look can tell all."""

TRAINED: dict[str, Any] = {**SPACE, "encode": {**SPACE["encode"], "epochs": {"any_of": [0, 1, 2]}}}


@pytest.fixture(scope="module", autouse=True)
def _few_are_made() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "MADE", MADE)
        patch.setattr(making, "MADE_FIRST", 2)
        patch.setattr(making, "TOGETHER", 2)
        patch.setattr(refinement, "FEWEST", 2)
        patch.setattr(scan, "ALONE", 10)
        yield


def told(planted: Path, runs: Path, *words: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The sections of a tiny study, and the overrides that say most of them."""
    overrides = ["task=interactions", "task.dim=8", "task.training.epochs=2"]
    overrides += ["presets=none", "presets.int8.encode.method.quantize.bits=8", "presets.also_int8.quantize.bits=8"]
    overrides += ["presets.int4.quantize.bits=4", "requirements=none", "study.objectives=[quality,size]"]
    overrides += ["study.latency_seconds=0.01", "study.name=s", "study.trials=0", "study.workers=1", *words]
    places = {"task.data.path": str(planted), "study.dir": str(runs)}
    content = copy.deepcopy(composed(*overrides))
    content["task"]["data"]["path"], content["study"]["dir"] = places.values()
    return {**content, "space": SPACE}, [*overrides, *(f"{key}={value}" for key, value in places.items())]


@functools.cache
def composed(*overrides: str) -> dict[str, dict[str, Any]]:
    return sections(compose_config(overrides))


def search(
    planted: Path,
    runs: Path,
    executor: Executor | None,
    *words: str,
    space: dict[str, Any] = SPACE,
    deadline: Deadline | None = None,
    watch: Watching | None = None,
) -> Record:
    sections, overrides = told(planted, runs, *words)
    return run_study({**sections, "space": space}, overrides, executor=executor, deadline=deadline, watch=watch)


def outcome(record: Record) -> list[tuple[int, str, str, float, int]]:
    found = []
    for point in record.points:
        one, measured = point.candidate, point.candidate.latest()
        found.append((one.number, one.name, one.key, measured.quality["ndcg@20"]["all"], measured.size_bytes))
    return found


def looked(record: Record) -> list[tuple[int, str, int, dict[str, dict[str, float]]]]:
    """What must repeat of the looks of a study, as they lie on disk."""
    found = Looks(record.folder / LOOKS).found.values()
    return [(look.number, look.key, look.epochs, look.quality) for look in found]


@pytest.fixture(scope="module")
def serial(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return search(planted, tmp_path_factory.mktemp("serial"), Serial())


@pytest.fixture(scope="module")
def trained(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return search(planted, tmp_path_factory.mktemp("trained"), None, "study.trials=6", space=TRAINED)


def test_a_search_looks_first_and_makes_what_stands_for_the_front(serial: Record) -> None:
    names = [point.candidate.name for point in serial.points]
    assert names == ["baseline", "int8", "int4", *["trial"] * MADE]
    looks = Looks(serial.folder / LOOKS).found
    assert len(looks) == 5 * (1 + 3), "the whole grid; the dense model is a part of it"
    assert {point.candidate.key for point in serial.points} <= {key for key, _ in looks}


def test_what_was_measured_helps_to_choose_the_next_finds(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[set[str], list[str]]] = []
    choose = finds.Finds.choose

    def noted(self: finds.Finds, count: int, **told: Any) -> list[Look]:
        found = choose(self, count, **told)
        calls.append((set(told["measured"]), [look.key for look in found]))
        return found

    monkeypatch.setattr(finds.Finds, "choose", noted)
    record = search(planted, tmp_path, Serial())
    presets = {point.candidate.key for point in record.points if point.candidate.name in ("int8", "int4")}
    (before, first), (after, second) = calls
    assert before == presets
    assert after == {*presets, *first}
    assert (len(first), len(second)) == (making.TOGETHER, MADE - making.TOGETHER)


def test_a_search_with_training_trains_what_the_scan_found(planted: Path, tmp_path: Path) -> None:
    space = {**SPACE, "encode": {**SPACE["encode"], "epochs": {"any_of": [0, 2]}}}
    record = search(planted, tmp_path, None, "study.trials=6", space=space)
    looks = Looks(record.folder / LOOKS).found.values()
    assert {look.epochs for look in looks} == {0, 1, 2}
    made = [point.candidate for point in record.points if point.candidate.name == "trial"]
    assert MADE < len(made) <= MADE + 2
    assert len({candidate.key for candidate in made}) == len(made)


def test_what_is_never_trained_is_made_once(planted: Path, tmp_path: Path) -> None:
    record = search(planted, tmp_path, Serial(), "study.trials=6")
    assert [point.candidate.name for point in record.points].count("trial") == MADE


@pytest.mark.parametrize("settings", [(), ("study.sampler=random",), ("study.looks=0",)], ids=" ".join)
def test_what_was_trained_is_coded_otherwise(settings: tuple[str, ...], planted: Path, tmp_path: Path) -> None:
    prune = {**SPACE["prune"], "epochs": {"any_of": [0, 1]}}
    space = {**SPACE, "prune": prune, "encode": {"quantize": {"bits": {"any_of": [8, 4, 3, 2]}}}}
    stages: list[str] = []
    watch = Watching(report=lambda progress: stages.append(progress.stage))
    record = search(planted, tmp_path, Serial(), "study.trials=4", *settings, space=space, watch=watch)
    assert ("refinement" in stages) == (not settings)
    trained = [look for look in Looks(record.folder / LOOKS).found.values() if look.of_epochs]
    trainings = {json.dumps(look.recipe["prune"]) for look in trained}
    assert 0 < len(trainings) <= 4, "no training was added"


@pytest.mark.parametrize("kind", ["serial", "trained"])
def test_running_it_again_changes_nothing(
    kind: str, planted: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before: Record = request.getfixturevalue(kind)
    shutil.copytree(before.folder, tmp_path / "s")
    shutil.copytree(before.folder.parent / ".store", tmp_path / ".store")
    words = ["study.trials=6"] if kind == "trained" else []
    search(planted, tmp_path, None, *words, space=TRAINED if words else SPACE)
    for name in ("archive.jsonl", LOOKS):
        assert (tmp_path / "s" / name).read_bytes() == (before.folder / name).read_bytes()


def test_candidates_in_flight_are_numbered_when_asked_for(serial: Record, planted: Path, tmp_path: Path) -> None:
    """What is looked at, made and measured does not depend on the executor."""
    executor = LastFirst()
    record = search(planted, tmp_path, executor)
    assert executor.most == 6, "the chunk that follows waits with whoever works"
    assert outcome(record) == outcome(serial)
    assert looked(record) == looked(serial)
    assert [candidate.number for candidate in record.archive.candidates.values()] == list(range(1 + 2 + MADE))


@pytest.mark.slow
def test_a_fresh_process_finds_what_this_one_finds(serial: Record, planted: Path, tmp_path: Path) -> None:
    with FreshProcess() as executor:
        found = search(planted, tmp_path, executor)
    assert outcome(found) == outcome(serial)
    assert looked(found) == looked(serial)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(
    trained: Record, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", 0.0)
    found = search(planted, tmp_path, None, "study.trials=6", "study.workers=2", space=TRAINED)
    assert looked(found) == looked(trained)
    assert outcome(found) == outcome(trained)


@pytest.mark.slow
def test_dense_models_that_are_trained_beside_a_scan_change_nothing(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", 0.0)
    space = {"base": {"dim": {"any_of": [8, 6, 4]}}, **TRAINED}
    words = ["study.trials=4", "requirements.quality.drop=90%"]
    alone, beside = (
        search(planted, tmp_path / count, None, *words, f"study.workers={count}", space=space) for count in ("1", "2")
    )
    bases = {look.recipe["base"]["dim"] for look in Looks(alone.folder / LOOKS).found.values() if "base" in look.recipe}
    assert bases == {8, 6, 4}
    assert looked(beside) == looked(alone)
    assert outcome(beside) == outcome(alone)


class Failing(Serial):
    """After so many calls nothing comes back."""

    def __init__(self, first: int, error: BaseException) -> None:
        self.left, self.error = first, error

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        self.left -= 1
        if self.left >= 0:
            return super().submit(function, argument)
        future: Future[Any] = Future()
        future.set_exception(self.error)
        return future


@pytest.mark.slow
def test_finds_are_chosen_by_closer_looks_also_after_a_kill(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.recommender.task.LOOK_USERS", 40)
    monkeypatch.setattr("autoprune.recommender.task.LOOK_SCORES", 0)
    monkeypatch.setattr("autoprune.study.sampling.lookout.CHUNK_S", 0.0)  # look by look
    whole = search(planted, tmp_path / "whole", Serial(), "presets=none")
    closer = Looks(whole.folder / CLOSER_LOOKS)
    assert closer.dense
    assert closer.dense.units == whole.baseline.candidate.latest().units["ndcg@20"]["all"] > 40
    assert {look.units for look in whole.looks.found.values()} == {40}
    made = {point.candidate.key for point in whole.points if point.candidate.name == "trial"}
    assert len(made) == MADE
    assert made < {key for key, _ in closer.found}
    for point in whole.points[1:]:
        if look := closer.found.get((point.candidate.key, 0)):  # it foretold what was measured
            assert look.value("ndcg@20") == pytest.approx(point.candidate.latest().quality["ndcg@20"]["all"], rel=1e-5)
    with pytest.raises(AutopruneError, match="ended with -9"):
        search(planted, tmp_path / "killed", Failing(19 + 4, AutopruneError("ended with -9")), "presets=none")
    kept = list(Looks(tmp_path / "killed" / "s" / CLOSER_LOOKS).found)
    assert 1 < len(kept) < len(closer.found)
    again = search(planted, tmp_path / "killed", Serial(), "presets=none")
    assert outcome(again) == outcome(whole)
    assert list(Looks(again.folder / CLOSER_LOOKS).found) == list(closer.found)


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        pytest.param(1, KeyboardInterrupt(), marks=pytest.mark.slow),
        pytest.param(2, AutopruneError("no room left on the disk"), marks=pytest.mark.slow),
        (5, AutopruneError("the process that ran looks ended with -9")),
        pytest.param(20, AutopruneError("the process that ran evaluate ended with -9"), marks=pytest.mark.slow),
    ],
)
def test_a_call_that_fails_ends_the_search_and_loses_nothing(
    calls: int, error: BaseException, serial: Record, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.study.sampling.lookout.CHUNK_S", 0.0)  # look by look
    with pytest.raises(type(error), match=str(error) or None):
        search(planted, tmp_path, Failing(calls, error))
    kept = Record(tmp_path / "s")
    assert len(looked(kept)) >= calls, "the dense model is looked at here"
    assert outcome(kept) == outcome(serial)[: len(kept.points)]
    monkeypatch.undo()
    again = search(planted, tmp_path, Serial())
    assert outcome(again) == outcome(serial)
    assert looked(again) == looked(serial)
    assert not again.unfinished


def test_progress_tells_of_every_candidate(planted: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    said: list[str] = []
    expected: list[Expected | None] = []
    watch = Watching(report=seen.append, working=said.append, expect=expected.append)
    search(planted, tmp_path, None, "study.trials=6", space=TRAINED, watch=watch)
    stages = [progress.stage for progress in seen]
    assert stages[0] == "baseline"
    assert stages[-1] == "training"
    latest: list[Candidate] = [progress.latest for progress in seen]
    assert [candidate.number for candidate in latest] == list(range(len(seen)))
    assert [progress.looks for progress in seen] == sorted(progress.looks for progress in seen)
    assert 0 < seen[-1].trials <= 6
    later = [progress.seconds_left or 0.0 for progress in seen[1:]]
    assert all(seconds >= 1.0 for seconds in later), "the verification is still to come"
    assert any(word.startswith("scan: 2") and "looks" in word for word in said)
    assert any("trained" in word for word in said)
    assert any(word.startswith("making ") and word.endswith(" are done") for word in said)
    assert any(expected), "of the scan"
    assert any(one and one.open for one in expected), "how long training goes on is not known without a limit"


def test_finds_that_are_made_together_have_the_same_rivals(planted: Path, tmp_path: Path) -> None:
    """So that the same is rejected however many are made at a time."""
    asked: list[tuple[Any, ...]] = []

    class Noted(Serial):
        def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
            if getattr(argument, "name", "") == "trial":
                asked.append(argument.rivals)
            return super().submit(function, argument)

    search(planted, tmp_path, Noted())
    assert len(asked) > 1
    assert any(asked)
    assert all(rivals == asked[at - at % making.TOGETHER] for at, rivals in enumerate(asked))


def test_presets_by_hand_are_made_together_on_a_thread_each(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    real = Quantize.convert

    def convert(self: Quantize, model: Any, context: Any) -> None:
        if not context.rehearsal:
            threads.append(torch.get_num_threads())
        real(self, model, context)

    monkeypatch.setattr(Quantize, "convert", convert)
    monkeypatch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", 0.0)
    said: list[str] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = search(planted, tmp_path / "alone", Serial(), "study.looks=0")
        assert set(threads) == {1}, "also where each is made alone"
        watch = Watching(working=said.append)
        together = search(planted, tmp_path, None, "study.looks=0", "study.workers=2", watch=watch)
    finally:
        torch.set_num_threads(before)
    assert outcome(together) == outcome(alone)
    if can_fork():
        assert any(word.startswith("making int8 and int4") for word in said)


def test_how_long_the_dense_model_took_is_known_to_the_next_study(planted: Path, tmp_path: Path) -> None:
    """Which decides how its search goes: the same for the same data, whoever trained the model."""
    search(planted, tmp_path, Serial(), "study.looks=0")
    (held,) = [found for path in (tmp_path / STORE).glob("*.pt") if (found := Store(path.parent).load(path.stem))]
    held["seconds"] = 1000.0
    (path,) = (tmp_path / STORE).glob("*.pt")
    Store(path.parent).save(path.stem, held)
    other = search(planted, tmp_path, Serial(), "study.looks=0", "study.name=other")
    assert other.baseline.candidate.training == 1000.0
    assert 1000.0 < other.baseline.candidate.seconds < 1000.0 + 60.0, "measuring it took time too, training did not"


class Late(Serial):
    """From one call on, the time is over as soon as a call has begun."""

    def __init__(self, first: int, over: Callable[[], None]) -> None:
        self.left, self.over = first, over

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        self.left -= 1
        if self.left < 0:
            self.over()
            several = isinstance(argument, list)
            argument = [dataclasses.replace(one, seconds=0.0) for one in (argument if several else [argument])]
            return super().submit(function, argument if several else argument[0])
        return super().submit(function, argument)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the time of the next search be over in the call of that number, from 0; looks are calls of their own."""

    class Clock:
        ahead = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return time.monotonic() + cls.ahead

    def over() -> None:
        Clock.ahead += 1e6

    def begin(calls: int) -> None:
        monkeypatch.setattr("autoprune.study.sampling.lookout.CHUNK_S", 0.0)
        monkeypatch.setattr("autoprune.deadline.time", Clock)
        monkeypatch.setattr("autoprune.study.executors.staff.Serial", lambda: Late(calls, over))

    return begin


def test_time_that_is_over_between_two_finds_is_said(
    serial: Record, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        ahead = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return time.monotonic() + cls.ahead

    class Last(Serial):
        """The time is over once the first find is finished."""

        def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
            future = super().submit(function, argument)
            Clock.ahead += 1e6 * (getattr(argument, "name", "") == "trial")
            return future

    monkeypatch.setattr("autoprune.deadline.time", Clock)
    record = search(planted, tmp_path, Last(), "study.minutes=600")
    assert f"  {MADE - 1} of {MADE} finds were not made" in record.unfinished.splitlines()
    assert "stopped at" not in record.unfinished
    assert outcome(record) == outcome(serial)[: 1 + 2 + 1]


def test_a_preset_that_diverges_is_passed_over_and_this_is_said(planted: Path, tmp_path: Path) -> None:
    class Diverging(Serial):
        def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
            if getattr(argument, "name", "") == "int8":
                future: Future[Any] = Future()
                future.set_exception(Diverged("training diverged: the loss was nan"))
                return future
            return super().submit(function, argument)

    notes: list[str] = []
    record = search(planted, tmp_path, Diverging(), "study.looks=0", watch=Watching(note=notes.append))
    assert [point.candidate.name for point in record.points] == ["baseline", "int4"]
    said = "training diverged: the loss was nan"
    assert [note for note in notes if "passed over" in note] == [f"int8 is passed over: {said}"]
    assert not record.unfinished
    (failure,) = Failures(tmp_path / "s" / FAILED).found.values()
    assert (failure.name, failure.reason) == ("int8", said)
    assert failure.recipe == {"encode": {"method": {"quantize": {"bits": 8}}}}
    assert f"1 recipe failed: {said}" in record.failed
    search(planted, tmp_path, Serial(), "study.looks=0")
    assert not Record(tmp_path / "s").failed, "it was tried again, and made"


def test_a_preset_that_has_no_score_is_passed_over(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, score, asked = Judge.first, MeanMetric.__call__, []

    def ask(self: Judge, served: Any) -> Any:
        asked.append(served)
        return first(self, served)

    monkeypatch.setattr(Judge, "first", ask)
    monkeypatch.setattr(MeanMetric, "__call__", lambda *given: math.nan if len(asked) == 1 else score(*given))
    record = search(planted, tmp_path, Serial(), "study.looks=0")
    assert [point.candidate.name for point in record.points] == ["baseline", "int4"]
    (failure,) = Failures(tmp_path / "s" / FAILED).found.values()
    assert (failure.name, failure.reason) == ("int8", "ndcg@20 is nan")
    assert {path.name for path in (tmp_path / "s" / "artifacts").iterdir()} == {
        point.candidate.key for point in record.points
    }


def test_a_preset_whose_requests_cannot_be_made_is_passed_over(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = RecommenderTask.workloads, list[Any]()

    def workloads(self: RecommenderTask, served: Any) -> Any:
        seen.extend([served] * (served not in seen))
        if len(seen) == 2:
            raise KeyError("no such user")
        return real(self, served)

    monkeypatch.setattr(RecommenderTask, "workloads", workloads)
    record = search(planted, tmp_path, Serial(), "study.looks=0")
    assert [point.candidate.name for point in record.points] == ["baseline", "int4"]
    (failure,) = Failures(tmp_path / "s" / FAILED).found.values()
    assert failure.name == "int8"
    assert failure.reason.startswith("KeyError: 'no such user' (test_driver.py:")
    assert {path.name for path in (tmp_path / "s" / "artifacts").iterdir()} == {
        point.candidate.key for point in record.points
    }


def test_a_candidate_that_cannot_be_timed_is_timed_by_the_next_run(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(task: Any, served: Any, baseline: Any, **settings: Any) -> Any:
        if baseline is not None:
            raise KeyError("no such user")
        return timed(task, served, baseline, **settings)

    words, notes = ("study.looks=0", "study.objectives=[quality,latency]"), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr("autoprune.study.evaluation.evaluate.timed", failing)
        record = search(planted, tmp_path, Serial(), *words, watch=Watching(note=notes.append))
    assert [len(point.candidate.latest().latency) for point in record.points] == [2, 0, 0]
    said = [note.partition(" (")[0] for note in notes if "timed" in note]
    assert said == [f"candidate {number} could not be timed: KeyError: 'no such user'" for number in (1, 2)]
    assert [point.number for point in Front(record).points] == [0]
    record = search(planted, tmp_path, Serial(), *words)
    assert [len(point.candidate.latest().latency) for point in record.points] == [2, 2, 2]


def test_a_baseline_that_cannot_be_timed_ends_the_search(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise Failed("mine.py:7: workloads() failed with KeyError: 'no such user'.")

    monkeypatch.setattr("autoprune.study.evaluation.evaluate.timed", failing)
    with pytest.raises(AutopruneError, match=r"^mine\.py:7: workloads\(\) failed with KeyError"):
        search(planted, tmp_path, Serial(), "study.looks=0")


@pytest.mark.parametrize("looks", [0, 20])
def test_where_every_recipe_comes_to_nothing_the_search_ends_with_that(
    looks: int, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step breaks on every model but those on which recipes are tried first."""
    real = Quantize.convert

    def convert(self: Quantize, model: Any, context: Any) -> None:
        if not context.rehearsal:
            raise IndexError("a table is missing")
        real(self, model, context)

    monkeypatch.setattr(Quantize, "convert", convert)
    space = {"encode": {"method": {"quantize": {"bits": {"any_of": [8, 4, 2]}}}}}
    said = r"all \d+ recipes failed, most often with: IndexError: a table is missing \(test_driver\.py:\d+\)"
    for _ in range(2):
        with pytest.raises(AutopruneError, match=said):
            search(planted, tmp_path, Serial(), f"study.looks={looks}", space=space)
    kept = Record(tmp_path / "s")
    assert len(kept.points) == 1
    assert "IndexError" in kept.failed
    if looks:
        reasons = {
            look.failed.partition(":")[0] for look in Looks(tmp_path / "s" / LOOKS).found.values() if look.number
        }
        assert reasons == {"IndexError"}
    monkeypatch.undo()


def test_where_all_is_known_no_process_is_started(
    serial: Record, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(serial.folder, tmp_path / "s")
    shutil.copytree(serial.folder.parent / ".store", tmp_path / ".store")
    monkeypatch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", -1.0)
    monkeypatch.setattr("autoprune.study.executors.staff.PAYS_S", -1.0)
    monkeypatch.setattr("autoprune.study.executors.staff.Local", lambda *_, **__: pytest.fail("for nothing"))
    assert outcome(search(planted, tmp_path, None, "study.workers=2")) == outcome(serial)


def test_other_dense_models_are_trained_and_one_that_fails_is_passed_over(planted: Path, tmp_path: Path) -> None:
    class Half(Serial):
        """Nothing comes of a dense model of four dimensions."""

        def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
            future = super().submit(function, argument)
            if not isinstance(argument, list):
                return future
            failing: Future[Any] = Future()
            failing.set_result(
                [
                    Look(number=look.number, key=look.key, recipe=look.recipe, summary="", failed="diverged")
                    if look.recipe.get("base") == {"dim": 4}
                    else look
                    for look in future.result()
                ]
            )
            return failing

    notes: list[str] = []
    space = {
        "base": {"dim": {"any_of": [8, 4, 6]}},
        "encode": {"method": {"choose": {"none": {}, "quantize": {"bits": {"any_of": [8, 4]}}}}},
    }
    words = ("study.trials=2", "presets=none")
    record = search(planted, tmp_path, Half(), *words, space=space, watch=Watching(note=notes.append))
    assert "A dense model of the space is passed over: diverged" in notes
    bases = [look.recipe.get("base", {}).get("dim") for look in Looks(record.folder / LOOKS).found.values()]
    assert bases.count(4) == 1
    assert bases.count(6) == 3
    made = [point.candidate.recipe for point in record.points]
    assert {"dim": 6} in [recipe.get("base") for recipe in made]
    assert not any("prune" in recipe for recipe in made), "what stands in for a dense model is no find"


SCAN_CALLS = 3 + 2 + 17
"""The dense model, whether it is whole, a look at it; two presets, what else there is in the grid."""


@pytest.mark.parametrize(
    ("calls", "presets", "said"),
    [
        pytest.param(2, "int8, int4", "stopped at: measuring", marks=pytest.mark.slow),
        pytest.param(4, "int8, int4", "the scan was stopped after 2 looks", marks=pytest.mark.slow),
        (10, "int8, int4", "the scan was stopped after 8 looks"),
        pytest.param(SCAN_CALLS, "int8, int4", "stopped at: int8, ", marks=pytest.mark.slow),
        pytest.param(SCAN_CALLS + 1, "int4", "stopped at: int4, ", marks=pytest.mark.slow),
        (SCAN_CALLS + 3, "", "stopped at: rows item -"),
    ],
)
def test_what_there_was_no_time_for_is_said_and_gone_on_with(
    calls: int,
    presets: str,
    said: str,
    serial: Record,
    planted: Path,
    tmp_path: Path,
    late: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late(calls)
    record = search(planted, tmp_path, None, "study.minutes=600")
    assert said in record.unfinished
    assert ("presets not run" in record.unfinished) == bool(presets)
    assert presets in record.unfinished
    assert "study.minutes=600 was over" in record.unfinished
    assert record.unfinished.splitlines()[-1].startswith("  autoprune task=interactions")
    kept = outcome(record)
    assert kept == outcome(serial)[: len(kept)]
    file = io.StringIO()
    print_front(Console(file=file, width=200), Front(record))
    assert said in file.getvalue()
    assert (NOTHING_TRIED in file.getvalue()) == (len(kept) == 1)
    monkeypatch.undo()
    whole = search(planted, tmp_path, Serial())
    assert outcome(whole) == outcome(serial)
    assert looked(whole) == looked(serial)
    assert not whole.unfinished


@pytest.mark.slow
@pytest.mark.parametrize("calls", [SCAN_CALLS + 2 + MADE + 1, SCAN_CALLS + 2 + MADE + 8])
def test_training_that_there_was_no_time_for_is_gone_on_with(
    calls: int,
    trained: Record,
    planted: Path,
    tmp_path: Path,
    late: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late(calls)
    record = search(planted, tmp_path, None, "study.minutes=600", "study.trials=6", space=TRAINED)
    assert "training was stopped after " in record.unfinished
    assert "presets not run" not in record.unfinished
    monkeypatch.undo()
    whole = search(planted, tmp_path, None, "study.trials=6", space=TRAINED)
    assert outcome(whole) == outcome(trained)
    assert looked(whole) == looked(trained)
    assert not whole.unfinished


def test_what_cannot_be_trained_in_time_is_not_begun(
    serial: Record, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evaluator, "epoch_seconds", 3600.0)  # of two epochs that the space allows, eight recipes
    record = search(planted, tmp_path, None, "study.minutes=600", "study.trials=6", space=TRAINED)
    assert "nothing was trained: more study.minutes are needed, as the first 6 recipes take about" in record.unfinished
    assert "training was not begun" not in record.unfinished
    assert [one[1:] for one in outcome(record)] == [one[1:] for one in outcome(serial)]
    record = search(planted, tmp_path, None, "study.trials=6", space=TRAINED)
    assert not record.unfinished
    assert any(look.epochs for look in Looks(record.folder / LOOKS).found.values()), "without a limit it is"


def test_out_of_time_before_the_dense_model_is_finished(
    serial: Record, planted: Path, tmp_path: Path, late: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    late(0)
    with pytest.raises(AutopruneError, match="the dense model is not finished, and so nothing else was tried") as error:
        search(planted, tmp_path, None, "study.minutes=600")
    assert "stopped at: baseline, training the dense model: epoch 0 of at most 2; what was trained is kept" in str(
        error.value
    )
    assert "presets not run: int8, int4" in str(error.value)
    with pytest.raises(AutopruneError, match=r"nothing is measured yet; study\.minutes=600 was over"):
        Record(tmp_path / "s")
    monkeypatch.undo()
    assert outcome(search(planted, tmp_path, Serial(), "study.looks=0")) == outcome(serial)[:3]


EARLY = ["task.training.epochs=20", "task.training.evaluate_every=1", "task.training.patience=2"]
EARLY += ["task.noise=1", "task.temperature=0.5", "task.training.learning_rate=0.01", "task.training.warmup=5"]
"""A dense model that still improves after two epochs."""


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every training that has a time limit is cut short as soon as it can be."""
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "DENSE", 1e-9)
        patch.setattr(fit, "LITTLE", 1e9)
        yield


@pytest.fixture(scope="module")
def after_two_epochs(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return search(planted, tmp_path_factory.mktemp("two"), Serial(), *EARLY, "task.training.epochs=2")


@pytest.mark.usefixtures("in_a_hurry")
def test_a_dense_model_that_takes_long_is_cut_short_for_this_study_alone(
    after_two_epochs: Record, planted: Path, tmp_path: Path
) -> None:
    runs, notes = tmp_path / "runs", list[str]()
    whole = search(planted, tmp_path / "whole", Serial(), *EARLY)
    record = search(planted, runs, Serial(), *EARLY, "study.minutes=600", watch=Watching(note=notes.append))
    unlimited = search(planted, runs, Serial(), *EARLY, "study.name=unlimited")
    assert (outcome(record), looked(record)) == (outcome(after_two_epochs), looked(after_two_epochs))
    assert [note for note in notes if "Training the dense model is cut short after 2 epochs" in note]
    file = io.StringIO()
    print_front(Console(file=file, width=200), Front(record))
    assert "was cut short after epoch 2" in file.getvalue()
    assert (outcome(unlimited), unlimited.cut_short) == (outcome(whole), ""), "it went on with the same training"

    shutil.rmtree(runs / STORE)
    shutil.rmtree(record.folder / "artifacts")
    again = search(planted, runs, Serial(), *EARLY, "study.minutes=600")
    assert outcome(again) == outcome(after_two_epochs)
    one, other = (
        artifact.read(found.folder / "artifacts" / found.baseline.candidate.key).tensors
        for found in (again, after_two_epochs)
    )
    assert all((one[name] == other[name]).all() for name in {*one, *other})


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize("copies", [True, False], ids=["copies", "fresh processes"])
def test_all_processes_know_that_the_dense_model_was_cut_short(
    copies: bool, after_two_epochs: Record, planted: Path, tmp_path: Path
) -> None:
    words = [*EARLY, "study.minutes=600", *["study.workers=2"] * copies]
    with nullcontext() if copies else FreshProcess() as executor:
        record = search(planted, tmp_path, executor, *words)
    assert (outcome(record), looked(record)) == (outcome(after_two_epochs), looked(after_two_epochs))


@pytest.mark.usefixtures("in_a_hurry")
def test_a_search_killed_after_its_training_was_cut_short_goes_on_with_it(
    after_two_epochs: Record, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*EARLY, "study.minutes=600"]
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "save", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search(planted, tmp_path, Serial(), *words)
    assert (tmp_path / "s" / CUT_SHORT).exists()
    notes = list[str]()
    again = search(planted, tmp_path, Serial(), *words, watch=Watching(note=notes.append))
    assert outcome(again) == outcome(after_two_epochs)
    assert not [note for note in notes if "is cut short" in note]
    shutil.rmtree(tmp_path / "s" / "artifacts")
    (tmp_path / "s" / "archive.jsonl").unlink()
    other = search(planted, tmp_path, Serial(), *words, "task.dim=4")
    assert "was cut short after epoch 2" in other.cut_short, "a study without measurements is replaced"
    shutil.rmtree(tmp_path / "s")
    assert outcome(search(planted, tmp_path, Serial(), *words)) == outcome(after_two_epochs)
    (tmp_path / "s" / CUT_SHORT).write_text("{}")
    with pytest.raises(AutopruneError, match=f"{CUT_SHORT}: it must say after how many epochs training was cut short"):
        search(planted, tmp_path, Serial(), *words)


@pytest.mark.usefixtures("in_a_hurry")
def test_a_dense_model_that_was_trained_whole_and_is_lost_is_trained_whole_again(planted: Path, tmp_path: Path) -> None:
    whole = search(planted, tmp_path, Serial(), *EARLY)
    shutil.rmtree(tmp_path / STORE)
    shutil.rmtree(whole.folder / "artifacts")
    again = search(planted, tmp_path, Serial(), *EARLY, "study.minutes=600")
    assert not again.cut_short
    assert artifact.read(again.folder / "artifacts" / again.baseline.candidate.key, whole=True)
    assert outcome(again) == outcome(whole)


def raising(error: type[BaseException]) -> Callable[..., Any]:
    def instead(*_: Any, **__: Any) -> Any:
        raise error

    return instead


def test_without_looks_and_trials_presets_alone_are_measured(serial: Record, planted: Path, tmp_path: Path) -> None:
    record = search(planted, tmp_path, Serial(), "study.looks=0")
    assert outcome(record) == outcome(serial)[:3]
    assert not (record.folder / LOOKS).exists()


def test_without_a_scan_recipes_are_asked_for_and_the_best_are_made(planted: Path, tmp_path: Path) -> None:
    record = search(planted, tmp_path, Serial(), "study.looks=0", "study.trials=8", space=TRAINED)
    looks = Looks(record.folder / LOOKS).found.values()
    assert any(look.epochs for look in looks)
    assert len(looks) > 8
    names = [point.candidate.name for point in record.points]
    assert names[:3] == ["baseline", "int8", "int4"]
    assert 0 < names.count("trial") <= 2


def test_nothing_is_measured_beside_a_baseline_that_was_judged_by_other_rules(
    serial: Record, planted: Path, tmp_path: Path
) -> None:
    shutil.copytree(serial.folder, tmp_path / "s")
    archive = Archive(tmp_path / "s" / "archive.jsonl")
    assert archive.baseline is not None
    older = dataclasses.replace(archive.baseline.latest(), rules=1)
    archive.add(archive.baseline.with_measurement(older))
    (tmp_path / "s" / LOOKS).unlink()
    with pytest.raises(AutopruneError, match="begun by an older version, which judged quality by other rules"):
        search(planted, tmp_path, Serial())
    assert not (tmp_path / "s" / LOOKS).exists(), "nothing was looked at in vain"
    assert len(outcome(Record(tmp_path / "s"))) == len(outcome(serial)), "what was found can be read"


def test_presets_that_miss_by_far_are_not_made_and_this_is_said(planted: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    words = ["++requirements.size_bytes.max=0.3x"]
    record = search(planted, tmp_path, Serial(), *words, watch=Watching(note=notes.append))
    said = [note for note in notes if "is not made" in note]
    assert said == ["preset int8 is not made: a look at it misses size_bytes <= 0.3x by far"]
    names = {point.candidate.name for point in record.points}
    assert {"baseline", "int4", "trial"} == names
    assert not record.unfinished
    again: list[str] = []
    search(planted, tmp_path, Serial(), *words, watch=Watching(note=again.append))
    assert [note for note in again if "is not made" in note] == said


def test_where_nothing_holds_the_nearest_are_made(planted: Path, tmp_path: Path) -> None:
    """So that it can be said what is missing."""
    record = search(planted, tmp_path, Serial(), "++requirements.size_bytes.max=0.001x", "presets=none")
    trials = [point for point in record.points if point.candidate.name == "trial"]
    assert len(trials) == finds.NEAREST
    file = io.StringIO()
    print_front(Console(file=file, width=200), Front(record))
    assert "size_bytes <= 0.001x" in file.getvalue()
    with pytest.raises(
        AutopruneError, match=r"size_bytes <= 0\.001x: missed by \d+ of \d+(?s:.*)Nearest misses:\n  #\d+ "
    ):
        Front(record).pick()


@pytest.mark.parametrize(
    ("words", "timed"),
    [
        ([], False),
        pytest.param(["++requirements.latency_ms.max=10x"], True, marks=pytest.mark.slow),
        (["study.objectives=[quality,size,latency]"], True),
    ],
)
def test_latency_is_timed_only_where_it_is_asked_for(
    words: list[str], timed: bool, planted: Path, tmp_path: Path
) -> None:
    record = search(planted, tmp_path, Serial(), *words)
    baseline, *others = [point.candidate.latest() for point in record.points]
    assert baseline.latency
    assert [bool(measured.latency) for measured in others] == [timed] * len(others)
    structures = {measured.structure: measured.latency for measured in others}
    assert all(measured.latency == structures[measured.structure] for measured in others), "equal structures once"


def test_where_reading_takes_all_of_the_time_it_is_said_how_long_it_took(planted: Path, tmp_path: Path) -> None:
    said = r"before anything could be measured: reading the data took \d:\d\d, .* increase study\.minutes\.$"
    with pytest.raises(AutopruneError, match=said):
        search(planted, tmp_path, Serial(), "study.minutes=600", deadline=Deadline.after(0.0))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("elapsed", [0.0, 5.0, 9.0, 11.0, 100.0, 10_000.0])
def test_what_is_expected_moves_and_never_ends_before_the_work(elapsed: float) -> None:
    expected = Expected(current=10.0, after=30.0)
    assert expected.left(elapsed) >= 30.0
    assert expected.left(elapsed + 3) != expected.left(elapsed)
    assert Expected(current=10.0, after=30.0, limit=20.0).left(elapsed) == max(1.0, 20.0 - elapsed)
    assert Expected(current=1.0).left(elapsed) >= 1.0


class Pool(Executor):
    """Two processes of the standard library."""

    slots = 2

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        return self.pool.submit(function, argument)

    def close(self) -> None:
        self.pool.shutdown()


@pytest.mark.slow
def test_processes_of_the_standard_library_are_an_executor(serial: Record, planted: Path, tmp_path: Path) -> None:
    with Pool() as pool:
        found = search(planted, tmp_path, pool)
    assert outcome(found) == outcome(serial)
    assert looked(found) == looked(serial)


@pytest.mark.slow
def test_data_that_changed_is_named_wherever_it_is_read(planted: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(planted, tmp_path / "data"))

    class Changing(FreshProcess):
        """Its process reads the data after somebody has changed it."""

        def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
            (data / "test.txt").write_text("".join((planted / "test.txt").read_text().splitlines(keepends=True)[:-1]))
            return super().submit(function, argument)

    with Changing() as executor, pytest.raises(AutopruneError, match=r"the data of study .* has changed"):
        search(data, tmp_path, executor)


@pytest.mark.parametrize(("before", "left"), [(0.0, 50.0), (60.0, 20.0), (200.0, 0.0)])
def test_a_stage_that_goes_on_has_what_is_left_of_its_share(before: float, left: float) -> None:
    budget = Budget(Deadline.after(100.0), minutes=None, verification=lambda: 0.0)
    assert budget.share(0.5, before=before).left == pytest.approx(left, abs=1.0)
