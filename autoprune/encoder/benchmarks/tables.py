"""Reads tables of texts: CSV and TSV with the usual columns, and folders with a file for each split."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autoprune.errors import AutopruneError

SUFFIXES = (".csv", ".tsv")

SPLITS = {"train": "train", "dev": "validation", "val": "validation", "test": "test"}
"""Word in a file's name → the split."""

LONGEST_FIELD = 2**30
"""The most characters of a field; some documents exceed the default of `csv`, which is 131,072."""

LOOKED_AT = 100_000
"""Characters of the first line from which the separator is guessed."""


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        file: the file of the table.
        line: the number of the row's first line, from 1.
        fields: in the order of the requested roles.
    """

    file: Path
    line: int
    fields: list[str]

    @property
    def where(self) -> str:
        """`file, line 12`."""
        return f"{self.file}, line {self.line:,}"


def read_table(file: Path, roles: Mapping[str, str], *, where: str, headless: bool = False) -> list[Row]:
    """The rows of a CSV (`,`, else `;`, tab or `|`) or TSV.

    Args:
        file: in UTF-8.
        roles: role → a pattern for the name of its column, in lower case and without `_` and spaces.
        where: the config entry that names the file.
        headless: whether the first line may be data: fields in the order of the roles, the last one a number.

    Raises:
        AutopruneError: there is no such file, it is not a table, columns are missing, or rows differ in length.
    """
    rows = read_rows(file, where)
    if not rows:
        raise AutopruneError(f"{file}: the file is empty; it must have {_wanted(roles, headless)}.")
    names = rows[0].fields
    plain = [re.sub(r"[\W_]", "", name).lower() for name in names]
    places = []
    for pattern in roles.values():
        matches = [at for at, name in enumerate(plain) if re.fullmatch(pattern, name) and at not in places]
        places.append(matches[0] if matches else -1)
    if -1 not in places:
        rows = rows[1:]
    elif headless and len(names) == len(roles) and is_number(names[-1]):
        places = list(range(len(roles)))
    else:
        missing = " and ".join(role for role, at in zip(roles, places, strict=True) if at < 0)
        raise AutopruneError(
            f"{file}: which column is {missing}? It must have {_wanted(roles, headless)}, "
            f"but its first line is: {', '.join(names)[:200]}."
        )
    found = []
    for row in rows:
        if len(row.fields) != len(names):
            raise AutopruneError(
                f"{row.where}: {len(row.fields)} fields, but the first line has {len(names)}; "
                "a text with the separator or a line break in it must be in double quotes."
            )
        found.append(Row(file, row.line, [row.fields[at].strip() for at in places]))
    if not found:
        raise AutopruneError(f"{file}: there are no rows below the names of the columns.")
    return found


def is_number(text: str) -> bool:
    """Whether Python can read a text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_text(file: Path, where: str) -> str:
    """A file in UTF-8, perhaps with a byte order mark.

    Raises:
        AutopruneError: there is no such file, or it is not UTF-8.
    """
    if not file.is_file():
        raise AutopruneError(f"{where}: there is no file {str(file)!r}.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AutopruneError(
            f"{file}: the text is not UTF-8: {error.reason} at byte {error.start:,}; convert it, for example from "
            f"Latin-1 by iconv -f latin1 -t utf-8."
        ) from error
    except OSError as error:
        raise AutopruneError(f"{file} cannot be read: {error.strerror}.") from error
    return text if "\n" in text else text.replace("\r", "\n")  # line ends of old Macs and of some spreadsheets


def split_files(folder: Path, needed: Sequence[str], *, where: str, otherwise: str) -> dict[str, Path]:
    """The tables of a folder by split; their names contain `train`, `dev` or `val…`, or `test`.

    Args:
        needed: splits that must exist.
        where: the config entry that names the folder.
        otherwise: the parts that a single table would be split in, for the error.

    Raises:
        AutopruneError: a split has several files, a needed one has none, or no name contains a split.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        match = re.search(rf"(?<![a-z])({'|'.join(SPLITS)})", file.name.lower())
        if match is None or file.suffix.lower() not in SUFFIXES:
            continue
        split = SPLITS[match[1]]
        if split in found:
            raise AutopruneError(
                f"{where}: {str(folder)!r} has two files for {split}: {found[split].name}, {file.name}."
            )
        found[split] = file
    if not found:
        names = ", ".join(sorted(file.name for file in folder.iterdir())[:10]) or "nothing"
        raise AutopruneError(
            f"{where}: a folder must hold tables ({', '.join(SUFFIXES)}) whose names say train, dev or test, "
            f"but {str(folder)!r} holds: {names}."
        )
    for split in needed:
        if split not in found:
            names = ", ".join(file.name for file in found.values())
            raise AutopruneError(
                f"{where}: {str(folder)!r} has no table for {split}, only {names}; "
                f"name a table instead of the folder to have it split in {otherwise}."
            )
    return found


def json_lines(file: Path, where: str) -> Iterator[tuple[int, Any]]:
    """The number, from 1, and the JSON value of each line that is not empty.

    Raises:
        AutopruneError: there is no such file, or a line is not JSON.
    """
    for number, line in enumerate(read_text(file, where).split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise AutopruneError(f"{file}, line {number:,}: this is no JSON: {error}.") from error


def _wanted(roles: Mapping[str, str], headless: bool) -> str:
    names = ", ".join(roles)
    return f"the columns {names}, named in the first line" + (
        ", or exactly these without names, the last a number" if headless else ""
    )


def read_rows(file: Path, where: str) -> list[Row]:
    """All lines of a CSV or TSV that are not empty, including the first, with all their fields.

    Raises:
        AutopruneError: there is no such file, or it is not a table.
    """
    text = read_text(file, where)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise AutopruneError(f"{where}: the name of a table ends in {' or '.join(SUFFIXES)}, but got {str(file)!r}.")
    if suffix == ".tsv":
        rows = _rows(file, text, "\t", csv.QUOTE_MINIMAL)
        # In many TSV files, such as GLUE's, a quotation mark is a plain character; as a quote it would swallow tabs.
        if len({len(row.fields) for row in rows}) > 1 or any("\n" in field for row in rows for field in row.fields):
            return _rows(file, text, "\t", csv.QUOTE_NONE)
        return rows
    first = re.split(r"[\r\n]", text.lstrip()[:LOOKED_AT], maxsplit=1)[0]
    by_comma = _rows(file, first, ",", csv.QUOTE_MINIMAL)
    separator = "," if by_comma and len(by_comma[0].fields) > 1 else max(",;\t|", key=first.count)
    return _rows(file, text, separator, csv.QUOTE_MINIMAL)


def _rows(file: Path, text: str, separator: str, quoting: int) -> list[Row]:
    found, start = [], 1
    old_limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        # Lines end where `csv` ends them, not at every character that `str.splitlines` splits at.
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=separator, quoting=quoting)  # type: ignore[arg-type]
        for fields in reader:
            if any(field.strip() for field in fields):
                found.append(Row(file, start, fields))
            start = reader.line_num + 1
    except csv.Error as error:
        raise AutopruneError(f"{file}, line {start:,}: {error}.") from error
    finally:
        csv.field_size_limit(old_limit)
    return found
