"""A search under executors that it does not know: several evaluations in flight, other orders, other processes."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from autoprune.config import compose_config, sections
from autoprune.deadline import Deadline
from autoprune.errors import AutopruneError
from autoprune.fronts.front import NOTHING_TRIED, Front
from autoprune.record.archive import Archive, Candidate
from autoprune.record.record import Record
from autoprune.study.executor import Executor, FreshProcess, Serial
from autoprune.study.job import run_study
from autoprune.study.progress import Expected, Progress
from autoprune.views.terminal import print_front

TRIALS = 5


class LastFirst(Executor):
    """Three calls in flight, of which the one asked for last is finished first."""

    slots = 3

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[Any], Any], Any]] = []
        self.most = 0

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        future = Lazy(self)
        self.waiting.append((future, function, argument))
        self.most = max(self.most, len(self.waiting))
        return future

    def close(self) -> None:
        assert not self.waiting, "whatever was asked for was waited for"

    def work(self) -> None:
        future, function, argument = self.waiting.pop()
        future.set_result(function(argument))


class Lazy(Future[Any]):
    """Is worked on when somebody waits."""

    def __init__(self, executor: LastFirst) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> Any:
        while not self.done():
            self._executor.work()
        return super().result(timeout)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the first of several lazy futures works on the last one asked for."""
    from concurrent import futures

    def wait(flying: Any, **how: Any) -> Any:
        lazy = [future for future in flying if isinstance(future, Lazy)]
        if lazy and not any(future.done() for future in lazy):
            lazy[0]._executor.work()
        return futures.wait(flying, **how)

    monkeypatch.setattr("autoprune.study.driver.wait", wait)


SPACE = {
    "base": {"dim": {"any_of": [8, 4]}},
    "prune": {"rows": {"sparsity": {"item": {"float": [0.0, 0.4], "step": 0.1}, "user": 0.0}}},
    "encode": {"method": {"choose": {"none": {}, "quantize": {"bits": {"any_of": [8, 4, 2]}}}}},
}


