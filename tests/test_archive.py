from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import AutopruneError
from autoprune.measure.measurement import Latency, Measurement
from autoprune.record.archive import Archive, Candidate


def measurement(purpose: str = "search", size_bytes: int = 10) -> Measurement:
    timing = Latency(median_ms=1.0, p95_ms=2.0, ratio=0.5, ratio_low=0.4, ratio_high=0.6, pairs=15)
    return Measurement(
        split="validation",
        purpose=purpose,
        machine="here",
        quality={"ndcg@20": {"all": 0.3, "tail": 0.1}},
        units={"ndcg@20": {"all": 200, "tail": 150}},
        size_bytes=size_bytes,
        memory_bytes=20,
        structure="s",
        latency={"single": timing},
    )


def candidate(number: int) -> Candidate:
    return Candidate(
        number=number,
        name="größer",
        key=f"key{number}",
        recipe={"quantize": {"bits": 8}, "note": "line\nbreak \u2028 and all"},
        summary="8 bits",
        rejected="",
        measurements=(measurement(),),
        seconds=1.5,
    )


def written(path: Path, count: int = 3) -> bytes:
    path.unlink(missing_ok=True)
    archive = Archive(path)
    for number in range(count):
        archive.add(candidate(number))
    return path.read_bytes()


def test_candidates_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "archive.jsonl"
    archive = Archive(path)
    assert not path.exists()
    for number in range(3):
        archive.add(candidate(number))
    assert archive.candidates == {f"key{number}": candidate(number) for number in range(3)}
    assert list(Archive(path).candidates.values()) == list(archive.candidates.values())


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_tail_torn_at_any_byte_is_dropped(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("torn") / "archive.jsonl"
    whole = written(path)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    survived = whole[:cut].count(b"\n")
    assert len(Archive(path).candidates) == survived
    assert path.read_bytes() == whole[:cut], "who only reads changes nothing"
    archive = Archive(path)
    assert list(archive.candidates.values()) == [candidate(number) for number in range(survived)]
    # and it goes on from there
    archive.add(candidate(7))
    assert list(Archive(path).candidates) == [*(f"key{number}" for number in range(survived)), "key7"]


def test_of_equal_plans_the_latest_counts(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.jsonl")
    archive.add(candidate(0))
    again = Candidate(**{**vars(candidate(0)), "name": "again"})
    archive.add(again)
    assert Archive(archive.path).candidates == {"key0": again}


def test_the_latest_measurement_of_a_purpose_is_read() -> None:
    found = [measurement(size_bytes=1), measurement(size_bytes=2), measurement("verify", 3)]
    measured = Candidate(**{**vars(candidate(0)), "measurements": tuple(found)})
    assert measured.latest().size_bytes == 2
    assert measured.latest("verify").size_bytes == 3


def test_a_measurement_more_leaves_order_and_search_values_alone(tmp_path: Path) -> None:
    path = tmp_path / "archive.jsonl"
    before = written(path)
    archive = Archive(path)
    more = candidate(1).with_measurement(measurement("verify", 3))
    archive.add(more)
    for found in (archive, Archive(path)):
        assert list(found.candidates) == ["key0", "key1", "key2"], "in order of arrival"
        assert found.candidates["key1"] == more
        assert found.candidates["key1"].latest() == candidate(1).latest()
    assert path.read_bytes().startswith(before), "nothing is changed that was written"


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_torn_while_a_measurement_is_appended_the_candidate_stays_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "archive.jsonl"
    before = written(path)
    archive = Archive(path)
    for number in (0, 2):
        archive.add(candidate(number).with_measurement(measurement("verify")))
    whole = path.read_bytes()
    cut = data.draw(st.integers(len(before), len(whole)))
    path.write_bytes(whole[:cut])
    found = Archive(path)
    assert list(found.candidates) == ["key0", "key1", "key2"]
    more = [len(one.measurements) - 1 for one in found.candidates.values()]
    survived = whole[len(before) : cut].count(b"\n")
    assert more == [[0, 0, 0], [1, 0, 0], [1, 0, 1]][survived]
    found.add(candidate(2).with_measurement(measurement("verify")))
    assert len(Archive(path).candidates["key2"].measurements) == 2


def on(machine: str, size_bytes: int, purpose: str = "verify") -> Measurement:
    return dataclasses.replace(measurement(purpose, size_bytes), machine=machine)


def test_beside_pairs_measurements_of_one_machine() -> None:
    baseline = candidate(0).with_measurement(on("a", 1)).with_measurement(on("b", 2))
    assert candidate(1).beside(baseline, "verify") is None
    assert candidate(1).beside(baseline, "search") == (measurement(), measurement())
    first = candidate(1).with_measurement(on("b", 3))
    assert first.beside(baseline, "verify") == (on("b", 3), on("b", 2))
    # The baseline was measured on b last: that is where a candidate is compared, if it was there.
    both = first.with_measurement(on("a", 4))
    assert both.beside(baseline, "verify") == (on("b", 3), on("b", 2))
    elsewhere = candidate(1).with_measurement(on("c", 5))
    assert elsewhere.beside(baseline, "verify") == (on("c", 5), on("b", 2)), "sizes and quality can be compared"
    assert first.beside(candidate(0), "verify") is None


def test_measured_finds_what_was_taken_on_a_machine() -> None:
    found = candidate(1).with_measurement(on("a", 1)).with_measurement(on("b", 2))
    assert found.measured("verify", machine="a") == on("a", 1)
    assert found.measured("verify", machine="c") is None
    assert found.measured(machine="a") is None, "there it was only verified"
    assert found.measured(machine="here") == measurement()
    assert found.latest("verify") == on("b", 2)
    assert found.latest() == measurement()


def test_a_new_measurement_replaces_the_one_for_the_same_purpose_on_the_same_machine() -> None:
    before = candidate(1).with_measurement(on("a", 1)).with_measurement(on("b", 2))
    after = before.with_measurement(on("a", 3))
    assert after.measurements == (measurement(), on("b", 2), on("a", 3)), "as the latest"
    assert before.measurements == (measurement(), on("a", 1), on("b", 2)), "and the old candidate is as it was"
    searched = after.with_measurement(on("a", 4, "search"))
    assert searched.measurements == (*after.measurements, on("a", 4, "search")), "another purpose, another measurement"
    assert dataclasses.replace(after, measurements=()) == dataclasses.replace(before, measurements=())


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"{}",
        b"[]",
        b"5",
        b"",
        b'{"measurements": [], "more": 1}',
        b'{"measurements": [5]}',
        b'{"measurements": [{"latency": []}]}',
        b'{"name": "\xff"}',
    ],
)
def test_a_line_that_is_no_candidate_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "archive.jsonl"
    whole = written(path, count=1)
    path.write_bytes(whole + line + b"\n" + whole)
    with pytest.raises(AutopruneError, match=r"archive\.jsonl:2: the line is not a candidate \(.*remove it to go on"):
        Archive(path)


