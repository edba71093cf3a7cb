"""What looks promise: who is on their front, what is missed, who stands for whom, who is beaten."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from made_looks import METRIC, UNITS, made_look, promises

from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import parse_requirements
from autoprune.measure.measurement import Measurement
from autoprune.measure.reading import Reading, readings
from autoprune.record.looks import Look

TENTH = f"{METRIC}.tail"


def told(*looks: Look, requirements: dict[str, object] | None = None, objectives: tuple[str, ...] = ()) -> Promises:
    found = promises(requirements, objectives=objectives or ("quality", "size"))
    found.add(*looks)
    return found


def numbers(looks: list[Look]) -> list[int]:
    return [look.number for look in looks]


LOOKS = [
    made_look(1, 0.99, 0.5),
    made_look(2, 0.98, 0.6),  # beaten by 1
    made_look(3, 0.95, 0.2),
    made_look(4, 0.8, 0.1),  # infeasible
    made_look(5, 0.95, 0.2),  # the same as 3
    made_look(6, 1.0, 1.0),  # no better than the dense model
    made_look(7, 0.5, 0.01, failed="a step refused"),
]


def test_the_front_holds_what_is_feasible_and_not_beaten() -> None:
    found = told(*LOOKS)
    assert numbers(found.front()) == [1, 3]
    assert numbers(found.front(wanted=lambda look: look.number != 3)) == [1, 5]
    assert numbers(found.front(slack=0.05)) == [1, 3]
    assert numbers(found.front(slack=0.12)) == [1, 3, 4], "0.8 misses 0.9 by a ninth"
    assert found.front(wanted=lambda look: False) == []
    assert told().front() == []


def test_what_was_measured_corrects_a_look_and_its_kin() -> None:
    """Kin are those of the same tens; what was measured of 11 and 12 is .04 and .02 below what they foretold."""
    looks = [made_look(number, 0.95, 1 / number) for number in (11, 12, 13, 21, 22)]
    part = dataclasses.replace(made_look(14, 0.95, 0.5), epochs=1, of_epochs=4)
    found = told(*looks, part)
    before = found.readings(looks[0])
    measured = {
        "key11": looks_as(looks[0], 0.91),
        "key12": looks_as(looks[1], 0.93),
        "unknown": looks_as(looks[1], 0.1),
    }
    read = found.corrected(measured, kin=lambda look: str(look.number // 10))
    ratios = [round(read.readings(look)["quality"].ratio, 6) for look in [*looks, part]]
    assert ratios == [0.91, 0.93, 0.92, 0.95, 0.95, 0.95], "those measured as they are, kin as far off in the mean"
    assert read.readings(looks[2])[METRIC].value == pytest.approx(0.92 * 0.4)
    assert read.readings(looks[2])["size_bytes"] == found.readings(looks[2])["size_bytes"]
    assert found.readings(looks[0]) == before, "the others are as they were"
    assert numbers(read.nearest())[-1] == 11
    assert read.dense is found.dense
    assert numbers(found.corrected({}, kin=lambda look: look.key).front()) == numbers(found.front())
    nothing = dataclasses.replace(looks_as(looks[0], 0.91), quality={METRIC: {"all": math.nan}})
    read = found.corrected({"key11": nothing}, kin=lambda look: str(look.number // 10))
    assert read.readings(looks[2])["quality"] == found.readings(looks[2])["quality"], "what has no value tells nothing"


def looks_as(look: Look, quality: float) -> Measurement:
    """A measurement of so much of the dense model's quality."""
    return dataclasses.replace(look, quality={METRIC: {"all": 0.4 * quality}}).measurement()


def test_what_fails_promises_nothing_and_what_is_known_is_known_once() -> None:
    found = told(*LOOKS, *LOOKS)
    assert 7 not in numbers(found.nearest())
    assert sorted(numbers(found.nearest())) == [1, 2, 3, 4, 5, 6]


def test_a_longer_training_of_a_recipe_is_another_look() -> None:
    short, whole = (dataclasses.replace(LOOKS[0], epochs=epochs, of_epochs=4) for epochs in (1, 4))
    found = told(short, dataclasses.replace(whole, size_bytes=400_000))
    assert [look.epochs for look in found.front()] == [4]
    assert [look.epochs for look in found.front(wanted=lambda look: not look.done)] == [1]


