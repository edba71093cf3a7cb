"""Niches: the front of all that was found, and that of each alternative."""

from __future__ import annotations

from collections import Counter

from made_looks import made_look, promises

from autoprune.fronts.promises import Promises
from autoprune.recipes.domain import Domain
from autoprune.record.looks import Look
from autoprune.study.sampling.niches import WHOLE, Niches

METHOD = Domain(path="method", kind="choose", options=("ahead", "near", "far", "none"))

LOOKS = {
    "ahead": [made_look(1, 0.99, 0.3), made_look(2, 0.95, 0.1)],
    "near": [made_look(3, 0.98, 0.3), made_look(4, 0.94, 0.1), made_look(5, 0.93, 0.2)],
    "far": [made_look(6, 0.91, 0.5)],
    "none": [made_look(7, 0.5, 0.1), made_look(8, 0.0, 0.0, failed="it broke")],
}


def told(looks: dict[str, list[Look]], *, seed: int = 0) -> tuple[Niches, Promises]:
    held = promises()
    niches = Niches([METHOD], held, seed=seed)
    for method, found in looks.items():
        for look in found:
            held.add(look)
            niches.add(look, {"method": method})
    return niches, held


def test_an_alternative_that_fell_behind_has_its_own_front() -> None:
    niches, held = told(LOOKS)
    assert [look.number for look, _ in niches.front] == [2, 1], "the smallest first"
    assert {look.number for look, _ in niches.front} == {look.number for look in held.front()}
    drawn = Counter(tuple(look.number for look, _ in niches.drawn()) for _ in range(1000))
    assert set(drawn) <= {(2, 1), (4, 3), (6,)}, "what misses the floor has no front, and what failed has none"
    assert drawn[2, 1] > 1000 * WHOLE, "the whole front is that of the first"
    assert drawn[4, 3] > 10 * drawn[6,], "the more it covers, the more often"
    assert all(values == {"method": "near"} for _, values in told({"near": LOOKS["near"]})[0].drawn())


def test_the_order_in_which_looks_come_does_not_matter_to_fronts() -> None:
    there, _ = told(LOOKS)
    back, _ = told({method: found[::-1] for method, found in reversed(LOOKS.items())})
    assert there.front == back.front


def test_what_the_dense_model_beats_is_on_no_front() -> None:
    niches, held = told({"near": [made_look(1, 0.99, 1.05)]})
    assert niches.front == held.front() == []


def test_nothing_is_drawn_where_nothing_holds() -> None:
    assert told({"none": LOOKS["none"]})[0].drawn() == []
    assert Niches([], promises(), seed=0).drawn() == []
