"""Judgements of which document is relevant to which query: reads, checks and splits them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autoprune.encoder.benchmarks.tables import is_number, json_lines, read_rows, read_text
from autoprune.errors import AutopruneError

WHERE = "task.data.path"

SPLITS = {
    **dict.fromkeys(("dev", "development", "validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train", "training"), "train"),
}
"""Word in the name of a file of judgements → its split; those of train are not read."""

JUDGED = ("validation", "test")

Grades = dict[str, dict[int, float]]
"""Query → position of a document → its gain."""

ALIKE = 20_000
"""How many ids are compared with a misspelt one; with millions it would take minutes."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Documents, queries and judgements, on which retrieval is judged.

    Attributes:
        documents: texts; empty where a document has none.
        queries: by split, `validation` and `test`; each has a relevant document.
        grades: by split, for each query: position of a document → its gain, above 0; a position after the last one is
            that of a judged document that is absent.
        notes: what was changed or is missing, for people.
        own: by split, for each query: position of the document that is the query itself and not an answer; -1: there is
            none. Empty: no query is a document.
        ids: ids of the documents.
        query_ids: ids of the queries by split.
    """

    documents: list[str]
    queries: dict[str, list[str]]
    grades: dict[str, list[dict[int, float]]]
    notes: tuple[str, ...] = ()
    own: dict[str, list[int]] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    query_ids: dict[str, list[str]] = field(default_factory=dict)

    def itself(self, split: str) -> list[int]:
        """For each query, the position of the document that is the query itself; -1: there is none."""
        return self.own.get(split) or [-1] * len(self.queries[split])

    def asking(self, split: str, chosen: Sequence[int]) -> Collection:
        """The same with only some queries of a split, by position."""

        def part(splits: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
            return {**splits, split: [splits[split][at] for at in chosen]} if splits else {}

        parts: dict[str, Any] = {name: part(getattr(self, name)) for name in ("queries", "grades", "own", "query_ids")}
        return replace(self, **parts)


class Judgement(NamedTuple):
    """A line of a file of judgements; a larger `grade` means more relevant."""

    query: str
    document: str
    grade: float


@dataclass
class Found:
    """The content of the files: id → text, and judgements by split, or under `` if the files have no split."""

    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, list[Judgement]]
    notes: list[str] = field(default_factory=list)


def collected(found: Found, seed: int, folder: Path, where: str, *, own: bool = False) -> Collection:
    """Joins judgements with documents and queries, and splits the queries.

    Like other evaluators of retrieval, it accepts judgements of absent ids (BEIR's ArguAna has some): an absent query
    is left out; an absent relevant document cannot be found, but counts in the ideal list.

    Args:
        found: the content of the files.
        seed: splits the queries in halves if the files have no split.
        folder: the folder of the files.
        where: the config entry that names the folder.
        own: whether a document with the id of a query is that query, and not an answer to it unless judged relevant.

    Raises:
        AutopruneError: no judged query or document exists, or a split has no query.
    """
    _check_ids(found, folder)
    if not any(found.documents.values()):
        raise AutopruneError(f"{folder}: there are {len(found.documents):,} documents, but none of them has a text.")
    lines = [line for judgements in found.judgements.values() for line in judgements]
    filled = [name for name, text in found.queries.items() if text]
    place = {name: at for at, name in enumerate(found.documents)}
    for line in lines:
        place.setdefault(line.document, len(place))  # after those that exist
    grades = {split: _graded(lines, found.queries, place) for split, lines in found.judgements.items()}
    judged = {split: [name for name in filled if by_query.get(name)] for split, by_query in grades.items()}
    notes = [*found.notes, *_notes(found, grades, judged)]
    if "" in judged:
        judged, both = _halved(judged[""], seed), grades[""]
        grades = dict.fromkeys(judged, both)
        notes.insert(0, "queries in halves")
    if not all(judged.values()):
        counts = " and ".join(f"{len(names)} for {split}" for split, names in judged.items())
        raise AutopruneError(
            f"{where}: validation and test each need a query with a relevant document, "
            f"but {str(folder)!r} has {counts}; a grade above 0 says relevant."
        )
    selves = _selves(judged, grades, {name: place[name] for name in found.documents}) if own else {}
    count = sum(at >= 0 for positions in selves.values() for at in positions)
    if count:
        notes.append(f"queries that are documents, no answers to themselves: {count:,}")
    return Collection(
        documents=list(found.documents.values()),
        queries={split: [found.queries[name] for name in judged[split]] for split in JUDGED},
        grades={split: [grades[split][name] for name in judged[split]] for split in JUDGED},
        notes=tuple(notes),
        own=selves if count else {},
        ids=list(found.documents),
        query_ids={split: list(judged[split]) for split in JUDGED},
    )


def _check_ids(found: Found, folder: Path) -> None:
    """Refuses judgements that name no existing id: they belong to other files, or write ids differently."""
    lines = [line for judgements in found.judgements.values() for line in judgements]
    for what, named, there in (
        ("query", [line.query for line in lines], found.queries),
        ("document", [line.document for line in lines], found.documents),
    ):
        if not any(name in there for name in named):
            raise AutopruneError(
                f"{folder}: no {what} that is judged is there: {named[0]!r}, for one, is absent. "
                f"{_nearest(named[0], there)}"
            )


def _notes(found: Found, grades: Mapping[str, Grades], judged: Mapping[str, Sequence[str]]) -> list[str]:
    """Counts of what is missing in the files, for people."""
    lines = [line for judgements in found.judgements.values() for line in judgements]
    asked, used = {line.query for line in lines}, {name for names in judged.values() for name in names}
    absent = {name for name in asked if name not in found.queries}
    missing = {line.document for line in lines if line.document not in found.documents}
    lost = [
        name
        for split, names in judged.items()
        for name in names
        if min(grades[split][name]) >= len(found.documents)  # positions after all that exist
    ]
    empty = {name for name in asked - absent if not found.queries[name]}
    counts = {
        "queries that are judged, but absent": absent,
        "queries that are judged, but without text": empty,
        "queries left out for want of a relevant document": asked - used - absent - empty,
        "documents that are judged, but absent": missing,
        "queries whose relevant documents are all absent, which score 0": lost,
    }
    return [f"{what}: {len(names):,}" for what, names in counts.items() if names]


def _graded(lines: Iterable[Judgement], queries: Mapping[str, str], place: Mapping[str, int]) -> Grades:
    """The grades of existing queries; a pair that is judged twice has the larger grade."""
    grades: Grades = {}
    for line in lines:
        if line.query in queries and line.grade > 0:
            known = grades.setdefault(line.query, {})
            known[place[line.document]] = max(line.grade, known.get(place[line.document], 0.0))
    return grades


def _halved(names: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Queries for validation and for test, drawn by the seed, in their original order."""
    order = np.random.default_rng(seed).permutation(len(names))
    halves = {"validation": order[: len(names) // 2], "test": order[len(names) // 2 :]}
    return {split: [names[at] for at in np.sort(half)] for split, half in halves.items()}


def _selves(
    judged: Mapping[str, Sequence[str]], grades: Mapping[str, Grades], place: Mapping[str, int]
) -> dict[str, list[int]]:
    """Positions of the documents that have the id of a query and are not judged relevant to it; -1: there is none."""
    return {
        split: [at if (at := place.get(name, -1)) not in grades[split][name] else -1 for name in judged[split]]
        for split in JUDGED
    }


def by_split(files: list[Path], where: str) -> dict[str, Path]:
    """Files of judgements by split; under `` a file that is for both.

    Raises:
        AutopruneError: the names do not say which file is for which split.
    """
    named: dict[str, Path] = {}
    other = 0
    for file in files:
        words = re.split(r"[\W_]+", file.name.lower())
        split = next((SPLITS[word] for word in words if word in SPLITS), "")
        if split in named and split != "train":
            raise AutopruneError(f"{where}: {named[split].name} and {file.name} are both for {split}; take one out.")
        other += not split
        if split:
            named[split] = file
    judged = {split: file for split, file in named.items() if split in JUDGED}
    if len(judged) == 2:
        return judged
    if "test" in judged or (judged and not other):
        return {"": next(iter(judged.values()))}
    if len(files) == 1:
        return {"": files[0]}
    raise AutopruneError(
        f"{where}: which judgements are for test? There is {', '.join(file.name for file in files)}; "
        "there must be one file, or one with test in its name and perhaps one with dev."
    )


def read_judgements(file: Path) -> list[Judgement]:
    """The lines of a file of judgements, perhaps below a header.

    Args:
        file: lines of TREC's four fields (query, 0, document, grade) or of BEIR's three (query, document, grade), or
            JSON lines with `query-id`, `corpus-id` and `score`.

    Raises:
        AutopruneError: a line has other fields, or its grade is not a number.
    """
    judgements: list[Judgement] = []
    width = 0
    entries = _objects(file) if file.suffix.lower() == ".jsonl" else _lines(file)
    for number, fields in entries:
        if not judgements and not width and len(fields) in FIELDS and not is_number(fields[-1]):
            width = len(fields)
            continue
        width = width or (len(fields) if len(fields) in FIELDS else min(FIELDS))
        if len(fields) != width or not is_number(fields[-1]) or not math.isfinite(float(fields[-1])):
            raise AutopruneError(
                f"{file}, line {number:,}: {width} fields are expected ({FIELDS[width]}, a number), "
                f"but got {' '.join(fields)!r}."
            )
        judgements.append(Judgement(fields[0], fields[-2], float(fields[-1])))
    if not judgements:
        raise AutopruneError(f"{file}: there are no judgements.")
    return judgements


FIELDS = {3: "query, document, grade", 4: "query, 0, document, grade"}
"""Number of fields in a line of judgements → the fields."""


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line that is not empty."""
    if file.suffix.lower() == ".csv":
        for row in read_rows(file, WHERE):
            yield row.line, [field.strip() for field in row.fields]
        return
    for number, line in enumerate(read_text(file, WHERE).splitlines(), start=1):
        if line.strip():
            yield number, [field.strip().strip('"') for field in line.strip().split("\t" if "\t" in line else None)]


def _objects(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The same for JSON lines with BEIR's keys."""
    for number, entry in json_lines(file, WHERE):
        keys = ("query-id", "corpus-id", "score")
        if not isinstance(entry, dict) or any(key not in entry for key in keys):
            raise AutopruneError(f"{file}, line {number:,}: an object with {', '.join(keys)} is expected.")
        yield number, [str(entry[key]) for key in keys]


def _nearest(name: str, there: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, islice(there, ALIKE), n=3, cutoff=0.5)
    named = f"Nearest: {', '.join(close)}. " if close else ""
    return f"{named}There are {len(there):,}, from {next(iter(there), '-')!r} to {next(reversed(list(there)), '-')!r}."
