"""Files of lines that are only appended and survive a kill at any byte; several processes may append in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from autoprune.errors import doing

Turn = Callable[[], AbstractContextManager[object]]
"""A context in which no other process appends."""


class Journal:
    """The lines of a file.

    Before appending, a process must read what others have appended, within the same turn. A last line that was torn by
    a kill, or is still being written, is ignored; the next line overwrites it.

    Args:
        path: created when the first line is appended.
        turn: a context to enter for appending; by default this process alone appends.
    """

    def __init__(self, path: Path, *, turn: Turn = nullcontext) -> None:
        self.path, self.turn = path, turn
        self._bytes = self._lines = 0  # read, or appended here

    def news(self) -> list[tuple[int, bytes]]:
        """The lines that have not been read yet, each with its number, counted from 1."""
        with doing(f"{self.path} cannot be read"):
            if not self.path.exists():
                return []
            with self.path.open("rb") as file:
                file.seek(self._bytes)
                content = file.read()
        lines = content.split(b"\n")[:-1]
        first = self._lines + 1
        self._count(lines)
        return list(enumerate(lines, start=first))

    def append(self, lines: Iterable[str]) -> None:
        """Appends lines, in a turn in which all news have been read; they are on disk when this returns."""
        encoded = [line.encode() for line in lines]
        if not encoded:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.truncate(self._bytes)  # removes a torn line
            file.write(b"".join(line + b"\n" for line in encoded))
            file.flush()
            os.fsync(file.fileno())
        self._count(encoded)

    def _count(self, lines: Iterable[bytes]) -> None:
        sizes = [len(line) + 1 for line in lines]
        self._bytes, self._lines = self._bytes + sum(sizes), self._lines + len(sizes)


def whole_lines(path: Path) -> list[bytes]:
    """The complete lines of a file that is only appended to; none if there is no file."""
    return [line for _, line in Journal(path).news()]