def test_gains_are_doublings_and_latency_is_told_by_multiplications() -> None:
    found = promises(objectives=("quality", "size", "latency"))
    assert found.gains(made_look(1, 0.95, 0.25)) == pytest.approx([0.95, 2.0, 1.0], rel=1e-5)
    assert promises().gains(made_look(1, 0.95, 0.25)) == pytest.approx([0.95, 2.0])
    assert found.gains(found.dense) == [1.0, 0.0, 0.0]
    uncounted = dataclasses.replace(made_look(1, 0.95, 0.25), products=0)
    assert found.gains(uncounted) == pytest.approx([0.95, 2.0, 0.0]), "as fast as the dense model, for all one knows"


def test_violations_are_shares_of_the_limit() -> None:
    found = promises({"quality": {"drop": "10%"}, "size_bytes": {"max": "0.5x"}})
    violations = found.violations(made_look(1, 0.81, 0.75))
    assert list(violations) == ["quality >= 0.9x", "size_bytes <= 0.5x"]
    assert list(violations.values()) == pytest.approx([0.1, 0.5])
    assert all(value <= 0 for value in found.violations(made_look(1, 0.95, 0.4)).values())


@pytest.mark.parametrize(
    "requirement",
    [
        {"latency_ms": {"max": "0.1x"}},
        {"latency_ms.single": {"max": 1e-9}},
        {"memory_bytes": {"max": "0.001x"}},
        {f"{METRIC}.noisy": {"drop": "1%"}},
        {"recall@20": {"min": 0.9}},
    ],
)
def test_what_a_look_cannot_tell_is_not_held_against_it(requirement: dict[str, object]) -> None:
    found = told(LOOKS[0], requirements=requirement, objectives=("quality", "size", "latency"))
    assert list(found.violations(LOOKS[0]).values()) == [0.0]
    assert numbers(found.front()) == [1]


def test_a_floor_is_held_by_value_whatever_confidence_it_asks_for() -> None:
    found = promises({"quality": {"drop": "10%", "confidence": 0.95}})
    for quality in (0.92, 0.88):
        (violation,) = found.violations(made_look(1, quality, 0.5, error=0.05)).values()
        assert violation == pytest.approx((0.9 - quality) / 0.9, rel=1e-4)


@pytest.mark.parametrize("value", [None, math.nan, 0.0, -0.1])
@pytest.mark.parametrize("limit", [{"drop": "5%"}, {"min": 0.9}])
def test_of_a_metric_of_which_the_dense_model_has_nothing_looks_tell_nothing(
    value: float | None, limit: dict[str, object]
) -> None:
    """NaN stands in the files of older searches."""
    made = promises({"coverage": limit, "quality": {"drop": "10%"}})
    asked = {} if value is None else {"all": value}
    dense = dataclasses.replace(
        made.dense,
        quality={**made.dense.quality, "coverage": asked},
        counts={**made.dense.counts, "coverage": dict.fromkeys(asked, UNITS)},
    )
    look = dataclasses.replace(LOOKS[0], quality={**LOOKS[0].quality, "coverage": asked})
    found = anew(dense, {"coverage": limit, "quality": {"drop": "10%"}})
    found.add(look)
    assert numbers(found.front()) == [1]
    assert found.violations(look)[next(key for key in found.violations(look) if "coverage" in key)] == 0.0


def test_an_absolute_floor_leaves_as_much_to_cover_as_its_share() -> None:
    """0.28 of 0.4 is 0.7x, below the floor that counts where nothing is said."""
    looks = [made_look(1, 0.85, 0.5), made_look(2, 0.75, 0.2)]
    covered = []
    for floor in (0.28, "0.7x"):
        found = promises({"quality": {"min": floor}})
        found.add(*looks)
        covered.append(found.hypervolume)
    assert covered[0] == pytest.approx(covered[1])
    assert covered[0] > 0


def test_an_absolute_floor_is_about_the_whole_of_validation() -> None:
    """The part that looks ask is easier: there the dense model has 0.4, on the whole 0.3."""
    made = promises()
    whole = dataclasses.replace(made.dense.measurement(), quality={METRIC: {"all": 0.3}})
    found = anew(made.dense, {"quality": {"min": 0.27}}, baseline=whole)
    for quality in (0.95, 0.85):
        (violation,) = found.violations(made_look(1, quality, 0.5)).values()
        assert violation == pytest.approx((0.27 - 0.3 * quality) / 0.27, rel=1e-4)


