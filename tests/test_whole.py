"""A file is replaced completely or stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoprune.whole import whole_file


def test_a_file_is_replaced_once_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.json"
    for text in ("first", "second"):
        with whole_file(path) as draft:
            draft.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert [child.name for child in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_that_cannot_be_written_stays_as_it_was(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("first")

    def write_half() -> None:
        with whole_file(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass  # no draft was written
    assert path.read_text() == "first"
    assert [child.name for child in tmp_path.iterdir()] == ["file.json"]


def test_of_two_writers_the_last_wins(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with whole_file(path) as slow:
        with whole_file(path) as fast:
            slow.write_text("slow")
            fast.write_text("fast")
        assert path.read_text() == "fast"
    assert path.read_text() == "slow"
