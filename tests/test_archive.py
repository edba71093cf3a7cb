from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.archive import Archive, Candidate, mend, whole_lines
from autoprune.errors import AutopruneError
from autoprune.measurement import Latency, Measurement


def measurement(purpose: str = "search", size_bytes: int = 10) -> Measurement:
    timing = Latency(median_ms=1.0, p95_ms=2.0, ratio=0.5, ratio_low=0.4, ratio_high=0.6, pairs=15)
    return Measurement(
        split="validation",
        purpose=purpose,
        machine="here",
        quality={"ndcg@20": {"all": 0.3, "tail": 0.1}},
        units={"all": 200, "tail": 150},
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
        words="8 bits",
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
    archive = Archive(path, mending=True)
    assert list(archive.candidates.values()) == [candidate(number) for number in range(survived)]
    # and it goes on from there
    archive.add(candidate(7))
    assert list(Archive(path).candidates) == [*(f"key{number}" for number in range(survived)), "key7"]


def test_mend_leaves_a_whole_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n")
    mend(path)
    assert whole_lines(path) == [b"one", b"two"]
    assert path.read_bytes() == b"one\ntwo\n"
    path.write_bytes(b"one\ntw\xc3")
    assert whole_lines(path) == [b"one"]
    mend(path)
    assert path.read_bytes() == b"one\n"


def test_of_equal_plans_the_latest_counts(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.jsonl")
    archive.add(candidate(0))
    again = Candidate(**{**vars(candidate(0)), "name": "again"})
    archive.add(again)
    assert Archive(archive.path).candidates == {"key0": again}


def test_the_latest_measurement_of_a_purpose_is_read() -> None:
    found = [measurement(size_bytes=1), measurement(size_bytes=2), measurement("verify", 3)]
    measured = Candidate(**{**vars(candidate(0)), "measurements": tuple(found)})
    assert measured.measured().size_bytes == 2
    assert measured.measured("verify").size_bytes == 3


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
    with pytest.raises(AutopruneError, match=r"archive\.jsonl:2: the line is no candidate \(.*take it out to go on"):
        Archive(path)
