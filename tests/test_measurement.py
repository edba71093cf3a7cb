from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import scipy.stats

from autoprune.measure.measurement import LATER, RULES, Latency, Measurement
from autoprune.measure.reading import CAUTION, Reading, binding_slices, reading_names, readings, shipped
from autoprune.measure.student import student_quantile


@pytest.mark.parametrize("share", [0.05, 0.9, 0.975])
def test_quantiles_match_scipy(share: float) -> None:
    for freedom in (1, 2, 3, 4, 9, 30):
        assert student_quantile(share, freedom) == pytest.approx(scipy.stats.t.ppf(share, freedom), rel=1e-9)
    assert student_quantile(share, math.inf) == pytest.approx(scipy.stats.norm.ppf(share))


def timed(ms: float, ratio: float) -> Latency:
    return Latency(median_ms=ms, p95_ms=2 * ms, ratio=ratio, ratio_low=ratio - 0.1, ratio_high=ratio + 0.1, pairs=15)


METRICS = ["ndcg@20"]

SLICES = ["all", "head", "tail", "faint", "small"]

BASELINE = Measurement(
    split="validation",
    purpose="search",
    machine="here",
    quality={
        "ndcg@20": {"all": 0.4, "head": 0.5, "tail": 0.2, "faint": 0.05, "small": 0.4},
        "recall@20": {"all": 0.0, "head": 0.5, "tail": 0.2, "faint": 0.05, "small": 0.4},
    },
    units={name: dict(zip(SLICES, (500, 300, 100, 400, 99), strict=True)) for name in ("ndcg@20", "recall@20")},
    size_bytes=1000,
    memory_bytes=2000,
    structure="dense",
    latency={"single": timed(2.0, 1.0), "batch": timed(8.0, 1.0)},
)

SMALLER = dataclasses.replace(
    BASELINE,
    quality={
        "ndcg@20": {"all": 0.36, "head": 0.49, "tail": 0.15, "faint": 0.0, "small": 0.0},
        "recall@20": {"all": 0.1, "head": 0.5, "tail": 0.2, "faint": 0.05, "small": 0.4},
    },
    size_bytes=250,
    memory_bytes=1000,
    latency={"single": timed(1.5, 0.7), "batch": timed(4.0, 0.55)},
)


def test_a_measurement_survives_json() -> None:
    assert Measurement.from_json(json.loads(json.dumps(BASELINE.to_json()))) == BASELINE


def test_what_a_measurement_says_beside_its_values_survives_json_too() -> None:
    said = dataclasses.replace(
        BASELINE,
        asides={"faint": "told"},
        rules=RULES,
        folder_bytes=3000,
        history_bytes=0,
        vector_bytes=96,
        draws=(1.0, 1.1),
    )
    assert Measurement.from_json(json.loads(json.dumps(said.to_json()))) == said
    assert not set(LATER) & set(BASELINE.to_json()), "lines of older archives stay as they were"
    assert set(LATER) <= set(said.to_json())


def test_an_aside_binds_nothing_however_much_it_loses() -> None:
    baseline = dataclasses.replace(BASELINE, asides={"tail": "told"})
    assert binding_slices(baseline, "ndcg@20") == ["head"]
    found = readings(SMALLER, baseline, metrics=["ndcg@20"])
    assert math.isclose(found["worst_slice"].ratio, 0.98)
    assert math.isclose(found["ndcg@20.tail"].ratio, 0.75)
    assert not found["ndcg@20.tail"].binds


def test_the_whole_folder_is_read_against_the_baselines() -> None:
    assert shipped(SMALLER, BASELINE) is None, "older archives do not say"
    large, small = (dataclasses.replace(BASELINE, folder_bytes=count) for count in (4000, 2400))
    found = shipped(small, large)
    assert found is not None
    assert (found.value, found.ratio, found.error) == (2400, 0.6, 0.0)


