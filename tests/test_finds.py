"""What is made of looks: chosen among the best by closer ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from made_looks import METRIC, MadeUp, look_at, lookout, promises

from autoprune.deadline import NEVER, Deadline
from autoprune.record.looks import Look, Looks
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Serial
from autoprune.study.sampling.finds import NEAREST, TIMES, Finds
from autoprune.study.sampling.lookout import Lookout

CUTS = [at / 40 for at in range(40)]


def lucky(one: Asked) -> Look:
    """Every third cut does better than it is, with those who are asked in a look; a closer look tells it as it is."""
    look = look_at(one)
    cut = one.recipe.get("prune", {}).get("method", {}).get("dims", {}).get("sparsity", 0.0)
    if one.closer or round(40 * cut) % 3:
        return look
    return dataclasses.replace(look, quality={METRIC: {"all": look.value(METRIC) + 0.02}})


def scanned(
    folder: Path, *, closer: bool = True, floor: str = "0.7x", look: Callable[[Asked], Look] = lucky
) -> tuple[Finds, Lookout, MadeUp]:
    """Looks at all cuts, and who chooses among them."""
    evaluator, requirements = MadeUp(look), {"quality": {"min": floor}}
    taken = lookout(folder / "looks.jsonl", evaluator=evaluator, requirements=requirements)
    taken.take([cut(sparsity) for sparsity in CUTS], until=NEVER)
    evaluator.asked.clear()
    looks, promised = Looks(folder / "closer.jsonl"), promises(requirements)
    if looks.dense is None:
        looks.add(promised.dense)
    near = Lookout(evaluator, Serial(), looks, promised, closer=True)  # type: ignore[arg-type]
    return Finds(taken.promises, near if closer else None), taken, evaluator


def cut(sparsity: float) -> dict[str, object]:
    return {"prune": {"method": {"dims": {"sparsity": sparsity}}}}


def luck(found: list[Look]) -> int:
    return sum(round(40 * look.recipe["prune"]["method"]["dims"]["sparsity"]) % 3 == 0 for look in found)


def test_what_was_lucky_is_looked_at_closer_and_not_made(tmp_path: Path) -> None:
    plain, taken, _ = scanned(tmp_path, closer=False)
    assert luck(plain.choose(4, beside=(), until=NEVER)) == 4, "the front of the looks is luck alone"
    finds, _, evaluator = scanned(tmp_path)
    volume, known = taken.promises.hypervolume, len(taken.looks)
    chosen = finds.choose(4, beside=(), until=NEVER)
    assert len(chosen) == 4
    assert len(evaluator.asked) <= TIMES * 4
    assert all(one.closer for one in evaluator.asked)
    assert finds.closer
    best = finds.closer.promises.front()
    assert [look for look in chosen if look not in best] == [], "it stands on the front of the closer looks"
    assert finds.chosen == {look.key for look in chosen}
    assert (taken.promises.hypervolume, len(taken.looks)) == (volume, known), "the sampler hears nothing of them"


def test_closer_looks_are_taken_once_and_choose_the_same_again(tmp_path: Path) -> None:
    chosen = scanned(tmp_path)[0].choose(4, beside=(), until=NEVER)
    finds, _, evaluator = scanned(tmp_path)
    assert finds.choose(4, beside=(), until=NEVER) == chosen
    assert not evaluator.asked
    more = finds.choose(4, beside=(), until=NEVER)
    assert more
    assert not {look.key for look in more} & {look.key for look in chosen}


@pytest.mark.parametrize("floor", ["0.7x", "0.99x"])
def test_without_time_for_a_closer_look_the_looks_choose(floor: str, tmp_path: Path) -> None:
    plain = scanned(tmp_path, closer=False, floor=floor)[0].choose(4, beside=(), until=NEVER)
    finds, _, evaluator = scanned(tmp_path, floor=floor)
    assert finds.choose(4, beside=(), until=Deadline.after(0.0)) == plain
    assert finds.left >= len(plain)
    assert not evaluator.asked


def test_what_the_looks_choose_is_made_though_it_did_not_get_a_closer_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    def slow(one: Asked) -> Look:
        Clock.now += 10.0 * one.closer
        return lucky(one)

    monkeypatch.setattr("autoprune.deadline.time", Clock)
    monkeypatch.setattr("autoprune.study.sampling.finds.TIMES", 1)
    plain = scanned(tmp_path, closer=False)[0].choose(8, beside=(), until=NEVER)
    finds, _, evaluator = scanned(tmp_path, look=slow)
    chosen = [look.key for look in finds.choose(8, beside=(), until=Deadline.after(5.0))]
    assert finds.closer
    asked, wanted = [look.key for look in finds.closer.promises.looks], [look.key for look in plain]
    assert 0 < len(evaluator.asked) < 8
    assert [key for key in chosen if key not in asked] == [key for key in wanted if key not in asked]
    assert chosen[0] in asked


def test_where_no_closer_look_holds_the_nearest_are_made(tmp_path: Path) -> None:
    finds, taken, evaluator = scanned(tmp_path, floor="1.001x")
    assert taken.promises.front(), "by luck some promise to be better than the dense model"
    chosen = finds.choose(4, beside=(), until=NEVER)
    assert len(chosen) == NEAREST
    assert len(evaluator.asked) > NEAREST


@pytest.mark.parametrize(("short", "asked"), [(0.005, True), (0.02, False)])
def test_what_a_look_shows_to_miss_by_little_may_hold_when_it_is_looked_at_closer(
    short: float, asked: bool, tmp_path: Path
) -> None:
    """The smallest of all is unlucky in its look: `short` of the floor, as a share of it."""
    last, floor = CUTS[-1], 0.5

    def unlucky(one: Asked) -> Look:
        look = look_at(one)
        told = one.recipe.get("prune", {}).get("method", {}).get("dims", {}).get("sparsity", 0.0)
        if told != last:
            return look
        value = floor * promises().dense.value(METRIC) * (1.1 if one.closer else 1 - short)
        return dataclasses.replace(look, quality={METRIC: {"all": value}})

    evaluator, requirements = MadeUp(unlucky), {"quality": {"min": f"{floor}x"}}
    taken = lookout(tmp_path / "looks.jsonl", evaluator=evaluator, requirements=requirements)
    taken.take([cut(sparsity) for sparsity in CUTS], until=NEVER)
    promised, looks = promises(requirements), Looks(tmp_path / "closer.jsonl")
    looks.add(promised.dense)
    near = Lookout(evaluator, Serial(), looks, promised, closer=True)  # type: ignore[arg-type]
    chosen = Finds(taken.promises, near).choose(4, beside=(), until=NEVER)
    assert (cut(last) in [look.recipe for look in near.promises.looks]) == asked
    assert (cut(last) in [look.recipe for look in chosen]) == asked


def halves(look: Look) -> str:
    return str(look.recipe["prune"]["method"]["dims"]["sparsity"] > 0.5)


@pytest.mark.parametrize("closer", [False, True])
def test_what_was_measured_of_some_tells_what_of_the_others_is_made(closer: bool, tmp_path: Path) -> None:
    """All looks were at the same lucky users: in truth cuts of more than a half miss the floor."""
    finds, taken, _ = scanned(tmp_path, closer=closer)
    first = finds.choose(4, beside=(), until=NEVER)
    deep = [look for look in first if halves(look) == "True"]
    assert deep
    low = dataclasses.replace(deep[0], quality={METRIC: {"all": 0.3 * taken.promises.dense.value(METRIC)}})
    told = Finds(taken.promises, finds.closer, kin=halves)
    told.chosen = {look.key for look in first}
    after = told.choose(4, beside=(), measured={low.key: low.measurement()}, until=NEVER)
    assert after
    assert {halves(look) for look in after} == {"False"}
    blind = Finds(taken.promises, finds.closer)
    blind.chosen = {look.key for look in first}
    without = blind.choose(4, beside=(), measured={low.key: low.measurement()}, until=NEVER)
    assert "True" in {halves(look) for look in without}, "else deep cuts look best"
