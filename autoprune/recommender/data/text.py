"""Tables that are text: how a file is compressed, encoded, quoted and separated is told from what it holds."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import lzma
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.recommender.data.columns import is_usual
from autoprune.recommender.data.looks import NUMBER, is_time

HEAD = 1 << 16
"""Characters that a file is judged by."""

SPACES = r"\s+"
"""The separator of columns that stand apart by any number of spaces and tabs."""

SEPARATORS = ("::", "\t", ";", "|", ",", SPACES)
"""From the one that other text holds least to the one that it holds most."""

BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

OTHER = re.compile(r'\s*(\{\s*"|\[\s*[\[{"]|\[\s*$|<)')
"""How JSON and XML begin."""

NARROW = "\x1f"
"""ASCII's unit separator: stands for `::` where pandas' fast parser reads, which takes one character only."""


def open_bytes(path: Path) -> IO[bytes]:
    """A file, unpacked where it is compressed, whatever it is called."""
    with path.open("rb") as file:
        start = file.read(6)
    for magic, opened in _COMPRESSED.items():
        if start.startswith(magic):
            unpacked: IO[bytes] = opened(path)
            return unpacked
    return path.open("rb")


def _only_member(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    if "[Content_Types].xml" in names:
        raise AutopruneError(f"{path} is an Excel workbook; save its table as CSV.")
    if len(names) != 1:
        raise AutopruneError(f"{path} holds {len(names)} files ({', '.join(names[:5])}); unpack it and name one.")
    return archive.open(names[0])


_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"PK\x03\x04": _only_member,
}
"""How a compressed file begins → what opens it."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A file of text.

    Attributes:
        encoding: in Python's words.
        notes: what was guessed about it.
    """

    path: Path
    encoding: str
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(path: Path) -> Text:
        """Text by its byte-order mark or zero bytes, else UTF-8, else Windows-1252; all of it is looked at.

        Raises:
            AutopruneError: it is none of them.
        """
        with open_bytes(path) as file:
            head = file.read(HEAD)
        for mark, encoding in BOMS.items():
            if head.startswith(mark):
                return Text(path=path, encoding=encoding)
        if b"\0" in head:
            return Text(path=path, encoding=_by_zeros(path, head))
        with open_bytes(path) as file:
            decoder = codecs.getincrementaldecoder("utf-8")()
            try:
                for block in iter(lambda: file.read(1 << 20), b""):
                    decoder.decode(block)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError as error:
                _check_windows(path, error.reason)
                return Text(path=path, encoding="cp1252", notes=(f"{path.name} is read as Windows-1252",))
        return Text(path=path, encoding="utf-8")

    def open(self, *, narrowed: bool = False) -> io.TextIOWrapper:
        """The text, with any line ends as a newline; and, if so wanted, with `NARROW` for `::`."""
        return (_Narrowed if narrowed else io.TextIOWrapper)(open_bytes(self.path), encoding=self.encoding)

    def head(self) -> list[str]:
        """The first lines; the last one is left out where it is cut, unless it is the only one."""
        with self.open() as file:
            text = file.read(HEAD)
        lines = text.split("\n")
        return lines[:-1] if len(lines) > 1 and (len(text) == HEAD or not lines[-1]) else lines


def _by_zeros(path: Path, head: bytes) -> str:
    """UTF-16 without a mark: of what is mostly Latin letters every other byte is zero."""
    zeros = [head[start::2].count(0) / len(head[start::2]) for start in (0, 1)]
    if max(zeros) < 0.5 or min(zeros) > 0.1:
        raise AutopruneError(f"{path} cannot be read: it is neither text nor parquet (it holds zero bytes).")
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _check_windows(path: Path, reason: str) -> None:
    """Refuses what is rather damaged UTF-8 than Windows-1252: where most letters beyond ASCII are whole in UTF-8."""
    with open_bytes(path) as file:
        content = file.read()
    text = content.decode("utf-8", errors="surrogateescape")
    strays = re.findall("[\udc80-\udcff]", text)
    whole = len(re.findall("[^\x00-\x7f]", text)) - len(strays)
    at = content.index(strays[0].encode("utf-8", errors="surrogateescape"))
    if whole <= len(strays):
        try:
            content.decode("cp1252")
        except UnicodeDecodeError as error:
            at, reason = error.start, "nor is it Windows-1252"
        else:
            return
    raise AutopruneError(f"{path}: the text is not UTF-8: {reason} at byte {at:,}; save it as UTF-8.")


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table in a file of text; what its columns are called may be unknown.

    Attributes:
        separator: one of `SEPARATORS`, or any other character that Excel's first line `sep=` names.
        skipped: lines before the first row.
        names: of the columns; None where the file does not say.
        rows: the first rows, without the names.
        quoted: whether quote marks enclose values, or are part of them.
        comments: lines of comments among those skipped.
    """

    text: Text
    separator: str
    skipped: int
    names: list[str] | None
    rows: list[list[str]]
    quoted: bool
    comments: int

    @staticmethod
    def of(path: Path, *, has_names: Callable[[list[list[str]]], bool]) -> TextTable:
        """Reads the start of a file.

        Args:
            has_names: first rows → whether the first one names the columns.

        Raises:
            AutopruneError: it holds no table.
        """
        text = Text.of(path)
        lines = text.head()
        if OTHER.match(lines[0]):
            raise AutopruneError(f"{path}: this is JSON or XML; write it as a table (.csv, .parquet).")
        skipped, separator = _preamble(lines)
        comments, below = sum(line.lstrip()[:1] in ("#", "%") for line in lines[:skipped]), lines[skipped:]
        if not any(map(str.strip, below)):
            raise AutopruneError(f"{path}: the file is empty; its first line names the columns.")
        separator = separator or find_separator(below)
        rows = _cells(below, separator)
        if separator in (SPACES, "\t") and len(set(map(len, rows))) > 1 and _all_whole(rows):
            raise AutopruneError(
                f"{path}: lines of different lengths `user item item …` (LightGCN) are read by naming the folder that "
                "holds them as train.txt and test.txt."
            )
        names = _names_of_comment(lines[skipped - 1], separator, len(rows[0])) if comments else None
        if names is not None:
            comments -= 1
        elif has_names(rows):
            names, rows, skipped = rows[0], rows[1:], skipped + 1
        quoted = _encloses(text, separator)
        return TextTable(
            text=text, separator=separator, skipped=skipped, names=names, rows=rows, quoted=quoted, comments=comments
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed about the text."""
        name, found = self.text.path.name, [*self.text.notes]
        if self.comments:
            found.append(f"{self.comments} line{'s' * (self.comments > 1)} of comments above {name} skipped")
        if not self.quoted:
            found.append(f"quote marks in {name} are part of the values")
        return tuple(found)

    def frames(self, ids: list[int], others: list[int], *, chunk: int) -> Iterator[pd.DataFrame]:
        """The rows, `chunk` at a time, with positions for names; an id is what stands there, unless nothing does.

        Args:
            ids, others: positions of columns.
        """
        if not self.rows:
            return
        # All columns are parsed, not just those asked for: with `usecols` pandas lets lines of too many fields pass.
        places = range(len(self.names or self.rows[0]))
        narrowed = self.separator == "::"
        with (
            self.text.open(narrowed=narrowed) as file,
            pd.read_csv(
                file,
                sep=NARROW if narrowed else self.separator,
                header=None,
                names=list(places),
                dtype={place: str for place in places if place not in others},  # as it stands: 01 is not 1
                keep_default_na=False,  # NA is Namibia
                na_values=[""],
                skiprows=self.skipped,
                quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
                skipinitialspace=True,
                chunksize=chunk,
                low_memory=False,
            ) as chunks,
        ):
            for frame in chunks:
                if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first field for a name of the row
                    raise AutopruneError(f"{self.text.path}: the rows have more fields than the first line.")
                yield frame[[*ids, *others]]


class _Narrowed(io.TextIOWrapper):
    """A text in which `::` is one character."""

    def read(self, size: int | None = -1) -> str:
        block = super().read(size)
        return (block + self.readline()).replace("::", NARROW)  # whole lines: no `::` is cut


def _preamble(lines: list[str]) -> tuple[int, str | None]:
    """How many lines come before the table, and the separator that Excel's `sep=` names."""
    named = re.fullmatch(r'"?sep=(.)"?', lines[0], flags=re.IGNORECASE)
    if named:
        return 1, named[1]
    count = sum(1 for _ in itertools.takewhile(lambda line: re.match(r"\s*([#%]|$)", line), lines))
    if count == len(lines):  # hashtags
        return 0, None
    return count + lines[0].startswith("%%MatrixMarket"), None  # its first row is the shape


def _names_of_comment(line: str, separator: str, count: int) -> list[str] | None:
    """The names that a comment above the rows gives its columns, as SNAP does: `# userID itemID`."""
    (names,) = _cells([re.sub(r"^[#%\s]+", "", line)], separator)
    return names if len(names) == count and any(map(is_usual, names)) else None


def find_separator(lines: list[str]) -> str:
    """The separator under which most lines have as many fields as the first one."""
    shares = {}
    for place, separator in enumerate(SEPARATORS):
        cells = _cells(lines, separator)
        count = len(cells[0])
        if count > 1:
            same = sum(len(row) == count for row in cells) / len(cells)
            shares[separator] = (same, separator != SPACES, count, -place)
    best = max(shares, key=shares.__getitem__, default=",")
    # Tabs and spaces in turn, as KONECT writes them: nothing but spaces takes the numbers apart.
    numbers = all(NUMBER.fullmatch(word) for line in lines[1:] for word in line.split())
    spaced = shares.get(SPACES)
    if spaced and spaced[0] == 1 and spaced[2] > shares[best][2] and numbers:
        return SPACES
    return best


def holds_lines(path: Path) -> bool:
    """Whether a text called .txt, or without a suffix, holds LightGCN's `user item item …`, and no table.

    A table's rows are of one length, and it has more than one row a user, or a column of times.
    """
    if "." in path.name and ".txt" not in path.suffixes:
        return False
    lines = Text.of(path).head()
    if not any(map(str.strip, lines)):
        return True
    below = lines[_preamble(lines)[0] :]
    separator = find_separator(below)
    rows = _cells(below, separator)
    even = len(set(map(len, rows))) == 1
    if not _all_whole(rows):
        return not even and separator == SPACES  # damaged
    timed = any(is_time(column) for column in list(zip(*rows, strict=False))[2:])
    return not even or (not timed and len({row[0] for row in rows if row}) == len(rows))


def _all_whole(rows: list[list[str]]) -> bool:
    return all(word.isdecimal() for row in rows for word in row if word)


def _cells(lines: list[str], separator: str) -> list[list[str]]:
    """The fields of each line that is not blank."""
    if separator == SPACES:
        lines, separator = [" ".join(line.split()) for line in lines], " "
    if separator == "::":
        lines, separator = [line.replace("::", NARROW) for line in lines], NARROW
    rows = csv.reader((line + "\n" for line in lines), delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row] or [[]]


def _encloses(text: Text, separator: str) -> bool:
    """Whether quote marks enclose values.

    Where the separator hardly occurs in values they need not, and a value may begin with one ("Weird Al" Yankovic):
    taken for an opening one it would swallow lines. So there all lines must be well-formed.
    """
    if separator not in ("::", "\t", SPACES):
        return True
    split = {SPACES: r"\s", "::": NARROW}.get(separator, separator)
    field = rf' *(?:"(?:[^"]|"")*" *|[^"{split}][^{split}]*|)'
    line_of = re.compile(rf"{field}(?:[{split}]+{field})*")
    with text.open(narrowed=separator == "::") as file:
        blocks = iter(lambda: file.read(1 << 20) + file.readline(), "")
        quoting = (line for block in blocks if '"' in block for line in block.split("\n") if '"' in line)
        return all(map(line_of.fullmatch, quoting))
