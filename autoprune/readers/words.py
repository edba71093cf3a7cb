"""Vectors from text (word2vec's format, whose first line holds counts, GloVe's, or a table), and word2vec's binary.

A line is an id and its values, separated by spaces, tabs or commas. The id may contain spaces, like GloVe's `. . .`.
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
"""Most bytes of a line of text."""

SHOWN = 60
"""Most bytes of a line that an error message quotes."""

BOM = b"\xef\xbb\xbf"


def read_text(path: Path) -> NamedRows:
    """The vectors in a file of text or of word2vec's binary format; the content decides.

    Raises:
        AutopruneError: it is neither, or a line is wrong; with its number.
    """
    with open_bytes(path) as file:
        first, rest = file.readline(LONGEST_LINE), file.read(LONGEST_LINE)
    counts, second = _counts(first), rest[: rest.find(b"\n") + 1] or rest
    if counts and _is_binary(rest, dim=counts[1]):
        return _read_binary(path, *counts)
    if not _is_text(first + second):
        raise AutopruneError(
            f"{path} is neither text nor in a format that can be read; its first bytes are {first[:12]!r}."
        )
    layout = _layout(path, first, second, counts)
    rows = path.stat().st_size / len(second or first)  # an estimate; too low for compressed files
    check_room(str(path), 2 * 4 * layout.dim * rows)  # twice, while the blocks are joined
    ids, blocks = list[str](), list[Vectors]()
    with open_bytes(path) as file:
        lines = itertools.islice(enumerate(file, start=1), layout.headings, None)
        for block in iter(lambda: list(itertools.islice(lines, LINES)), []):
            names, vectors = layout.read(block)
            ids += names
            blocks.append(vectors)
    if counts and counts[0] != len(ids):
        raise AutopruneError(
            f"{path}: line 1 promises {counts[0]:,} vectors, but {len(ids):,} follow; the file is incomplete, or the "
            "line is wrong."
        )
    if not ids:
        raise AutopruneError(f"{path}: it holds no vectors.")
    return named_rows(np.concatenate(blocks), ids, where=str(path))


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How lines are split.

    Attributes:
        mark: the separator of the values; None: any white space.
        dim: values in a line.
        headings: lines at the beginning that hold no vector.
    """

    path: Path
    mark: bytes | None
    dim: int
    headings: int

    def read(self, lines: list[tuple[int, bytes]]) -> tuple[list[str], Vectors]:
        """The ids and vectors of numbered lines; blank lines are skipped."""
        rows = [(number, self._fields(number, line)) for number, line in lines if line.strip()]
        values = [value for _, fields in rows for value in fields[1:]]
        try:
            with np.errstate(over="ignore"):  # values that are too large become infinite, which is refused
                vectors = np.array(values, dtype=bytes).astype(np.float32)
        except ValueError as error:
            for number, fields in rows:
                for value in fields[1:]:
                    if not _is_number(value):
                        raise AutopruneError(
                            f"{self.path}: line {number:,} holds {_shown(value)} instead of a number."
                        ) from error
            raise
        return [self._id(number, fields[0]) for number, fields in rows], vectors.reshape(len(rows), self.dim)

    def _fields(self, number: int, line: bytes) -> list[bytes]:
        """An id and its values."""
        fields = line.rstrip().rsplit(self.mark, self.dim)
        surplus = fields[0].rsplit(self.mark, 1)
        if len(fields) <= self.dim or (len(surplus) == 2 and _is_number(surplus[1])):
            values = len(line.split(self.mark)) - 1
            raise AutopruneError(
                f"{self.path}: all vectors must be of one length: line {number:,} ({_shown(line)}) has {values} "
                f"values, but {self.dim} are expected. If ids end in a number, separate id and values by tabs."
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
    """The layout that the first two lines suggest."""
    if counts:
        return _Layout(path=path, mark=_mark(second, dim=counts[1]), dim=counts[1], headings=1)
    mark = _mark(first, second)
    fields = first.rstrip().split(mark)
    below = len(second.rstrip().split(mark)) - 1
    heading = bool(second.strip()) and _is_heading(fields[1:], below)
    if heading:
        fields = second.rstrip().split(mark)
    dim = len(fields) - 1 if heading else _numbers_in(first, mark)
    if dim < 1:
        raise AutopruneError(
            f"{path}: a line must be an id and the values of its vector, but the first is {_shown(first)}."
        )
    return _Layout(path=path, mark=mark, dim=dim, headings=int(heading))


def _mark(*lines: bytes, dim: int | None = None) -> bytes | None:
    """The separator that gives the most numbers at the end of a line; an id may contain any separator.

    Args:
        dim: the number of values, if the file states it.
    """
    numbers = {mark: max(_numbers_in(line, mark) for line in lines) for mark in (b"\t", None, b",")}
    if dim is None and numbers[b"\t"]:  # spaces and numbers before the tab belong to the id
        return b"\t"
    return max(numbers, key=lambda mark: (numbers[mark] == dim, numbers[mark]))


def _numbers_in(line: bytes, mark: bytes | None) -> int:
    """How many numbers a line ends with; its first field is an id and does not count."""
    return sum(1 for _ in itertools.takewhile(_is_number, reversed(line.rstrip().split(mark)[1:])))


def _counts(line: bytes) -> tuple[int, int] | None:
    """Rows and dimensions, if the first line holds these two and nothing else."""
    fields = line.removeprefix(BOM).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or int(fields[1]) < 1:
        return None
    return int(fields[0]), int(fields[1])


def _is_heading(values: list[bytes], below: int) -> bool:
    """Whether the values are column names: words, or column numbers in order, as many as there are values below."""
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


def _is_binary(content: bytes, *, dim: int) -> bool:
    """Whether float32 values follow the first id, not text; a byte of a float may look like the end of a line."""
    _, _, values = content.partition(b" ")
    return not _is_text(values[: 4 * dim])


def _is_text(content: bytes) -> bool:
    """Whether the content has no control characters or zero bytes; ids may be in any encoding."""
    return not any(byte < 9 or 13 < byte < 28 for byte in content)


def _shown(content: bytes) -> str:
    text = content.rstrip()[:SHOWN].decode(errors="replace")
    return repr(text + ("…" if len(content.rstrip()) > SHOWN else ""))


def _read_binary(path: Path, rows: int, dim: int) -> NamedRows:
    """word2vec's binary format: row by row, an id, a space and the values as float32."""
    check_room(str(path), 2 * path.stat().st_size)
    with open_bytes(path) as file:
        file.readline()
        content = file.read()
    most = min(rows, len(content) // (4 * dim + 1) + 1)  # the first line may promise too many
    ids, vectors, position = list[str](), np.empty((most, dim), dtype=np.float32), 0
    for row in range(rows):
        end = content.find(b" ", position)
        if end < 0 or end + 1 + 4 * dim > len(content):
            raise AutopruneError(
                f"{path}: its first line promises {rows:,} vectors of {dim} values in word2vec's binary format, but it "
                f"ends in the middle of vector {row:,}."
            )
        ids.append(content[position:end].lstrip(b"\n").decode(errors="replace"))
        vectors[row] = np.frombuffer(content, dtype="<f4", count=dim, offset=end + 1)
        position = end + 1 + 4 * dim
    if content[position:].strip(b"\n"):
        raise AutopruneError(
            f"{path}: its first line promises {rows:,} vectors of {dim} values in word2vec's binary format, but "
            f"{len(content) - position:,} bytes follow them; the line is wrong."
        )
    return named_rows(vectors, ids, where=str(path))
