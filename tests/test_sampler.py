"""What is tried next: asks in flight differ, a resumed sampler asks what an undisturbed one asks, nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autoprune.measure.measurement import SEARCH, Measurement
from autoprune.recipes.recipe import digest
from autoprune.recipes.space import Recipe, Space
from autoprune.record.archive import TRIAL, Candidate
from autoprune.study.sampler import Sampler, Told

SPACE = {"cut": {"sparsity": {"float": [0.1, 0.9], "step": 0.05}, "by": {"any_of": ["norm", "pca"]}}}


def sampler(folder: Path, *, space: Mapping[str, Any] = SPACE, kind: str = "tpe") -> Sampler:
    return Sampler(
        folder, space=Space(space), objectives=["quality", "size"], key=lambda recipe: digest(recipe), kind=kind, seed=3
    )


def told(recipe: Recipe, *, rejected: str = "") -> Told:
    measured = Measurement(
        split="validation",
        purpose=SEARCH,
        machine="m",
        quality={},
        units={},
        size_bytes=1,
        memory_bytes=1,
        structure="",
        latency={},
    )
    candidate = Candidate(
        number=1,
        name=TRIAL,
        key=digest(recipe),
        recipe=recipe,
        summary="",
        rejected=rejected,
        measurements=(measured,),
        seconds=1.0,
    )
    sparsity = recipe["cut"]["sparsity"]
    return Told(
        candidate=candidate, values=[1 - sparsity**2, 1 - sparsity], violations={"quality >= 0.5x": sparsity - 0.8}
    )


def asked(one: Sampler, known: set[str]) -> Recipe:
    recipe = one.ask(known)
    assert recipe is not None
    return recipe


def walk(one: Sampler, count: int, known: set[str]) -> list[Recipe]:
    """Asks and tells, one at a time."""
    found = []
    for _ in range(count):
        found.append(asked(one, known))
        one.tell(told(found[-1]))
        known.add(digest(found[-1]))
    return found


def test_a_resumed_sampler_asks_what_an_undisturbed_one_asks(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    whole = walk(sampler(tmp_path / "one"), 14, set())
    known: set[str] = set()
    first = walk(sampler(tmp_path / "other"), 6, known)
    assert first + walk(sampler(tmp_path / "other"), 8, known) == whole


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_asks_in_flight_differ_whatever_they_come_back_in(tmp_path: Path, kind: str) -> None:
    one, known = sampler(tmp_path, kind=kind), set[str]()
    flying = [asked(one, known) for _ in range(4)]
    for _ in range(5):
        assert len({digest(recipe) for recipe in flying}) == 4
        back = flying.pop(2)  # another one than was asked for first
        one.tell(told(back))
        known.add(digest(back))
        flying.append(asked(one, known))
    assert one.told == known


def test_what_was_archived_and_not_told_is_told_by_the_next_process(tmp_path: Path) -> None:
    one, recipes = sampler(tmp_path), []
    for _ in range(12):
        recipes.append(asked(one, set()))
    assert any(recipe["cut"]["sparsity"] in (0.15, 0.3, 0.45, 0.7) for recipe in recipes), "0.1 + 4 * 0.05 is not 0.3"
    archive = {digest(recipe): told(recipe) for recipe in recipes}
    after = sampler(tmp_path)
    after.settle(archive.get)
    assert after.told == set(archive)


def test_what_was_asked_for_and_never_archived_is_asked_for_again(tmp_path: Path) -> None:
    recipe = asked(sampler(tmp_path), set())
    after = sampler(tmp_path)
    after.settle({}.get)
    assert after.told == set()
    assert asked(after, set()) == recipe


def test_an_exhausted_space_ends(tmp_path: Path) -> None:
    space = {"cut": {"by": {"any_of": ["norm", "pca"]}, "sparsity": 0.5}}
    one, known = sampler(tmp_path, space=space), set[str]()
    walk(one, 2, known)
    assert one.ask(known) is None


def test_what_lies_outside_the_space_is_not_told(tmp_path: Path) -> None:
    one = sampler(tmp_path)
    inside, outside = ({"cut": {"sparsity": sparsity, "by": "norm"}} for sparsity in (0.5, 0.05))
    one.tell_known([(told(inside), inside), (told(outside), outside), (told(inside), inside)])
    assert one.told == {digest(inside)}