def test_far_missed_are_floors_on_all_rows_and_the_ceiling_on_size() -> None:
    wanted = {
        "quality": {"drop": "5%", "confidence": 0.95},
        "worst_slice": {"drop": "1%"},
        TENTH: {"drop": "1%"},
        "size_bytes": {"max": "0.5x"},
    }
    parts = {METRIC: {"all": 0.4, "tail": 0.3}}
    dense = dataclasses.replace(promises().dense, quality=parts, counts={METRIC: dict.fromkeys(parts[METRIC], UNITS)})
    found = anew(dense, wanted)
    noisy = dataclasses.replace(sliced(1, 0.94, 0.5), errors={METRIC: 0.1})
    assert sum(value > 0.1 for value in found.violations(noisy).values()) == 2, "both of slices"
    assert found.far_missed(noisy, by=0.1) == []
    assert found.far_missed(dataclasses.replace(sliced(1, 0.8, 1.0), size_bytes=600_000), by=0.1) == [
        "quality >= 0.95x (95 % sure)",
        "size_bytes <= 0.5x",
    ]


def anew(dense: Look, wanted: dict[str, object], *, baseline: Measurement | None = None) -> Promises:
    """Read against another dense model."""
    return Promises(
        dense,
        baseline=baseline or dense.measurement(),
        metrics=[METRIC],
        requirements=parse_requirements(wanted),
        objectives=["quality", "size"],
    )


def sliced(number: int, quality: float, tail: float) -> Look:
    """A look at all rows and at the tail, whose error no look knows."""
    look = made_look(number, quality, 0.5, error=0.001)
    return dataclasses.replace(
        look,
        quality={METRIC: {"all": 0.4 * quality, "tail": 0.3 * tail}},
        counts={METRIC: {"all": UNITS, "tail": UNITS}},
    )


@pytest.mark.parametrize("confidence", [{}, {"confidence": 0.95}])
@pytest.mark.parametrize("name", [TENTH, "worst_slice"])
def test_floors_of_slices_are_judged_by_values(name: str, confidence: dict[str, float]) -> None:
    found = dataclasses.replace(promises().dense, quality=sliced(0, 1, 1).quality, counts=sliced(0, 1, 1).counts)
    made = anew(found, {name: {"drop": "20%", **confidence}})
    for tail, missed in ((0.9, False), (0.7, True)):
        (violation,) = made.violations(sliced(1, 1.0, tail)).values()
        assert (violation > 0) == missed
        assert violation == pytest.approx((0.8 - tail) / 0.8)


@pytest.mark.parametrize("binds", [True, False])
def test_the_measurement_of_the_dense_model_says_which_slices_bind(binds: bool) -> None:
    """A slice that is nearly too faint may come out on either side in a look, which asks fewer users."""

    def look(number: int, *, tail: float) -> Look:
        made = sliced(number, 1.0, 1.0)
        return dataclasses.replace(made, quality={METRIC: {"all": 0.4, "tail": tail}})

    faint, clear = 0.079, 0.081  # less and more than a fifth of all
    dense, measured = look(0, tail=faint if binds else clear), look(0, tail=clear if binds else faint)
    found = Promises(
        dense,
        baseline=measured.measurement(),
        metrics=[METRIC],
        requirements=parse_requirements({"worst_slice": {"drop": "10%"}}),
        objectives=("quality", "size"),
    )
    (violation,) = found.violations(look(1, tail=0.5 * dense.quality[METRIC]["tail"])).values()
    assert (violation > 0) == binds


def test_what_is_lost_is_held_against_the_floor_of_each_main_metric() -> None:
    def look(number: int, first: float, second: float) -> Look:
        made = made_look(number, first, 0.5)
        counts = {**made.counts, "second": {"all": UNITS}} if not number else {}
        return dataclasses.replace(made, quality={**made.quality, "second": {"all": 0.8 * second}}, counts=counts)

    dense, gentle, harsh = look(0, 1.0, 1.0), look(1, 0.99, 0.98), look(2, 0.98, 0.9)
    found = Promises(
        dense,
        baseline=dense.measurement(),
        metrics=["ndcg@20", "second"],
        requirements=parse_requirements({"quality": {"drop": "10%"}, "second": {"drop": "2%"}}),
        objectives=("quality", "size"),
    )
    assert found.lost(harsh, than=dense) == pytest.approx({"ndcg@20": 0.02, "second": 0.1})
    assert found.lost(harsh, than=gentle) == pytest.approx({"ndcg@20": 0.01, "second": 0.08})
    assert found.allowed == pytest.approx({"ndcg@20": 0.1, "second": 0.02})
    assert found.used(harsh) == pytest.approx(5.0), "a tenth of the second, of which a fiftieth may be lost"
    assert found.used(gentle) == pytest.approx(1.0)


