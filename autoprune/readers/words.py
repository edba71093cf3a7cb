"""Vectors from text: word2vec's format (its first line counts), GloVe's (without one), or a table; word2vec's binary.

A line is an id and its values, apart by spaces, tabs or commas. The id may hold spaces itself, as GloVe's `. . .` does.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.readers.files import check_room, open_bytes
from autoprune.readers.named import NamedRows, Vectors, named_rows

LINES = 8192
"""Lines that are read at a time."""

LONGEST_LINE = 1 << 22
"""Bytes of a line of text, at most."""

SHOWN = 60
"""Bytes of a line that an error repeats."""

BOM = b"\xef\xbb\xbf"


def read_text(path: Path) -> NamedRows:
    """The vectors of a text, or of word2vec's binary format: what it is, is told from its content.

    Raises:
        AutopruneError: it is neither; with the number of the line.
    """
    with open_bytes(path) as file:
        first, second = (file.readline(LONGEST_LINE) for _ in range(2))
    counts = _counts(first)
    if counts and not _is_text(second):
        return _read_binary(path, *counts)
    if not _is_text(first + second):
        raise AutopruneError(
            f"{path} is neither text nor of a format that is read; its first bytes are {first[:12]!r}."
        )
    layout = _layout(path, first, second, counts)
    rows = path.stat().st_size / len(second or first)  # about; of what is compressed less
    check_room(str(path), 2 * 4 * layout.dim * rows)  # while the blocks are put together
    ids, blocks = list[str](), list[Vectors]()
    with open_bytes(path) as file:
        lines = itertools.islice(enumerate(file, start=1), layout.headings, None)
        for block in iter(lambda: list(itertools.islice(lines, LINES)), []):
            names, vectors = layout.read(block)
            ids += names
            blocks.append(vectors)
    if counts and counts[0] != len(ids):
        raise AutopruneError(
            f"{path}: line 1 promises {counts[0]:,} vectors, but {len(ids):,} follow; the file is cut short, or the "
            "line is wrong."
        )
    if not ids:
        raise AutopruneError(f"{path}: there is no vector in it.")
    return named_rows(np.concatenate(blocks), ids, where=str(path))


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How lines are taken apart.

    Attributes:
        mark: what stands between values; None: any white space.
        dim: values of a line.
        headings: lines at the beginning that hold no vector.
    """

    path: Path
    mark: bytes | None
    dim: int
    headings: int

    def read(self, lines: list[tuple[int, bytes]]) -> tuple[list[str], Vectors]:
        """The ids and vectors of numbered lines; lines of white space alone are left out."""
        rows = [(number, self._fields(number, line)) for number, line in lines if line.strip()]
        values = [value for _, fields in rows for value in fields[1:]]
        try:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
                found = np.array(values, dtype=bytes).astype(np.float32)
        except ValueError as error:
            for number, fields in rows:
                for value in fields[1:]:
                    if not _is_number(value):
                        raise AutopruneError(
                            f"{self.path}: line {number:,} holds {_shown(value)}, where a number is due."
                        ) from error
            raise
        return [self._id(number, fields[0]) for number, fields in rows], found.reshape(len(rows), self.dim)

    def _fields(self, number: int, line: bytes) -> list[bytes]:
        """An id and its values."""
        fields = line.rstrip().rsplit(self.mark, self.dim)
        surplus = fields[0].rsplit(self.mark, 1)
        if len(fields) <= self.dim or (len(surplus) == 2 and _is_number(surplus[1])):
            values = len(line.split(self.mark)) - 1
            raise AutopruneError(
                f"{self.path}: all vectors must be of one length: line {number:,} ({_shown(line)}) has {values} "
                f"values, but {self.dim} are due. Where ids end in a number, tabs must stand between id and values."
            )
        return fields

    def _id(self, number: int, name: bytes) -> str:
        name = name.removeprefix(BOM) if number == 1 else name
        if self.mark and len(name) > 1 and name[:1] == name[-1:] == b'"':
            name = name[1:-1].replace(b'""', b'"')
        try:
            return name.strip(b" \t" if self.mark else None).decode()
        except UnicodeDecodeError as error:
            raise AutopruneError(
                f"{self.path}: line {number:,}: its id ({_shown(name)}) is not UTF-8; save the file as UTF-8."
            ) from error


def _layout(path: Path, first: bytes, second: bytes, counts: tuple[int, int] | None) -> _Layout:
    """By the first two lines."""
    line = second if counts else first
    mark = next((mark for mark in (b"\t", b",") if mark in line.strip()), None)
    fields = line.rstrip().split(mark)
    if counts:
        return _Layout(path=path, mark=mark, dim=counts[1], headings=1)
    below = len(second.rstrip().split(mark)) - 1
    heading = bool(second.strip()) and _is_heading(fields[1:], below)
    if heading:
        fields = second.rstrip().split(mark)
    dim = len(fields) - 1 if heading else sum(1 for _ in itertools.takewhile(_is_number, reversed(fields[1:])))
    if dim < 1:
        raise AutopruneError(
            f"{path}: a line must be an id and the values of its vector, but the first is {_shown(line)}."
        )
    return _Layout(path=path, mark=mark, dim=dim, headings=int(heading))


def _counts(line: bytes) -> tuple[int, int] | None:
    """Rows and dimensions, where a first line says these and nothing else."""
    fields = line.removeprefix(BOM).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or int(fields[1]) < 1:
        return None
    return int(fields[0]), int(fields[1])


def _is_heading(values: list[bytes], below: int) -> bool:
    """Whether names of columns stand in place of values: words, or their numbers in order, as many as values below."""
    numbered = [str(number).encode() for number in range(len(values) + 1)]
    names = [value.strip(b' "') for value in values]
    counted = 2 < len(names) == below and names in (numbered[:-1], numbered[1:])
    return counted or not any(map(_is_number, names))


def _is_number(value: bytes) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_text(content: bytes) -> bool:
    """Whether no control character and no zero is in it; ids may be of any encoding."""
    return not any(byte < 9 or 13 < byte < 28 for byte in content)


def _shown(content: bytes) -> str:
    text = content.rstrip()[:SHOWN].decode(errors="replace")
    return repr(text + ("…" if len(content.rstrip()) > SHOWN else ""))


def _read_binary(path: Path, rows: int, dim: int) -> NamedRows:
    """word2vec's binary format: an id, a space and the values in float32, row by row."""
    check_room(str(path), 2 * path.stat().st_size)
    with open_bytes(path) as file:
        file.readline()
        content = file.read()
    most = min(rows, len(content) // (4 * dim + 1) + 1)  # whatever the first line promises
    ids, vectors, at = list[str](), np.empty((most, dim), dtype=np.float32), 0
    for row in range(rows):
        end = content.find(b" ", at)
        if end < 0 or end + 1 + 4 * dim > len(content):
            raise AutopruneError(
                f"{path}: its first line promises {rows:,} vectors of {dim} values in word2vec's binary format, but it "
                f"ends in the middle of vector {row:,}."
            )
        ids.append(content[at:end].lstrip(b"\n").decode(errors="replace"))
        vectors[row] = np.frombuffer(content, dtype="<f4", count=dim, offset=end + 1)
        at = end + 1 + 4 * dim
    if content[at:].strip(b"\n"):
        raise AutopruneError(
            f"{path}: its first line promises {rows:,} vectors of {dim} values in word2vec's binary format, but "
            f"{len(content) - at:,} bytes follow them; the line is wrong."
        )
    return named_rows(vectors, ids, where=str(path))
