"""Screening: that the most promising neighbours are looked at, and that a scan finds more by it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_looks import BYTES, MadeUp, lookout, made_look, planned, promises

from autoprune.deadline import NEVER
from autoprune.recipes.domain import Domain
from autoprune.recipes.space import Space
from autoprune.record.looks import Look
from autoprune.study.evaluation.looker import Asked
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.sampler import Values
from autoprune.study.sampling.scan import Scan
from autoprune.study.sampling.screening import FEWEST, Screening

CUT = Domain(path="cut", kind="float", low=0.0, high=1.0)

SPACE: dict[str, Any] = {
    "prune": {
        "method": {"choose": {"none": {}, "dims": {"sparsity": {"float": [0.1, 0.9], "step": 0.05}}}},
        "rows": {
            "sparsity": {
                "item": {"float": [0.0, 0.9], "step": 0.05},
                "user": {"float": [0.0, 0.9], "step": 0.05},
            },
            "importance": {"any_of": ["norm", "both", "frequency"]},
        },
    },
    "encode": {"quantize": {"bits": {"user": {"any_of": [2, 4, 8]}, "item": {"any_of": [2, 4, 8]}}}},
}
"""A space with as many parameters as that of tables."""


def told(count: int, *, worth: float) -> Screening:
    """A screening that has seen looks which lose as much as they cut, from `worth` on."""
    held, found = promises(), list[tuple[Look, Values]]()
    for number in range(1, count + 1):
        cut = number / (count + 1)
        look = made_look(number, worth - 0.2 * cut**2, 1 - 0.9 * cut)
        held.add(look)
        found.append((look, {"cut": cut}))
    screening = Screening([CUT], held, used=lambda values: values)
    assert screening.learn(found) is (count >= FEWEST)
    return screening


def no_more(_: Sequence[Values]) -> list[Values]:
    return []


def test_nothing_is_predicted_from_a_handful_of_looks() -> None:
    told(FEWEST - 1, worth=1.0)


def test_what_covers_most_beside_the_front_is_chosen() -> None:
    first = [{"cut": at / 20} for at in range(21)]
    # at most 10 % may be lost: cuts up to 0.7 hold
    (best,) = told(12, worth=1.0).chosen(1, beside=[{"cut": 0.3}], first=first, more=no_more)
    assert 0.5 <= best["cut"] <= 0.7
    several = told(12, worth=1.0).chosen(4, beside=[{"cut": 0.3}], first=first, more=no_more)
    assert [one["cut"] for one in several] == sorted((one["cut"] for one in several), reverse=True), "smallest first"
    assert len(several) == 4
    assert all(one["cut"] <= 0.7 for one in several)


def test_what_surely_misses_a_requirement_is_not_chosen() -> None:
    front, missing = [{"cut": 0.3}], [{"cut": 0.9}, {"cut": 0.95}]
    assert told(12, worth=1.0).chosen(3, beside=front, first=missing, more=no_more) == []


def test_what_is_hardly_known_is_chosen_before_what_promises_as_much() -> None:
    held, found = promises(), list[tuple[Look, Values]]()
    by = Domain(path="by", kind="any_of", options=("known", "new"))
    for number in range(1, 13):
        look = made_look(number, 1.0 - 0.01 * number, 1 - 0.05 * number)
        held.add(look)
        found.append((look, {"cut": number / 13, "by": "known"}))

    def chosen() -> list[Values]:
        screening = Screening([CUT, by], held, used=lambda values: values)
        assert screening.learn(found)
        return screening.chosen(
            1,
            beside=[{"cut": 0.4, "by": "known"}],
            first=[{"cut": 0.5, "by": name} for name in by.options],
            more=no_more,
        )

    assert [one["by"] for one in chosen()] == ["new"]


def test_where_nothing_holds_the_nearest_are_chosen() -> None:
    first = [{"cut": at / 20} for at in range(21)]
    chosen = told(12, worth=0.8).chosen(2, beside=[], first=first, more=no_more)
    assert sorted(one["cut"] for one in chosen) == [0.0, 0.05]


def test_neighbours_of_the_most_promising_are_screened_too() -> None:
    asked: list[Sequence[Values]] = []

    def more(parents: Sequence[Values]) -> list[Values]:
        asked.append(parents)
        return [{"cut": min(1.0, one["cut"] + 0.1)} for one in parents]

    (best,) = told(12, worth=1.0).chosen(1, beside=[{"cut": 0.05}], first=[{"cut": 0.1}, {"cut": 0.15}], more=more)
    assert best["cut"] == pytest.approx(0.35)
    assert [len(parents) for parents in asked] == [2, 2]


def looked(one: Asked) -> Look:
    """A recipe that loses by each of its parameters; which importance is the best shows only where many rows go."""
    made = planned(one.recipe)
    cut, coded = one.recipe.get("prune", {}), one.recipe.get("encode", {})
    bits = coded.get("quantize", {}).get("bits", {"user": 32, "item": 32})
    dims = cut.get("method", {}).get("dims", {}).get("sparsity", 0.0)
    rows = cut.get("rows", {})
    sparsity = rows.get("sparsity", {"item": 0.0, "user": 0.0})
    steep = {"norm": 0.3, "both": 0.12, "frequency": 0.05}[rows.get("importance", "norm")]
    lost = 0.4 * dims**2 + steep * sparsity["item"] ** 2 + 0.1 * sparsity["user"] ** 3
    lost += sum({32: 0.0, 8: 0.001, 4: 0.01, 2: 0.2}[width] for width in bits.values())
    share = (1 - dims) * sum((1 - sparsity[name]) * bits[name] / 64 for name in ("user", "item"))
    look = made_look(one.number, 1 - lost, share, made=made, recipe=one.recipe, error=0.002 if one.number else 0.0)
    return dataclasses.replace(look, products=round(BYTES * (1 - dims) * (1 - sparsity["item"])))


@pytest.mark.parametrize(
    ("objectives", "requirements"),
    [
        pytest.param(["quality", "size"], {"quality": {"drop": "10%"}}, id="two objectives"),
        pytest.param(["quality", "size", "latency"], {"quality": {"drop": "10%"}}, id="three", marks=pytest.mark.slow),
        pytest.param(
            ["quality", "size"],
            {"quality": {"drop": "30%"}, "size_bytes": {"max": "5%"}},
            id="hardly anything holds",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_scan_finds_more_by_screening(
    objectives: list[str], requirements: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(name: str) -> list[float]:
        volumes = []
        for seed in range(5):
            taken = lookout(
                tmp_path / f"{name}{seed}",
                evaluator=MadeUp(looked),
                requirements=requirements,
                objectives=objectives,
            )
            choices = Choices(Space(SPACE), base={"dim": 16})
            scan = Scan(choices, taken, drawn=False, seed=seed, most=90, whole=True)
            scan.run([], until=NEVER)
            volumes.append(taken.promises.hypervolume)
        return volumes

    screened = found("screened")
    monkeypatch.setattr(Screening, "learn", lambda self, found: False)  # the first neighbours are looked at
    plain = found("plain")
    assert statistics.median(screened) > statistics.median(plain)
    assert min(screened) > min(plain)


def test_an_alternative_that_fails_is_left_alone(tmp_path: Path) -> None:
    def fails(one: Asked) -> Look:
        bits = one.recipe.get("encode", {}).get("quantize", {}).get("bits", {})
        if bits.get("item") != 2:
            return looked(one)
        return made_look(one.number, 0.0, 0.0, made=planned(one.recipe), recipe=one.recipe, failed="no such kernel")

    for seed in range(3):
        taken = lookout(tmp_path / f"looks{seed}", evaluator=MadeUp(fails))
        scan = Scan(Choices(Space(SPACE), base={"dim": 16}), taken, drawn=False, seed=seed, most=90, whole=True)
        scan.run([], until=NEVER)
        late = list(taken.looks.found.values())[-45:]
        assert sum(bool(look.failed) for look in late) < 45 / 3, "a third of all recipes fail"


def test_what_is_under_way_is_not_chosen_again() -> None:
    first = [{"cut": at / 100} for at in range(101)]
    screening = told(12, worth=1.0)
    (one,) = screening.chosen(1, beside=[{"cut": 0.1}], first=first, more=no_more)
    (next_one,) = screening.chosen(1, beside=[{"cut": 0.1}, one], first=first, more=no_more)
    assert abs(next_one["cut"] - one["cut"]) > 0.05
