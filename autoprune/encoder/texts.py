"""A user's own texts: read from files, or as they come inside a package, and split."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoprune.encoder.benchmarks.benchmark import sha256_of
from autoprune.encoder.benchmarks.tables import json_lines, read_table, read_text
from autoprune.encoder.benchmarks.trec import read_documents
from autoprune.errors import AutopruneError, nearest

WHERE = "task.texts"

FEWEST = 50
"""Texts a corpus must have: a fifth of it, ten, is what neighbours are judged on."""

SHORTEST_SENTENCE = 4
"""Words; what is shorter in the packaged news is a remnant, such as "he said."."""

JUDGED = 1000
"""Texts of validation, and of test, at most: all pairs of them are compared."""

COLUMN = r"text|sentence"

SENTENCE_ENDS = re.compile(
    r"""(?:(?<=[.!?])|(?<=[.!?]["'”]))(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St)\.)(?<!\bMrs\.)\s+(?=["'“(]?[A-Z])"""
)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Different texts, none empty, in the order of the files.

    Attributes:
        texts: stripped of space around them.
        where: they come from, for people.
        duplicates, empty: how many were dropped.
    """

    texts: list[str]
    where: str
    duplicates: int = 0
    empty: int = 0

    @staticmethod
    def of(texts: Iterable[str], where: str) -> Corpus:
        """Drops what is empty or was there before.

        Raises:
            AutopruneError: fewer than `FEWEST` are left.
        """
        stripped = [text.strip() for text in texts]
        filled = [text for text in stripped if text]
        different = list(dict.fromkeys(filled))
        if len(different) < FEWEST:
            found = {0: "is empty", 1: "holds one text"}.get(len(different), f"holds {len(different)} different texts")
            raise AutopruneError(
                f"{WHERE}: at least {FEWEST} different texts are needed to distil on and to judge by, "
                f"but {where} {found}."
            )
        return Corpus(
            texts=different,
            where=where,
            duplicates=len(filled) - len(different),
            empty=len(stripped) - len(filled),
        )

    def describe(self) -> str:
        """`1,234 texts (texts.txt; 5 duplicates and 2 empty dropped)`."""
        counts = {"duplicates": self.duplicates, "empty": self.empty}
        dropped = " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return f"{len(self.texts):,} texts ({self.where}{dropped and f'; {dropped} dropped'})"

    def fingerprint(self) -> str:
        """SHA-256 of the texts."""
        return sha256_of(self.texts)


def read_texts(paths: Sequence[str]) -> Corpus:
    """Reads files and folders of files.

    Args:
        paths: of `.txt` (a text a line), `.csv` and `.tsv` (column text or sentence), `.jsonl` (key text), `.xml` and
            `.trec` (documents in TREC's form; named themselves, since a folder of these holds queries as well).

    Raises:
        AutopruneError: what is read cannot be: with the file and perhaps the line; too few texts are left.
    """
    texts: list[str] = []
    if not paths:
        raise AutopruneError(f"{WHERE}: a file or folder of texts must be named, or null for the packaged news.")
    for path in map(Path, paths):
        for file in _files(path) if path.is_dir() else [path]:
            texts += _reader(file)(file)
    return Corpus.of(texts, ", ".join(Path(path).name for path in paths))


def packaged_texts() -> Corpus:
    """The sentences of 300 news documents (Lee, Pincombe & Welsh 2005, background) inside the package gensim.

    None of the 50 documents that `lee_pairs` judges by is among them.

    Raises:
        AutopruneError: gensim is not installed.
    """
    if importlib.util.find_spec("gensim") is None:
        raise AutopruneError(
            f"{WHERE}: the packaged texts need the package gensim, which is not installed: "
            "pip install 'autoprune[text]'; or name your own texts."
        )
    from gensim.test.utils import datapath

    documents = Path(datapath("lee_background.cor")).read_text(encoding="utf-8").splitlines()
    found = [sentence for document in documents for sentence in sentences(document)]
    return Corpus.of(
        [sentence for sentence in found if len(sentence.split()) >= SHORTEST_SENTENCE], "Lee's background news"
    )


def sentences(text: str) -> list[str]:
    """Splits after `.`, `!`, `?` and a quote after these, before a capital; not after initials and short titles."""
    return [found.strip() for found in SENTENCE_ENDS.split(text) if found.strip()]


def split_texts(texts: Sequence[str], *, seed: int = 0) -> dict[str, list[str]]:
    """Train, to distil on; validation and test, a fifth of the texts each and at most `JUDGED`; drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(texts))
    judged = min(JUDGED, len(texts) // 5)
    splits = {"train": order[2 * judged :], "validation": order[:judged], "test": order[judged : 2 * judged]}
    return {name: [texts[at] for at in np.sort(chosen)] for name, chosen in splits.items()}


def _files(folder: Path) -> list[Path]:
    found = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in IN_FOLDERS]
    if not found:
        raise AutopruneError(f"{WHERE}: a folder must hold {', '.join(IN_FOLDERS)}, but {str(folder)!r} holds none.")
    return found


def _reader(file: Path) -> Callable[[Path], list[str]]:
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise AutopruneError(
            f"{WHERE}: the name of a file of texts ends in {', '.join(READERS)}, but got {str(file)!r}. "
            f"{nearest(file.suffix, READERS)}"
        )
    return reader


def _lines(file: Path) -> list[str]:
    return re.split(r"\r?\n", read_text(file, WHERE).removesuffix("\n"))


def _table(file: Path) -> list[str]:
    return [row.fields[0] for row in read_table(file, {"text": COLUMN}, where=WHERE)]


def _objects(file: Path) -> list[str]:
    found = []
    for number, entry in json_lines(file, WHERE):
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str):
            keys = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
            raise AutopruneError(f"{file}, line {number:,}: an object with a string text is expected, but got: {keys}.")
        found.append(text)
    return found


def _documents(file: Path) -> list[str]:
    return list(read_documents(file, WHERE).values())


READERS: dict[str, Callable[[Path], list[str]]] = {
    ".txt": _lines,
    ".csv": _table,
    ".tsv": _table,
    ".jsonl": _objects,
    ".xml": _documents,
    ".trec": _documents,
}
"""suffix → file → texts."""

IN_FOLDERS = (".txt", ".csv", ".tsv", ".jsonl")
