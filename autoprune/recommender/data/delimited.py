"""Tables in text files; separator, quoting and the first row are detected from the first lines."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.recommender.data.columns import is_usual, shown
from autoprune.recommender.data.text import NARROW, Text
from autoprune.recommender.data.values import MOST, NUMBER, RULE, is_rule, is_time

SPACES = r"\s+"
"""Any number of spaces and tabs as a separator."""

SEPARATORS = ("\x01", "\x1f", "::", "||", "\t", ";", "|", ",", SPACES)
"""Separators, from the one that is rarest within values to the most frequent one."""

SIGN = re.compile(r"[^\w\s\"'.:@/()+-]+")
"""Other signs, which may be a separator if every row has them equally often."""

OTHER = re.compile(r'\s*(\{\s*"|\[\s*[\[{"]|\[\s*$|<)')
"""The start of JSON and XML."""


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table in a text file, with or without names of columns.

    Attributes:
        separator: one of `SEPARATORS`, another sign, or the one in Excel's first line `sep=`.
        skipped: number of lines before the first row.
        names: of the columns; None if the file has none.
        rows: the first rows, without the names.
        quoted: whether quote marks enclose values, or are part of them.
        comments: number of skipped lines that are comments.
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
            AutopruneError: the file has no table.
        """
        text = Text.of(path)
        lines = text.head()
        if OTHER.match(lines[0]):
            raise AutopruneError(f"{path}: this is JSON or XML; write it as a table (.csv, .parquet).")
        skipped, separator = _preamble(lines)
        comments, below = sum(line.lstrip()[:1] in ("#", "%") for line in lines[:skipped]), lines[skipped:]
        if not any(map(str.strip, below)):
            raise AutopruneError(f"{path}: the file is empty; its first line names the columns.")
        if separator is None:
            separator = find_separator(below)
            _check_separated(path, below, separator)
        rows = [row for row in _cells(below, separator) if not _is_rule(row)]
        if separator in (SPACES, "\t") and len(set(map(len, rows))) > 1 and _all_whole(rows):
            raise AutopruneError(
                f"{path}: lines of different lengths `user item item …` (LightGCN) are read by naming the folder that "
                "holds them as train.txt and test.txt."
            )
        names = _names_of_comment(lines[skipped - 1], separator, len(rows[0])) if comments else None
        if names is not None:
            comments -= 1
        elif has_names(rows):
            names, skipped = rows[0], skipped + 1
            rows = [row for row in rows if row != names]
            if rows and all(row[len(names) :] and not any(row[len(names) :]) for row in rows):
                names = names + [""] * (len(rows[0]) - len(names))  # spreadsheets end rows with separators
        quoted = _encloses(text, separator)
        return TextTable(
            text=text, separator=separator, skipped=skipped, names=names, rows=rows, quoted=quoted, comments=comments
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed about the text."""
        name, notes = self.text.path.name, [*self.text.notes]
        if self.comments:
            notes.append(f"{self.comments} line{'s' * (self.comments > 1)} of comments above {name} skipped")
        if not self.quoted:
            notes.append(f"quote marks in {name} are part of the values")
        return tuple(notes)

    def frames(self, ids: list[int], others: list[int], *, chunk: int) -> Iterator[pd.DataFrame]:
        """The rows, `chunk` at a time; columns are named by their positions, and empty ids are missing values.

        Args:
            ids, others: positions of columns that stay words, and of those that may become numbers.
            chunk: number of rows.
        """
        # All columns are parsed, not only the used ones: with `usecols` pandas accepts lines with too many fields.
        places = range(len(self.names or self.rows[0]))
        wide = "" if self.separator == SPACES else self.separator
        with (
            self.text.open(wide) as file,
            pd.read_csv(
                file,
                sep=NARROW if len(wide) > 1 else self.separator,
                header=None,
                names=list(places),
                dtype={place: str for place in places if place not in others},  # as written: 01 is not 1
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
                if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first field as the name of the row
                    raise AutopruneError(f"{self.text.path}: the rows have more fields than the first line.")
                yield frame


def _preamble(lines: list[str]) -> tuple[int, str | None]:
    """The number of lines before the table, and the separator in Excel's `sep=`."""
    named = re.fullmatch(r'"?sep=(.)"?', lines[0], flags=re.IGNORECASE)
    before = 1 if named else 0
    above = re.compile(rf"\s*([#%]|$)|{RULE.pattern}$").match
    count = before + sum(1 for _ in itertools.takewhile(above, lines[before:]))
    if count == len(lines):  # the rows themselves begin with such signs, as hashtags do
        count = before
    return count + lines[0].startswith("%%MatrixMarket"), named[1] if named else None  # its first row is the shape


def _names_of_comment(line: str, separator: str, count: int) -> list[str] | None:
    """Names of columns in a comment above the rows, as in SNAP's files: `# userID itemID`."""
    (names,) = _cells([re.sub(r"^[#%\s]+", "", line)], separator)
    return names if len(names) == count and any(map(is_usual, names)) else None


def find_separator(lines: list[str]) -> str:
    """The separator with which most lines have as many fields as the first one."""
    shares = _shares(lines, SEPARATORS)
    if "||" in shares and shares["||"][2] * 2 - 1 == shares["|"][2]:
        del shares["|"]  # all bars are doubled
    if all(separator == SPACES and share[0] < 1 for separator, share in shares.items()):
        signs = _shares(lines, list(dict.fromkeys(SIGN.findall(lines[0]))))
        shares |= {separator: share for separator, share in signs.items() if share[0] == 1}
    best = max(shares, key=shares.__getitem__, default=",")
    # KONECT mixes tabs and spaces: only `SPACES` separates all of its numbers.
    numbers = all(NUMBER.fullmatch(word) for line in lines[1:] for word in line.split())
    spaced = shares.get(SPACES)
    if spaced and spaced[0] == 1 and spaced[2] > shares[best][2] and numbers:
        return SPACES
    return best


def _shares(lines: list[str], separators: Sequence[str]) -> dict[str, tuple[float, bool, int, int]]:
    """Separators in the first line → a sort key: the share of lines with as many fields as it, then tie-breakers."""
    found = {}
    for place, separator in enumerate(separators):
        if separator != SPACES and separator not in lines[0]:
            continue
        cells = _cells(lines, separator)
        count = len(cells[0])
        if count > 1:
            same = sum(len(row) == count for row in cells) / len(cells)
            found[separator] = (same, separator != SPACES, count, -place)
    return found


def _check_separated(path: Path, lines: list[str], separator: str) -> None:
    """Raises for a table of one column, and for a title above a table."""
    counts = list(map(len, _cells(lines, separator)))
    if max(counts) == 1 or counts.count(counts[0]) < len(counts) / 2:
        _check_title(path, lines)
    if max(counts) == 1:
        raise AutopruneError(
            f"{path}: there is one column only, as no separator was found: commas, semicolons, tabs, bars, spaces, or "
            f"another sign that all lines have equally often. The first line is: {shown([lines[0]])}."
        )


def _check_title(path: Path, lines: list[str]) -> None:
    """Raises if the lines above a table do not have its separator."""
    for count in range(1, min(4, len(lines) - 1)):
        above, below = lines[:count], lines[count:]
        wanted = find_separator(below) if below[0].strip() else SPACES
        if wanted == SPACES or any(len(row) > 1 for row in _cells(above, wanted)):
            continue
        cells = _cells(below, wanted)
        if sum(len(row) == len(cells[0]) > 1 for row in cells) >= MOST * len(cells):
            raise AutopruneError(
                f"{path}: the table seems to begin at {shown([below[0]])!r}, and what stands above looks like a title: "
                f"{shown(list(filter(None, above)))}; take it out."
            )


def holds_lines(path: Path) -> bool:
    """Whether a file called .txt, or without a suffix, has LightGCN's lines `user item item …`, and is not a table.

    In a table all rows have the same length, and some user has several rows or there is a column of times.
    """
    if "." in path.name and ".txt" not in path.suffixes:
        return False
    lines = Text.of(path).head()
    if not any(map(str.strip, lines)):
        return True
    below = lines[_preamble(lines)[0] :]
    separator = find_separator(below)
    rows = _cells(below, separator)
    same_length = len(set(map(len, rows))) == 1
    if not _all_whole(rows):
        return not same_length and separator == SPACES  # damaged lines, reported by the reader
    timed = any(is_time(column) for column in list(zip(*rows, strict=False))[2:])
    return not same_length or (not timed and len({row[0] for row in rows if row}) == len(rows))


def _is_rule(row: list[str]) -> bool:
    return any(row) and all(is_rule(word) or not word for word in row)


def _all_whole(rows: list[list[str]]) -> bool:
    return all(word.isdecimal() for row in rows for word in row if word)


def _cells(lines: list[str], separator: str) -> list[list[str]]:
    """The fields of each line, without blank lines."""
    if separator == SPACES:
        lines, separator = [" ".join(line.split()) for line in lines], " "
    if len(separator) > 1:
        lines, separator = [line.replace(separator, NARROW) for line in lines], NARROW
    rows = csv.reader((line + "\n" for line in lines), delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row] or [[]]


def _encloses(text: Text, separator: str) -> bool:
    """Whether quote marks enclose values.

    Values need no quotes if the separator is rare in them. Then a value may begin with a quote mark ("Weird Al"
    Yankovic), which would swallow lines if it were read as an opening mark. So with such separators, quote marks
    enclose values only if all lines are well-formed.
    """
    if separator in (",", ";", "|"):
        return True
    wide = "" if separator == SPACES else separator
    quoted, between = r'"(?:[^"]|"")*+"', re.escape(NARROW if len(wide) > 1 else separator)
    if separator == SPACES:
        line_of = re.compile(rf'\s*+(?:(?:{quoted}|[^"\s]\S*+)(?:\s++|$))*+')
    else:  # possessive throughout, because some lines are long
        field = rf'(?> *+(?:{quoted} *+(?={between}|$)|(?!")[^{between}]*+))'
        line_of = re.compile(rf"{field}(?:{between}{field})*+")
    with text.open(wide) as file:
        blocks = iter(lambda: file.read(1 << 20) + file.readline(), "")
        quoting = (line for block in blocks if '"' in block for line in block.split("\n") if '"' in line)
        return all(map(line_of.fullmatch, quoting))
