"""Latency, timed in turns with the baseline, one measurement at a time on a machine, and again where it was busy."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.special
import torch
from filelock import FileLock
from threadpoolctl import threadpool_limits

from autoprune.deadline import NEVER, Deadline
from autoprune.machine import THREADS
from autoprune.measure.measurement import BUSY, Latency
from autoprune.quiet import environment

WARM_UP = 5

FEWEST_PAIRS, MOST_PAIRS = 15, 400

LONG_S, FEWEST_LONG = 0.5, 6
"""A request that takes longer than so many seconds is no quicker the second time, and is not repeated before it is
timed; so many pairs of it are enough, the fewest that have a 95 % interval."""

TRIES = 3
"""Times that a workload is timed at most, in search of a quiet moment."""


@dataclass(frozen=True, kw_only=True)
class _Budget:
    """How long a workload is timed; the fields are arguments of `paired_latency`."""

    seconds: float
    fewest: int
    most: int
    tries: int
    deadline: Deadline


def paired_latency(
    workloads: dict[str, Callable[[], object]],
    baseline: dict[str, Callable[[], object]],
    *,
    threads: int = THREADS,
    seconds: float = 0.4,
    fewest: int = FEWEST_PAIRS,
    most: int = MOST_PAIRS,
    tries: int = TRIES,
    deadline: Deadline = NEVER,
) -> dict[str, Latency]:
    """Times each workload against the same one of the baseline, request by request in turns.

    One measurement runs on a machine at a time (others wait), on `threads` threads, without garbage collection. What
    was timed while the machine was busy is timed again; of the tries, the one counts in which requests waited least.

    Args:
        seconds: how long each workload is timed, beyond `fewest`.
        fewest, most: pairs of each workload that are timed however long they take, and after which it is enough.
        tries: that are made at most.
        deadline: looked at after every pair.

    Raises:
        OutOfTime: the time is over.
    """
    budget = _Budget(seconds=seconds, fewest=fewest, most=most, tries=tries, deadline=deadline)
    with _quiet(threads):
        return {name: _time_quietly(call, baseline[name], budget) for name, call in workloads.items()}


def own_latency(
    workloads: dict[str, Callable[[], object]],
    *,
    seconds: float,
    fewest: int = FEWEST_PAIRS,
    tries: int = TRIES,
    deadline: Deadline = NEVER,
) -> dict[str, Latency]:
    """The baseline's, timed against itself: the ratio is 1 by definition, the milliseconds are its own."""
    timed = paired_latency(workloads, workloads, seconds=seconds, fewest=fewest, tries=tries, deadline=deadline)
    return {name: dataclasses.replace(own, ratio=1.0, ratio_low=1.0, ratio_high=1.0) for name, own in timed.items()}


def _time_quietly(candidate: Callable[[], object], baseline: Callable[[], object], budget: _Budget) -> Latency:
    found = [_time_pairs(candidate, baseline, budget)]
    while found[-1].load > BUSY and len(found) < budget.tries:
        found.append(_time_pairs(candidate, baseline, budget))
    return min(found, key=lambda latency: latency.load)


def _time_pairs(candidate: Callable[[], object], baseline: Callable[[], object], budget: _Budget) -> Latency:
    long = _warm_up(candidate, baseline, budget)
    fewest = min(budget.fewest, FEWEST_LONG) if long else budget.fewest
    times: list[tuple[Timed, Timed]] = []
    until = time.perf_counter() + budget.seconds
    while len(times) < fewest or (len(times) < budget.most and time.perf_counter() < until):
        # Whoever goes second finds colder caches: the order changes every time.
        if len(times) % 2:
            before = _clock(baseline, long=long)
            times.append((_clock(candidate, long=long), before))
        else:
            own = _clock(candidate, long=long)
            times.append((own, _clock(baseline, long=long)))
        budget.deadline.check("timing")
    own_ms, baseline_ms = np.array([[one.wall for one in pair] for pair in times]).T * 1e3
    ratio, low, high = median_interval(own_ms / baseline_ms)
    return Latency(
        median_ms=float(np.median(own_ms)),
        p95_ms=float(np.quantile(own_ms, 0.95)),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        pairs=len(times),
        load=load_of([one for pair in times for one in pair]),
    )


def _warm_up(candidate: Callable[[], object], baseline: Callable[[], object], budget: _Budget) -> bool:
    """Asks both a few times before anything counts; whether that takes long, and is ended for that."""
    for _ in range(WARM_UP):
        start = time.process_time()
        baseline(), candidate()
        budget.deadline.check("timing")
        if time.process_time() - start > 2 * LONG_S:
            return True
    return False


def median_interval(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float, float]:
    """The median and its distribution-free 95 % interval, by order statistics."""
    ordered = np.sort(values)
    # the innermost pair of order statistics that miss the median in at most one case of twenty
    misses = scipy.special.bdtr(np.arange(len(ordered)), len(ordered), 0.5)
    low = max(0, int(np.searchsorted(misses, 0.025)) - 1)
    high = len(ordered) - 1 - low
    return float(np.median(ordered)), float(ordered[low]), float(ordered[high])


@dataclass(frozen=True)
class Timed:
    """Seconds of one request: of the clock on the wall, and of processors."""

    wall: float
    cpu: float


def _clock(call: Callable[[], object], *, long: bool) -> Timed:
    if not long:
        call()  # fills the caches again that the other one has emptied: a model in service follows itself
    _synchronise()
    cpu, start = time.process_time(), time.perf_counter()
    call()
    _synchronise()
    wall = time.perf_counter() - start
    return Timed(wall, time.process_time() - cpu)


def _on_gpu() -> bool:
    """Whether this process has used a GPU."""
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _synchronise() -> None:
    """Waits for what a GPU was given: a call returns before that is done, if nobody asks for what comes of it."""
    if _on_gpu():
        torch.cuda.synchronize()


def load_of(requests: list[Timed]) -> float:
    """The share of the time for which requests waited for a processor; 0 where they may wait for a GPU.

    A request on one thread computes from its beginning to its end: where the clock on the wall counts more than that
    of the processor, somebody else had it.
    """
    if _on_gpu():
        return 0.0
    wall = sum(one.wall for one in requests)
    return round(max(0.0, 1 - sum(one.cpu for one in requests) / wall), 3) if wall else 0.0


@contextmanager
def _quiet(threads: int) -> Iterator[None]:
    with FileLock(Path(tempfile.gettempdir()) / "autoprune-measure.lock", mode=0o666), torch.inference_mode():
        collected = gc.isenabled()
        gc.disable()
        try:
            with on_threads(threads):
                yield
        finally:
            if collected:
                gc.enable()


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Lets torch, BLAS and OpenMP compute on `count` threads; tokenizers know one thread, or as many as they like.

    What is timed so is loaded so too: loading chooses the fastest kernels.
    """
    before = torch.get_num_threads()
    alone = environment(TOKENIZERS_PARALLELISM="false") if count == 1 else nullcontext()
    with alone, threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
