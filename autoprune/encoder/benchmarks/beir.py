"""Reads collections in BEIR's form: JSON lines and judgements in TSV (Thakur et al. 2021)."""

from __future__ import annotations

from pathlib import Path

from autoprune.encoder.benchmarks.judgements import WHERE, Collection, Found, by_split, collected, read_judgements
from autoprune.encoder.benchmarks.tables import json_lines
from autoprune.errors import AutopruneError

JUDGEMENTS = (".tsv", ".jsonl", ".csv", ".txt")
"""Suffixes of files of judgements."""


def read_beir(folder: Path, *, seed: int = 0, where: str = WHERE) -> Collection:
    """Reads a folder in BEIR's form.

    As in BEIR, a document with the query's own id (as in ArguAna) is not an answer to it unless it is judged relevant.

    Args:
        folder: with corpus.jsonl (`_id`, `title`, `text`; the last two may be missing), queries.jsonl (`_id`,
            `text`) and qrels/test.tsv (perhaps a header, then query, document, grade; or .jsonl, .csv, or TREC's four
            columns), perhaps qrels/dev.tsv; without it the queries of test are split in halves.
        seed: splits the queries.
        where: the config entry that names the folder.

    Raises:
        AutopruneError: a file is missing or cannot be read, or no judged query or document exists.
    """
    notes: list[str] = []
    documents = _texts(folder / "corpus.jsonl", ("title", "text"), where, notes)
    queries = _texts(folder / "queries.jsonl", ("text",), where, notes)
    candidates = [*folder.glob("qrels*.*"), *folder.glob("qrels/*.*")]
    files = sorted(file for file in candidates if file.suffix.lower() in JUDGEMENTS)
    if not files:
        raise AutopruneError(f"{where}: {str(folder)!r} has no qrels/test.tsv, which says what is relevant to what.")
    judgements = {name: read_judgements(file) for name, file in by_split(files, where).items()}
    return collected(Found(documents, queries, judgements, notes), seed, folder, where, own=True)


def _texts(file: Path, keys: tuple[str, ...], where: str, notes: list[str]) -> dict[str, str]:
    """`_id` → the text of each line: the values of the keys, joined; empty if there are none.

    Raises:
        AutopruneError: a line is not an object with an `_id` and strings, or two lines of one `_id` differ.
    """
    texts: dict[str, str] = {}
    twice = 0
    for number, entry in json_lines(file, where):
        if (
            not isinstance(entry, dict)
            or "_id" not in entry
            or not all(isinstance(entry.get(key), str | None) for key in ("title", "text"))
        ):
            raise AutopruneError(f"{file}, line {number:,}: an object with _id and a string text is expected.")
        name, text = str(entry["_id"]), " ".join(entry.get(key) or "" for key in keys).strip()
        if texts.get(name, text) != text:
            raise AutopruneError(
                f"{file}, line {number:,}: _id {name!r} was there before, with another text; an id names one."
            )
        twice += name in texts
        texts[name] = text
    if twice:
        notes.append(f"lines of {file.name} that stand there again: {twice:,}")
    return texts