def told(planted: Path, runs: Path, *, trials: int) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The sections of a tiny study, and the overrides that say most of them."""
    overrides = ["task=interactions", f"task.data.path={planted}", "task.dim=8", "task.training.epochs=2"]
    overrides += ["presets=none", "presets.int8.encode.method.quantize.bits=8", "presets.also_int8.quantize.bits=8"]
    overrides += ["presets.int4.quantize.bits=4", "requirements=none", "study.objectives=[quality,size]"]
    overrides += ["study.latency_seconds=0.01", f"study.dir={runs}", "study.name=s", f"study.trials={trials}"]
    return {**sections(compose_config(overrides)), "space": SPACE}, overrides


def search(
    planted: Path,
    runs: Path,
    executor: Executor,
    *,
    trials: int = TRIALS,
    minutes: float | None = None,
    deadline: Deadline | None = None,
) -> Record:
    sections, overrides = told(planted, runs, trials=trials)
    sections["study"]["minutes"] = minutes
    return run_study(sections, overrides, executor=executor, deadline=deadline)


def outcome(record: Record) -> list[tuple[int, str, str, float, int]]:
    found = []
    for point in record.points:
        one, measured = point.candidate, point.candidate.latest()
        found.append((one.number, one.name, one.key, measured.quality["ndcg@20"]["all"], measured.size_bytes))
    return found


@pytest.fixture(scope="module")
def serial(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return search(planted, tmp_path_factory.mktemp("serial"), Serial())


@pytest.mark.slow
@pytest.mark.usefixtures("waiting")
def test_candidates_in_flight_are_numbered_when_asked_for(planted: Path, tmp_path: Path) -> None:
    executor = LastFirst()
    record = search(planted, tmp_path, executor)
    assert executor.most == 3
    arrived = [candidate.number for candidate in record.archive.candidates.values()]
    assert arrived[0] == 0, "the baseline alone comes first"
    assert arrived != sorted(arrived), "they came back in another order"
    assert sorted(arrived) == list(range(1 + 2 + TRIALS))
    assert [point.number for point in record.points] == sorted(arrived)
    assert all(record.point(number).number == number for number in arrived)
    assert record.baseline.candidate.name == "baseline"


@pytest.mark.slow
@pytest.mark.usefixtures("waiting")
def test_what_is_measured_does_not_depend_on_the_executor(planted: Path, tmp_path: Path) -> None:
    """An evaluation is a function of definition, recipe and seed: the same recipes, one by one, give the same."""
    found = search(planted, tmp_path / "several", LastFirst())
    sections, overrides = told(planted, tmp_path / "one", trials=0)
    trials = [point for point in found.points if point.candidate.name == "trial"]
    sections["presets"] |= {f"trial_{point.number}": point.candidate.recipe for point in trials}
    again = {key: rest for _, _, key, *rest in outcome(run_study(sections, overrides))}
    assert {key: rest for _, _, key, *rest in outcome(found)} == again


@pytest.mark.slow
@pytest.mark.usefixtures("waiting")
def test_the_next_search_goes_on_from_what_came_back_in_another_order(planted: Path, tmp_path: Path) -> None:
    search(planted, tmp_path, LastFirst())
    lines = (tmp_path / "s" / "archive.jsonl").read_bytes()
    record = search(planted, tmp_path, Serial())
    assert (tmp_path / "s" / "archive.jsonl").read_bytes() == lines
    record = search(planted, tmp_path, Serial(), trials=TRIALS + 1)
    assert [point.number for point in record.points] == list(range(1 + 2 + TRIALS + 1))


@pytest.mark.slow
def test_a_fresh_process_finds_what_this_one_finds(serial: Record, planted: Path, tmp_path: Path) -> None:
    with FreshProcess() as executor:
        assert outcome(search(planted, tmp_path, executor)) == outcome(serial)


def test_presets_of_one_plan_are_one_candidate(serial: Record) -> None:
    names = [point.candidate.name for point in serial.points]
    assert names == ["baseline", "int8", "int4", *["trial"] * TRIALS]


@pytest.mark.slow
def test_an_evaluation_that_fails_ends_the_search_and_loses_nothing(planted: Path, tmp_path: Path) -> None:
    class Failing(Serial):
        def __init__(self) -> None:
            self.asked = 0

        def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
            self.asked += 1
            if self.asked < 7:  # which machine, the baseline, whether it is whole, two presets, a trial
                return super().submit(function, argument)
            future: Future[Any] = Future()
            future.set_exception(AutopruneError("no room left on the disk"))
            return future

    with pytest.raises(AutopruneError, match="no room left"):
        search(planted, tmp_path, Failing())
    kept = outcome(Record(tmp_path / "s"))
    assert len(kept) == 4
    assert outcome(search(planted, tmp_path, Serial()))[: len(kept)] == kept


def test_progress_tells_of_every_candidate(planted: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    run_study(*told(planted, tmp_path, trials=3), report=seen.append)
    assert [progress.trials for progress in seen] == [0, 0, 0, 1, 2, 3]
    assert [progress.of for progress in seen] == [3] * 6
    latest: list[Candidate] = [progress.latest for progress in seen]
    assert [candidate.number for candidate in latest] == list(range(6))
    assert seen[0].expected is None, "of what presets take nothing is known"
    later = [progress.seconds_left or 0.0 for progress in seen[1:]]
    assert all(seconds >= 1.0 for seconds in later), "the verification is still to come"
    assert all(progress.expected and progress.expected.after > 0 for progress in seen[1:-1])


class Late(Serial):
    """From one call on, the time is over as soon as a call has begun."""

    def __init__(self, first: int) -> None:
        self.left = first

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        self.left -= 1
        over = self.left < 0 and dataclasses.is_dataclass(argument)
        return super().submit(function, dataclasses.replace(argument, seconds=0.0) if over else argument)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("calls", "presets", "trials"),
    [
        pytest.param(3, ["int8", "int4"], TRIALS, marks=pytest.mark.slow),
        (4, ["int4"], TRIALS),
        pytest.param(5, [], TRIALS, marks=pytest.mark.slow),
        pytest.param(7, [], TRIALS - 2, marks=pytest.mark.slow),
    ],
)
def test_what_there_was_no_time_for_is_said_and_gone_on_with(
    calls: int, presets: list[str], trials: int, serial: Record, planted: Path, tmp_path: Path
) -> None:
    record = search(planted, tmp_path, Late(calls), minutes=600)
    assert f"trials not run: {trials} of {TRIALS}" in record.unfinished
    assert ("presets not run" in record.unfinished) == bool(presets)
    assert ", ".join(presets) in record.unfinished
    assert "study.minutes=600 was over" in record.unfinished
    assert record.unfinished.splitlines()[-1].startswith("  autoprune task=interactions")
    kept = outcome(record)
    assert kept == outcome(serial)[: len(kept)]
    file = io.StringIO()
    print_front(Console(file=file, width=200), Front(record))
    assert "trials not run" in file.getvalue()
    assert (NOTHING_TRIED in file.getvalue()) == (len(kept) == 1)
    whole = search(planted, tmp_path, Serial())
    assert outcome(whole) == outcome(serial)
    assert not whole.unfinished


def test_out_of_time_before_the_dense_model_is_finished(serial: Record, planted: Path, tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match="the dense model is not finished, and so nothing else was tried") as error:
        search(planted, tmp_path, Late(1), minutes=600)
    assert ("stopped at: baseline, training the dense model: epoch 0 of at most 2; what was trained is kept") in str(
        error.value
    )
    assert "presets not run: int8, int4" in str(error.value)
    with pytest.raises(AutopruneError, match=r"nothing is measured yet; study\.minutes=600 was over"):
        Record(tmp_path / "s")
    assert outcome(search(planted, tmp_path, Serial(), trials=0)) == outcome(serial)[:3]


def test_where_reading_takes_all_of_the_time_it_is_said_how_long_it_took(planted: Path, tmp_path: Path) -> None:
    said = r"before anything could be measured: reading the data took \d:\d\d, .* give more minutes\.$"
    with pytest.raises(AutopruneError, match=said):
        search(planted, tmp_path, Serial(), minutes=600, deadline=Deadline.after(0.0))
    assert not (tmp_path / "s").exists()


def test_nothing_is_measured_beside_a_baseline_that_was_judged_by_other_rules(
    serial: Record, planted: Path, tmp_path: Path
) -> None:
    shutil.copytree(serial.folder, tmp_path / "s")
    archive = Archive(tmp_path / "s" / "archive.jsonl")
    assert archive.baseline is not None
    older = dataclasses.replace(archive.baseline.latest(), rules=1)
    archive.add(archive.baseline.with_measurement(older))
    assert outcome(search(planted, tmp_path, Serial())) == outcome(serial), "nothing is left to be measured"
    with pytest.raises(AutopruneError, match="begun by an older version, which judged quality by other rules"):
        search(planted, tmp_path, Serial(), trials=TRIALS + 1)


@pytest.mark.parametrize("elapsed", [0.0, 5.0, 9.0, 11.0, 100.0, 10_000.0])
def test_what_is_expected_moves_and_never_ends_before_the_work(elapsed: float) -> None:
    expected = Expected(current=10.0, after=30.0)
    assert expected.left(elapsed) >= 30.0
    assert expected.left(elapsed + 3) != expected.left(elapsed)
    assert Expected(current=10.0, after=30.0, limit=20.0).left(elapsed) == max(1.0, 20.0 - elapsed)
    assert Expected(current=1.0).left(elapsed) >= 1.0


@pytest.mark.usefixtures("waiting")
def test_what_is_finished_beside_a_failure_is_kept(planted: Path, tmp_path: Path) -> None:
    class OneFails(LastFirst):
        """Of three trials in flight the first fails when the two others are finished."""

        def work(self) -> None:
            if len(self.waiting) < self.slots or self.waiting[0][2].name != "trial":
                super().work()
                return
            while len(self.waiting) > 1:
                super().work()
            self.waiting.pop()[0].set_exception(AutopruneError("no room left on the disk"))

    with pytest.raises(AutopruneError, match="no room left"):
        search(planted, tmp_path, OneFails())
    kept = Record(tmp_path / "s")
    assert [point.candidate.name for point in kept.points] == ["baseline", "int8", "int4", "trial", "trial"]
    assert [point.number for point in kept.points] == [0, 1, 2, 4, 5], "number 3 is the one that failed"
    assert all(point.folder.is_dir() for point in kept.points)


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
    before = {key: rest for _, _, key, *rest in outcome(serial)}
    after = {key: rest for _, _, key, *rest in outcome(found)}
    assert len(after) == len(before)
    assert all(after[key] == before[key] for key in after.keys() & before.keys())


@pytest.mark.slow
def test_data_that_changed_is_named_wherever_it_is_read(planted: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(planted, tmp_path / "data"))

    class Changing(FreshProcess):
        """Its process reads the data after somebody has changed it."""

        def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
            (data / "test.txt").write_text("".join((planted / "test.txt").read_text().splitlines(keepends=True)[:-1]))
            return super().submit(function, argument)

    with Changing() as executor, pytest.raises(AutopruneError, match="was searched on other data than there is now"):
        search(data, tmp_path, executor)
