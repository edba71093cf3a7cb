"""The scan: what it looks at, when it has seen enough, and that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_looks import CUTS, METRIC, TRAINED, Fading, Killed, LastFirst, MadeUp, Wide, held, look_at, lookout, planned

from autoprune.deadline import NEVER, Deadline
from autoprune.recipes.space import Space
from autoprune.record.looks import Look
from autoprune.study.evaluation.looker import Asked
from autoprune.study.sampling import growth, scan
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.scan import MOST_LOOKS, Scan

GRID = {"prune": {"method": {"dims": {"sparsity": {"float": [0.0, 0.5], "step": 0.1}}}}, "quantize": {"bits": 8}}

INT4 = {"encode": {"quantize": {"bits": 4}}}


def scanned(
    taken: Lookout,
    *,
    space: Mapping[str, Any] = CUTS,
    seed: int = 0,
    random: bool = False,
    most: int = 200,
    whole: bool = False,
    until: Deadline = NEVER,
    starts: tuple[Mapping[str, Any], ...] = (INT4,),
    joined: bool = False,
) -> Scan:
    choices = Choices(Space(space), base={"dim": 16})
    made = Scan(
        choices,
        taken,
        drawn=random,
        seed=seed,
        most=most,
        whole=whole,
    )
    made.run(starts, until=until, joined=joined)
    return made


@pytest.fixture(autouse=True)
def _small_generations(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real" not in request.node.name:
        monkeypatch.setattr(scan, "ALONE", 10)


@pytest.fixture
def _few_modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MODELLED", 40)


@pytest.mark.parametrize("random", [False, True])
def test_the_same_seed_looks_at_the_same(tmp_path: Path, random: bool) -> None:
    one, same, other = (lookout(tmp_path / name) for name in ("one", "same", "other"))
    for taken, seed in ((one, 0), (same, 0), (other, 1)):
        assert scanned(taken, seed=seed, random=random).done
    assert held(one) == held(same)
    assert held(one) != held(other)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Lookout:
    """What a scan that nobody killed has looked at; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "ALONE", 10)
        taken = lookout(tmp_path_factory.mktemp("undisturbed") / "looks")
        scanned(taken, whole=True)
    return taken


@pytest.mark.parametrize(
    ("count", "several"),
    [
        pytest.param(0, False, marks=pytest.mark.slow),
        pytest.param(3, False, marks=pytest.mark.slow),
        (25, False),
        (17, True),
    ],
)
def test_a_killed_scan_goes_on_to_the_same_looks(
    undisturbed: Lookout, tmp_path: Path, count: int, several: bool
) -> None:
    killed = lookout(tmp_path / "killed", evaluator=Fading(count))
    with pytest.raises(Killed):
        scanned(killed, whole=True)
    file = tmp_path / "killed"
    if count:
        file.write_bytes(file.read_bytes()[:-30])  # torn in the middle of a line
    resumed = lookout(file, executor=LastFirst() if several else None)
    assert len(resumed.looks) <= 1 + count
    scanned(resumed, whole=True)
    assert held(resumed) == held(undisturbed)
    assert resumed.promises.front() == undisturbed.promises.front()
    again = MadeUp()
    assert scanned(lookout(file, evaluator=again)).done
    assert again.asked == [], "what is known costs nothing"


def test_many_workers_go_on_while_the_last_looks_of_a_batch_are_awaited(tmp_path: Path) -> None:
    orderly, hasty = Wide(first=True), Wide(first=False)
    one, other = lookout(tmp_path / "one", executor=orderly), lookout(tmp_path / "other", executor=hasty)
    for taken in (one, other):
        assert scanned(taken, most=240, whole=True).done
    assert min(orderly.flying[: -orderly.slots]) >= orderly.slots
    killed = lookout(tmp_path / "killed", evaluator=Fading(100), executor=Wide(first=False))
    with pytest.raises(Killed):
        scanned(killed, most=240, whole=True)
    resumed = lookout(tmp_path / "killed", executor=Wide(first=True))
    assert 1 < len(resumed.looks) < 100
    scanned(resumed, most=240, whole=True)
    for taken in (other, resumed):
        assert taken.looks.found.keys() == one.looks.found.keys(), "whoever is done first"
        assert [look.key for look in taken.promises.front()] == [look.key for look in one.promises.front()]


def test_the_dense_model_and_presets_are_looked_at_first_as_far_as_they_lie_within_the_space(tmp_path: Path) -> None:
    evaluator = MadeUp()
    scanned(lookout(tmp_path / "looks", evaluator=evaluator), starts=({"quantize": {"bits": 4}}, INT4))
    dense, first = (one.recipe for one in evaluator.asked[:2])
    assert planned(dense).key == planned({"encode": dense["encode"]}).key, "nothing is cut"
    assert planned(first).key in {planned({**cut, **INT4}).key for cut in ({}, {"prune": first["prune"]})}
    assert first["encode"] == INT4["encode"]


