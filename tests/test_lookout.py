"""Who takes looks: what is known costs nothing, and what comes back is kept in the order in which it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_looks import CUTS, TRAINED, Fading, Killed, LastFirst, MadeUp, held, look_at, lookout, made_look

from autoprune.deadline import NEVER, Deadline, OutOfTime
from autoprune.errors import AutopruneError, Ended
from autoprune.recipes.space import Space
from autoprune.record.looks import Look
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Serial
from autoprune.study.executors.staff import Staff
from autoprune.study.sampling.choices import Choices


def recipe(sparsity: float, *, bits: int = 8, epochs: int = 0) -> dict[str, Any]:
    return {
        "prune": {"method": {"dims": {"sparsity": sparsity}}},
        "encode": {"quantize": {"bits": bits}, **({"epochs": epochs} if epochs else {})},
    }


MANY = [recipe(round(0.1 + 0.01 * at, 2)) for at in range(60)]


def test_what_is_known_costs_nothing_and_twins_are_asked_for_once(tmp_path: Path) -> None:
    evaluator = MadeUp()
    taken = lookout(tmp_path / "looks.jsonl", evaluator=evaluator)
    first = taken.take([recipe(0.5), recipe(0.2), recipe(0.5)], until=NEVER)
    assert first[0] is first[2]
    assert [look and look.recipe["prune"]["method"]["dims"]["sparsity"] for look in first] == [0.5, 0.2, 0.5]
    again = taken.take([recipe(0.2), recipe(0.3)], until=NEVER)
    assert again[0] is first[1]
    assert len(evaluator.asked) == 3
    assert [number for number, _, _ in held(taken)] == [0, 1, 2, 3]
    resumed = lookout(tmp_path / "looks.jsonl", evaluator=MadeUp())
    assert resumed.take([recipe(0.3), recipe(0.4)], until=NEVER)[0] == again[1]
    assert held(resumed)[-1][0] == 4, "numbers go on"


def test_what_trainings_read_is_made_ready_once_before_the_first(tmp_path: Path) -> None:
    evaluator, looked = MadeUp(), list[int]()

    def ready(seconds: float) -> None:
        looked.append(len(evaluator.asked))
        if seconds < 100:
            raise OutOfTime("what trainings read")

    path = tmp_path / "looks.jsonl"
    taken = lookout(path, evaluator=evaluator, ready=ready)
    taken.take([recipe(0.5), recipe(0.2)], until=NEVER)
    assert not looked, "nothing is trained yet"
    taken.take([recipe(0.5, epochs=4)], epochs=4, until=Deadline.after(50.0))
    assert looked == [2], "the time did not do for it, which ends nothing"
    for sparsity in (0.2, 0.3):
        taken.take([recipe(sparsity, epochs=4)], epochs=4, until=NEVER)
    assert looked == [2, 3], "once it is ready it stays so"
    lookout(path, evaluator=evaluator, ready=ready).take([recipe(0.5, epochs=4)], epochs=4, until=NEVER)
    assert looked == [2, 3], "all that is trained is known"


def test_promises_hear_of_what_is_asked_for_alone(tmp_path: Path) -> None:
    """Who goes on with a search must not decide by what it found later."""
    lookout(tmp_path / "looks.jsonl").take([recipe(0.5), recipe(0.1)], until=NEVER)
    resumed = lookout(tmp_path / "looks.jsonl")
    assert len(resumed.looks) == 3
    assert resumed.promises.front() == []
    (look,) = resumed.take([recipe(0.1)], until=NEVER)
    assert resumed.promises.front() == [look]


def test_chunks_come_back_in_any_order_and_are_kept_in_one(tmp_path: Path) -> None:
    alone, several = lookout(tmp_path / "alone.jsonl"), LastFirst()
    beside = lookout(tmp_path / "beside.jsonl", executor=several)
    for taken in (alone, beside):
        found = taken.take(MANY, until=NEVER)
        assert [look and look.recipe for look in found] == MANY
    assert several.most == 6
    assert held(alone) == held(beside)
    assert alone.promises.front() == beside.promises.front()
    several.close()


def test_what_trains_is_handed_out_one_by_one(tmp_path: Path) -> None:
    several = LastFirst()
    taken = lookout(tmp_path / "looks.jsonl", executor=several)
    sizes: list[int] = []
    submit = several.submit

    def counting(function: Any, argument: Any) -> Any:
        sizes.append(len(argument))
        return submit(function, argument)

    several.submit = counting  # type: ignore[method-assign]
    trained = [recipe(0.2 + 0.1 * at, epochs=4) for at in range(4)]
    looks = taken.take(trained, epochs=[1, 2, 3, 9], until=NEVER)
    assert [look and (look.epochs, look.of_epochs, look.done) for look in looks] == [
        (1, 4, False),
        (2, 4, False),
        (3, 4, False),
        (4, 4, True),
    ]
    assert sizes == [1, 1, 1, 1]
    taken.take(trained, until=NEVER, apart=True)
    assert sizes[4:] == [1, 1, 1, 1]
    taken.take(MANY, until=NEVER)
    assert max(sizes) > 1
    assert sum(sizes) == 4 + 4 + len(MANY)


def test_once_the_time_is_over_nothing_more_is_asked_for(tmp_path: Path) -> None:
    evaluator = MadeUp()
    taken = lookout(tmp_path / "looks.jsonl", evaluator=evaluator)
    known = taken.take([recipe(0.5)], until=NEVER)
    over = Deadline.after(0.0)
    assert taken.take([recipe(0.5), recipe(0.6)], until=over) == [*known, None]
    assert len(evaluator.asked) == 1
    assert taken.outcome(None) is None


def test_what_the_time_did_not_do_for_is_none_and_asked_for_again(tmp_path: Path) -> None:
    class Short(MadeUp):
        """Its time is over after two looks."""

        def looks(self, asked: Any) -> list[Look]:
            return super().looks(asked[: max(0, 2 - len(self.asked))])

    taken = lookout(tmp_path / "looks.jsonl", evaluator=Short())
    taken.take([recipe(0.8)], until=NEVER)
    found = taken.take(MANY[:3], until=NEVER)
    assert [look is None for look in found] == [False, True, True]
    again = lookout(tmp_path / "looks.jsonl")
    assert None not in again.take(MANY[:3], until=NEVER)
    numbers = [number for number, _, _ in held(again)]
    assert len(set(numbers)) == len(numbers)


def test_a_recipe_that_fails_is_not_asked_for_again_and_told_as_nothing(tmp_path: Path) -> None:
    def formula(one: Asked) -> Look:
        if one.recipe["encode"]["quantize"]["bits"] == 2:
            return made_look(one.number, 0.0, 0.0, recipe=one.recipe, made=MadeUp.plan(one.recipe), failed="nan")
        return look_at(one)

    evaluator = MadeUp(formula)
    taken = lookout(tmp_path / "looks.jsonl", evaluator=evaluator)
    bad, good = taken.take([recipe(0.2, bits=2), recipe(0.2)], until=NEVER)
    assert bad is not None
    assert bad.failed == "nan"
    assert taken.outcome(bad) is None
    outcome = taken.outcome(good)
    assert outcome is not None
    assert len(outcome.gains) == 2
    assert list(outcome.violations) == ["quality >= 0.9x"]
    resumed = lookout(tmp_path / "looks.jsonl", evaluator=evaluator)
    assert resumed.take([recipe(0.2, bits=2)], until=NEVER) == [bad]
    assert len(evaluator.asked) == 2


def test_what_came_back_before_a_kill_is_on_disk(tmp_path: Path) -> None:
    whole = lookout(tmp_path / "whole.jsonl")
    whole.take(MANY, until=NEVER)
    killed = lookout(tmp_path / "killed.jsonl", evaluator=Fading(40), executor=LastFirst())
    killed.take(MANY[:20], until=NEVER)
    with pytest.raises(Killed):
        killed.take(MANY, until=NEVER)
    assert len(held(killed)) == 1 + 20
    resumed = lookout(tmp_path / "killed.jsonl")
    resumed.take(MANY[:20], until=NEVER)
    resumed.take(MANY, until=NEVER)
    assert held(resumed) == held(whole)


def test_what_others_found_is_kept_where_one_fails_and_order_does_not_tell(tmp_path: Path) -> None:
    class Dying(LastFirst):
        """Its second call gets no answer."""

        calls = 0

        def submit(self, function: Any, argument: Any) -> Any:
            self.calls += 1
            return super().submit(broken if self.calls == 2 else function, argument)

    def broken(_: Any) -> Any:
        raise AutopruneError("the process ended with -9")

    trained = [recipe(round(0.2 + 0.1 * at, 1), epochs=4) for at in range(6)]
    taken = lookout(tmp_path / "looks.jsonl", executor=Dying())
    with pytest.raises(AutopruneError, match="ended with -9"):
        taken.take(trained, epochs=4, until=NEVER)
    found = {key for _, key, _ in held(taken)}
    kept = [at for at, one in enumerate(trained) if MadeUp.plan(one).key in found]
    assert kept == [0, 2], "all that was in flight when it was heard of"
    resumed = lookout(tmp_path / "looks.jsonl")
    resumed.take(trained, epochs=4, until=NEVER)
    whole = lookout(tmp_path / "whole.jsonl")
    whole.take(trained, epochs=4, until=NEVER)
    assert resumed.promises.nearest() != []
    assert [look.key for look in resumed.promises.nearest()] == [look.key for look in whole.promises.nearest()]


@pytest.mark.parametrize("epochs", [0, 4])
def test_what_ends_its_processes_is_found_among_others_and_came_to_nothing(tmp_path: Path, epochs: int) -> None:
    fatal = recipe(0.4, epochs=epochs)

    class Dying(LastFirst):
        def submit(self, function: Any, argument: Any) -> Any:
            dies = any(one.recipe == fatal for one in argument)
            return super().submit(ended if dies else function, argument)

    def ended(_: Any) -> Any:
        raise Ended("the process that ran looks ended with -9")

    asked = [recipe(round(0.1 * at, 1), epochs=epochs) for at in range(1, 9)]
    taken = lookout(tmp_path / "looks.jsonl", executor=Dying())
    looks = taken.take(asked, epochs=epochs, until=NEVER)
    assert [look.failed for look in looks if look] == [
        "the process that ran looks ended with -9" if one == fatal else "" for one in asked
    ]
    assert sorted(look.number for look in looks if look) == list(range(1, 9))
    whole = lookout(tmp_path / "whole.jsonl")
    whole.take([one for one in asked if one != fatal], epochs=epochs, until=NEVER)
    assert [look.key for look in taken.promises.front()] == [look.key for look in whole.promises.front()]


def test_what_trains_has_the_time_that_is_left_when_it_is_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    def slow(one: Asked) -> Look:
        Clock.now += 10.0
        return look_at(one)

    monkeypatch.setattr("autoprune.deadline.time", Clock)
    evaluator = MadeUp(slow)
    taken = lookout(tmp_path / "looks.jsonl", evaluator=evaluator)
    trained = [recipe(round(0.2 + 0.1 * at, 1), epochs=4) for at in range(6)]
    found = taken.take(trained, epochs=4, until=Deadline.after(35.0))
    assert [one.seconds for one in evaluator.asked] == [35.0, 25.0, 15.0, 5.0]
    assert [look is None for look in found] == [False] * 4 + [True] * 2
    several = LastFirst()
    lookout(tmp_path / "several.jsonl", executor=several).take(trained, epochs=4, until=NEVER)
    assert several.most == several.slots, "no training waits for another"


def test_what_is_looked_at_aside_is_kept_and_promises_nothing(tmp_path: Path) -> None:
    taken = lookout(tmp_path / "looks.jsonl")
    (aside,) = taken.take([recipe(0.5)], until=NEVER, aside=True)
    assert len(taken.looks) == 2
    assert taken.promises.front() == []
    assert taken.take([recipe(0.5)], until=NEVER) == [aside]
    assert taken.promises.front() == [aside]


def test_the_pace_is_that_of_untrained_looks(tmp_path: Path) -> None:
    taken = lookout(tmp_path / "looks.jsonl")
    taken.take(MANY, until=NEVER)
    assert taken.pace == 0.001


@pytest.mark.parametrize(
    ("tree", "cuts", "training"),
    [
        (CUTS, ["prune.method", "prune.method.choose.dims.sparsity", "encode.quantize.bits"], []),
        (
            TRAINED,
            ["prune.method", "prune.method.choose.dims.sparsity", "encode.quantize.bits"],
            ["encode.epochs"],
        ),
        (
            {
                "base": {"dim": {"any_of": [8, 16]}},
                "prune": {
                    "l1": {"strength": {"float": [0.1, 1.0]}},
                    "schedule": {"any_of": ["one_shot", "cubic"]},
                    "epochs": {"int": [2, 4]},
                },
            },
            [],
            ["prune.l1.strength", "prune.schedule", "prune.epochs"],
        ),
        ({"quantize": {"bits": 8}}, [], []),
        ({}, [], []),
    ],
)
def test_what_training_alone_decides(tree: dict[str, Any], cuts: list[str], training: list[str]) -> None:
    choices = Choices(Space(tree), base={"dim": 16})
    assert [domain.path for domain in choices.cuts] == [f"space.{path}" for path in cuts]
    assert [domain.path for domain in choices.training] == [f"space.{path}" for path in training]


def test_a_cluster_of_many_workers_is_asked_for_more_at_a_time_and_what_a_machine_hires_does_not_matter(
    tmp_path: Path,
) -> None:
    class Wide(Serial):
        slots = 12

    worker: Any = MadeUp()
    cases = [(Serial(), 10), (Wide(), 120), (Staff(worker, 12, given=Wide()), 120), (Staff(worker, 12), 10)]
    for number, (executor, asked) in enumerate(cases):
        taken = lookout(tmp_path / f"{number}.jsonl", executor=executor)
        assert taken.together(10, most=1000) == asked
        assert taken.together(10, most=40) == 10, "so that there is something to learn from"
