"""Reads collections in BEIR's form: JSON lines and judgements in TSV (Thakur et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from autoprune.encoder.benchmarks.judgements import WHERE, Collection, Found, by_split, collected, read_judgements
from autoprune.encoder.benchmarks.tables import json_lines
from autoprune.errors import AutopruneError

JUDGEMENTS = (".tsv", ".jsonl", ".csv", ".txt")
"""How files of judgements end."""


def read_beir(folder: Path, *, seed: int = 0, where: str = WHERE) -> Collection:
    """Reads a folder in BEIR's form.

    As BEIR judges, a document of the query's own id (ArguAna has such) is no answer to it unless judged relevant.

    Args:
        folder: with corpus.jsonl (`_id`, `title`, `text`; either of the last may be missing), queries.jsonl (`_id`,
            `text`) and qrels/test.tsv (perhaps a header, then query, document, grade; or .jsonl, .csv, or TREC's four
            columns), perhaps qrels/dev.tsv; without it the queries of test are split in halves.
        seed: splits them.
        where: the entry that names the folder.

    Raises:
        AutopruneError: a file is missing or cannot be read, or nothing that is judged is there.
    """
    documents = {name: _joined(entry) for name, entry in _objects(folder / "corpus.jsonl", where)}
    queries = {name: str(entry.get("text") or "").strip() for name, entry in _objects(folder / "queries.jsonl", where)}
    there = [*folder.glob("qrels*.*"), *folder.glob("qrels/*.*")]
    files = sorted(file for file in there if file.suffix.lower() in JUDGEMENTS)
    if not files:
        raise AutopruneError(f"{where}: {str(folder)!r} has no qrels/test.tsv, which says what is relevant to what.")
    judgements = {name: read_judgements(file) for name, file in by_split(files, where).items()}
    return collected(Found(documents, queries, judgements), seed, folder, where, own=True)


def _objects(file: Path, where: str) -> Iterable[tuple[str, dict[str, object]]]:
    """`_id` → the object of each line."""
    seen = set()
    for number, entry in json_lines(file, where):
        if (
            not isinstance(entry, dict)
            or "_id" not in entry
            or not ("text" in entry or "title" in entry)
            or not all(isinstance(entry.get(key), str | None) for key in ("title", "text"))
        ):
            raise AutopruneError(f"{file}, line {number:,}: an object with _id and a string text is expected.")
        name = str(entry["_id"])
        if name in seen:
            raise AutopruneError(f"{file}, line {number:,}: _id {name!r} was there before; an id names one.")
        seen.add(name)
        yield name, entry


def _joined(entry: Mapping[str, object]) -> str:
    return f"{entry.get('title') or ''} {entry.get('text') or ''}".strip()
