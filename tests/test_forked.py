"""Copies of this process that answer calls: what they have at hand, how they stand still, and that none is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from autoprune.errors import AutopruneError
from autoprune.study.definition import Definition
from autoprune.study.executors.executor import Worker
from autoprune.study.executors.forked import ForkedProcess, can_fork
from autoprune.study.executors.local import Local

pytestmark = pytest.mark.skipif(not can_fork(), reason="this machine does not copy processes")

DEFINITION = Definition(content={"study": {"seed": 0}}, places={}, folder=Path("runs/s"), latency_seconds=0.1)


class Reader(Worker):
    """Has read something, says so to whoever listens, and can train."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.read: list[int] = []
        self.heard: list[str] = []
        self.listens = True

    def alone(self) -> None:
        self.listens = False

    def told(self, number: int) -> tuple[int, list[int], bool, int]:
        self.read.append(number)
        return os.getpid(), self.read, self.listens, torch.get_num_threads()

    def slope(self, size: int) -> float:
        """The gradient of what is large enough for several threads."""
        there = torch.ones(size, size, requires_grad=True)
        (there @ there).sum().backward()
        assert there.grad is not None
        return float(there.grad[0, 0])

    def loaded(self, size: int) -> list[int]:
        """What a data loader draws with a process of its own."""
        return [int(one) for one in DataLoader(range(size), num_workers=1)]  # type: ignore[arg-type]

    def count(self, path: Path) -> None:
        """Writes a longer and longer file."""
        with path.open("w") as file:
            while True:
                print(file=file, flush=True)
                time.sleep(0.01)


@pytest.fixture
def reader() -> Reader:
    made = Reader(DEFINITION)
    made.read = [1, 2]
    return made


@pytest.fixture
def process(reader: Reader) -> Iterator[ForkedProcess]:
    with ForkedProcess(reader) as made:
        yield made


def test_a_copy_has_what_this_process_has_and_changes_its_own(reader: Reader, process: ForkedProcess) -> None:
    first, second = (process.submit(reader.told, number).result() for number in (3, 4))
    assert first[1:] == ([1, 2, 3], False, 1), "it reports to nobody, and uses one thread"
    assert second[:2] == (first[0], [1, 2, 3, 4])
    assert first[0] != os.getpid()
    assert reader.read == [1, 2]
    assert reader.listens


def test_a_copy_of_a_process_that_trained_on_several_threads_trains(reader: Reader, process: ForkedProcess) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        here = reader.slope(200)
    finally:
        torch.set_num_threads(before)
    assert process.submit(reader.slope, 200).result() == here


def test_a_copy_loads_data_with_processes_of_its_own(reader: Reader, process: ForkedProcess) -> None:
    assert process.submit(reader.loaded, 3).result() == [0, 1, 2]


def test_what_dies_is_named_and_the_next_call_has_a_new_copy(reader: Reader, process: ForkedProcess) -> None:
    with pytest.raises(AutopruneError, match="ended with 3, see above"):
        process.submit(os._exit, 3).result()
    assert process.submit(reader.told, 3).result()[1] == [1, 2, 3]


def test_copies_stand_still_while_they_are_paused(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "counted"
    with Local(1, worker=reader) as local:
        local.submit(reader.count, path)
        while not (path.exists() and path.stat().st_size):
            time.sleep(0.01)
        with local.paused():
            time.sleep(0.05)  # what it was at when it was stopped
            before = path.stat().st_size
            time.sleep(0.1)
            assert path.stat().st_size == before
        while path.stat().st_size == before:
            time.sleep(0.01)


def test_a_copy_that_dies_while_it_is_paused_harms_nobody(reader: Reader) -> None:
    with Local(1, worker=reader) as local:
        (asked,) = local.each(reader.told, 3)
        number = asked.result()[0]
        waiting = local.submit(time.sleep, 0.5)
        with local.paused():
            os.kill(number, 9)
        assert waiting.result() is None, "another one has slept"
        assert local.submit(reader.told, 4).result()[1] == [1, 2, 4]


LEAVING = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from test_forked import DEFINITION, Reader
from autoprune.study.executors.local import Local
local = Local(3, worker=Reader(DEFINITION))
print(*[call.result()[0] for call in local.each(local._processes[0]._worker.told, 0)], flush=True)
if sys.argv[2] == "left":
    sys.exit()
with local.paused():
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "left"])
def test_copies_end_with_whoever_made_them(how: str) -> None:
    """A later copy holds the pipes of the earlier ones as well, and one that stands still sees nothing end."""
    words = [sys.executable, "-c", LEAVING, str(Path(__file__).parent), how]
    said = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout
    processes = [int(word) for word in said.split()]
    assert len(processes) == 3
    for process in processes:
        while Path(f"/proc/{process}").exists() and "Z" not in Path(f"/proc/{process}/stat").read_text().split()[2]:
            time.sleep(0.01)
