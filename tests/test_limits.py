"""Limits: one value from the command line to the pick."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from made_studies import make_study

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.fronts.profiles import load_profile, profile_names, shipped_profiles
from autoprune.fronts.requirements import parse_requirements
from autoprune.record.record import Record


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_study(tmp_path_factory.mktemp("runs") / "s", 5, verified=False)


def texts(limits: Limits, record: Record) -> list[str]:
    return [item.text for item in limits.requirements(record).items]


def test_unchanged_is_what_the_study_requires(record: Record) -> None:
    assert Limits() == UNCHANGED
    assert UNCHANGED.flags == []
    assert UNCHANGED.requirements(record) == parse_requirements(record.definition["requirements"])


def test_a_limit_stands_in_place_of_those_on_the_same_reading(record: Record) -> None:
    assert texts(Limits(floors=["quality=0.9x"]), record) == ["worst_slice >= 0.8x", "quality >= 0.9x"]
    assert texts(Limits(floors=["ndcg@20=0.9x"]), record) == ["worst_slice >= 0.8x", "ndcg@20 >= 0.9x"], "it is quality"
    assert texts(Limits(ceilings=["size_bytes=10MB"]), record)[2:] == ["size_bytes <= 10000000"]
    assert texts(Limits(profile="none", floors=["quality=0.9x"]), record) == ["quality >= 0.9x"]


@pytest.mark.parametrize(
    ("requirements", "floors", "held"),
    [
        ("quality", ["quality=0.97x"], ["recall@20 >= 0.9x", "ndcg@20 >= 0.97x"]),
        ("quality", ["recall@20=0.97x"], ["ndcg@20 >= 0.95x", "recall@20 >= 0.97x"]),
        ("quality", ["quality=0.1"], ["recall@20 >= 0.9x", "quality >= 0.1"]),
        ("named", ["quality=0.97x"], ["ndcg@20 >= 0.97x", "recall@20 >= 0.97x"]),
        ("freed", ["quality=0.97x"], ["ndcg@20 >= 0.97x"]),
    ],
)
def test_a_limit_on_quality_leaves_metrics_that_are_named_beside_it(
    requirements: str, floors: list[str], held: list[str], tmp_path: Path
) -> None:
    quality, other = {"quality": {"drop": "5%"}}, {"recall@20": {"min": "0.9x"}}
    content: dict[str, dict[str, Any]] = {
        "quality": {**quality, **other},
        "named": {"ndcg@20": {"min": "0.9x"}, **other},
        "freed": {**quality, "recall@20": None},
    }
    metrics = ("ndcg@20", "recall@20")
    record = make_study(tmp_path / "s", 5, verified=False, requirements=content[requirements], metrics=metrics)
    assert texts(Limits(floors=floors), record) == held


def test_flags_ask_for_the_same() -> None:
    limits = Limits(
        floors=["quality=0.9x", "worst_slice=0.7x"],
        ceilings=["latency_ms=0.5x:0.95"],
        profile="balanced",
        prefer="quality",
        format="sentence-transformers",
    )
    flags = limits.flags
    assert flags == [
        *("--for", "balanced", "--floor", "quality=0.9x", "--floor", "worst_slice=0.7x"),
        *("--max", "latency_ms=0.5x:0.95", "--prefer", "quality", "--format", "sentence-transformers"),
    ]
    pairs = list(zip(flags[::2], flags[1::2], strict=True))

    def given(flag: str) -> list[str]:
        return [value for name, value in pairs if name == flag]

    again = Limits(
        floors=given("--floor"),
        ceilings=given("--max"),
        profile=given("--for")[0],
        prefer=given("--prefer")[0],
        format=given("--format")[0],
    )
    assert again == limits
    assert hash(again) == hash(limits)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prefer": "speed"}, "objective 'speed' is unknown"),
        ({"format": "tflite"}, "--format 'tflite' is unknown"),
    ],
)
def test_what_cannot_be_is_refused_at_once(given: dict[str, str], message: str) -> None:
    with pytest.raises(AutopruneError, match=message):
        Limits(**given)  # type: ignore[arg-type]  # one field at a time


def test_a_limit_on_what_is_not_measured_is_refused(record: Record) -> None:
    for limits in (Limits(floors=["ndgc@20=0.9x"]), Limits(ceilings=["latency=1x"]), Limits(profile="fastest")):
        with pytest.raises(AutopruneError, match=r"Did you mean|is unknown"):
            limits.requirements(record)


def test_a_profile_of_ones_own_is_a_file(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("quality: {drop: 4%}\nprefer: latency\n")
    assert texts(Limits(profile=str(path)), record) == ["quality >= 0.96x"]
    assert Limits(profile=str(path)).requirements(record).prefer == "latency"
    assert Limits(profile=str(path), prefer="size").requirements(record).prefer == "size"


def test_shipped_profiles_name_what_every_study_measures(record: Record) -> None:
    assert list(shipped_profiles()) == profile_names()
    assert "none" not in profile_names()
    for name, requirements in shipped_profiles().items():
        assert requirements == parse_requirements(load_profile(name), record.names)
        assert requirements == Limits(profile=name).requirements(record)


def test_limits_stay_as_they_are() -> None:
    given = ["quality=0.9x"]
    limits = Limits(floors=given)
    given.append("worst_slice=0.9x")
    assert limits.floors == ("quality=0.9x",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.prefer = "size"  # type: ignore[misc]


def test_a_single_text_is_no_list_of_limits() -> None:
    with pytest.raises(AutopruneError, match=r"floors: a list must be given, such as floors=\['ndcg@20=0\.9x'\]"):
        Limits(floors="ndcg@20=0.9x")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(profile="latency_sensitive"), ["ndcg@20 >= 0.95x", "recall@20 >= 0.95x", "latency_ms <= 0.9x"]),
        (Limits(profile="none", floors=["quality=0.9x"]), ["ndcg@20 >= 0.9x", "recall@20 >= 0.9x"]),
        (
            Limits(profile="latency_sensitive", floors=["recall@20=0.8x"]),
            ["ndcg@20 >= 0.95x", "latency_ms <= 0.9x", "recall@20 >= 0.8x"],
        ),
        (
            Limits(profile="latency_sensitive", floors=["quality=0.9x", "recall@20=0.8x:0.95"]),
            ["latency_ms <= 0.9x", "ndcg@20 >= 0.9x", "recall@20 >= 0.8x (95 % sure)"],
        ),
        (
            Limits(profile="latency_sensitive", floors=["quality=0.05"]),
            ["recall@20 >= 0.95x", "latency_ms <= 0.9x", "quality >= 0.05"],
        ),
    ],
)
def test_of_several_benchmarks_every_main_metric_is_bound(limits: Limits, expected: list[str], tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 3, verified=False, metrics=("ndcg@20", "recall@20"))
    assert texts(limits, record) == expected


def test_what_is_wrong_in_a_file_of_requirements_names_the_file(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 3)
    file = tmp_path / "mine.yaml"
    file.write_text("nosuch: {min: 1}\n")
    with pytest.raises(AutopruneError, match=r"mine\.yaml\.nosuch\.min: nothing called 'nosuch'"):
        Front(record, Limits(profile=str(file)))
    (tmp_path / "dd.yaml").mkdir()
    with pytest.raises(AutopruneError, match=r"dd\.yaml: a YAML file of requirements .* this is a folder"):
        Front(record, Limits(profile=str(tmp_path / "dd.yaml")))