def test_it_learns_what_pays(tmp_path: Path) -> None:
    learned, drawn = lookout(tmp_path / "learned"), lookout(tmp_path / "drawn")
    scanned(learned, starts=(), whole=True)
    scanned(drawn, starts=(), random=True, whole=True)
    late = [list(taken.looks.found.values())[-60:] for taken in (learned, drawn)]
    feasible = [sum(look.value("ndcg@20") >= 0.36 for look in looks) for looks in late]
    assert feasible[0] > feasible[1]


def test_it_stops_once_the_hypervolume_stands_still(tmp_path: Path) -> None:
    taken = lookout(tmp_path / "looks")
    made = scanned(taken, most=MOST_LOOKS)
    assert made.done

    def stands_still(volumes: list[float]) -> bool:
        return volumes[-1] <= (1 + growth.LEAST) * volumes[-1 - round(len(volumes) / 2)]

    assert stands_still(made._growth.volumes)
    fewest = -(-scan.FEWEST_LOOKS // made._batch)
    sooner = [made._growth.volumes[:count] for count in range(fewest, len(made._growth.volumes) - 1)]
    assert not any(stands_still(volumes) for volumes in sooner if volumes[-1])
    assert len(made._growth.volumes) < MOST_LOOKS // made._batch


def test_what_is_asked_for_is_done_in_full_though_nothing_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "LEAST", 9.0)
    whole, free = (scanned(lookout(tmp_path / str(whole)), most=300, whole=whole) for whole in (True, False))
    assert whole.done
    assert len(whole._growth.volumes) == -(-300 // whole._batch)
    assert len(free._growth.volumes) == -(-scan.FEWEST_LOOKS // free._batch) + 1, "another one was under way"


def test_it_stops_at_so_many_looks(tmp_path: Path) -> None:
    evaluator = MadeUp()
    assert scanned(lookout(tmp_path / "looks", evaluator=evaluator), most=33).done
    assert len(evaluator.asked) <= 33
    assert len(evaluator.asked) > 10, "the others were twins"


def test_a_small_space_is_looked_at_whole(tmp_path: Path) -> None:
    evaluator = MadeUp()
    assert scanned(lookout(tmp_path / "looks", evaluator=evaluator), space=GRID).done
    assert len({planned(one.recipe).key for one in evaluator.asked}) == len(evaluator.asked) == 6


def test_a_space_with_nothing_to_scan_is_looked_at_once(tmp_path: Path) -> None:
    for name, space in (("fixed", {"quantize": {"bits": 8}}), ("empty", {})):
        evaluator = MadeUp()
        assert scanned(lookout(tmp_path / name, evaluator=evaluator), space=space).done
        assert len(evaluator.asked) == (name == "fixed"), "the dense model is known"


def test_nothing_is_trained(tmp_path: Path) -> None:
    evaluator = MadeUp()
    scanned(lookout(tmp_path / "looks", evaluator=evaluator), space=TRAINED)
    assert {one.epochs for one in evaluator.asked} == {0}
    assert {planned(one.recipe).epochs for one in evaluator.asked} == {0}


DENSE = {"base": {"dim": {"any_of": [16, 8, 4]}}, **CUTS}


@pytest.mark.usefixtures("_few_modelled")
def test_other_dense_models_join_a_scan(tmp_path: Path) -> None:
    """What stands for the front is looked at with each of them; from then on all are asked for."""
    evaluator = MadeUp()
    taken = lookout(tmp_path / "looks", evaluator=evaluator)
    made = scanned(taken, space=DENSE, most=60, joined=True)
    dims = [one.recipe["base"]["dim"] for one in evaluator.asked]
    assert set(dims) == {16}
    front = taken.promises.front()
    made.widen([{"space.base.dim": 8}, {"space.base.dim": 4}], until=NEVER)
    assert made.done
    later = [one.recipe for one in evaluator.asked[len(dims) :]]
    carried = min(len(front), scan.CARRIED)
    assert [recipe["base"]["dim"] for recipe in later[: 2 * carried]] == [8] * carried + [4] * carried
    cuts = [{**look.recipe, "base": {"dim": 8}} for look in front]
    assert all(recipe in cuts for recipe in later[:carried])
    assert {recipe["base"]["dim"] for recipe in later[2 * carried :]} > {16}
    assert len(later) <= 60


@pytest.mark.usefixtures("_few_modelled")
def test_a_scan_that_others_were_to_join_goes_on_without_them(tmp_path: Path) -> None:
    evaluator = MadeUp()
    made = scanned(lookout(tmp_path / "looks", evaluator=evaluator), space=DENSE, most=60, joined=True, whole=True)
    assert not made.done
    before = len(evaluator.asked)
    made.go_on(until=NEVER)
    assert made.done
    assert before < len(evaluator.asked) <= 60


@pytest.mark.usefixtures("_few_modelled")
def test_other_dense_models_join_though_nothing_holds_on_the_first(tmp_path: Path) -> None:
    """What decides the dense model itself leaves much open; a neighbour needs all of it."""

    def formula(asked: Asked) -> Look:
        look = look_at(asked)
        worse = 1.0 if asked.recipe["base"]["dim"] == 8 else 0.1
        return dataclasses.replace(look, quality={METRIC: {"all": worse * look.value(METRIC)}})

    evaluator = MadeUp(formula)
    taken = lookout(tmp_path / "looks", evaluator=evaluator)
    made = scanned(taken, space=DENSE, most=60, joined=True, starts=())
    assert not taken.promises.front()
    made.widen([{"space.base.dim": 8}], until=NEVER)
    assert made.done
    assert {look.recipe["base"]["dim"] for look in taken.promises.front()} == {8}


def test_where_nothing_holds_neighbours_are_of_what_misses_by_least(tmp_path: Path) -> None:
    taken = lookout(tmp_path / "looks", requirements={"quality": {"min": "2x"}})
    scanned(taken, most=200, whole=True, starts=())
    late = list(taken.looks.found.values())[-60:]
    drawn = lookout(tmp_path / "drawn", requirements={"quality": {"min": "2x"}})
    scanned(drawn, most=200, whole=True, starts=(), random=True)
    by_chance = list(drawn.looks.found.values())[-60:]
    assert sum(look.value(METRIC) for look in late) > sum(look.value(METRIC) for look in by_chance)


def test_a_small_space_is_looked_at_whole_with_every_dense_model(tmp_path: Path) -> None:
    evaluator = MadeUp()
    made = scanned(lookout(tmp_path / "looks", evaluator=evaluator), space={"base": DENSE["base"], **GRID})
    made.widen([{"space.base.dim": 8}], until=NEVER)
    assert made.done
    assert len({planned(one.recipe).key for one in evaluator.asked}) == len(evaluator.asked) == 12


def test_once_the_time_is_over_it_is_not_done(tmp_path: Path) -> None:
    for name, space in (("wide", CUTS), ("small", GRID)):
        evaluator = MadeUp()
        made = scanned(lookout(tmp_path / name, evaluator=evaluator), space=space, until=Deadline.after(0.0))
        assert not made.done
        assert evaluator.asked == []


@pytest.mark.parametrize("space", [CUTS, GRID], ids=["wide", "small"])
def test_what_is_known_is_gone_through_without_time(space: Mapping[str, Any], tmp_path: Path) -> None:
    """So a search that goes on with little time left decides by all that it had found."""
    whole = lookout(tmp_path / "looks")
    assert scanned(whole, space=space).done
    again = lookout(tmp_path / "looks", evaluator=(evaluator := MadeUp()))
    assert scanned(again, space=space, until=Deadline.after(0.0)).done
    assert [look.key for look in again.promises.looks] == [look.key for look in whole.promises.looks]
    assert evaluator.asked == []


def test_recipes_of_which_nothing_comes_stop_nothing(tmp_path: Path) -> None:
    def formula(one: Any) -> Any:
        look = look_at(one)
        bad = one.recipe["encode"]["quantize"]["bits"] == 4
        return dataclasses.replace(look, quality={}, failed="ndcg@20 is nan") if bad else look

    taken = lookout(tmp_path / "looks", evaluator=MadeUp(formula))
    assert scanned(taken, starts=()).done
    assert any(look.failed for look in taken.looks.found.values())
    assert taken.promises.front()
    assert all(math.isfinite(volume) for volume in [taken.promises.hypervolume])


@pytest.mark.slow
def test_a_scan_of_the_real_size_finds_what_a_grid_finds(tmp_path: Path) -> None:
    """Untouched constants: within 2 % of the best that 1,000 points of a grid cover, in fewer looks."""
    taken = lookout(tmp_path / "looks")
    assert scanned(taken, most=MOST_LOOKS).done
    grid = lookout(tmp_path / "grid")
    sparsities = [0.0, *(0.1 + 0.8 * at / 300 for at in range(301))]
    recipes = [
        {"prune": {"method": {"dims": {"sparsity": sparsity}} if sparsity else {"none": {}}}, **encode}
        for sparsity in sparsities
        for encode in ({"encode": {"quantize": {"bits": bits}}} for bits in (8, 4, 2))
    ]
    grid.take(recipes, until=NEVER)
    assert taken.promises.hypervolume >= 0.98 * grid.promises.hypervolume
    assert len(taken.looks) < 3 * len(sparsities)


@pytest.mark.parametrize("space", [CUTS, GRID], ids=["wide", "small"])
def test_a_scan_whose_time_was_over_goes_on_once_there_is_more(tmp_path: Path, space: dict[str, Any]) -> None:
    evaluator = MadeUp()
    made = scanned(lookout(tmp_path / "looks", evaluator=evaluator), space=space, until=Deadline.after(0.0))
    made.go_on(until=NEVER)
    assert made.done
    assert evaluator.asked
    before = len(evaluator.asked)
    made.go_on(until=NEVER)
    assert len(evaluator.asked) == before, "it was done"