def test_names_of_readings_are_known_before_anything_is_measured() -> None:
    names = reading_names("ndcg@20", iter(["ndcg@20", "recall@20"]), iter(SLICES[1:]), iter(["single", "batch"]))
    assert set(names) == set(readings(SMALLER, BASELINE, metrics=METRICS))
    metrics = [
        metric if name == "all" else f"{metric}.{name}" for metric in ("ndcg@20", "recall@20") for name in SLICES
    ]
    costs = ["size_bytes", "memory_bytes", "latency_ms.single", "latency_ms", "latency_ms.batch"]
    assert names == [*metrics, "quality", "worst_slice", *costs]
    assert "worst_slice" in reading_names("accuracy", ["accuracy"], [], ["single"]), "of a task without slices, too"


def test_readings_are_values_and_ratios_to_the_baseline() -> None:
    found = readings(SMALLER, BASELINE, metrics=METRICS)
    assert found["ndcg@20"].value == 0.36
    assert math.isclose(found["ndcg@20"].ratio, 0.9)
    assert found["quality"] == found["ndcg@20"]
    assert math.isclose(found["ndcg@20.tail"].ratio, 0.75)
    assert (found["size_bytes"].value, found["size_bytes"].ratio) == (250, 0.25)
    assert (found["memory_bytes"].value, found["memory_bytes"].ratio) == (1000, 0.5)


def test_the_ratio_of_a_latency_is_the_paired_one() -> None:
    found = readings(SMALLER, BASELINE, metrics=METRICS)
    assert (found["latency_ms.batch"].value, found["latency_ms.batch"].ratio) == (8.0 * 0.55, 0.55)
    assert found["latency_ms"] == found["latency_ms.single"]
    assert found["latency_ms"].ratio == 0.7  # and not 1.5 / 2.0, which drift has touched


def test_the_worst_slice_is_the_lowest_ratio_that_binds() -> None:
    # small has too few units and faint too little to lose; both fell to zero
    assert binding_slices(BASELINE, "ndcg@20") == ["head", "tail"]
    worst = readings(SMALLER, BASELINE, metrics=METRICS)["worst_slice"]
    assert math.isclose(worst.ratio, 0.75)
    assert worst.value == worst.ratio


def test_without_a_binding_slice_the_worst_is_the_whole() -> None:
    few = dataclasses.replace(BASELINE, units=dict.fromkeys(BASELINE.units, dict.fromkeys(SLICES, 10)))
    found = readings(SMALLER, few, metrics=METRICS)
    assert found["worst_slice"].ratio == found["quality"].ratio


def test_a_slice_binds_by_the_units_of_its_own_metric() -> None:
    units = {"ndcg@20": dict.fromkeys(SLICES, 500), "recall@20": dict.fromkeys(SLICES, 99)}
    quality = {"ndcg@20": BASELINE.quality["ndcg@20"], "recall@20": BASELINE.quality["ndcg@20"]}
    baseline = dataclasses.replace(BASELINE, units=units, quality=quality)
    assert binding_slices(baseline, "ndcg@20") == ["head", "tail", "small"]
    assert binding_slices(baseline, "recall@20") == []


def test_a_slice_that_has_no_value_hides_behind_no_other() -> None:
    for broken in ("head", "tail"):
        values = {**SMALLER.quality["ndcg@20"], broken: math.nan}
        measured = dataclasses.replace(SMALLER, quality={**SMALLER.quality, "ndcg@20": values})
        assert math.isnan(readings(measured, BASELINE, metrics=METRICS)["worst_slice"].ratio)


def test_there_is_no_ratio_to_zero() -> None:
    assert math.isnan(readings(SMALLER, BASELINE, metrics=METRICS)["recall@20"].ratio)


def test_a_rejected_candidate_has_costs_only() -> None:
    rejected = dataclasses.replace(SMALLER, split=None, quality={}, units={}, latency={})
    assert set(readings(rejected, BASELINE, metrics=METRICS)) == {"size_bytes", "memory_bytes"}


