"""What training begins from: cuts, looked at with codes that take little."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from made_looks import CUTS, TRAINED, MadeUp, lookout, planned

from autoprune.deadline import NEVER, Deadline
from autoprune.recipes.space import Space
from autoprune.study.sampling.beginnings import MOST, NEIGHBOURS, Beginning, Beginnings
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout

STEM = {**CUTS, "prune": {**CUTS["prune"], "epochs": {"any_of": [0, 4]}}}
"""What follows the training are codes."""


def cut(sparsity: float, bits: int) -> dict[str, Any]:
    return {
        "prune": {"method": {"dims": {"sparsity": sparsity}}, "epochs": 0},
        "encode": {"quantize": {"bits": bits}},
    }


def begun(
    taken: Lookout,
    scanned: Collection[dict[str, Any]],
    *,
    space: dict[str, Any] = STEM,
    presets: Collection[dict[str, Any]] = (),
    until: Deadline = NEVER,
    most: int = 0,
) -> Beginnings:
    taken.take(list(scanned), until=NEVER)
    keys = [planned(recipe).key for recipe in presets]
    choices = Choices(Space(space), base={"dim": 16})
    return Beginning(choices, taken, presets=keys, recovers=0.15, seed=0, most=most).find(until=until)


def sparsities(found: Beginnings) -> list[tuple[float, int]]:
    return [
        (look.recipe["prune"]["method"]["dims"]["sparsity"], look.recipe["encode"]["quantize"]["bits"])
        for look in found.cuts
    ]


def test_recipes_that_differ_in_codes_alone_are_one_beginning(tmp_path: Path) -> None:
    """A tenth may go: 4 bits take .03, 8 take .002, and a cut of 0.4 takes .048 beside them."""
    scanned = [cut(sparsity, bits) for sparsity in (0.4, 0.5) for bits in (8, 4)]
    found = begun(lookout(tmp_path / "looks"), [*scanned, cut(0.1, 4)])
    assert sparsities(found) == [(0.4, 4), (0.5, 4)], "the smallest that lost no more than .05 has 4 bits"
    assert {look.key for look in found.scanned} <= {planned(recipe).key for recipe in [*scanned, cut(0.1, 4)]}
    assert len(found.scanned) > len(found.cuts), "their codes are tried later"


def test_what_codes_take_is_not_what_training_brings_back(tmp_path: Path) -> None:
    """With 4 bits a cut of 0.1 is 0.033 below the dense model, of which the cut took 0.003."""
    assert sparsities(begun(lookout(tmp_path / "both"), [cut(0.1, 4), cut(0.55, 4)])) == [(0.55, 4)]
    assert sparsities(begun(lookout(tmp_path / "one"), [cut(0.1, 4)])) == [(0.1, 4)], "there is nothing else"


def test_cuts_that_must_be_trained_are_looked_for(tmp_path: Path) -> None:
    """A cut of 0.5 with 8 bits is larger and worse than one of 0.1 with 4, and so not on the scan's front."""
    scanned = [cut(0.1, 4), cut(0.5, 8)]
    assert sparsities(begun(lookout(tmp_path / "alone"), scanned)) == [(0.1, 4)]
    evaluator = MadeUp()
    found = begun(lookout(tmp_path / "looks", evaluator=evaluator), scanned, most=NEIGHBOURS)
    assert all(0.18 < sparsity < 0.81 and bits == 4 for sparsity, bits in sparsities(found)), "harmed, and not too much"
    assert len(found.cuts) > MOST / 2
    assert len(evaluator.asked) <= len(scanned) + NEIGHBOURS + 1
    again = MadeUp()
    begun(lookout(tmp_path / "looks", evaluator=again), scanned, most=NEIGHBOURS)
    assert not again.asked, "the same once more"


def test_where_codes_are_trained_it_begins_from_what_was_found(tmp_path: Path) -> None:
    evaluator = MadeUp()
    dims = {"method": {"dims": {"sparsity": 0.4}}}
    scanned = [{"prune": dims, "encode": {"quantize": {"bits": bits}, "epochs": 0}} for bits in (8, 4)]
    found = begun(lookout(tmp_path / "looks", evaluator=evaluator), scanned, space=TRAINED, most=NEIGHBOURS)
    assert sparsities(found) == [(0.4, 8), (0.4, 4)]
    assert len(evaluator.asked) == len(scanned), "no look was taken for it"
    assert not found.codes


def test_presets_behind_the_front_are_beginnings_and_are_named(tmp_path: Path) -> None:
    behind, beyond, outside = cut(0.6, 8), cut(0.9, 2), {"quantize": {"bits": 2}}
    found = begun(
        lookout(tmp_path / "looks"), [cut(0.3, 8), behind, beyond, outside], presets=[behind, beyond, outside]
    )
    assert [sparsities(found)[at] for at in found.presets] == [(0.6, 8)], "with the codes that take least of what holds"


def test_few_stand_for_many_cuts(tmp_path: Path) -> None:
    scanned = [cut(round(0.25 + 0.01 * at, 2), 8) for at in range(3 * MOST)]
    found = begun(lookout(tmp_path / "looks"), scanned)
    assert len(found.cuts) == MOST
    assert [found.cuts[0].recipe, found.cuts[-1].recipe] == [scanned[0], scanned[-1]]
    sizes = [look.size_bytes for look in found.cuts]
    assert sizes == sorted(sizes, reverse=True)


