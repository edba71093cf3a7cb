"""Training in rungs, on learning curves that are known: who goes on, who is stopped, and what a kill costs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_looks import (
    BYTES,
    CUTS,
    METRIC,
    TRAINED,
    Fading,
    Killed,
    LastFirst,
    MadeUp,
    Wide,
    epochs_of,
    held,
    look_at,
    lookout,
    planned,
)

from autoprune.deadline import NEVER, Deadline
from autoprune.recipes.space import Space
from autoprune.record.looks import Look
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Executor
from autoprune.study.sampling.beginnings import MOST as MOST_CUTS
from autoprune.study.sampling.beginnings import NEARLY, NEIGHBOURS, Beginning
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.cohorts import COHORT
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.promotion import Promotion
from autoprune.study.sampling.races import FIRST, GO_ON, RELATIVES, Race, Races, _spread
from autoprune.study.sampling.rungs import Rungs
from autoprune.study.sampling.sampler import Values
from autoprune.tasks.task import Learning

RECOVERS = Learning.recovers

SCANNED = [
    {"prune": {"method": {"dims": {"sparsity": sparsity}}}, "encode": {"quantize": {"bits": bits}, "epochs": 0}}
    for bits in (8, 4, 2)
    for sparsity in (0.1, 0.2, 0.3, 0.45)
]

STEM = {  # what follows the training costs no training again
    "prune": {**CUTS["prune"], "epochs": {"any_of": [0, 4]}},
    "encode": CUTS["encode"],
}


def trained(
    taken: Lookout,
    *,
    space: Mapping[str, Any] = TRAINED,
    cuts: list[dict[str, Any]] | None = None,
    most: int | None = None,
    seed: int = 0,
    random: bool = False,
    starts: Collection[str] = (),
    scanned: bool = True,
    until: Deadline = NEVER,
    recovers: float = RECOVERS,
    most_looks: int = 0,
) -> Rungs:
    """Trains from what a scan found, and from neighbours of that if these may be looked at."""
    taken.take(SCANNED if cuts is None else cuts, until=NEVER)
    rungs = Rungs(
        Choices(Space(space), base={"dim": 16}),
        taken,
        epochs=epochs_of,
        random=random,
        seed=seed,
        most=most,
        starts=starts,
        scanned=scanned,
        recovers=recovers,
        most_looks=most_looks,
    )
    rungs.run(until=until)
    return rungs


def races(taken: Lookout, *, codes: Values | None = None, until: Deadline = NEVER) -> Races:
    choices = Choices(Space(TRAINED), base={"dim": 16})
    promotion = Promotion(choices, taken.promises, codes=codes or {}, recovers=RECOVERS)
    return Races(choices, taken, promotion, epochs=epochs_of, until=until)


def ended(race: Race, taken: Lookout) -> list[Look | None]:
    """Runs a race alone."""
    batch = next(race)
    while True:
        try:
            batch = race.send(taken.wait(batch))
        except StopIteration as end:
            looks: list[Look | None] = end.value
            return looks


def reached(evaluator: MadeUp) -> dict[str, list[tuple[int, int]]]:
    """By recipe: the epochs that it was trained for, of how many, one look after the other."""
    found: dict[str, list[tuple[int, int]]] = {}
    for one in evaluator.asked:
        made = planned(one.recipe)
        if made.epochs:
            found.setdefault(made.key, []).append((one.epochs or 0, made.epochs))
    return found


def test_recipes_are_begun_together_and_half_of_them_goes_on(tmp_path: Path) -> None:
    evaluator = MadeUp()
    rungs = trained(lookout(tmp_path / "looks", evaluator=evaluator), most=COHORT, random=True)
    assert rungs.done
    ladders = list(reached(evaluator).values())
    raced = [ladder for ladder in ladders if len(ladder) > 1]
    for ladder in raced:
        epochs = ladder[0][1]
        assert ladder[:2] == [(0, epochs), (math.ceil(FIRST * epochs), epochs)]
        assert ladder[2:] in ([], [(epochs, epochs)])
    on = sum(len(ladder) == 3 for ladder in raced)
    assert 0 < on < len(raced)


def test_a_preset_behind_the_front_is_trained_before_all_others(tmp_path: Path) -> None:
    behind = {"prune": {"method": {"dims": {"sparsity": 0.44}}}, "encode": {"quantize": {"bits": 8}, "epochs": 0}}
    beyond = {"prune": {"method": {"dims": {"sparsity": 0.9}}}, "encode": {"quantize": {"bits": 2}, "epochs": 0}}
    keys, first = [planned(recipe).key for recipe in (behind, beyond)], []
    for starts in (keys, ()):
        evaluator = MadeUp()
        taken = lookout(
            tmp_path / f"looks{len(starts)}", evaluator=evaluator, requirements={"quality": {"drop": "20%"}}
        )
        trained(taken, cuts=[*SCANNED, behind, beyond], starts=starts, most=1)
        asked = [one.recipe for one in evaluator.asked if planned(one.recipe).epochs]
        first.append(asked[0]["prune"]["method"]["dims"]["sparsity"])
        assert all(recipe["prune"]["method"]["dims"]["sparsity"] != 0.9 for recipe in asked), "it misses by far"
    assert first[0] == 0.44
    assert first[1] != 0.44


@pytest.mark.parametrize(("recovers", "asked"), [(RECOVERS, {0.1, 0.44}), (0.3, {0.44})])
def test_a_preset_that_lost_nothing_is_trained_where_that_is_cheap(
    recovers: float, asked: set[float], tmp_path: Path
) -> None:
    """Of one 0.5 % of the quality is gone, of the other 6 %."""
    unharmed = {"prune": {"method": {"dims": {"sparsity": 0.1}}}, "encode": {"quantize": {"bits": 8}, "epochs": 0}}
    harmed = {"prune": {"method": {"dims": {"sparsity": 0.44}}}, "encode": {"quantize": {"bits": 8}, "epochs": 0}}
    keys = [planned(recipe).key for recipe in (unharmed, harmed)]
    evaluator = MadeUp()
    taken = lookout(tmp_path / "looks", evaluator=evaluator)
    trained(taken, cuts=[unharmed, harmed], starts=keys, most=2, recovers=recovers)
    assert {one.recipe["prune"]["method"]["dims"]["sparsity"] for one in evaluator.asked if one.epochs} == asked


def test_what_misses_by_much_is_not_among_the_first(tmp_path: Path) -> None:
    """A cut of 0.8 keeps 0.81 of the quality and may be drawn; 0.9 are asked for, and 0.4 and 0.5 are near that."""
    cuts = [
        {"prune": {"method": {"dims": {"sparsity": sparsity}}}, "encode": {"quantize": {"bits": 8}, "epochs": 0}}
        for sparsity in (0.4, 0.5, 0.8)
    ]
    evaluator = MadeUp()
    trained(lookout(tmp_path / "looks", evaluator=evaluator), cuts=cuts, most=2)
    assert {one.recipe["prune"]["method"]["dims"]["sparsity"] for one in evaluator.asked if one.epochs} == {0.4, 0.5}


def test_each_that_goes_on_is_the_one_that_adds_most(tmp_path: Path) -> None:
    """To untrained cuts coded as the cohort is, and to those that go on before it; half of the loss comes back."""
    taken = lookout(tmp_path / "looks")
    taken.take(SCANNED, until=NEVER)
    recipes = [
        {"prune": {"method": {"dims": {"sparsity": cut}}}, "encode": {"quantize": {"bits": 4}, "epochs": 8}}
        for cut in (0.12, 0.25, 0.35, 0.5, 0.65, 0.8)
    ]
    starts, looks = taken.take(recipes, until=NEVER), taken.take(recipes, epochs=2, until=NEVER)
    on = races(taken, codes={"space.encode.quantize.bits": 4}).promoted(range(6), starts, looks)
    assert len(on) == math.ceil(GO_ON * 6)

    def box(share_of_quality: float, look: Look) -> list[float]:
        return [share_of_quality - 0.9, math.log2(2 * BYTES / look.size_bytes)]

    there = [
        [0.1, 1.0],  # the dense model
        *(
            box(look.value(METRIC) / 0.4, look)
            for look in taken.promises.looks
            if not look.of_epochs and look.recipe.get("encode", {}).get("quantize", {}).get("bits") == 4
        ),
    ]
    ends = {at: box(1 - (1 - look.value(METRIC) / 0.4) / 2, look) for at, look in enumerate(looks) if look}
    for turn, at in enumerate(on):
        before = [*there, *(ends[other] for other in on[:turn])]
        covered = {other: _area([*before, ends[other]]) for other in ends if other not in on[:turn]}
        assert covered[at] == pytest.approx(max(covered.values()))
    assert on != sorted(on), "that is neither the largest first"
    assert on != sorted(on, reverse=True), "nor the smallest"


def _area(boxes: list[list[float]]) -> float:
    """Of what two-dimensional boxes cover together, strip by strip."""
    area, height = 0.0, 0.0
    for width, tall in sorted(boxes, reverse=True):
        area += max(0.0, width) * max(0.0, tall - height)
        height = max(height, tall)
    return area


def test_what_will_miss_goes_on_last(tmp_path: Path) -> None:
    """0.9 of the dimensions still takes 12 % of the quality after two epochs, and 5 may go."""
    taken = lookout(tmp_path / "looks", requirements={"quality": {"drop": "5%"}})
    cuts = (0.1, 0.2, 0.3, 0.9)
    recipes = [
        {"prune": {"method": {"dims": {"sparsity": cut}}}, "encode": {"quantize": {"bits": 8}, "epochs": 8}}
        for cut in cuts
    ]
    starts = taken.take(recipes, until=NEVER)
    chosen = races(taken).promoted(range(4), starts, taken.take(recipes, epochs=2, until=NEVER))
    assert len(chosen) == 2
    assert 0.9 not in {cuts[at] for at in chosen}


def racing(folder: Path, *, count: int, executor: Executor | None = None) -> tuple[Lookout, list[dict[str, Any]]]:
    """Recipes of 8 epochs, 100 s each: what is left of one after the first rung takes 600 s."""
    taken = lookout(
        folder,
        evaluator=MadeUp(lambda one: dataclasses.replace(look_at(one), seconds=5.0 + 100.0 * one.epochs)),
        executor=executor,
    )
    taken.take(SCANNED, until=NEVER)
    return taken, [{**one, "encode": {**one["encode"], "epochs": 8}} for one in SCANNED[:count]]


@pytest.mark.parametrize(("seconds", "on"), [(math.inf, 4), (1500.0, 2), (300.0, 1), (0.0, 0)])
def test_as_many_go_on_as_come_to_their_end_in_time(seconds: float, on: int, tmp_path: Path) -> None:
    taken, recipes = racing(tmp_path / "looks", count=8)
    starts, looks = taken.take(recipes, until=NEVER), taken.take(recipes, epochs=2, until=NEVER)
    assert len(races(taken, until=Deadline.after(seconds)).promoted(range(8), starts, looks)) == on


def test_where_the_time_does_for_one_as_many_go_on_as_are_trained_at_a_time(tmp_path: Path) -> None:
    taken, recipes = racing(tmp_path / "looks", count=8, executor=LastFirst())
    starts, looks = taken.take(recipes, until=NEVER), taken.take(recipes, epochs=2, until=NEVER)
    assert len(races(taken, until=Deadline.after(300.0)).promoted(range(8), starts, looks)) == LastFirst.slots
    assert races(taken, until=Deadline.after(0.0)).promoted(range(8), starts, looks) == []


def test_those_done_at_the_first_rung_take_no_place(tmp_path: Path) -> None:
    """A quarter of one epoch is one."""
    taken, recipes = racing(tmp_path / "looks", count=8)
    short = [{**one, "encode": {**one["encode"], "epochs": 1}} for one in recipes[:4]]
    mixed = [*short, *recipes[4:]]
    starts = taken.take(mixed, until=NEVER)
    looks = [
        taken.take([one], epochs=epochs, until=NEVER)[0] for one, epochs in zip(mixed, [1] * 4 + [2] * 4, strict=True)
    ]
    for until in (NEVER, Deadline.after(3000.0)):
        on = races(taken, until=until).promoted(range(8), starts, looks)
        assert len(on) == GO_ON * 4
        assert set(on) <= set(range(4, 8))


def test_recipes_that_come_to_the_same_are_told_the_same(tmp_path: Path) -> None:
    """One names its encoding as the choice among methods that it is."""
    taken, _ = racing(tmp_path / "looks", count=1)
    cut = {"method": {"dims": {"sparsity": 0.3}}}
    recipes = [
        {"prune": cut, "encode": {"quantize": {"bits": 8}, "epochs": 8}},
        {"prune": cut, "encode": {"method": {"quantize": {"bits": 8}}, "epochs": 8}},
    ]
    assert planned(recipes[0]).key == planned(recipes[1]).key
    one, other = ended(races(taken).race(recipes), taken)
    assert one is not None
    assert one.done
    assert one == other


def test_with_more_time_what_was_trained_to_its_end_is_kept(tmp_path: Path) -> None:
    taken, recipes = racing(tmp_path / "looks", count=8)
    starts, looks = taken.take(recipes, until=NEVER), taken.take(recipes[:4], epochs=2, until=NEVER)
    before = races(taken, until=Deadline.after(1500.0)).promoted(range(4), starts, looks)
    taken.take([recipes[at] for at in before], epochs=8, until=NEVER)
    again = races(taken, until=Deadline.after(0.0)).promoted(range(4), starts, looks)
    assert sorted(again) == sorted(before), "what is known costs nothing"
    looks = taken.take(recipes, epochs=2, until=NEVER)
    after = races(taken, until=Deadline.after(1500.0)).promoted(range(8), starts, looks)
    assert set(before) < set(after)


@pytest.mark.parametrize(
    ("epochs", "ladder", "whole"),
    [
        (8, [(2, 8)] * 4, 1),
        (1, [(1, 1)] * 8, 8),
    ],  # 20 s each, in two fifths of the time; then 60 s, of 80 that are left
    ids=["two-rungs", "one"],
)
def test_the_first_decision_comes_while_there_is_time_for_the_rest(
    epochs: int, ladder: list[tuple[int, int]], whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("autoprune.deadline.time", SimpleNamespace(monotonic=lambda: clock[0]))
    known = dict[str, int]()

    def formula(one: Asked) -> Look:
        look = look_at(one)
        seconds = 10.0 * (look.epochs - known.get(look.key, 0))
        known[look.key], clock[0] = look.epochs, clock[0] + seconds
        return dataclasses.replace(look, seconds=seconds)

    evaluator = MadeUp(formula)
    space = {**TRAINED, "encode": {**TRAINED["encode"], "epochs": {"any_of": [0, epochs]}}}
    taken = lookout(tmp_path / "looks", evaluator=evaluator)
    rungs = trained(taken, space=space, most=COHORT, recovers=0.3, until=Deadline.after(160.0))
    assert rungs.done == (whole == COHORT)
    ladders = [ladder for ladder in reached(evaluator).values() if len(ladder) > 1]
    assert [one[1] for one in ladders] == ladder
    assert [one[-1] for one in ladders].count((epochs, epochs)) == whole


def test_who_has_no_hope_is_stopped(tmp_path: Path) -> None:
    """Two bits learn nothing here, and something no larger is far better."""

    def formula(one: Asked) -> Look:
        look = look_at(one)
        if one.recipe.get("encode", {}).get("quantize", {}).get("bits") == 2 and look.of_epochs:
            return dataclasses.replace(look, quality={"ndcg@20": {"all": 0.33}}, size_bytes=500_000)
        return look

    evaluator = MadeUp(formula)
    taken = lookout(tmp_path / "looks", evaluator=evaluator, requirements={"quality": {"drop": "30%"}})
    trained(taken, most=24, random=True)
    went_on = [one for one in evaluator.asked if one.epochs and one.epochs == planned(one.recipe).epochs]
    stopped = {one.recipe["encode"]["quantize"]["bits"] for one in evaluator.asked if one.epochs}
    assert 2 in stopped, "it was begun"
    assert {one.recipe["encode"]["quantize"]["bits"] for one in went_on} == {8, 4}


def test_what_misses_by_little_is_trained_and_may_recover(tmp_path: Path) -> None:
    assert RECOVERS == 0.15
    mends = {"prune": {"method": {"dims": {"sparsity": 0.6}}}, "encode": {"quantize": {"bits": 8}, "epochs": 0}}
    taken = lookout(tmp_path / "looks")
    trained(taken, cuts=[mends], most=2)
    front = taken.promises.front()
    assert front
    assert all(look.epochs for look in front), "untrained it misses the floor"
    assert {look.recipe["prune"]["method"]["dims"]["sparsity"] for look in front} == {0.6}


@pytest.mark.parametrize(("recovers", "asked"), [(NEARLY, {0.6}), (0.3, {0.6, 0.9})])
def test_what_misses_by_more_is_trained_where_it_may_recover(
    recovers: float, asked: set[float], tmp_path: Path
) -> None:
    """Untrained they keep 0.89 and 0.755 of the quality, and 0.9 are asked for."""
    cuts = [
        {"prune": {"method": {"dims": {"sparsity": sparsity}}}, "encode": {"quantize": {"bits": 8}, "epochs": 0}}
        for sparsity in (0.6, 0.9)
    ]
    evaluator = MadeUp()
    trained(lookout(tmp_path / "looks", evaluator=evaluator), cuts=cuts, most=16, random=True, recovers=recovers)
    begun = {one.recipe["prune"]["method"]["dims"]["sparsity"] for one in evaluator.asked if one.epochs}
    assert begun == asked


@pytest.mark.parametrize("most", [1, 3, 9])
def test_no_more_are_trained_than_is_asked_for(tmp_path: Path, most: int) -> None:
    evaluator = MadeUp()
    rungs = trained(lookout(tmp_path / "looks", evaluator=evaluator), most=most)
    assert rungs.done
    assert rungs.trials == most == rungs.most
    assert 0 < sum(len(ladder) > 1 for ladder in reached(evaluator).values()) <= most


def test_relatives_cost_no_training(tmp_path: Path) -> None:
    evaluator = MadeUp()
    taken = lookout(tmp_path / "looks", evaluator=evaluator)
    cuts = [
        {**one, "prune": {**one["prune"], "epochs": 0}, "encode": {"quantize": one["encode"]["quantize"]}}
        for one in SCANNED
    ]
    trained(taken, space=STEM, cuts=cuts, most=4)
    whole: dict[str, list[Look]] = {}
    for look in taken.looks.found.values():
        if look.done and look.epochs:
            whole.setdefault(str(look.recipe["prune"]), []).append(look)
    ladders = reached(evaluator)
    assert any(len(ladders[look.key]) == 1 for looks in whole.values() for look in looks)
    for looks in whole.values():
        begun = [look for look in looks if len(ladders[look.key]) > 1]
        related = [look for look in looks if len(ladders[look.key]) == 1]
        assert begun, "of each training one was trained for it"
        assert len(related) <= RELATIVES * len(begun)
        assert all(look.recipe["prune"] == begun[0].recipe["prune"] for look in related)


def test_relatives_reach_from_the_first_cut_to_the_last() -> None:
    assert _spread([], 3) == []
    for count in (1, RELATIVES, RELATIVES + 1, MOST_CUTS, 3 * RELATIVES):
        recipes = [{"cut": at} for at in range(count)]
        kept = [one["cut"] for one in _spread(recipes, RELATIVES)]
        assert (kept[0], kept[-1]) == (0, count - 1)
        assert len(set(kept)) == len(kept) == min(count, RELATIVES)
        gaps = [after - before for before, after in itertools.pairwise(kept)]
        assert max(gaps, default=0) - min(gaps, default=0) <= 1


def test_without_training_parameters_nothing_is_trained(tmp_path: Path) -> None:
    evaluator = MadeUp()
    cuts = [{**one, "encode": {"quantize": one["encode"]["quantize"]}} for one in SCANNED]
    rungs = trained(lookout(tmp_path / "looks", evaluator=evaluator), space=CUTS, cuts=cuts)
    assert rungs.done
    assert rungs.trials == 0
    assert len(evaluator.asked) == len(SCANNED)


def test_where_nothing_new_can_be_asked_for_it_ends(tmp_path: Path) -> None:
    space = {**CUTS, "encode": {**CUTS["encode"], "epochs": {"any_of": [0, 2]}}}
    evaluator = MadeUp()
    rungs = trained(lookout(tmp_path / "looks", evaluator=evaluator), space=space, cuts=SCANNED[2:4], most=1000)
    assert rungs.done
    assert rungs.trials == 2


def test_it_stops_once_training_finds_no_more(tmp_path: Path) -> None:
    def formula(one: Asked) -> Look:
        return dataclasses.replace(look_at(dataclasses.replace(one, epochs=0)), epochs=one.epochs or 0)

    rungs = trained(lookout(tmp_path / "looks", evaluator=MadeUp(formula)), most=1000)
    assert rungs.done
    assert rungs.trials <= 3 * COHORT


@pytest.mark.parametrize("random", [False, True])
def test_without_a_scan_everything_is_asked_for_wherever_presets_lie(tmp_path: Path, random: bool) -> None:
    evaluator = MadeUp()
    outside = [{"quantize": {"bits": 8}}, {"encode": {"quantize": {"bits": 8}, "epochs": 0}}]
    taken = lookout(tmp_path / "looks", evaluator=evaluator)
    rungs = trained(taken, cuts=outside, most=16, scanned=False, random=random)
    assert 8 < rungs.trials <= 16
    asked = [one.recipe for one in evaluator.asked if "prune" in one.recipe]
    assert len({recipe["prune"]["method"].get("dims", {}).get("sparsity") for recipe in asked}) > 5


def test_presets_outside_the_space_are_no_beginning(tmp_path: Path) -> None:
    taken = lookout(tmp_path / "looks")
    outside = {"prune": {"method": {"dims": {"sparsity": 0.05}}}, "encode": {"quantize": {"bits": 8}}}
    rungs = trained(taken, cuts=[outside, *SCANNED], most=8)
    assert rungs.done
    assert outside in [look.recipe for look in taken.promises.front(wanted=lambda look: not look.epochs)]
    begun = [look.recipe["prune"]["method"]["dims"] for look in taken.looks.found.values() if look.of_epochs]
    assert begun
    assert {"sparsity": 0.05} not in begun


@pytest.mark.parametrize("scanned", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_killed_training_goes_on_to_the_same_looks(tmp_path: Path, scanned: bool) -> None:
    whole = lookout(tmp_path / "whole")
    trained(whole, most=20, scanned=scanned)
    count = len(whole.looks) - 1
    for kill in (len(SCANNED) + 3, len(SCANNED) + 14, count - 2):
        file = tmp_path / f"killed-{kill}"
        with pytest.raises(Killed):
            trained(lookout(file, evaluator=Fading(kill)), most=20, scanned=scanned)
        file.write_bytes(file.read_bytes()[:-20])  # torn in the middle of a line
        resumed = lookout(file, executor=LastFirst() if kill == count - 2 else None)
        trained(resumed, most=20, scanned=scanned)
        assert held(resumed) == held(whole)
        again = MadeUp()
        trained(lookout(file, evaluator=again), most=20, scanned=scanned)
        assert again.asked == []


def test_one_killed_amid_the_neighbours_goes_on_to_the_same_looks(tmp_path: Path) -> None:
    cuts = [
        {**one, "prune": {**one["prune"], "epochs": 0}, "encode": {"quantize": one["encode"]["quantize"]}}
        for one in SCANNED
    ]

    def run(taken: Lookout) -> None:
        trained(taken, space=STEM, cuts=cuts, most=12, most_looks=NEIGHBOURS)

    whole = lookout(tmp_path / "whole")
    run(whole)
    for kill in (len(cuts) + 2, len(cuts) + 30, len(cuts) + NEIGHBOURS + 12):
        file = tmp_path / f"killed-{kill}"
        with pytest.raises(Killed):
            run(lookout(file, evaluator=Fading(kill)))
        resumed = lookout(file, executor=LastFirst())
        run(resumed)
        assert held(resumed) == held(whole)


def test_later_cohorts_hold_cuts_beside_what_came_back_best(tmp_path: Path) -> None:
    cuts = [{**cut, "encode": {"quantize": {"bits": 8}}} for cut in (SCANNED[0], SCANNED[3])]
    evaluator = MadeUp()
    taken = lookout(tmp_path / "looks", evaluator=evaluator)
    taken.take(cuts, until=NEVER)
    choices = Choices(Space(STEM), base={"dim": 16})
    first = Beginning(choices, taken, presets=(), recovers=RECOVERS, seed=0).find(until=NEVER)
    trained(taken, space=STEM, cuts=cuts, most=4 * COHORT, most_looks=NEIGHBOURS)
    sparsities = {look.recipe["prune"]["method"]["dims"]["sparsity"] for look in first.cuts}
    begun = {one.recipe["prune"]["method"]["dims"]["sparsity"] for one in evaluator.asked if one.epochs}
    assert begun - sparsities, "some were not known before others were trained"
    front = {look.recipe["prune"]["method"]["dims"]["sparsity"] for look in taken.promises.front() if look.epochs}
    assert front - sparsities


@pytest.mark.parametrize(("recovers", "epochs"), [(RECOVERS, {4}), (0.3, {8})])
def test_presets_are_trained_first_then_what_differs_most(recovers: float, epochs: set[int], tmp_path: Path) -> None:
    """Much of what may come back comes with many epochs; else it is begun with some."""
    behind = {"prune": {"method": {"dims": {"sparsity": 0.44}}}, "encode": {"quantize": {"bits": 8}, "epochs": 0}}
    evaluator = MadeUp()
    trained(
        lookout(tmp_path / "looks", evaluator=evaluator),
        cuts=[*SCANNED, behind],
        starts=[planned(behind).key],
        most=4,
        recovers=recovers,
    )
    begun = [one.recipe for one in evaluator.asked if planned(one.recipe).epochs and not one.epochs]
    assert begun[0]["prune"]["method"]["dims"]["sparsity"] == 0.44
    assert {one["encode"]["epochs"] for one in begun} == epochs
    places = {(one["prune"]["method"]["dims"]["sparsity"], one["encode"]["quantize"]["bits"]) for one in begun}
    assert len(places) == 4, "all differ"
    assert (0.45, 2) in places or (0.45, 4) in places, "the smallest that may recover is among them"


def test_many_workers_train_other_cohorts_while_the_last_of_one_are_awaited(tmp_path: Path) -> None:
    orderly, hasty = Wide(first=True), Wide(first=False)
    one, other = lookout(tmp_path / "one", executor=orderly), lookout(tmp_path / "other", executor=hasty)
    for taken in (one, other):
        assert trained(taken, most=360, scanned=False).trials == 360
    flying = orderly.flying[len(SCANNED) :]
    assert sum(one < orderly.slots for one in flying) < 0.1 * len(flying)
    assert other.looks.found.keys() == one.looks.found.keys(), "whoever is done first"
    assert [look.key for look in other.promises.front()] == [look.key for look in one.promises.front()]


def test_once_the_time_is_over_training_is_not_done(tmp_path: Path) -> None:
    evaluator = MadeUp()
    rungs = trained(lookout(tmp_path / "looks", evaluator=evaluator), until=Deadline.after(0.0))
    assert not rungs.done
    assert len(evaluator.asked) == len(SCANNED)


def test_trainings_that_are_known_are_gone_through_without_time(tmp_path: Path) -> None:
    whole = lookout(tmp_path / "looks")
    assert trained(whole, most_looks=32).done
    again = lookout(tmp_path / "looks", evaluator=(evaluator := MadeUp()))
    assert trained(again, most_looks=32, until=Deadline.after(0.0)).done
    assert {(look.key, look.epochs) for look in again.promises.looks} == {
        (look.key, look.epochs) for look in whole.promises.looks
    }
    assert evaluator.asked == []


def test_of_recipes_of_which_nothing_comes_nothing_is_learned(tmp_path: Path) -> None:
    def formula(one: Asked) -> Look:
        failed = "the loss is nan" if one.epochs and one.recipe["encode"]["quantize"]["bits"] == 8 else ""
        look = look_at(one)
        return dataclasses.replace(look, failed=failed, quality={} if failed else look.quality)

    taken = lookout(tmp_path / "looks", evaluator=MadeUp(formula))
    assert trained(taken, most=16).done
    assert any(look.failed for look in taken.looks.found.values())
    assert any(look.epochs for look in taken.promises.front())


def test_twins_of_a_cohort_are_told_the_same(tmp_path: Path) -> None:
    taken = lookout(tmp_path / "looks")
    taken.take(SCANNED, until=NEVER)
    recipe = {**SCANNED[5], "encode": {**SCANNED[5]["encode"], "epochs": 8}}
    one, other, twin = ended(races(taken).race([recipe, SCANNED[0], recipe]), taken)
    assert one is twin
    assert one is not None
    assert one.epochs > 0
    assert other is not None
    assert other.epochs == 0


def test_of_many_cuts_few_stand_for_all() -> None:
    assert MOST_CUTS == 2 * COHORT