def test_what_an_older_version_measured_can_be_read() -> None:
    content = json.loads(json.dumps(BASELINE.to_json()))
    del content["errors"], content["draws"]
    content["units"] = content["units"]["ndcg@20"]
    for entry in content["latency"].values():
        del entry["rounds"]
    assert Measurement.from_json(content) == BASELINE
    fewer = {name: {"all": parts["all"]} for name, parts in BASELINE.quality.items()}
    found = readings(SMALLER, dataclasses.replace(BASELINE, quality=fewer), metrics=METRICS)
    assert "ndcg@20.tail" not in found
    assert found["worst_slice"].ratio == found["ndcg@20"].ratio


def test_a_remeasurement_of_quality_differs_by_the_error_of_two() -> None:
    measured = dataclasses.replace(SMALLER, errors={"ndcg@20": 0.01, "worst_slice": 0.03})
    found = readings(measured, BASELINE, metrics=METRICS)
    assert found["quality"].error == 0.01
    half = 1.96 * 2**0.5 * 0.01
    assert found["quality"].interval == pytest.approx((0.9 - half, 0.9 + half), rel=1e-4)
    assert found["worst_slice"].error == 0.03
    assert found["recall@20"].interval is None, "of what nobody knows there is none"
    assert found["size_bytes"].interval is None, "nor of what is counted"


def test_rounds_give_the_interval_of_a_t_distribution() -> None:
    ratios = [0.50, 0.52, 0.49, 0.55]
    first, *others = [timed(1.0, ratio) for ratio in ratios]
    joined = first
    for other in others:
        joined = joined.with_round(other)
    assert joined.rounds == tuple(ratios)
    assert joined.ratio == pytest.approx(scipy.stats.gmean(ratios))
    assert joined.pairs == 60
    assert joined.median_ms == pytest.approx(1.0)
    found = readings(dataclasses.replace(SMALLER, latency={"single": joined}), BASELINE, metrics=METRICS)["latency_ms"]
    spread = joined.ratio * np.std(np.log(ratios), ddof=1)
    half = CAUTION * scipy.stats.t.ppf(0.975, 3) * spread * (1 + 1 / 4) ** 0.5
    factor = np.exp(half / joined.ratio)
    assert found.interval == pytest.approx((joined.ratio / factor, joined.ratio * factor))
    assert found.bound(0.95, upper=True) == pytest.approx(joined.ratio + scipy.stats.t.ppf(0.95, 3) * spread / 2)


def test_one_round_has_no_interval_for_another_process() -> None:
    found = readings(SMALLER, BASELINE, metrics=METRICS)["latency_ms"]
    assert found.interval is None
    assert found.error == pytest.approx(0.1 / 1.96, rel=1e-3)


@pytest.mark.parametrize("ratios", [(0.2, 0.47), (0.309, 0.31), (1.0, 1.0)])
def test_two_rounds_have_a_bound_and_no_interval(ratios: tuple[float, float]) -> None:
    """Student's t of one degree of freedom is 12.7: the interval of two rounds would say nothing, or too much."""
    joined = timed(1.0, ratios[0]).with_round(timed(1.0, ratios[1]))
    measured = dataclasses.replace(SMALLER, latency={"single": joined})
    found = readings(measured, BASELINE, metrics=["ndcg@20"])["latency_ms"]
    assert found.interval is None
    assert not found.vague
    assert found.bound(0.95, upper=True) >= found.ratio


@pytest.mark.parametrize(
    ("ratios", "vague"), [((0.3, 0.31, 0.32), False), ((0.2, 0.6, 1.8), True), ((0.18, 0.52, 0.2, 0.5), True)]
)
def test_an_interval_that_says_nothing_is_vague(ratios: tuple[float, ...], vague: bool) -> None:
    first, *others = [timed(1.0, ratio) for ratio in ratios]
    for other in others:
        first = first.with_round(other)
    measured = dataclasses.replace(SMALLER, latency={"single": first})
    found = readings(measured, BASELINE, metrics=["ndcg@20"])["latency_ms"]
    assert found.vague == vague
    assert found.interval is not None
    if vague:
        assert found.bound(0.95, upper=True) > 1.5 * found.ratio, "so a ceiling near it does not hold for sure"


