"""The front of a study: what the verification takes from it, what cannot be told apart, what is picked."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_studies import make_study
from test_metric import Share

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.letters import letters
from autoprune.fronts.limits import Limits
from autoprune.fronts.optimism import optimism
from autoprune.fronts.pareto import beats, hypervolume
from autoprune.fronts.pool import Pool
from autoprune.fronts.requirements import OBJECTIVES, Requirements, parse_flag
from autoprune.measure.reading import Reading, scored_reading
from autoprune.measure.student import student_quantile
from autoprune.record.archive import Archive, Candidate
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.tasks.metric import DRAWS, Resamples, cautious_error
from autoprune.views import phrases


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_study(tmp_path_factory.mktemp("runs") / "s", 400)


def unverified(record: Record) -> Record:
    """The same study before it was verified."""
    made = Record(record.folder)
    bare = [dataclasses.replace(point, verified={}, draws=()) for point in record.points]
    made.__dict__["_by_number"] = {point.number: point for point in bare}
    return made


def test_the_search_front_matches_brute_force(record: Record) -> None:
    front = Front(record)
    for point in front.feasible:
        beaten = [other for other in front.feasible if beats(other.found, point.found, record.objectives)]
        assert bool(beaten) == (point.number not in {one.number for one in front.searched})


def test_what_fell_misses_or_is_beaten_and_the_rest_does_not(record: Record) -> None:
    front = Front(record)
    assert len(front.falls) > 2
    fell = {fall.point.number for fall in front.falls}
    assert {point.number for point in front.searched} <= fell | {0, *(point.number for point in front)}
    for fall in front.falls:
        if fall.beaten_by is None:
            assert fall.missed == {
                text: by for text, by in front.requirements.violations(fall.point.verified).items() if by > 0
            }
            assert not front.requirements.hold(fall.point.verified)
            assert "of the limit" in fall.reason
        else:
            assert beats(fall.beaten_by.verified, fall.point.verified, record.objectives)
            assert fall.reason == f"is beaten by #{fall.beaten_by.number}"
            ours, theirs = fall.point.verified["quality"], fall.beaten_by.verified["quality"]
            assert theirs.bound(0.95, upper=False) >= ours.bound(0.95, upper=False), "no more doubt than merit"
    for point in front:
        assert front.requirements.hold(point.verified)
    held = [point for point in front.feasible if point.verified and front.requirements.hold(point.verified)]
    for point in held:
        beaten = any(beats(other.verified, point.verified, record.objectives) for other in held)
        assert beaten != (point.number in {one.number for one in front}), "the front is what no verified point beats"


def test_before_the_verification_nothing_falls(record: Record) -> None:
    front = Front(unverified(record))
    assert not front.falls
    assert [point.number for point in front] == [point.number for point in front.searched]
    assert not front.verified
    assert not front.letters
    assert not front.optimism


def test_a_search_point_that_was_not_verified_stays(record: Record) -> None:
    front = Front(record, Limits(floors=["quality=0.8x"]))
    late = [point for point in front.searched if not point.verified]
    assert late, "another floor has other points"
    assert {point.number for point in late} <= {point.number for point in front}
    assert not front.verified


def test_the_pick_is_the_best_of_what_was_verified_and_holds(record: Record) -> None:
    front = Front(record)
    for objective in record.objectives:
        reading, larger = OBJECTIVES[objective]
        held = [point for point in front.feasible if point.verified and front.requirements.hold(point.verified)]
        values = [point.verified[reading].ratio for point in held]
        assert front.pick(prefer=objective).verified[reading].ratio == (max if larger else min)(values)
    before = Front(unverified(record))
    assert before.pick(prefer="size").found["size_bytes"].value == min(
        point.found["size_bytes"].value for point in before.feasible
    )


def test_where_all_fell_nothing_is_picked(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 60, requirements={"quality": {"drop": "5%"}, "size_bytes": {"max": "0.9x"}})
    archive = Archive(made.folder / "archive.jsonl")
    for point in made.points[1:]:
        if point.verified:
            tested = point.candidate.latest("verify")
            ruined = {
                metric: {part: value / 2 for part, value in parts.items()} for metric, parts in tested.quality.items()
            }
            archive.add(point.candidate.with_measurement(dataclasses.replace(tested, quality=ruined)))
    front = Front(Record(made.folder))
    assert front.falls
    assert not len(front)
    with pytest.raises(AutopruneError, match="No candidate passed verification"):
        front.pick()


def test_a_half_verified_front_picks_among_all_that_may_hold(record: Record) -> None:
    made, chosen = Record(record.folder), Front(record).searched[0].number
    made.__dict__["_by_number"] = {
        point.number: point if point.number in (0, chosen) else dataclasses.replace(point, verified={}, draws=())
        for point in record.points
    }
    front = Front(made)
    assert not front.verified
    assert front.pick(prefer="size").known["size_bytes"].ratio == min(
        point.known["size_bytes"].ratio
        for point in front.feasible
        if not point.verified or front.requirements.hold(point.verified)
    )


def test_the_baseline_can_beat(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 30, objectives=("quality", "latency"), requirements={})
    for point in Front(made):
        assert not beats(made.baseline.verified, point.verified, made.objectives)


def test_finalists_are_baseline_front_presets_and_what_profiles_pick(record: Record) -> None:
    front = Front(record)
    numbers = {point.number for point in front.finalists}
    assert {0, 1, 2} | {point.number for point in front.searched} <= numbers
    picked = {point.number for point in front.picks(verified=False).values() if point}
    assert picked <= numbers
    assert all(point.verified for point in front.finalists)


def test_what_was_verified_for_other_limits_is_a_finalist_once_it_stands_on_the_front(tmp_path: Path) -> None:
    """It was beaten in the search, and is better on test data than all others."""
    record = make_study(tmp_path / "s", 60)
    front = Front(record)
    finalists = {point.number for point in front.finalists}
    beaten = next(point for point in front.feasible if point.number not in finalists)
    measured = record.baseline.candidate.latest()
    better = {name: {part: 1.2 * value for part, value in parts.items()} for name, parts in measured.quality.items()}
    lucky = dataclasses.replace(measured, quality=better, size_bytes=beaten.candidate.latest("search").size_bytes)
    record.archive.add(beaten.candidate.with_measurement(lucky))
    again = Front(Record(record.folder))
    assert beaten.number in {point.number for point in again}
    assert beaten.number in {point.number for point in again.finalists}


def point(number: int, ratio: float, draws: list[float], *, error: float = 0.01) -> Point:
    reading = scored_reading(ratio, ratio, error)
    made = dataclasses.replace(TEMPLATE.candidate, number=number)
    # The smaller the slower: none beats another, whatever the quality.
    costs = {"size_bytes": Reading(number, number / 100), "latency_ms": Reading(1.0, 1 / number)}
    return dataclasses.replace(TEMPLATE, candidate=made, verified={"quality": reading, **costs}, draws=tuple(draws))


@pytest.fixture(autouse=True)
def template(record: Record) -> None:
    global TEMPLATE
    TEMPLATE = record.points[1]


TEMPLATE: Point


def test_points_whose_paired_difference_is_noise_are_not_told_apart(record: Record) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, size=500)
    one = point(1, 1.0, list(1.0 + noise))
    paired = point(2, 0.99, list(0.99 + noise + np.random.default_rng(1).normal(0, 0.001, size=500)))
    alone = point(3, 0.99, list(0.99 + np.random.default_rng(2).normal(0, 0.02, size=500)))
    front = Front(record)
    assert front.told_apart(one, paired), "what both err by alike does not blur their difference"
    assert not front.told_apart(one, alone)
    assert front.told_apart(one, dataclasses.replace(one, draws=())), "of what was not drawn nothing is claimed"


def test_points_share_a_letter_if_and_only_if_they_are_not_told_apart(record: Record) -> None:
    front = Front(record)
    shown = {point.number: point for point in [record.baseline, *front] if point.draws}
    assert set(front.letters) == set(shown)
    assert all(front.letters.values())
    for one, other in itertools.combinations(shown.values(), 2):
        share = set(front.letters[one.number]) & set(front.letters[other.number])
        assert bool(share) != front.told_apart(one, other)


def test_two_that_differ_may_both_be_like_a_third() -> None:
    draw = np.random.default_rng(0)
    paired = draw.normal(0, 0.02, size=500)
    first = point(1, 0.990, list(0.990 + paired))
    second = point(2, 0.985, list(0.985 + paired + draw.normal(0, 0.0005, size=500)))
    third = point(3, 0.980, list(0.980 + draw.normal(0, 0.02, size=500)))
    assert letters([first, second, third]) in ({1: "a", 2: "b", 3: "ab"}, {1: "b", 2: "a", 3: "ab"})


def test_no_letter_is_part_of_another_however_many_there_are() -> None:
    draw = np.random.default_rng(0)
    values = [1 - 0.02 * at for at in range(40)]  # each is like its neighbours only
    chain = [point(at, value, (value + draw.normal(0, 0.01, 500)).tolist()) for at, value in enumerate(values, 1)]
    found = letters(chain)
    assert len(set("".join(found.values()))) == 39
    for one, other in itertools.combinations(found, 2):
        assert bool(set(found[one]) & set(found[other])) == (other - one == 1)


def test_the_letters_of_few_that_differ_agree_with_the_interval_beside_them() -> None:
    """Of 1000 users five lose all they had, and none wins: the bootstrap alone would call that certain."""
    before = np.ones(1000)
    ours = np.where(np.arange(1000) < 5, 0.0, before)
    rows, dense = (pd.DataFrame({"user": np.arange(1000), "hit": values}) for values in (ours, before))
    metric, resamples = Share(), Resamples(np.arange(1000))
    drawn = metric.draws(rows, resamples) / metric.draws(dense, resamples)
    influences = {"ours": metric.influence(rows), "before": metric.influence(dense)}
    error = cautious_error(drawn, ratio=0.995, value=0.995, value_before=1.0, **influences)
    assert 1.96 * drawn.std(ddof=1) < 0.005 < 1.96 * error, "by the bootstrap alone it is told apart"
    baseline = point(1, 1.0, [1.0] * DRAWS, error=0.0)
    assert letters([baseline, point(2, 0.995, drawn.tolist(), error=error)]) == {1: "a", 2: "a"}
    assert letters([baseline, point(2, 0.97, drawn.tolist(), error=error)]) == {1: "a", 2: "b"}


def test_a_difference_that_five_digits_do_not_show_is_told_by_its_error() -> None:
    baseline = point(1, 1.0, [1.0] * DRAWS, error=0.0)
    for error, found in ((2e-6, "a"), (1e-6, "b")):
        assert letters([baseline, point(2, 1 - 3e-6, [1.0] * DRAWS, error=error)]) == {1: "a", 2: found}


def optimism_of(points: list[Point], record: Record, *floors: str) -> dict[str, float]:
    items = tuple(parse_flag(floor, "min", None) for floor in floors)
    return optimism(points, record.objectives, Requirements(items=items), metric="ndcg@20")


def test_optimism_is_what_selection_gives_to_noise(record: Record) -> None:
    draw = np.random.default_rng(0)
    # Candidates that are all exactly as good as the floor: half of them pass, and look better than they are.
    points = [point(number, 1.0, list(1 + draw.normal(0, 0.01, size=500))) for number in range(1, 41)]
    flattered = pytest.approx(0.01 * (2 / np.pi) ** 0.5, rel=0.05)
    assert optimism_of(points, record, "quality=1x") == {"ndcg@20": flattered}
    assert optimism_of(points, record, "ndcg@20=1.0") == {"ndcg@20": flattered}, "an absolute floor drops as well"
    certain = 1 - student_quantile(0.95, np.inf) * 0.01
    assert optimism_of(points, record, f"quality={certain}x:0.95") == {"ndcg@20": flattered}, "and one on the bound"
    fallen = Requirements(items=(parse_flag("size_bytes=0.2x", "max", None),))
    assert 0 < len([one for one in points if fallen.hold(one.verified)]) < len(points)
    assert optimism(points, record.objectives, fallen, metric="ndcg@20")["ndcg@20"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("reading", ["recall@20", "worst_slice"])
def test_optimism_is_told_of_the_reading_that_decided(record: Record, reading: str) -> None:
    draw = np.random.default_rng(1)
    points = [point(number, 1.0, list(1 + draw.normal(0, 0.01, size=500))) for number in range(1, 41)]
    found = scored_reading(0.3, 0.98, 0.02)
    points = [dataclasses.replace(one, verified={**one.verified, reading: found}) for one in points]
    told = optimism_of(points, record, "quality=0.5x", f"{reading}=0.98x")
    assert told["ndcg@20"] == pytest.approx(0, abs=2e-4), "by quality nothing fell"
    assert told[reading] == pytest.approx(0.02 * (2 / np.pi) ** 0.5, rel=0.05)
    unknown = [dataclasses.replace(one, verified={**one.verified, reading: Reading(0.3, 0.98)}) for one in points]
    assert set(optimism_of(unknown, record, f"{reading}=0.98x")) == {"ndcg@20"}
    idle = [
        dataclasses.replace(one, verified={**one.verified, reading: Reading(0.0, np.nan, binds=False)})
        for one in points
    ]
    assert optimism_of(idle, record, f"{reading}=0.98x")["ndcg@20"] == pytest.approx(0, abs=2e-4), "it drops nothing"


def test_optimism_counts_who_beats_whom(record: Record) -> None:
    draw = np.random.default_rng(0)
    # Two that cost the same and are equally good: in every sample the luckier one is chosen.
    twins = [point(7, 1.0, list(1 + draw.normal(0, 0.01, size=500))) for _ in range(2)]
    assert optimism_of(twins, record) == {"ndcg@20": pytest.approx(0.01 * np.pi**-0.5, rel=0.2)}


def test_what_falls_by_another_reading_has_its_own_flattery_told(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 60, seed=2, requirements={"quality": {"drop": "5%"}})
    archive, limits = Archive(made.folder / "archive.jsonl"), Limits(floors=["quality=0.5x", "recall@20=0.95x"])
    for one in Front(made, limits).searched[1::2]:
        if one.verified:
            tested = one.candidate.latest("verify")
            worse = {part: 0.9 * value for part, value in tested.quality["recall@20"].items()}
            lost = {**tested.quality, "recall@20": worse}
            archive.add(one.candidate.with_measurement(dataclasses.replace(tested, quality=lost)))
    front = Front(Record(made.folder), limits)
    assert {miss.item.reading for fall in front.falls for miss in fall.misses} == {"recall@20"}
    assert front.optimism["recall@20"] > max(0.0005, front.optimism["ndcg@20"])
    share = f"recall@20 by about {front.optimism['recall@20']:.1%}."
    assert phrases.optimism(front).endswith(share)


def test_the_hypervolume_mixes_no_validation_with_test_and_never_falls_in_a_search(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 60)
    whole = Front(made)
    assert whole.verified
    assert whole.hypervolume == hypervolume([one.known for one in whole], made.objectives, floor=whole.floor), (
        "all of the front was verified"
    )
    before = Front(unverified(made)).hypervolume
    assert before == whole.searched_hypervolume != whole.hypervolume
    some = Record(made.folder)
    verified = whole.searched[0].number
    some.__dict__["_by_number"] = {
        one.number: one if one.number in (0, verified) else dataclasses.replace(one, verified={}, draws=())
        for one in made.points
    }
    assert Front(some).hypervolume == Front(some).searched_hypervolume == before


def test_a_small_number_stands_for_a_large_front(record: Record) -> None:
    front = Front(record, Limits(profile="none"))
    assert len(front) > 12
    few = front.thinned(8)
    assert len(few) == 8
    assert {point.number for point in few} <= {point.number for point in front}
    for reading, larger in map(OBJECTIVES.__getitem__, record.objectives):
        values = [point.known[reading].ratio for point in front]
        assert (max if larger else min)(values) in [point.known[reading].ratio for point in few]
    assert front.thinned(1000) == front.points


def test_the_knee_is_on_the_front_and_needs_three_points(record: Record, tmp_path: Path) -> None:
    front = Front(record)
    assert front.knee is not None
    assert front.knee.number in {point.number for point in front}
    assert Front(make_study(tmp_path / "s", 1)).knee is None


def test_where_another_machine_verifies_nothing_counts_as_verified_until_it_has(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 60)
    archive = Archive(made.folder / "archive.jsonl")
    finalists = [point.candidate for point in Front(made).finalists]

    def verified_elsewhere(one: Candidate) -> Candidate:
        return one.with_measurement(dataclasses.replace(one.latest("verify"), machine="elsewhere"))

    archive.add(verified_elsewhere(finalists[0]))
    found = Record(made.folder)
    assert [point.number for point in found.points if point.verified] == [0]
    assert not Front(found).falls
    for one in finalists[1:]:
        archive.add(verified_elsewhere(one))
    again = Record(made.folder)
    assert [point.verified for point in again.points] == [point.verified for point in made.points]


def test_nothing_feasible_has_no_pick(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "s", 20, requirements={"size_bytes": {"max": "0.0001x"}}))
    assert not len(front)
    assert front.hypervolume == 0.0
    with pytest.raises(AutopruneError, match="No candidate of 19"):
        front.pick()


def test_profiles_pick_what_their_own_fronts_pick_and_are_judged_once(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Pool] = []
    begin = Pool.__init__
    monkeypatch.setattr(Pool, "__init__", lambda pool, *given: (made.append(pool), begin(pool, *given))[1])
    front = Front(record)
    for _ in range(3):
        picks = front.picks()
        assert front.finalists
    assert len(made) == 1 + len(picks), "the front's own, and one a profile"
    for verified in (True, False):
        for name, point in front.picks(verified=verified).items():
            own = Front(record, Limits(profile=name))
            assert point is (own.pick(verified=verified) if own.feasible else None)


def test_what_is_missed_for_doubt_alone_is_said(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 60, seed=2, requirements={"quality": {"drop": "5%"}})
    archive = Archive(made.folder / "archive.jsonl")
    searched = [point for point in Front(made).searched if point.number]
    for point in searched:  # on test data as good, but hardly anything is sure
        tested = point.candidate.latest("verify")
        unsure = dataclasses.replace(tested, errors=dict.fromkeys(tested.errors, 0.2))
        archive.add(point.candidate.with_measurement(unsure))
    front = Front(Record(made.folder), Limits(floors=["quality=0.9x:0.95"]))
    falls = {fall.point.number: fall for fall in front.falls}
    doubted = [one for one in searched if one.number in falls and one.verified["quality"].ratio >= 0.9]
    assert doubted
    for point in doubted:
        assert falls[point.number].doubted == ("quality >= 0.9x (95 % sure)",)
        assert falls[point.number].reason.endswith("of the limit (only by its bound: the value holds)")


def test_what_is_missed_by_less_than_it_is_known_is_said(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 60, seed=2, requirements={"quality": {"drop": "5%"}})
    archive = Archive(made.folder / "archive.jsonl")
    searched = [point for point in Front(made).searched if point.number]
    flattered = max(searched, key=lambda point: point.found["quality"].ratio - point.verified["quality"].ratio)
    limit = (flattered.found["quality"].ratio + flattered.verified["quality"].ratio) / 2
    for errors in (0.2, 1e-6):  # a value that is known, and one that is not
        for point in searched:
            tested = point.candidate.latest("verify")
            archive.add(
                point.candidate.with_measurement(
                    dataclasses.replace(tested, errors=dict.fromkeys(tested.errors, errors))
                )
            )
        front = Front(Record(made.folder), Limits(floors=[f"quality={limit}x"]))
        falls = [fall for fall in front.falls if fall.missed]
        assert falls
        for fall in falls:
            near = errors == 0.2
            assert bool(fall.undecided) == near
            assert ("too near to tell" in fall.reason) == near
            assert not fall.doubted


def test_profiles_bind_every_main_metric_and_its_slices(tmp_path: Path) -> None:
    one = make_study(tmp_path / "one", 40, seed=2, requirements={})
    both = make_study(tmp_path / "both", 40, seed=2, requirements={}, metrics=("ndcg@20", "recall@20"))
    archive = Archive(both.folder / "archive.jsonl")
    for point in both.points[1:]:  # as good as before by the first metric, a tenth worse by the second
        for purpose in ("search", "verify"):
            measured = point.candidate.measured(purpose, machine=point.candidate.latest().machine)
            if measured and measured.quality:
                worse = {
                    part: 0.9 * value for part, value in one.baseline.candidate.latest().quality["recall@20"].items()
                }
                lost = {**measured.quality, "recall@20": worse}
                archive.add(
                    archive.candidates[point.candidate.key].with_measurement(
                        dataclasses.replace(measured, quality=lost)
                    )
                )
    both = Record(both.folder)
    for profile in ("accuracy_critical", "balanced", "latency_sensitive"):
        picked = Front(one, Limits(profile=profile)).pick(verified=False)
        assert picked.number, "by the first metric alone something fits"
        for front in (Front(both, Limits(profile=profile)), Front(both)):
            chosen = front.picks(verified=False)[profile]
            assert chosen is None or not chosen.number
    named = Front(both, Limits(profile="latency_sensitive", floors=["recall@20=0.8x"]))
    assert named.pick(verified=False).number, "a floor that names the metric counts instead"
    assert named.columns == ["recall@20"]
    assert both.point(1).found["worst_slice"].ratio <= 0.9
    assert [text for text, _ in Front(both, Limits(profile="balanced")).requirements.violations({}).items()] == []
