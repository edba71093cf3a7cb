"""Which document is relevant to which query: read, checked against what is there, and split."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autoprune.encoder.benchmarks.tables import is_number, read_text
from autoprune.errors import AutopruneError

WHERE = "task.data.path"

SPLITS = {"dev": "validation", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
"""What a file of judgements is called → its split."""

JUDGED = ("validation", "test")

Grades = dict[str, dict[int, float]]
"""Query → position of a document → its gain."""

ALIKE = 20_000
"""Ids among which a misspelt one is looked for; among millions it would take minutes."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What retrieval is judged on.

    Attributes:
        documents: texts; empty where a document has none.
        queries: by split, `validation` and `test`; each has a relevant document.
        grades: by split, for each query: position of a document → its gain, above 0.
        notes: what was done to the files, for people.
        own: by split, for each query: position of the document that is the query itself, and no answer; -1: there is
            none. Empty: no query is a document.
    """

    documents: list[str]
    queries: dict[str, list[str]]
    grades: dict[str, list[dict[int, float]]]
    notes: tuple[str, ...] = ()
    own: dict[str, list[int]] = field(default_factory=dict)


class Judgement(NamedTuple):
    """A line of a file of judgements; `grade` is larger for the more relevant."""

    where: str
    query: str
    document: str
    grade: float


@dataclass
class Found:
    """What stands in the files: id → text, and judgements by split or, where the files have no split, under ``."""

    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, list[Judgement]]
    notes: list[str] = field(default_factory=list)


def collected(found: Found, seed: int, folder: Path, where: str, *, own: bool = False) -> Collection:
    """Checks that all that is judged is there, and splits.

    Args:
        found: in the files.
        seed: splits the queries in halves where the files have no split.
        folder: of the files.
        where: the entry that names the folder.
        own: whether a document that has the id of a query is that query, and no answer to it unless judged so.

    Raises:
        AutopruneError: a judgement names what is absent, or a split has no query.
    """
    place = {name: at for at, name in enumerate(found.documents)}
    grades = {split: _graded(lines, found, place) for split, lines in found.judgements.items()}
    asked = {name for known in grades.values() for name in known}
    for name in sorted(asked):
        if not found.queries[name]:
            raise AutopruneError(f"{folder}: query {name!r} is judged, but its text is empty; a query asks something.")
    judged = {split: [name for name in found.queries if by.get(name)] for split, by in grades.items()}
    notes = [*found.notes]
    useless = len(asked) - len({name for names in judged.values() for name in names})
    if useless:
        notes.append(f"queries left out for want of a relevant document: {useless:,}")
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
    selves = _selves(judged, grades, place) if own else {}
    count = sum(at >= 0 for held in selves.values() for at in held)
    if count:
        notes.append(f"queries that are documents, no answers to themselves: {count:,}")
    return Collection(
        documents=list(found.documents.values()),
        queries={split: [found.queries[name] for name in judged[split]] for split in JUDGED},
        grades={split: [grades[split][name] for name in judged[split]] for split in JUDGED},
        notes=tuple(notes),
        own=selves if count else {},
    )


def _graded(lines: Iterable[Judgement], found: Found, place: Mapping[str, int]) -> Grades:
    """What lines of judgements say of what is there; of a pair that is judged twice the larger grade."""
    grades: Grades = {}
    for line in lines:
        for what, name, there in (
            ("query", line.query, found.queries),
            ("document", line.document, found.documents),
        ):
            if name not in there:
                raise AutopruneError(
                    f"{line.where}: {what} {name!r} is judged, but absent. {_nearest(name, there)} "
                    f"Add the {what} or take the line out."
                )
        known = grades.setdefault(line.query, {})
        if line.grade > 0:
            known[place[line.document]] = max(line.grade, known.get(place[line.document], 0.0))
    return grades


def _halved(names: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Queries for validation and for test, in the order they have; drawn by the seed."""
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
    """Files of judgements by split; under `` the one that is for both.

    Raises:
        AutopruneError: their names don't say which is for which.
    """
    named: dict[str, Path] = {}
    for file in files:
        words = set(file.name.lower().replace("-", ".").replace("_", ".").split("."))
        split = next((SPLITS[word] for word in sorted(words) if word in SPLITS), "")
        if split and split in named:
            raise AutopruneError(f"{where}: {named[split].name} and {file.name} are both for {split}; take one out.")
        if split:
            named[split] = file
    if set(named) == {"validation", "test"}:
        return named
    if set(named) == {"test"} or len(files) == 1:
        return {"": named.get("test", files[0])}
    raise AutopruneError(
        f"{where}: which judgements are for test? There is {', '.join(file.name for file in files)}; "
        "there must be one file, or one with test in its name and perhaps one with dev."
    )


def read_judgements(file: Path, columns: tuple[int, int, int], *, header: bool = False) -> list[Judgement]:
    """The lines of a file of judgements.

    Args:
        file: of TREC's four fields, or of BEIR's three below a header.
        columns: where the query, the document and the grade stand; the grade is last.
        header: whether the first line that holds something is one.

    Raises:
        AutopruneError: a line has other fields, or its grade is no number.
    """
    found = []
    lines = [(number, line) for number, line in enumerate(read_text(file, WHERE).splitlines(), start=1) if line.strip()]
    for at, (number, line) in enumerate(lines):
        fields = line.split("\t") if header and "\t" in line else line.split()
        if header and at == 0 and not is_number(fields[-1]):
            continue
        where, wanted = f"{file}, line {number:,}", max(columns) + 1
        try:
            grade = float(fields[columns[2]])
        except (IndexError, ValueError):
            grade = math.nan
        if len(fields) != wanted or not math.isfinite(grade):
            names = "query, document, grade" if header else "query, 0, document, grade"
            raise AutopruneError(
                f"{where}: {wanted} fields are expected ({names}, a number), but got {line.strip()!r}."
            )
        found.append(Judgement(where, fields[columns[0]], fields[columns[1]], grade))
    if not found:
        raise AutopruneError(f"{file}: there are no judgements.")
    return found


def _nearest(name: str, there: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, islice(there, ALIKE), n=3, cutoff=0.5)
    named = f"Nearest: {', '.join(close)}. " if close else ""
    return f"{named}There are {len(there):,}, from {next(iter(there), '-')!r} to {next(reversed(list(there)), '-')!r}."
