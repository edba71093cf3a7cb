"""Tables that are text: how values are separated and quoted, and where the rows begin, is told from the first lines."""

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
from autoprune.recommender.data.looks import MOST, NUMBER, RULE, is_rule, is_time
from autoprune.recommender.data.text import NARROW, Text

SPACES = r"\s+"
"""The separator of columns that stand apart by any number of spaces and tabs."""

SEPARATORS = ("\x01", "\x1f", "::", "||", "\t", ";", "|", ",", SPACES)
"""From the one that other text holds least to the one that it holds most."""

SIGN = re.compile(r"[^\w\s\"'.:@/()+-]+")
"""What may be a separator too, if every row holds it equally often."""

OTHER = re.compile(r'\s*(\{\s*"|\[\s*[\[{"]|\[\s*$|<)')
"""How JSON and XML begin."""


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table in a file of text; what its columns are called may be unknown.

    Attributes:
        separator: one of `SEPARATORS`, another sign, or what Excel's first line `sep=` names.
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
        name, found = self.text.path.name, [*self.text.notes]
        if self.comments:
            found.append(f"{self.comments} line{'s' * (self.comments > 1)} of comments above {name} skipped")
        if not self.quoted:
            found.append(f"quote marks in {name} are part of the values")
        return tuple(found)

    def frames(self, ids: list[int], others: list[int], *, chunk: int) -> Iterator[pd.DataFrame]:
        """The rows, `chunk` at a time, with positions for names; an id is what stands there, unless nothing does.

        Args:
            ids, others: positions of columns: those that stay words, and those that may be numbers.
        """
        # All columns are parsed, not just those asked for: with `usecols` pandas lets lines of too many fields pass.
        places = range(len(self.names or self.rows[0]))
        wide = "" if self.separator == SPACES else self.separator
        with (
            self.text.open(wide) as file,
            pd.read_csv(
                file,
                sep=NARROW if len(wide) > 1 else self.separator,
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
                yield frame


def _preamble(lines: list[str]) -> tuple[int, str | None]:
    """How many lines come before the table, and the separator that Excel's `sep=` names."""
    named = re.fullmatch(r'"?sep=(.)"?', lines[0], flags=re.IGNORECASE)
    before = 1 if named else 0
    above = re.compile(rf"\s*([#%]|$)|{RULE.pattern}$").match
    count = before + sum(1 for _ in itertools.takewhile(above, lines[before:]))
    if count == len(lines):  # hashtags
        count = before
    return count + lines[0].startswith("%%MatrixMarket"), named[1] if named else None  # its first row is the shape


def _names_of_comment(line: str, separator: str, count: int) -> list[str] | None:
    """The names that a comment above the rows gives its columns, as SNAP does: `# userID itemID`."""
    (names,) = _cells([re.sub(r"^[#%\s]+", "", line)], separator)
    return names if len(names) == count and any(map(is_usual, names)) else None


def find_separator(lines: list[str]) -> str:
    """The separator under which most lines have as many fields as the first one."""
    shares = _shares(lines, SEPARATORS)
    if "||" in shares and shares["||"][2] * 2 - 1 == shares["|"][2]:
        del shares["|"]  # every one of them is doubled
    if all(separator == SPACES and share[0] < 1 for separator, share in shares.items()):
        signs = _shares(lines, list(dict.fromkeys(SIGN.findall(lines[0]))))
        shares |= {separator: share for separator, share in signs.items() if share[0] == 1}
    best = max(shares, key=shares.__getitem__, default=",")
    # Tabs and spaces in turn, as KONECT writes them: nothing but spaces takes the numbers apart.
    numbers = all(NUMBER.fullmatch(word) for line in lines[1:] for word in line.split())
    spaced = shares.get(SPACES)
    if spaced and spaced[0] == 1 and spaced[2] > shares[best][2] and numbers:
        return SPACES
    return best


def _shares(lines: list[str], separators: Sequence[str]) -> dict[str, tuple[float, bool, int, int]]:
    """Separators of the first line → the share of lines of as many fields, and what else makes one likely."""
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
    """Refuses a table of one column, and lines above one that look like a title."""
    counts = list(map(len, _cells(lines, separator)))
    if max(counts) == 1 or counts.count(counts[0]) < len(counts) / 2:
        _check_title(path, lines)
    if max(counts) == 1:
        raise AutopruneError(
            f"{path}: there is one column only, as no separator was found: commas, semicolons, tabs, bars, spaces, or "
            f"another sign that stands equally often in all lines. The first line is: {shown([lines[0]])}."
        )


def _check_title(path: Path, lines: list[str]) -> None:
    """Refuses lines above a table that hold no separator of it."""
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


def _is_rule(row: list[str]) -> bool:
    return any(row) and all(is_rule(word) or not word for word in row)


def _all_whole(rows: list[list[str]]) -> bool:
    return all(word.isdecimal() for row in rows for word in row if word)


def _cells(lines: list[str], separator: str) -> list[list[str]]:
    """The fields of each line that is not blank."""
    if separator == SPACES:
        lines, separator = [" ".join(line.split()) for line in lines], " "
    if len(separator) > 1:
        lines, separator = [line.replace(separator, NARROW) for line in lines], NARROW
    rows = csv.reader((line + "\n" for line in lines), delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row] or [[]]


def _encloses(text: Text, separator: str) -> bool:
    """Whether quote marks enclose values.

    Where the separator hardly occurs in values they need not, and a value may begin with one ("Weird Al" Yankovic):
    taken for an opening one it would swallow lines. So there all lines must be well-formed.
    """
    if separator in (",", ";", "|"):
        return True
    wide = "" if separator == SPACES else separator
    quoted, between = r'"(?:[^"]|"")*+"', re.escape(NARROW if len(wide) > 1 else separator)
    if separator == SPACES:
        line_of = re.compile(rf'\s*+(?:(?:{quoted}|[^"\s]\S*+)(?:\s++|$))*+')
    else:  # possessive throughout, as some lines are long
        field = rf'(?> *+(?:{quoted} *+(?={between}|$)|(?!")[^{between}]*+))'
        line_of = re.compile(rf"{field}(?:{between}{field})*+")
    with text.open(wide) as file:
        blocks = iter(lambda: file.read(1 << 20) + file.readline(), "")
        quoting = (line for block in blocks if '"' in block for line in block.split("\n") if '"' in line)
        return all(map(line_of.fullmatch, quoting))
