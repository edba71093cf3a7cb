from __future__ import annotations

import copy
import gc
import itertools
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from made_studies import make_study
from threadpoolctl import threadpool_info

from autoprune.artifacts.served import serve
from autoprune.deadline import Deadline, OutOfTime
from autoprune.encoder.workloads import REQUESTS, asking
from autoprune.machine import machine
from autoprune.measure import timing
from autoprune.measure.judge import Judge, quality
from autoprune.measure.reading import binding, reading_name, scored_reading
from autoprune.measure.timing import (
    FEWEST_LONG,
    FEWEST_PAIRS,
    WARM_UP,
    Timed,
    load_of,
    median_interval,
    on_threads,
    own_latency,
    paired_latency,
)
from autoprune.models.model import Model
from autoprune.recommender.task import RecommenderTask
from autoprune.study import verify as verify_module
from autoprune.study.executors.executor import ONE_THREAD
from autoprune.tasks.ranking import ranking_metrics

MATRIX = torch.ones(128, 128)


def heavy() -> None:
    for _ in range(8):
        MATRIX @ MATRIX


def light() -> None:
    for _ in range(2):
        MATRIX @ MATRIX


def nothing() -> None:
    pass


def test_four_times_the_work_is_slower() -> None:
    found = paired_latency(
        {"one": heavy, "other": light}, {"one": light, "other": heavy}, seconds=0.1, fewest=FEWEST_PAIRS
    )
    assert list(found) == ["one", "other"]
    assert found["one"].ratio_low > 1.5
    assert found["other"].ratio_high < 1 / 1.5
    for latency in found.values():
        assert latency.pairs >= FEWEST_PAIRS
        assert latency.ratio_low <= latency.ratio <= latency.ratio_high
        assert 0 < latency.median_ms <= latency.p95_ms


def test_requests_are_timed_in_turns_and_in_both_orders() -> None:
    calls: list[str] = []
    own, base = {"w": lambda: calls.append("own")}, {"w": lambda: calls.append("base")}
    found = paired_latency(own, base, seconds=0.0, fewest=FEWEST_PAIRS)
    assert found["w"].pairs == FEWEST_PAIRS
    after = calls[2 * WARM_UP :]
    assert after[0::2] == after[1::2], "each timed request follows one of its own"
    timed = list(zip(after[0::4], after[2::4], strict=True))
    assert len(timed) == FEWEST_PAIRS
    assert set(timed) == {("own", "base"), ("base", "own")}
    assert all(one != other for one, other in itertools.pairwise(timed))


def test_requests_that_take_long_are_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONG_S", 0.005)
    calls: list[str] = []

    def asked(name: str) -> None:
        calls.append(name)
        computing(0.006)

    own, base = {"w": lambda: asked("own")}, {"w": lambda: asked("base")}
    found = paired_latency(own, base, seconds=0.0, fewest=FEWEST_PAIRS, tries=1)
    assert found["w"].pairs == FEWEST_LONG
    assert len(calls) == 2 + 2 * FEWEST_LONG, "once each to warm up, and nothing twice"
    assert 0 < found["w"].ratio_low <= found["w"].ratio_high < 10


def test_more_pairs_can_be_asked_for() -> None:
    most = [paired_latency({"w": nothing}, {"w": nothing}, seconds=5.0, most=most)["w"].pairs for most in (20, 500)]
    assert most == [20, 500]


def waiting(seconds: float) -> None:
    """What a request does while others have the processor."""
    time.sleep(seconds)


