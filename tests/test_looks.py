"""Looks on disk, and what is said of them beside what was measured."""

from __future__ import annotations

from pathlib import Path

from autoprune.record.looks import Look, Looks


def test_what_was_taken_is_read_again_as_it_was(tmp_path: Path) -> None:
    dense = Look(number=0, key="a", recipe={}, summary="dense", units=7, quality={"m": {"all": 0.5}}, size_bytes=9)
    failed = Look(number=1, key="b", recipe={"q": {"bits": 8}}, summary="8 bits", failed="m is nan")
    looks = Looks(tmp_path / "looks.jsonl")
    looks.add(dense, failed)
    again = Looks(looks.path)
    assert list(again.found.values()) == [dense, failed]
    assert again.dense == dense
