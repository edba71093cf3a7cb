"""The surrogate: what it learns from few looks, and what it leaves aside."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from autoprune.recipes.domain import Domain
from autoprune.study.sampling import surrogate
from autoprune.study.sampling.surrogate import Surrogate

WIDTHS, ROWS = Domain(path="widths", kind="float", high=1.0), Domain(path="rows", kind="float", high=1.0)
BITS = Domain(path="bits", kind="int", low=2, high=8)
RATE = Domain(path="rate", kind="float", low=1e-5, high=1e-1, log=True)
METHOD = Domain(path="method", kind="choose", options=("none", "pca", "norm"))
FIXED = Domain(path="fixed", kind="float", low=0.5, high=0.5)
DOMAINS = [WIDTHS, ROWS, BITS, RATE, METHOD, FIXED]


def loss(values: Mapping[str, Any]) -> float:
    """What a recipe loses: each parameter something, and widths and rows together more."""
    cut = 0.0 if values["method"] == "none" else values["widths"] ** 2 * (1.0 if values["method"] == "norm" else 0.3)
    coded = 4.0 ** -(values["bits"] - 2) + 0.1 * abs(np.log10(values["rate"]) + 3)
    return float(cut + values["rows"] ** 3 + coded + 0.5 * cut * values["rows"])


def drawn(count: int, *, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [
        {
            "widths": draw.random(),
            "rows": draw.random(),
            "bits": draw.randint(2, 8),
            "rate": 10 ** draw.uniform(-5, -1),
            "method": draw.choice(METHOD.options),
            "fixed": 0.5,
        }
        for _ in range(count)
    ]


def used(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "widths" or values["method"] != "none"}


def error(predicted: np.ndarray[Any, Any], actual: list[float]) -> float:
    """The share of the variance that a prediction does not explain."""
    return float(((predicted - actual) ** 2).mean() / np.var(actual))


def told(count: int, *targets: Callable[[Mapping[str, Any]], float], seed: int = 0) -> Surrogate:
    known, looks = Surrogate(DOMAINS), drawn(count, seed=seed)
    known.learn([used(one) for one in looks], [[target(one) for target in targets] for one in looks])
    return known


def test_it_learns_a_space_of_five_parameters_from_a_few_dozen_looks() -> None:
    asked = drawn(300, seed=1)
    actual = [loss(one) for one in asked]
    errors = {
        count: error(told(count, loss).predict([used(one) for one in asked])[0][:, 0], actual) for count in (30, 90)
    }
    assert errors[90] < 0.1, "nine tenths of the variance"
    assert errors[90] < errors[30] < 0.5


def test_it_evens_out_the_luck_of_single_looks() -> None:
    luck = random.Random(2)
    looks = drawn(200, seed=0)
    lucky = [loss(one) + luck.gauss(0.0, 0.3) for one in looks]
    known = Surrogate(DOMAINS)
    known.learn([used(one) for one in looks], [[value] for value in lucky])
    actual = np.array([loss(one) for one in looks])
    smoothed = known.predict([used(one) for one in looks])[0][:, 0]
    assert ((smoothed - actual) ** 2).mean() < 0.5 * ((np.array(lucky) - actual) ** 2).mean()


def test_each_target_is_learned_by_itself() -> None:
    asked = [used(one) for one in drawn(50, seed=1)]
    alone, both = told(60, loss), told(60, lambda one: one["rows"], loss)
    np.testing.assert_array_equal(both.predict(asked)[0][:, 1], alone.predict(asked)[0][:, 0])
    np.testing.assert_allclose(both.predict(asked)[0][:, 0], [one["rows"] for one in asked], atol=0.02)


def test_looks_that_come_one_by_one_are_learned_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "MOST", 50)
    looks, asked = drawn(120, seed=0), [used(one) for one in drawn(20, seed=1)]
    targets = [[loss(one)] for one in looks]
    step_by_step, at_once = Surrogate(DOMAINS), Surrogate(DOMAINS)
    for end in range(10, 121, 10):
        step_by_step.learn([used(one) for one in looks[end - 10 : end]], targets[:end])
        step_by_step._fitted_to = 0  # as a new one has not been fitted
    at_once.learn([used(one) for one in looks[-50:]], targets[-50:])
    np.testing.assert_allclose(step_by_step.predict(asked)[0], at_once.predict(asked)[0], atol=1e-6)


def test_a_target_that_is_always_the_same_and_looks_that_are_equal_do_no_harm() -> None:
    known, looks = Surrogate(DOMAINS), [used(one) for one in drawn(5, seed=0)]
    known.learn([*looks, *looks], [[1.0, -0.25]] * 10)
    np.testing.assert_allclose(known.predict(looks)[0], [[1.0, -0.25]] * 5, atol=1e-6)
    known.learn([], [[2.0, 0.5]] * 10)
    np.testing.assert_allclose(known.predict(looks)[0], [[2.0, 0.5]] * 5, atol=1e-6)


def test_what_is_unlike_all_looks_is_uncertain() -> None:
    known = Surrogate(DOMAINS)
    looks = [one for one in drawn(60, seed=0) if one["method"] != "norm" and one["rows"] < 0.5]
    known.learn([used(one) for one in looks], [[loss(one)] for one in looks])
    seen, other_option, other_value = (
        known.predict([used({**looks[0], **change})])[1][0, 0] for change in ({}, {"method": "norm"}, {"rows": 1.0})
    )
    assert other_option > 2 * seen
    assert other_value > 2 * seen


def test_it_is_fitted_again_once_its_looks_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "MOST", 40)
    known, fitted, looks = Surrogate(DOMAINS), list[int](), drawn(200, seed=0)

    def settings(_: np.ndarray[Any, Any]) -> tuple[float, float, float]:
        fitted.append(known._learned)
        return 0.4, 0.3, 0.03

    monkeypatch.setattr(known, "_best_settings", settings)
    for end in range(10, 201, 10):
        known.learn(
            [used(one) for one in looks[end - 10 : end]], [[loss(one)] for one in looks[max(0, end - 40) : end]]
        )
    assert fitted == [10, 20, 40, 80, 120, 160, 200]