def test_few_stand_for_many_beside_those_that_are_given() -> None:
    looks = [made_look(number, 1 - 0.1 * (number / 20) ** 2, 1 / (1 + number)) for number in range(1, 21)]
    found = told(*looks)
    assert len(found.front()) == 20
    three = found.thinned(found.front(), 3)
    assert numbers(three)[:2] == [1, 20], "best of each objective first"
    assert numbers(found.thinned(found.front(), 20))[:3] == numbers(three), "more stand for more"
    assert found.thinned(looks[:2], 5) == looks[:2]
    assert found.thinned([], 5) == []
    given = [looks[0], looks[-1]]
    beside = found.thinned(looks[1:-1], 2, beside=given)
    assert len(beside) == 2
    assert not {*numbers(beside)} & {1, 2, 19, 20}, "where those that are given do not stand"


def test_the_nearest_miss_by_least_and_the_dense_model_is_none() -> None:
    found = told(*LOOKS[:4], requirements={"quality": {"min": "2x"}})
    assert found.front() == []
    assert numbers(found.nearest()) == [1, 2, 3, 4]


def test_who_is_beaten_is_so_for_sure_and_has_no_hope() -> None:
    found = promises()
    better, worse = made_look(1, 0.95, 0.5, error=0.005), made_look(2, 0.92, 0.5, error=0.005)
    assert found.beaten(worse, [better])
    assert not found.beaten(better, [worse])
    assert not found.beaten(better, [better])
    assert not found.beaten(worse, [])
    assert not found.beaten(worse, [dataclasses.replace(better, size_bytes=500_001)]), "who is larger beats nobody"
    assert not found.beaten(worse, [better], hope=0.02)
    assert found.beaten(worse, [better], hope=0.01)
    assert not found.beaten(dataclasses.replace(worse, errors={METRIC: 0.02}), [better]), "by two standard errors"


@pytest.mark.parametrize(
    ("objectives", "larger", "slower"),
    [
        (("quality", "size"), False, True),
        (("quality", "latency"), True, False),
        (("quality", "size", "latency"), False, False),
    ],
)
def test_nobody_is_beaten_by_what_costs_more(objectives: tuple[str, ...], larger: bool, slower: bool) -> None:
    found = promises(objectives=objectives)
    better, worse = made_look(1, 0.95, 0.5, error=0.005), made_look(2, 0.92, 0.5, error=0.005)
    assert found.beaten(worse, [better])
    assert found.beaten(worse, [dataclasses.replace(better, size_bytes=better.size_bytes + 1)]) == larger
    assert found.beaten(worse, [dataclasses.replace(better, products=better.products + 1)]) == slower


def test_a_look_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, read = told(), []

    def counted(*given: Measurement, **named: Any) -> dict[str, Reading]:
        read.append(given)
        return readings(*given, **named)

    monkeypatch.setattr("autoprune.fronts.promises.readings", counted)
    found.add(LOOKS[0])
    for method in (found.gains, found.violations, found.readings):
        method(LOOKS[0])
    assert found.beaten(LOOKS[0], [LOOKS[0]]) is False
    assert len(read) == 1
    other = dataclasses.replace(LOOKS[0], size_bytes=1)
    assert found.readings(other)["size_bytes"].value == 1, "another look of the name is read for itself"


def test_the_hypervolume_grows_with_what_holds_alone() -> None:
    found = told()
    assert found.hypervolume == 0.0
    found.add(LOOKS[3])
    assert found.hypervolume == 0.0
    found.add(LOOKS[0])
    one = found.hypervolume
    assert one == pytest.approx(0.9 * math.log2(2), rel=1e-5)
    found.add(LOOKS[1])
    assert found.hypervolume == one
    found.add(LOOKS[2])
    assert found.hypervolume > one


def test_a_requirement_that_no_look_shows_hides_no_margin_and_a_failed_look_stands_far_away() -> None:
    plain = told(*LOOKS, requirements={"quality": {"drop": "10%"}})
    timed = told(*LOOKS, requirements={"quality": {"drop": "10%"}, "latency_ms": {"max": "0.9x"}})
    assert [timed.standing(look) for look in LOOKS] == [plain.standing(look) for look in LOOKS]
    misses = [plain.standing(look)[-1] for look in LOOKS]
    assert misses[0] < 0, "how far it is from the floor is seen"
    assert misses[-1] == max(misses) > misses[3] > 0
