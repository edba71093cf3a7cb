"""Latency, timed in turns with the baseline, one measurement at a time on a machine."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.special
import torch
from filelock import FileLock

from autoprune.machine import THREADS
from autoprune.measure.measurement import Latency

WARM_UP = 5


FEWEST_PAIRS, MOST_PAIRS = 15, 400


def paired_latency(
    workloads: dict[str, Callable[[], object]],
    baseline: dict[str, Callable[[], object]],
    *,
    threads: int = THREADS,
    seconds: float = 0.4,
    fewest: int = FEWEST_PAIRS,
    most: int = MOST_PAIRS,
) -> dict[str, Latency]:
    """Times each workload against the same one of the baseline, request by request in turns.

    One measurement runs on a machine at a time (others wait), on `threads` threads, without garbage collection.

    Args:
        seconds: how long each workload is timed, beyond `fewest`.
        fewest, most: pairs of each workload that are timed however long they take, and after which it is enough.
    """
    with _quiet(threads):
        return {name: _time_pairs(call, baseline[name], seconds, fewest, most) for name, call in workloads.items()}


def own_latency(
    workloads: dict[str, Callable[[], object]], *, seconds: float, fewest: int = FEWEST_PAIRS
) -> dict[str, Latency]:
    """The baseline's, timed against itself: the ratio is 1 by definition, the milliseconds are its own."""
    timed = paired_latency(workloads, workloads, seconds=seconds, fewest=fewest)
    return {name: dataclasses.replace(own, ratio=1.0, ratio_low=1.0, ratio_high=1.0) for name, own in timed.items()}


def _time_pairs(
    candidate: Callable[[], object], baseline: Callable[[], object], seconds: float, fewest: int, most: int
) -> Latency:
    for _ in range(WARM_UP):
        baseline(), candidate()
    times: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(times) < fewest or (len(times) < most and time.perf_counter() < until):
        # Whoever goes second finds colder caches: the order changes every time.
        if len(times) % 2:
            before = _clock(baseline)
            times.append((_clock(candidate), before))
        else:
            own = _clock(candidate)
            times.append((own, _clock(baseline)))
    own_ms, baseline_ms = np.array(times).T * 1e3
    ratio, low, high = median_interval(own_ms / baseline_ms)
    return Latency(
        median_ms=float(np.median(own_ms)),
        p95_ms=float(np.quantile(own_ms, 0.95)),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        pairs=len(times),
    )


def median_interval(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float, float]:
    """The median and its distribution-free 95 % interval, by order statistics."""
    ordered = np.sort(values)
    # the innermost pair of order statistics that miss the median in at most one case of twenty
    misses = scipy.special.bdtr(np.arange(len(ordered)), len(ordered), 0.5)
    low = max(0, int(np.searchsorted(misses, 0.025)) - 1)
    high = len(ordered) - 1 - low
    return float(np.median(ordered)), float(ordered[low]), float(ordered[high])


def _clock(call: Callable[[], object]) -> float:
    call()  # fills the caches again that the other one has emptied: a model in service follows itself
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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
    """Lets torch compute on `count` threads. What is timed so is loaded so too: loading chooses the fastest kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