@pytest.mark.parametrize("place", [(), ("measurements", 0), ("measurements", 0, "latency", "single")])
def test_a_line_of_a_newer_version_is_kept(tmp_path: Path, place: tuple[str | int, ...]) -> None:
    path = tmp_path / "archive.jsonl"
    whole = written(path, count=2)
    content = json.loads(whole.splitlines()[1])
    part = content
    for key in place:
        part = part[key]
    part["watts"] = 3
    path.write_bytes(whole.splitlines(keepends=True)[0] + json.dumps(content).encode() + b"\n")
    with pytest.raises(AutopruneError, match=r":2: a newer version wrote .* watts is unknown .* Update autoprune\.$"):
        Archive(path)


def test_nobody_is_told_to_take_the_baseline_out(tmp_path: Path) -> None:
    path = tmp_path / "archive.jsonl"
    whole = written(path, count=2)
    path.write_bytes(whole.replace(b'"size_bytes"', b'"siZe_bytes"', 1))
    with pytest.raises(AutopruneError, match=r":1: the line of the baseline, .*Bring the file back") as raised:
        Archive(path)
    assert "remove it" not in str(raised.value)


def test_a_number_that_stands_twice_is_given_anew(tmp_path: Path) -> None:
    """Older versions numbered by the length of the archive, which a person may have shortened by a damaged line."""
    path = tmp_path / "archive.jsonl"
    archive = Archive(path)
    for one in (candidate(0), candidate(1), dataclasses.replace(candidate(1), key="other"), candidate(2)):
        archive.add(one)
    again = Archive(path)
    numbers = {key: one.number for key, one in again.candidates.items()}
    assert numbers == {"key0": 0, "key1": 1, "other": 2, "key2": 3}
    again.add(again.candidates["other"].with_measurement(measurement("verify")))
    assert {key: one.number for key, one in Archive(path).candidates.items()} == numbers