def test_the_least_of_a_cut_is_no_yardstick_where_it_cuts(tmp_path: Path) -> None:
    """Every recipe of the space cuts half or more, which takes 0.075 and more."""
    space = {
        "prune": {"method": {"dims": {"sparsity": {"any_of": [0.6, 0.5]}}}, "epochs": {"any_of": [0, 4]}},
        "encode": {"quantize": {"bits": {"any_of": [8, 4]}}},
    }
    taken = lookout(tmp_path / "looks")
    assert sparsities(begun(taken, [cut(0.5, 8), cut(0.6, 8)], space=space)) == [(0.5, 8), (0.6, 8)]
    assert all("prune" in look.recipe for look in taken.promises.looks if look.number), "nothing outside may be found"


def test_where_all_codes_lose_much_those_that_lose_least_are_gentle(tmp_path: Path) -> None:
    """Half of 4 % may go with codes, and 4 bits take 3."""
    taken = lookout(tmp_path / "looks", requirements={"quality": {"drop": "4%"}})
    space = {**STEM, "encode": {"quantize": {"bits": {"any_of": [4, 2]}}}}
    found = begun(taken, [cut(0.3, 4), cut(0.4, 2)], space=space)
    assert dict(found.codes) == {"space.encode.quantize.bits": 4}


def test_where_gentle_codes_are_too_large_cuts_keep_their_own(tmp_path: Path) -> None:
    """With 8 bits both are far too large; with 2 one is not, and misses its floor by little."""
    limits = {"quality": {"drop": "30%"}, "size_bytes": {"max": "0.04x"}}
    taken = lookout(tmp_path / "looks", requirements=limits)
    found = begun(
        taken, [cut(0.2, 8), cut(0.45, 2)], space={**STEM, "encode": {"quantize": {"bits": {"any_of": [8, 2]}}}}
    )
    assert sparsities(found) == [(0.45, 2)]
    assert not found.codes


def test_parents_of_different_alternatives_have_neighbours(tmp_path: Path) -> None:
    space = {**STEM, "prune": {**STEM["prune"], "rows": {"sparsity": {"item": {"float": [0.0, 0.5]}}}}}
    none = {
        "prune": {"method": {"none": {}}, "rows": {"sparsity": {"item": 0.5}}, "epochs": 0},
        "encode": cut(0, 4)["encode"],
    }
    dims = {**cut(0.4, 4), "prune": {**cut(0.4, 4)["prune"], "rows": {"sparsity": {"item": 0.1}}}}
    evaluator = MadeUp()
    begun(lookout(tmp_path / "looks", evaluator=evaluator), [none, dims], space=space, most=NEIGHBOURS)
    kinds = {next(iter(one.recipe["prune"]["method"])) for one in evaluator.asked[2:] if "prune" in one.recipe}
    assert kinds == {"none", "dims"}


def test_what_the_time_did_not_do_for_is_no_beginning(tmp_path: Path) -> None:
    """Both are asked for with 8 bits, of which one is known."""
    scanned = [cut(0.3, 8), cut(0.6, 4)]
    assert sparsities(begun(lookout(tmp_path / "all"), scanned)) == [(0.3, 8), (0.6, 8)]
    assert sparsities(begun(lookout(tmp_path / "looks"), scanned, until=Deadline.after(0.0))) == [(0.3, 8)]


def test_beside_what_came_back_others_join(tmp_path: Path) -> None:
    """A cut of 0.6 came back, with the codes of all; one of 0.2 with others, and one of 0.9 that lost too much."""
    taken = lookout(tmp_path / "looks")
    taken.take([cut(0.3, 4), cut(0.6, 4)], until=NEVER)
    choices = Choices(Space(STEM), base={"dim": 16})
    beginning = Beginning(choices, taken, presets=(), recovers=0.15, seed=0, most=12)
    found = beginning.find(until=NEVER)
    assert beginning.extended(found, 4, until=NEVER) == found, "nothing was trained"
    trained = [{**one, "prune": {**one["prune"], "epochs": 4}} for one in (cut(0.6, 4), cut(0.2, 8), cut(0.9, 2))]
    taken.take(trained, epochs=4, until=NEVER)
    assert beginning.extended(found, 4, until=Deadline.after(0.0)) == found
    more = beginning.extended(found, 4, until=NEVER)
    keys, known = [look.key for look in more.cuts], {look.key for look in found.cuts}
    assert known < set(keys)
    joined = [pair for pair, key in zip(sparsities(more), keys, strict=True) if key not in known]
    assert 0 < len(joined) <= 4
    assert all(0.35 < sparsity < 0.81 and bits == 4 for sparsity, bits in joined), "a quarter of the range around 0.6"
    assert [choices.recipe(values) for values in more.values] == [look.recipe for look in more.cuts]
    again = beginning.extended(more, 4, until=NEVER)
    assert beginning.extended(again, 4, until=NEVER) == again, "12 neighbours in all: 8 and 4"
