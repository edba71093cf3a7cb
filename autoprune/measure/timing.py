"""Latency, timed in turns with the baseline: one measurement at a time per machine, repeated if the machine is busy."""

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
"""A request that takes more than `LONG_S` seconds gains nothing from warm caches, so it is not repeated before it is
timed. `FEWEST_LONG` pairs of it are enough, the fewest that have a 95 % interval."""

TRIES = 3
"""How often a workload is timed at most, until the machine is quiet."""


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
    """Times each workload in turns with the same workload of the baseline, request by request.

    Only one measurement runs on a machine at a time (others wait), on `threads` threads, without garbage collection. If
    the machine was busy, a workload is timed again; the try in which requests waited least counts.

    Args:
        workloads: calls that make one request, by name.
        baseline: the same of the baseline.
        threads: that torch, BLAS and OpenMP may use.
        seconds: how long each workload is timed.
        fewest, most: the fewest pairs of each workload, however long they take, and the most.
        tries: how often a workload is timed at most.
        deadline: checked after every pair.

    Raises:
        OutOfTime: the deadline has passed.
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
    """The latency of the baseline, timed in turns with itself; the ratio is 1 by definition."""
    timed = paired_latency(workloads, workloads, seconds=seconds, fewest=fewest, tries=tries, deadline=deadline)
    return {name: dataclasses.replace(own, ratio=1.0, ratio_low=1.0, ratio_high=1.0) for name, own in timed.items()}


def _time_quietly(candidate: Callable[[], object], baseline: Callable[[], object], budget: _Budget) -> Latency:
    tries = [_time_pairs(candidate, baseline, budget)]
    while tries[-1].load > BUSY and len(tries) < budget.tries:
        tries.append(_time_pairs(candidate, baseline, budget))
    return min(tries, key=lambda latency: latency.load)


def _time_pairs(candidate: Callable[[], object], baseline: Callable[[], object], budget: _Budget) -> Latency:
    long = _warm_up(candidate, baseline, budget)
    fewest = min(budget.fewest, FEWEST_LONG) if long else budget.fewest
    times: list[tuple[Timed, Timed]] = []
    until = time.perf_counter() + budget.seconds
    while len(times) < fewest or (len(times) < budget.most and time.perf_counter() < until):
        # The second request finds colder caches, so the order alternates.
        if len(times) % 2:
            baseline_time = _clock(baseline, long=long)
            times.append((_clock(candidate, long=long), baseline_time))
        else:
            own_time = _clock(candidate, long=long)
            times.append((own_time, _clock(baseline, long=long)))
        budget.deadline.check("timing")
    own_ms, baseline_ms = np.array([[timed.wall for timed in pair] for pair in times]).T * 1e3
    ratio, low, high = median_interval(own_ms / baseline_ms)
    return Latency(
        median_ms=float(np.median(own_ms)),
        p95_ms=float(np.quantile(own_ms, 0.95)),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        pairs=len(times),
        load=load_of([timed for pair in times for timed in pair]),
    )


def _warm_up(candidate: Callable[[], object], baseline: Callable[[], object], budget: _Budget) -> bool:
    """Makes a few requests of both that do not count; returns whether they take long, and stops early if so."""
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
    # the innermost pair of order statistics between which the median is with a probability of 95 % or more
    misses = scipy.special.bdtr(np.arange(len(ordered)), len(ordered), 0.5)
    low = max(0, int(np.searchsorted(misses, 0.025)) - 1)
    high = len(ordered) - 1 - low
    return float(np.median(ordered)), float(ordered[low]), float(ordered[high])


@dataclass(frozen=True)
class Timed:
    """Seconds that one request took: wall-clock time and processor time."""

    wall: float
    cpu: float


def _clock(call: Callable[[], object], *, long: bool) -> Timed:
    if not long:
        call()  # refills the caches, which the other model has evicted: in service there is only one model
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
    """Waits until a GPU has finished: a call returns earlier if its result is not read."""
    if _on_gpu():
        torch.cuda.synchronize()


def load_of(requests: list[Timed]) -> float:
    """The share of their time for which requests waited for a processor; 0 if a GPU is used, for which they also wait.

    A request on one thread computes from beginning to end. If it took more wall-clock time than processor time,
    something else used the processor.
    """
    if _on_gpu():
        return 0.0
    wall = sum(request.wall for request in requests)
    return round(max(0.0, 1 - sum(request.cpu for request in requests) / wall), 3) if wall else 0.0


@contextmanager
def _quiet(threads: int) -> Iterator[None]:
    with FileLock(Path(tempfile.gettempdir()) / "autoprune-measure.lock", mode=0o666), torch.inference_mode():
        enabled = gc.isenabled()
        gc.disable()
        try:
            with on_threads(threads):
                yield
        finally:
            if enabled:
                gc.enable()


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Lets torch, BLAS and OpenMP compute on `count` threads; tokenizers only know one thread, or any number.

    A model must also be loaded on as many threads as it is timed on: loading chooses the fastest kernels.
    """
    before = torch.get_num_threads()
    one_tokenizer_thread = environment(TOKENIZERS_PARALLELISM="false") if count == 1 else nullcontext()
    with one_tokenizer_thread, threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
