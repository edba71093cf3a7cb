"""What is tried next: what a sampler asks for, what it learns from, and that it asks the same when told the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from autoprune.recipes.domain import Domain
from autoprune.recipes.space import Space
from autoprune.study.sampling.sampler import RANDOM, TPE, Outcome, Sampler, Values

DOMAINS: Sequence[Domain] = list(
    Space(
        {
            "cut": {
                "sparsity": {"float": [0.1, 0.9], "step": 0.1},
                "by": {"any_of": ["norm", "pca"]},
                "rows": {"int": [2, 8], "step": 2},
                "strength": {"float": [0.001, 1.0], "log": True},
                "method": {"choose": {"none": {}, "dims": {"share": {"float": [0.0, 1.0]}}}},
            }
        }
    ).domains.values()
)
SPARSITY, BY = "space.cut.sparsity", "space.cut.by"
KINDS = [TPE, RANDOM]


def sampler(kind: str, *, seed: int = 3, objectives: int = 2) -> Sampler:
    return Sampler(DOMAINS, objectives=objectives, kind=kind, seed=seed)


def outcome(values: Mapping[str, Any], *, gain: float = 1.0) -> Outcome:
    sparsity = values[SPARSITY]
    return Outcome(gains=[1 - gain * sparsity**2, sparsity], violations={"quality >= 0.5x": sparsity - 0.8})


def walk(one: Sampler, generations: int, *, size: int = 8, **how: float) -> list[Values]:
    """Asks and tells, some at a time."""
    found: list[Values] = []
    for _ in range(generations):
        asked = one.ask(size)
        one.tell([outcome(values, **how) for values in asked])
        found += asked
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_domain_is_asked_for_and_its_bounds_hold(kind: str) -> None:
    for values in walk(sampler(kind), 4):
        assert values.keys() == {domain.path for domain in DOMAINS}
        assert all(domain.holds(values[domain.path]) for domain in DOMAINS)
        assert values[SPARSITY] == round(values[SPARSITY], 1), "0.1 + 2 * 0.1 is 0.3"


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_told_the_same_asks_the_same(kind: str) -> None:
    assert walk(sampler(kind), 4) == walk(sampler(kind), 4)
    assert walk(sampler(kind), 4) != walk(sampler(kind, seed=4), 4)


def test_who_is_told_something_else_asks_for_something_else() -> None:
    assert walk(sampler(TPE), 4) != walk(sampler(TPE), 4, gain=-3.0)
    assert walk(sampler(RANDOM), 4) == walk(sampler(RANDOM), 4, gain=-3.0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_proposed_comes_first_and_the_rest_is_drawn(kind: str) -> None:
    one, another = sampler(kind), sampler(kind)
    whole = another.ask(1)[0] | {SPARSITY: 0.3, BY: "pca"}
    one.propose(whole)
    one.propose({SPARSITY: 0.4, "of": "another space"})
    first, second, third = one.ask(3)
    assert first == whole
    assert second[SPARSITY] == 0.4
    assert second.keys() == third.keys() == first.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_of_what_failed_nothing_is_learned_and_the_search_goes_on(kind: str) -> None:
    one = sampler(kind)
    for _ in range(4):
        asked = one.ask(8)
        one.tell([None if values[BY] == "norm" else outcome(values) for values in asked])
    assert len(one.ask(8)) == 8


def test_the_oldest_trials_are_told_first_and_never_more_than_are_open() -> None:
    one, other = sampler(TPE), sampler(TPE)
    asked = one.ask(3)
    other.ask(3)
    for at in asked:
        one.tell([outcome(at)])
    other.tell([outcome(at) for at in asked])
    assert one.ask(20) == other.ask(20)
    with pytest.raises(ValueError, match="longer"):
        one.tell([outcome(asked[0])] * 21)


def test_what_violates_is_left() -> None:
    """Half of the sparsities that can be drawn are forbidden: later few of them are asked for."""

    def share(values: Sequence[Values]) -> float:
        return sum(one[SPARSITY] > 0.5 for one in values) / len(values)

    one = sampler(TPE)
    asked: list[Values] = []
    for _ in range(10):
        found = one.ask(8)
        one.tell([Outcome(gains=[0.0, each[SPARSITY]], violations={"": each[SPARSITY] - 0.5}) for each in found])
        asked += found
    assert share(asked[-24:]) < 0.8 * share(walk(sampler(RANDOM), 10))


def test_one_objective_alone_is_possible() -> None:
    one = sampler(TPE, objectives=1)
    for _ in range(3):
        one.tell([Outcome(gains=[values[SPARSITY]]) for values in one.ask(8)])
    assert len(one.ask(2)) == 2
