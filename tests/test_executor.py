"""Who runs calls: this process, a fresh one or several; what comes back, and what is said when something breaks."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from autoprune.config.settings import ExecutorConfig
from autoprune.deadline import OutOfTime
from autoprune.errors import AutopruneError, Diverged, RecipeError
from autoprune.study.definition import Definition
from autoprune.study.executors.executor import Executor, FreshProcess, Serial, Worker
from autoprune.study.executors.local import Local
from autoprune.study.job import cluster_of, executor_config

DEFINITION = Definition(content={"study": {"seed": 0}}, places={}, folder=Path("runs/s"), latency_seconds=0.1)


class Counter(Worker):
    """Says in which process it lives, and how often it was asked there."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.asked = 0

    def count(self, seed: int) -> tuple[int, int, int]:
        assert self.definition == DEFINITION
        self.asked += 1
        return seed, self.asked, os.getpid()

    def refuse(self, name: str) -> None:
        raise RecipeError(("prune", name), "it cannot be.")

    def diverge(self, why: str) -> None:
        raise Diverged(why)

    def stop(self, doing: str) -> None:
        raise OutOfTime(doing)

    def chatter(self, text: str) -> str:
        print("a library talks")
        return text

    def fill(self, place: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", place)

    def tear(self, name: str) -> None:
        raise EOFError(name)

    def die(self, how: int) -> None:
        os.kill(os.getpid(), how)


class Seeds(Worker):
    """Says the seed of its definition."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)

    def seed(self, _: None) -> int:
        return self.definition.seed


KINDS = {
    "serial": Serial,
    "fresh": pytest.param(FreshProcess, marks=pytest.mark.slow),
    "local": pytest.param(partial(Local, 1), marks=pytest.mark.slow),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    make: Callable[[], Executor] = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        with make() as made:
            yield made


def test_a_call_comes_back_as_a_future(executor: Executor) -> None:
    assert executor.submit(abs, -3).result() == 3
    assert executor.submit(len, [1, 2]).result() == 2
    assert executor.slots == 1


def test_a_worker_is_kept_between_calls(executor: Executor) -> None:
    worker = Counter(DEFINITION)
    found = [executor.submit(worker.count, seed).result() for seed in (7, 8, 9)]
    assert [seed for seed, _, _ in found] == [7, 8, 9]
    assert [asked for _, asked, _ in found] == [1, 2, 3]
    assert len({process for _, _, process in found}) == 1
    assert (found[0][2] == os.getpid()) == isinstance(executor, Serial)


def test_a_training_that_diverged_is_told_from_what_failed(executor: Executor) -> None:
    with pytest.raises(Diverged, match=r"^the loss was nan$"):
        executor.submit(Counter(DEFINITION).diverge, "the loss was nan").result()


def test_what_a_person_can_mend_comes_back_as_an_error(executor: Executor) -> None:
    future = executor.submit(Counter(DEFINITION).refuse, "dims")
    with pytest.raises(AutopruneError, match=r"^prune\.dims: it cannot be\.$"):
        future.result()
    assert executor.submit(abs, -1).result() == 1, "it goes on"


def test_a_full_disk_comes_back_as_that(executor: Executor) -> None:
    with pytest.raises(OSError, match="No space left") as full:
        executor.submit(Counter(DEFINITION).fill, "runs/s").result()
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, "runs/s")
    assert executor.submit(abs, -1).result() == 1, "it goes on"


def test_what_the_time_was_over_for_comes_back_as_that(executor: Executor) -> None:
    with pytest.raises(OutOfTime) as stopped:
        executor.submit(Counter(DEFINITION).stop, "epoch 3").result()
    assert stopped.value.doing == "epoch 3"
    assert executor.submit(abs, -1).result() == 1, "it goes on"


def test_what_a_library_prints_is_no_answer(executor: Executor) -> None:
    assert executor.submit(Counter(DEFINITION).chatter, "answer").result() == "answer"


@pytest.mark.slow
def test_each_fresh_process_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    found = set()
    for _ in range(2):
        with FreshProcess() as executor:
            found.add(executor.submit(Counter(DEFINITION).count, 0).result()[1:])
    assert len(found) == 2


@pytest.mark.slow
def test_a_process_that_dies_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    said = r"the process that ran Counter\.die ended with -9 \(too little memory\?\), see above.* goes on from here"
    with FreshProcess() as executor:
        with pytest.raises(AutopruneError, match=said):
            executor.submit(Counter(DEFINITION).die, signal.SIGKILL).result()
        assert executor.submit(abs, -2).result() == 2, "the next call has a process again"


@pytest.mark.slow
def test_an_error_of_our_own_ends_the_process_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    with FreshProcess() as executor, pytest.raises(AutopruneError, match="ended with 1, see above"):
        executor.submit(Counter(DEFINITION).tear, "archive.gz").result()
    assert "EOFError: archive.gz" in capfd.readouterr().err


def test_of_workers_a_process_keeps_one(executor: Executor) -> None:
    other = Definition(content={"study": {"seed": 1}}, places={}, folder=Path("runs/t"), latency_seconds=0.1)
    seeds = [executor.submit(Seeds(definition).seed, None).result() for definition in (DEFINITION, other, DEFINITION)]
    assert seeds == [0, 1, 0]


@pytest.mark.slow
def test_an_interrupted_call_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches whoever waits; the process that works is ended, not left behind."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    with FreshProcess() as executor:
        _, _, process = executor.submit(Counter(DEFINITION).count, 0).result()

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("autoprune.study.executors.executor.pickle.load", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.submit(abs, -1)
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"name": "dask"}, r"executor\.name 'dask' is unknown"),
        ({"address": "auto"}, r"executor=local: address, cpus, gpus and retries need executor=ray"),
        ({"name": "ray", "cpus": -1.0}, r"executor\.cpus: 0 or more"),
        ({"name": "ray", "cpus": 0.0}, r"a call takes CPUs or GPUs"),
        ({"name": "ray", "cpus": "many"}, r"executor\.cpus: a number must be given, but got 'many'"),
        ({"name": "ray", "port": 1}, r"executor\.port: there is no such entry"),
    ],
)
def test_an_executor_that_cannot_be_is_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(AutopruneError, match=said):
        executor_config({"executor": section})


def test_a_kit_is_unpacked_as_the_study_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = pytest.importorskip("autoprune.study.executors.cluster")
    data, runs = tmp_path / "data.csv", tmp_path / "here" / "runs"
    content = {data: "1,2", runs / "s/artifacts/key/tensors": "tensors", runs / ".store/key.pt": "dense"}
    for path, text in content.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    class Packed(Counter):
        files = (runs / "s/artifacts/key", runs / ".store/key.pt", runs / ".store/untrained.pt")

    places = {"task.data.path": str(data)}
    kit = cluster.packed(Packed(dataclasses.replace(DEFINITION, places=places, folder=runs / "s")))
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    for path in content:
        path.unlink()
    there = cluster._unpacked_definition(kit)
    assert there.folder.is_relative_to(tmp_path / "node")
    assert Path(there.places["task.data.path"]).read_text() == "1,2"
    assert (there.artifacts / "key" / "tensors").read_text() == "tensors"
    assert [path.name for path in (there.folder.parent / ".store").iterdir()] == ["key.pt"]


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "autoprune.study.executors.cluster", raising=False)
    with pytest.raises(AutopruneError, match=r"^executor=ray: Ray is not installed: pip install 'autoprune\[ray\]'\.$"):
        cluster_of(Any, ExecutorConfig(name="ray"), slots=None)  # type: ignore[arg-type]  # it does not come to that