def test_load_is_kept_and_joined_and_quiet_lines_stay_as_they_were() -> None:
    quiet, busy = timed(1.0, 0.5), dataclasses.replace(timed(1.0, 0.5), load=0.4)
    assert "load" not in quiet.to_json()
    assert Latency.from_json(busy.to_json()) == busy
    joined = quiet.with_round(busy).with_round(quiet)
    assert joined.load == pytest.approx(0.4 / 3, abs=1e-3)
    assert [one.busy for one in (quiet, busy, joined)] == [False, True, True]
    measured = dataclasses.replace(SMALLER, latency={"single": quiet, "batch": busy})
    assert measured.busy
    assert Measurement.from_json(measured.to_json()) == measured


def test_bounds_are_one_sided() -> None:
    reading = Reading(0.09, 0.9, error=0.02)
    assert reading.bound(0.95, upper=False) == pytest.approx(0.9 + scipy.stats.norm.ppf(0.05) * 0.02)
    assert reading.bound(0.5, upper=False) == pytest.approx(0.9)
    assert math.isnan(Reading(0.09, 0.9).bound(0.95, upper=False)), "of what nobody knows there is no bound"
    assert Reading(0.09, 0.9, error=0.0).bound(0.95, upper=False) == 0.9


def test_milliseconds_of_two_machines_are_never_compared() -> None:
    elsewhere = dataclasses.replace(SMALLER, machine="elsewhere")
    found = readings(elsewhere, BASELINE, metrics=METRICS)
    assert not [name for name in found if name.startswith("latency_ms")]
    assert found["quality"].ratio == pytest.approx(0.9)


def test_a_slice_of_few_or_with_little_to_lose_does_not_bind() -> None:
    found = readings(SMALLER, BASELINE, metrics=METRICS)
    assert {name for name, reading in found.items() if not reading.binds} == {
        "ndcg@20.faint",
        "ndcg@20.small",
        *(f"recall@20.{part}" for part in ("small",)),
    }


def test_no_interval_reaches_below_nothing() -> None:
    rounds = timed(1.0, 0.75).with_round(timed(1.0, 0.85)).with_round(timed(1.0, 0.8))
    found = readings(dataclasses.replace(SMALLER, latency={"single": rounds}), BASELINE, metrics=METRICS)["latency_ms"]
    assert found.interval is not None
    assert 0 < found.interval[0] < found.ratio < found.interval[1]
    low, _ = Reading(0.01, 0.1, error=0.2, repeat=0.3).interval or (1.0, 1.0)
    assert low == 0.0


def test_the_worst_slice_is_the_worst_of_every_main_metric() -> None:
    quality = {"ndcg@20": {"all": 0.4, "head": 0.4}, "accuracy": {"all": 0.9, "head": 0.9, "tail": 0.8}}
    units = {"ndcg@20": {"all": 500, "head": 500}, "accuracy": {"all": 500, "head": 500, "tail": 500}}
    before = dataclasses.replace(BASELINE, quality=quality, units=units)
    lost = {**quality, "accuracy": {"all": 0.9, "head": 0.9, "tail": 0.6}}
    after = dataclasses.replace(before, quality=lost, errors={"worst_slice": 0.01})
    assert readings(after, before, metrics=["ndcg@20"])["worst_slice"].ratio == 1.0
    both = readings(after, before, metrics=["ndcg@20", "accuracy"])
    assert both["worst_slice"].ratio == pytest.approx(0.75)
    assert both["quality"] == both["ndcg@20"]
