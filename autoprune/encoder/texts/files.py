"""Reads texts: a user's own files, the packaged news, and general English."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autoprune.encoder.benchmarks.tables import json_lines, read_table, read_text
from autoprune.encoder.benchmarks.trec import read_documents
from autoprune.encoder.texts.corpus import WHERE, Corpus, sentences
from autoprune.encoder.texts.general import general_english
from autoprune.errors import AutopruneError, nearest
from autoprune.extras import need

GENERAL = "general"
"""Given in place of a path, it has general English counted as well."""

SHORTEST_SENTENCE = 4
"""Words of a sentence; shorter ones in the packaged news are remnants, such as "he said."."""

COLUMN = r"text|sentence"

Reader = Callable[[Path, str], list[str]]
"""Reads the texts of a file that an entry of the config names."""


def packaged_texts() -> Corpus:
    """The sentences of 300 news documents (Lee, Pincombe & Welsh 2005, background) from the package gensim.

    The 50 documents of `lee_pairs` are not among them.

    Raises:
        AutopruneError: gensim is not installed.
    """
    need("gensim", "text", f"{WHERE}: the packaged corpus", instead="name your own texts")
    from gensim.test.utils import datapath

    documents = Path(datapath("lee_background.cor")).read_text(encoding="utf-8").splitlines()
    found = [sentence for document in documents for sentence in sentences(document)]
    return Corpus.of(
        [sentence for sentence in found if len(sentence.split()) >= SHORTEST_SENTENCE], "Lee's background news"
    )


def read_texts(
    paths: Sequence[str] | None, *, instead: Callable[[], Corpus] = packaged_texts, where: str = WHERE
) -> Corpus:
    """Reads files and folders of files.

    Args:
        paths: of `.txt` (a text a line), `.csv` and `.tsv` (column text or sentence), `.jsonl` (key text), `.xml` and
            `.trec` (documents in TREC's form; give the files, since a folder of them holds queries as well);
            `general` among them has general English counted as well.
        instead: gives the corpus if no file is named.
        where: the config entry that names them, for errors.

    Raises:
        AutopruneError: the content is invalid (the error gives file and line), or too few texts are left.
    """
    if paths is not None and not paths:
        raise AutopruneError(f"{where}: a file or folder of texts must be named, or null for the packaged news.")
    own = [Path(path) for path in paths or () if path != GENERAL]
    general = len(own) < len(paths or ())
    if general and Path(GENERAL).exists():
        raise AutopruneError(
            f"{where}: {GENERAL!r} names general English, and something of that name lies here, too; for that write "
            f"./{GENERAL}, or give it another name."
        )
    texts: list[str] = []
    for path in own:
        for file in _files(path, where) if path.is_dir() else [path]:
            texts += _reader(file, where)(file, where)
    corpus = Corpus.of(texts, ", ".join(path.name for path in own), entry=where) if own else instead()
    return replace(corpus, general=general_english(where=where)) if general else corpus


def read_elsewhere(path: str, *, where: str) -> Corpus:
    """Reads a file or a folder, or general English by its name, as a corpus of its own.

    Raises:
        AutopruneError: as for `read_texts`.
    """
    if path != GENERAL:
        return read_texts([path], where=where)
    nothing = Corpus(texts=[], where="")
    return Corpus.of(read_texts([path], instead=lambda: nothing, where=where).general, "general English", entry=where)


def _files(folder: Path, where: str) -> list[Path]:
    found = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in IN_FOLDERS]
    if not found:
        raise AutopruneError(f"{where}: a folder must hold {', '.join(IN_FOLDERS)}, but {str(folder)!r} holds none.")
    return found


def _reader(file: Path, where: str) -> Reader:
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise AutopruneError(
            f"{where}: the name of a file of texts ends in {', '.join(READERS)}, but got {str(file)!r}. "
            f"{nearest(file.suffix or file, (*READERS, GENERAL))}"
        )
    return reader


def _lines(file: Path, where: str) -> list[str]:
    return re.split(r"\r?\n", read_text(file, where).removesuffix("\n"))


def _table(file: Path, where: str) -> list[str]:
    return [row.fields[0] for row in read_table(file, {"text": COLUMN}, where=where)]


def _objects(file: Path, where: str) -> list[str]:
    found = []
    for number, entry in json_lines(file, where):
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str):
            keys = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
            raise AutopruneError(f"{file}, line {number:,}: an object with a string text is expected, but got: {keys}.")
        found.append(text)
    return found


def _documents(file: Path, where: str) -> list[str]:
    return list(read_documents(file, where).values())


READERS: dict[str, Reader] = {
    ".txt": _lines,
    ".csv": _table,
    ".tsv": _table,
    ".jsonl": _objects,
    ".xml": _documents,
    ".trec": _documents,
}
"""Readers by suffix."""

IN_FOLDERS = (".txt", ".csv", ".tsv", ".jsonl")