def computing(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_load_is_the_share_of_time_that_requests_wait(share: float) -> None:
    def request() -> None:
        computing((1 - share) * 4e-3)
        waiting(share * 4e-3)

    found = paired_latency({"w": request}, {"w": request}, seconds=0.0, tries=1)["w"]
    assert found.load >= share - 0.1, "whatever else the machine does adds to it"
    assert found.busy


def test_what_a_gpu_was_given_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is busy for 2 ms after each request has returned: machines without one run this test too."""
    given: list[str] = []

    def ask() -> None:
        given.append("work")

    def wait() -> None:
        if given:
            time.sleep(0.002)
            given.clear()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    timed = own_latency({"single": ask}, seconds=0.0, fewest=3)["single"]
    assert timed.median_ms > 2
    assert timed.load == 0, "a processor that waits for a GPU is not busy with other work"


@pytest.mark.parametrize(
    ("seconds", "load"),
    [
        ([(1.0, 1.0), (1.0, 0.5)], 0.25),
        ([(1.0, 1.0)], 0.0),
        ([(1.0, 1.02)], 0.0),  # two clocks
        ([(1.0, 4.0)], 0.0),  # on several threads
        ([(0.0, 0.0)], 0.0),
        ([(9.0, 0.0), (1.0, 1.0)], 0.9),
    ],
)
def test_load_is_what_the_clock_on_the_wall_counts_beyond_the_processors(
    seconds: list[tuple[float, float]], load: float
) -> None:
    assert load_of([Timed(wall, cpu) for wall, cpu in seconds]) == pytest.approx(load)


def test_what_was_timed_under_load_is_timed_again_and_the_quietest_try_counts() -> None:
    calls: list[int] = []
    disturbed = 2 * (WARM_UP + 2 * 3)  # calls of one try of 3 pairs, in which each request follows an untimed one

    def request() -> None:
        calls.append(1)
        waiting(2e-3) if len(calls) <= disturbed else computing(5e-4)

    found = paired_latency({"w": request}, {"w": request}, seconds=0.0, fewest=3, tries=3)["w"]
    assert len(calls) in (2 * disturbed, 3 * disturbed)
    assert found.load < 0.9, "of a quieter try"
    calls.clear()
    busy = paired_latency({"w": lambda: waiting(1e-3)}, {"w": lambda: calls.append(1)}, seconds=0.0, fewest=3, tries=3)
    assert busy["w"].busy
    assert len(calls) == 3 * (WARM_UP + 2 * 3), "tries are bounded"


def test_timing_stops_when_the_time_is_over() -> None:
    calls: list[int] = []

    def request() -> None:
        calls.append(1)
        time.sleep(0.01)

    with pytest.raises(OutOfTime):
        paired_latency({"w": request}, {"w": request}, seconds=60.0, most=10_000, deadline=Deadline.after(0.1))
    assert 1 < len(calls) < 100
    assert gc.isenabled()


def test_scoring_looks_at_the_clock(task: RecommenderTask, dense: Model) -> None:
    served = serve(task.parts(dense))
    served.pause = lambda: Deadline.after(0.0).check("measuring")
    with pytest.raises(OutOfTime, match="measuring"):
        task.score(served, "validation")
    said: list[str] = []
    Judge(task, "validation", serve(task.parts(dense)), working=said.append)
    assert said == [f"judging on validation data{name}" for name in ("", *(f": {one}" for one in task.perturbations))]


def test_the_baseline_is_once_itself() -> None:
    found = own_latency({"w": light}, seconds=0.0)["w"]
    assert (found.ratio, found.ratio_low, found.ratio_high) == (1.0, 1.0, 1.0)
    assert found.median_ms > 0


def test_timing_is_quiet_and_leaves_no_trace() -> None:
    seen: set[tuple[int, bool, bool]] = set()

    def look() -> None:
        seen.add((torch.get_num_threads(), gc.isenabled(), torch.is_inference_mode_enabled()))

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        paired_latency({"w": look}, {"w": nothing}, seconds=0.0)
        assert seen == {(1, False, True)}
        assert (torch.get_num_threads(), gc.isenabled(), torch.is_inference_mode_enabled()) == (2, True, False)
    finally:
        torch.set_num_threads(before)


def blas_and_openmp() -> set[int]:
    return {one["num_threads"] for one in threadpool_info()}


def test_what_is_timed_has_one_thread_of_blas_of_openmp_and_of_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    seen: list[tuple[set[int], str]] = []

    def look() -> None:
        seen.append((blas_and_openmp(), os.environ["TOKENIZERS_PARALLELISM"]))

    with on_threads(2):
        before = blas_and_openmp()
        assert max(before) > 1
        paired_latency({"w": look}, {"w": nothing}, seconds=0.0)
        assert all(one == ({1}, "false") for one in seen)
        assert blas_and_openmp() == before
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def test_other_processes_time_on_one_thread_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Started(Exception):
        pass

    def started(settings: Mapping[str, str] | None = None) -> NoReturn:
        raise Started(dict(settings or {}))

    make_study(tmp_path / "s", 6, machine=str(machine()["id"]))
    monkeypatch.setattr(verify_module, "FreshProcess", started)
    monkeypatch.setattr(verify_module, "make_again", lambda *record_and_points, **told: None)
    with pytest.raises(Started) as caught:
        verify_module.verify(tmp_path / "s", rounds=99)
    (settings,) = caught.value.args
    assert {**ONE_THREAD, "TOKENIZERS_PARALLELISM": "false"}.items() <= settings.items()


@pytest.mark.parametrize("own", [True, False])
def test_every_request_of_a_workload_is_timed(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, turns, clock = [0], list[int](), timing._clock
    served: Any = SimpleNamespace(vectors=lambda request: asked.append(int(request[0])))
    candidate, baseline = ({"w": asking(served, [[str(at)] for at in range(REQUESTS)])} for _ in range(2))

    def clocked(call: Any, *, long: bool) -> Timed:
        found = clock(call, long=long)
        if call is candidate["w"]:
            turns.append(asked[-1])
        return found

    monkeypatch.setattr(timing, "_clock", clocked)
    if own:
        own_latency(candidate, seconds=0.0, fewest=FEWEST_PAIRS, tries=1)
        turns = [turn for pair, turn in enumerate(turns) if pair % 4 in (0, 3)]  # the other ones count for nothing
    else:
        paired_latency(candidate, baseline, seconds=0.0, fewest=FEWEST_PAIRS, tries=1)
    assert set(turns) == set(range(REQUESTS))


def test_a_request_that_fails_leaves_no_trace() -> None:
    def fail() -> None:
        raise KeyError("user")

    with pytest.raises(KeyError):
        paired_latency({"w": fail}, {"w": nothing}, threads=1)
    assert gc.isenabled()


def test_measurements_take_turns_on_a_machine() -> None:
    calls: list[str] = []
    second = threading.Thread(
        target=lambda: paired_latency({"w": lambda: calls.append("second")}, {"w": nothing}, seconds=0.0)
    )

    def first() -> None:
        if not calls:  # the second begins while the first is at work
            second.start()
            time.sleep(0.05)
        calls.append("first")

    try:
        paired_latency({"w": first}, {"w": nothing}, seconds=0.0)
        second.join()
        assert [name for name, _ in itertools.groupby(calls)] == ["first", "second"]
        assert gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("count", [FEWEST_PAIRS, 60, 400])
def test_median_interval_covers_the_median(count: int) -> None:
    draw = np.random.default_rng(0)
    # a skewed distribution, as latencies have; its median is 1
    intervals = [median_interval(draw.lognormal(sigma=0.5, size=count)) for _ in range(2000)]
    covered = np.mean([low <= 1 <= high for _, low, high in intervals])
    assert 0.94 <= covered <= 0.99
    assert all(low <= middle <= high for middle, low, high in intervals)


@pytest.mark.parametrize("count", [15, 16, 41, 400])
def test_median_interval_has_no_side(count: int) -> None:
    # swapping candidate and baseline turns the logarithm of every ratio round
    values = np.random.default_rng(count).normal(size=count)
    middle, low, high = median_interval(values)
    assert median_interval(-values) == pytest.approx((-middle, -high, -low))


def test_the_interval_of_one_value_is_that_value() -> None:
    assert median_interval(np.array([3.0])) == (3.0, 3.0, 3.0)


def test_quality_is_every_metric_on_every_slice(task: RecommenderTask) -> None:
    rows = pd.DataFrame(
        {
            "user": [0, 0, 1, 2],
            "rank": [1.0, np.inf, 1.0, np.inf],
            "popularity": ["head", "tail", "head", "tail"],
            "history": ["short", "short", "short", "long"],
        }
    )
    parts = {"all": rows}
    parts |= {name: rows[rows[column] == name] for column, names in task.slices.items() for name in names}
    values, units = quality(task, parts)
    counts = {"all": 3, "head": 2, "middle": 0, "tail": 2, "short": 2, "long": 1}
    assert units == dict.fromkeys(values, counts)
    assert values["recall@20"] == pytest.approx(
        {"all": 0.5, "head": 1.0, "middle": np.nan, "tail": 0.0, "short": 0.75, "long": 0.0}, nan_ok=True
    )
    assert set(values) == {"ndcg@20", "recall@20", "hit_rate@20"}


def test_a_judge_pairs_every_artifact_with_the_baseline(task: RecommenderTask, dense: Model) -> None:
    served = serve(task.parts(dense))
    judge = Judge(task, "test", served)
    assert set(judge.baseline.errors.values()) == {0.0}
    same = judge.judge(judge.rows(served))
    assert same.quality == judge.baseline.quality
    assert set(same.draws) == {1.0}, "what answers alike differs by nothing, whoever of these is asked"
    for part, units in same.units["ndcg@20"].items():
        found = scored_reading(1.0, 1.0, same.errors[reading_name("ndcg@20", part)])
        assert found.bound(0.95, upper=False) == pytest.approx(1 - 3 / units), "of others some may differ all the same"
    parts = ["head", "middle", "tail", "short", "long", "stranger", "newcomer", "noisy", "live"]
    assert list(same.quality["ndcg@20"]) == ["all", *parts]
    assert {f"ndcg@20.{part}" for part in parts} | {"worst_slice"} < set(same.errors)


def test_the_error_of_a_ratio_matches_a_slow_bootstrap(task: RecommenderTask, dense: Model) -> None:
    coarse = copy.deepcopy(dense)
    noise = torch.Generator().manual_seed(0)  # not whatever the tests before have left
    with torch.no_grad():
        for table in coarse.tables.values():
            drawn = torch.randn(table.weight.shape, generator=noise)
            table.weight.copy_(table.weight + 0.3 * table.weight.std() * drawn)
    judge = Judge(task, "test", serve(task.parts(dense)))
    found = judge.judge(judge.rows(serve(task.parts(coarse))))
    metric = task.metrics["recall@20"]
    before = metric.per_unit(task.score(serve(task.parts(dense)), "test"))
    after = metric.per_unit(task.score(serve(task.parts(coarse)), "test"))
    draw = np.random.default_rng(7)
    ratios = []
    for _ in range(2000):
        users = draw.choice(before.index, size=len(before))
        ratios.append(after[users].mean() / before[users].mean())
    assert np.std(ratios) < found.errors["recall@20"] < 1.2 * np.std(ratios), "a little cautious"
    assert np.std(found.draws) < found.errors["ndcg@20"] < 1.2 * np.std(found.draws)
    assert found.errors["worst_slice"] > 0


class TwoMains(RecommenderTask):
    """The same task, of which two metrics must not be lost."""

    main_metrics = ("ndcg@20", "recall@2")


class OtherMain(RecommenderTask):
    """The same task, of which only the second of them must not be lost."""

    main_metrics = ("recall@2",)


def test_the_error_of_the_worst_slice_counts_the_slices_of_every_main_metric(
    task: RecommenderTask, dense: Model
) -> None:
    both, other, coarse = copy.copy(task), copy.copy(task), copy.deepcopy(dense)
    for one, kind in ((both, TwoMains), (other, OtherMain)):
        one.__class__, one.metrics = kind, {**task.metrics, **ranking_metrics(["recall@2"])}
    with torch.no_grad():
        coarse.tables["item"].weight[:40] = 0
    errors, names = {}, {}
    for one in (task, both, other):
        judge = Judge(one, "test", serve(task.parts(dense)))
        judged, before = judge.judge(judge.rows(serve(task.parts(coarse)))), judge.baseline
        errors[one] = judged.errors["worst_slice"]
        names[one] = min(
            (judged.quality[name][part] / before.quality[name][part], name)
            for name in one.main_metrics
            for part in binding(before.quality[name], before.units[name])
        )[1]
    assert names == {task: "ndcg@20", both: "recall@2", other: "recall@2"}
    assert 0 < errors[both] != errors[task] > 0
    assert errors[both] == pytest.approx(errors[other], rel=0.25), "that of the metric that loses most"
