"""Neighbours of what was found: what they have of their parents, and how far they go."""

from __future__ import annotations

import math
from typing import Any

import pytest

from autoprune.recipes.domain import Domain
from autoprune.recipes.space import Space
from autoprune.study.sampling import neighbours
from autoprune.study.sampling.neighbours import Neighbours

DOMAINS: list[Domain] = list(
    Space(
        {
            "cut": {
                "sparsity": {"float": [0.0, 1.0], "step": 0.05},
                "by": {"any_of": ["norm", "pca"]},
                "rows": {"int": [2, 80], "step": 2},
                "count": {"int": [1, 1000], "log": True},
                "strength": {"float": [0.001, 1.0], "log": True},
                "share": {"float": [0.0, 1.0]},
            }
        }
    ).domains.values()
)
SPARSITY, BY, ROWS, COUNT, STRENGTH, SHARE = (domain.path for domain in DOMAINS)
ONE = {SPARSITY: 0.5, BY: "norm", ROWS: 40, COUNT: 30, STRENGTH: 0.03, SHARE: 0.5}
OTHER = {SPARSITY: 0.9, BY: "pca", ROWS: 60, COUNT: 300, STRENGTH: 0.3, SHARE: 0.9}


def drawn(found: list[dict[str, Any]], *, count: int = 400, seed: int = 0) -> list[dict[str, Any]]:
    made = Neighbours(DOMAINS, seed=seed)
    return [made.of(found) for _ in range(count)]


def test_few_values_are_moved_and_all_lie_within_the_space() -> None:
    for values in drawn([ONE]):
        assert values.keys() == ONE.keys()
        assert sum(values[path] != ONE[path] for path in ONE) <= max(neighbours.MOVED)
        assert all(domain.holds(values[domain.path]) for domain in DOMAINS)


@pytest.mark.parametrize(
    ("path", "width"), [(SPARSITY, 1.0), (ROWS, 78), (SHARE, 1.0), (STRENGTH, math.log(1000)), (COUNT, math.log(1000))]
)
def test_numbers_are_moved_by_a_part_of_their_range(path: str, width: float) -> None:
    to = math.log if path in (STRENGTH, COUNT) else float
    moved = [abs(to(values[path]) - to(ONE[path])) for values in drawn([ONE]) if values[path] != ONE[path]]
    assert len(moved) > 20
    rounded = {ROWS: 1.0, COUNT: 0.2}.get(path, 1e-9)
    assert 0.1 * width < max(moved) <= neighbours.SPAN * width + rounded


def test_what_two_have_is_crossed() -> None:
    found = drawn([ONE, OTHER])
    assert any(0 < sum(values[path] == OTHER[path] for path in OTHER) < len(OTHER) - 2 for values in found)
    assert all(values[BY] in ("norm", "pca") for values in found)


def test_only_neighbours_on_the_front_are_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOVED", (0,))
    front = [{**ONE, SPARSITY: round(0.1 * at, 10), ROWS: 2 + 2 * at} for at in range(11)]
    apart = [abs(round(10 * values[SPARSITY]) - (values[ROWS] - 2) // 2) for values in drawn(front)]
    assert set(apart) == set(range(neighbours.NEAR + 1))


def test_the_same_seed_draws_the_same() -> None:
    assert drawn([ONE, OTHER]) == drawn([ONE, OTHER])
    assert drawn([ONE, OTHER]) != drawn([ONE, OTHER], seed=1)


def test_a_value_that_lies_beside_the_steps_is_moved_from_the_nearest() -> None:
    found = drawn([{**ONE, SPARSITY: 0.1 + 0.2}])  # 0.30000000000000004
    assert {values[SPARSITY] for values in found} <= {0.1 + 0.2, *DOMAINS[0].listed()}
