"""A corpus of unlabelled texts: drops duplicates, splits the texts, and splits a text into sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autoprune.encoder.benchmarks.benchmark import sha256_of
from autoprune.errors import AutopruneError

WHERE = "task.texts"

FEWEST = 50
"""The fewest texts of a corpus: neighbours are judged on a fifth of it, that is ten."""

JUDGED = 1000
"""The most texts of validation, and of test: all pairs of them are compared."""

SENTENCE_ENDS = re.compile(
    r"""(?:(?<=[.!?])|(?<=[.!?]["'”]))(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St)\.)(?<!\bMrs\.)\s+(?=["'“(]?[A-Z])"""
    r"""|(?:(?<=[。！？])|(?<=[。！？]["'”’」』）]))(?!["'”’」』）。！？])"""  # no space follows, nor a capital
)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Distinct texts, none empty, in the order of the files.

    Attributes:
        texts: the texts, without surrounding spaces.
        where: where they come from, for people.
        duplicates, empty: how many of these were dropped.
        general: English texts whose words count as well, and on which importance is measured; distillation never reads
            them.
    """

    texts: list[str]
    where: str
    duplicates: int = 0
    empty: int = 0
    general: Sequence[str] = ()

    @staticmethod
    def of(texts: Iterable[str], where: str, *, entry: str = WHERE) -> Corpus:
        """A corpus without empty and repeated texts.

        Args:
            where: where the texts come from, for people.
            entry: the config entry that names them, for errors.

        Raises:
            AutopruneError: fewer than `FEWEST` are left.
        """
        stripped = [text.strip() for text in texts]
        filled = [text for text in stripped if text]
        distinct = list(dict.fromkeys(filled))
        if len(distinct) < FEWEST:
            found = {0: "is empty", 1: "holds one text"}.get(len(distinct), f"holds {len(distinct)} different texts")
            use = "to distil on and to judge by" if entry == WHERE else "to judge by"
            raise AutopruneError(f"{entry}: at least {FEWEST} different texts are needed {use}, but {where} {found}.")
        return Corpus(
            texts=distinct,
            where=where,
            duplicates=len(filled) - len(distinct),
            empty=len(stripped) - len(filled),
        )

    def describe(self) -> str:
        """`1,234 texts (texts.txt; 5 duplicates and 2 empty dropped), and 426,951 of general English are counted`."""
        counts = {"duplicates": self.duplicates, "empty": self.empty}
        dropped = " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        general = f", and {len(self.general):,} of general English are counted" if self.general else ""
        return f"{len(self.texts):,} texts ({self.where}{dropped and f'; {dropped} dropped'}){general}"

    def fingerprint(self) -> str:
        """SHA-256 of the texts."""
        general = [str(len(self.general)), *self.general] if self.general else []
        return sha256_of([*general, *self.texts])


def unseen(corpus: Corpus, *, seen: Iterable[str]) -> dict[str, list[str]]:
    """Texts of a corpus that are not in `seen`, for validation and test: at most `JUDGED` each, drawn at random.

    Raises:
        AutopruneError: fewer than `FEWEST` are left.
    """
    known = set(seen)
    left = [text for text in corpus.texts if text not in known]
    if len(left) < FEWEST:
        raise AutopruneError(
            f"task.data.elsewhere: at least {FEWEST} different texts are needed that are not among task.texts, "
            f"but {corpus.where} holds {len(left)}."
        )
    order = np.random.default_rng(0).permutation(len(left))
    judged = min(JUDGED, len(left) // 2)
    splits = {"validation": order[:judged], "test": order[judged : 2 * judged]}
    return {name: [left[at] for at in np.sort(chosen)] for name, chosen in splits.items()}


def sentences(text: str) -> list[str]:
    """Splits after `.`, `!`, `?` and a quote after these, before a capital; not after initials and short titles.

    After `。`, `！`, `？` and a quote after these, it splits before anything.
    """
    return [part.strip() for part in SENTENCE_ENDS.split(text) if part.strip()]


def split_texts(texts: Sequence[str], *, seed: int = 0) -> dict[str, list[str]]:
    """Texts for train (distillation), validation and test (a fifth each, at most `JUDGED`), drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(texts))
    judged = min(JUDGED, len(texts) // 5)
    splits = {"train": order[2 * judged :], "validation": order[:judged], "test": order[judged : 2 * judged]}
    return {name: [texts[at] for at in np.sort(chosen)] for name, chosen in splits.items()}
