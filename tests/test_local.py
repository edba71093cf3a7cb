"""Processes that work at the same time: who answers what, what dies with whom, and that nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
import torch

from autoprune.errors import AutopruneError, Ended
from autoprune.study.definition import Definition
from autoprune.study.executors.executor import Worker
from autoprune.study.executors.local import Local

DEFINITION = Definition(content={"study": {"seed": 0}}, places={}, folder=Path("runs/s"), latency_seconds=0.1)

PATIENCE = 60
"""Seconds after which something that should happen is taken as never happening."""


class Talker(Worker):
    """Says who it is, how often it was asked, and how many threads it has."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.asked = 0

    def who(self, _: None) -> tuple[int, int, int]:
        self.asked += 1
        return os.getpid(), self.asked, torch.get_num_threads()


TALKER = Talker(DEFINITION)


def meet(places: tuple[Path, Path]) -> bool:
    """Leaves a sign at the first place, and waits for one at the other."""
    mine, other = places
    mine.touch()
    end = time.monotonic() + PATIENCE
    while not other.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return other.exists()


def fail(name: str) -> None:
    raise AutopruneError(f"{name}: it cannot be.")


def die_once(sign: Path) -> str:
    if not sign.exists():
        sign.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die(how: int) -> None:
    os.kill(os.getpid(), how)


@pytest.fixture(scope="module")
def _paths() -> Iterator[None]:
    """Processes find this module, and are told to use two threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "2")
        yield


@pytest.fixture(scope="module")
def local(_paths: None) -> Iterator[Local]:
    with Local(2) as made:
        yield made


@pytest.mark.slow
def test_calls_run_at_the_same_time(local: Local, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert local.slots == 2
    assert all(call.result() for call in [local.submit(meet, (one, other)), local.submit(meet, (other, one))])


def test_who_is_asked_later_may_answer_first(local: Local, tmp_path: Path) -> None:
    waiting = local.submit(meet, (tmp_path / "begun", tmp_path / "enough"))
    assert [call.result() for call in [local.submit(abs, -number) for number in range(5)]] == list(range(5))
    assert not waiting.done()
    (tmp_path / "enough").touch()
    assert waiting.result()


def test_each_process_is_asked_and_keeps_its_worker(local: Local) -> None:
    first, second = ([call.result() for call in local.each(TALKER.who, None)] for _ in range(2))
    assert len({process for process, _, _ in first} - {os.getpid()}) == 2
    assert [process for process, _, _ in first] == [process for process, _, _ in second]
    assert [(*asked, threads) for _, *asked, threads in (*first, *second)] == [(1, 1), (1, 1), (2, 1), (2, 1)]


def test_one_error_is_of_one_call(local: Local) -> None:
    calls = [local.submit(fail, "dims"), local.submit(abs, -1), local.submit(lambda _: None, 0), local.submit(abs, -2)]
    with pytest.raises(AutopruneError, match="dims: it cannot be"):
        calls[0].result()
    with pytest.raises(Exception, match="pickle"):
        calls[2].result()
    assert [calls[1].result(), calls[3].result()] == [1, 2]


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(local: Local) -> None:
    before = {call.result()[0] for call in local.each(TALKER.who, None)}
    said = r"the process that ran die ended with -9 \(too little memory\?\), see above, as did 2 before it\."
    with pytest.raises(Ended, match=said):
        local.submit(die, signal.SIGKILL).result()
    after = {call.result()[0] for call in local.each(TALKER.who, None)}
    assert len(after) == 2
    assert len(after & before) == 1, "the other one went on"


@pytest.mark.slow
def test_a_call_whose_process_is_killed_is_made_again(local: Local, tmp_path: Path) -> None:
    assert local.submit(die_once, tmp_path / "died").result() == "alive"
    process, _ = (call.result()[0] for call in local.each(TALKER.who, None))
    os.kill(process, signal.SIGKILL)  # while nobody waits for it
    assert [call.result() for call in local.each(abs, -2)] == [2, 2]
    assert process not in [call.result()[0] for call in local.each(TALKER.who, None)]


@pytest.mark.slow
@pytest.mark.usefixtures("_paths")
def test_closing_ends_what_runs_and_cancels_what_waits() -> None:
    with Local(2) as local:
        processes = [call.result()[0] for call in local.each(TALKER.who, None)]
        calls = [local.submit(time.sleep, 10 * PATIENCE) for _ in range(4)]
        while not all(call.running() for call in calls[:2]):
            time.sleep(0.01)
    for call, outcome in zip(calls, [AutopruneError, AutopruneError, CancelledError, CancelledError], strict=True):
        with pytest.raises(outcome):
            call.result()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.slow
def test_closing_does_not_wait_until_a_process_is_ready() -> None:
    local = Local(2)
    call = local.submit(abs, -1)
    local.close()
    with pytest.raises((AutopruneError, CancelledError)):
        call.result()


ASKING = """
import sys, time
from autoprune.study.executors.local import Local
with Local(2) as local:
    try:
        ready = [call.result() for call in local.each(abs, -1) if "ready" in sys.argv]
        calls = [local.submit(time.sleep, 600) for _ in range(3)]
        print("asked", flush=True)
        calls[0].result()
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "sent"), [("starting", signal.SIGINT), ("ready", signal.SIGINT), ("ready", signal.SIGKILL)]
)
def test_nobody_is_left_behind_and_nobody_complains(when: str, sent: signal.Signals) -> None:
    """Every process holds the pipes of its parent, which end when the last one has ended."""
    asking = subprocess.Popen(
        [sys.executable, "-c", ASKING, when], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert asking.stdout is not None
    assert asking.stdout.readline() == "asked\n"
    time.sleep(0.3)  # a signal just before a thread begins to wait for a lock is not seen by CPython until it has it
    os.killpg(asking.pid, sent)
    said, complained = asking.communicate(timeout=PATIENCE)
    assert (said, complained) == ("stopped\n" if sent == signal.SIGINT else "", "")
