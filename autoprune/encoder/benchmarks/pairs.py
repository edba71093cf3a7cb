"""Sentence pairs that people scored: whether the cosine of two sentences ranks them as people do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Benchmark, Encode, Perturb, as_rows, embedded, sha256_of
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.benchmarks.tables import Row, read_table, split_files
from autoprune.encoder.similarity import compared
from autoprune.errors import AutopruneError
from autoprune.extras import need
from autoprune.tasks.benchmarks import Spearman

WHERE = "task.data.path"

COLUMNS = {
    "sentence1": r"(sentence|text|question|s)(1|a)",
    "sentence2": r"(sentence|text|question|s)(2|b)",
    "score": r"score|(relatedness|similarity|gold)(score)?|label",
}

SCALES = ((0.0, 1.0), (-1.0, 1.0), (1.0, 5.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))
"""Usual ranges of scores, the narrowest first."""

STRAY = 0.01
"""A range holds a file's scores if no larger share lies outside; these are then mistakes. However few scores there are,
a single one beyond the upper end is taken for one too: it alone says little for a range several times as wide."""

FEWEST = 10
"""Pairs a split must have; a rank correlation of fewer says nothing."""


@dataclass(frozen=True)
class Scored:
    """Pairs of a split.

    Attributes:
        first, second: the sentences.
        score: the scores that people gave.
    """

    first: list[str]
    second: list[str]
    score: list[float]


class Pairs(Benchmark):
    """Spearman's ρ of similarity (cosine, unless the model declares another) and human score (Cer et al. 2017).

    The bootstrap draws pairs: if few sentences occur in many pairs (`lee_pairs`), its errors are too small.

    Args:
        pairs: by split, `validation` and `test`.
        how: the range of the scores and how the splits were made, for people.
    """

    def __init__(self, pairs: Mapping[str, Scored], *, how: str = "") -> None:
        self.name = "pairs"
        self.metrics = {"spearman": Spearman(self.name)}
        self.pairs = dict(pairs)
        self._how = how

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        pairs = self.pairs[split]
        first = [perturb(text) for text in pairs.first] if perturb else pairs.first
        vectors = embedded(encode, [*first, *pairs.second])
        one, other = vectors[: len(first)], vectors[len(first) :]
        likeness = compared(one, other, self.similarity)
        texts = [f"{a}\n{b}" for a, b in zip(pairs.first, pairs.second, strict=True)]
        return as_rows(self.name, texts, likeness, np.array(pairs.score))

    def part(self, budget: Budget) -> Pairs:
        held = self.pairs["validation"]
        first, second = budget.short(held.first), budget.short(held.second)
        chosen = budget.fitting(first, second)
        columns = ([values[at] for at in chosen] for values in (first, second, held.score))
        return Pairs({"validation": Scored(*columns)}).under(self.similarity)

    def describe(self) -> str:
        counts = " and ".join(f"{len(pairs.score):,} {split}" for split, pairs in self.pairs.items())
        return f"{counts} pairs that people scored{self._how and f' ({self._how})'}"

    def fingerprint(self) -> str:
        return sha256_of(
            value
            for split, pairs in self.pairs.items()
            for value in (split, len(pairs.score), *pairs.first, *pairs.second, *pairs.score)
        )


def read_pairs(
    path: Path,
    *,
    scale: tuple[float, float] | None = None,
    seed: int = 0,
    where: str = WHERE,
    columns: Mapping[str, str] = COLUMNS,
) -> Pairs:
    """Reads a folder with a dev (or val) and a test table, or one table that is split in halves.

    A table has the columns sentence1, sentence2, score (also sentence_A, text1, relatedness_score, …), or exactly
    these three without names.

    Args:
        path: the folder or the table.
        scale: the lowest and the highest score; None: the narrowest of `SCALES` that holds the scores.
        seed: splits the one table.
        where: the config entry that names the path.
        columns: patterns of the names of the three columns, as for `read_table`.

    Raises:
        AutopruneError: the content is invalid; the error gives the file and the line.
    """
    if path.is_dir():
        files = split_files(path, ("validation", "test"), where=where, otherwise="halves")
        read = {
            split: read_table(files[split], columns, where=where, headless=True) for split in ("validation", "test")
        }
        low, high = _check([row for rows in read.values() for row in rows], scale, list(columns))
        pairs = {split: _scored(rows, str(files[split])) for split, rows in read.items()}
        return Pairs(pairs, how=f"{low:g} to {high:g}")
    rows = read_table(path, columns, where=where, headless=True)
    low, high = _check(rows, scale, list(columns))
    return Pairs(_halves(rows, seed, str(path)), how=f"{low:g} to {high:g}, {path.name} in halves")


def lee_pairs(*, seed: int = 0) -> Pairs:
    """All pairs of 50 news documents (Lee, Pincombe & Welsh 2005) from the package gensim, in halves.

    Raises:
        AutopruneError: gensim is not installed.
    """
    need("gensim", "text", "the benchmark of Lee et al.")
    from gensim.test.utils import datapath

    file = Path(datapath("similarities0-1.txt"))
    # One byte of the documents is not UTF-8: a pound sign in Latin-1.
    documents = Path(datapath("lee.cor")).read_text(encoding="latin-1").splitlines()
    likeness = np.loadtxt(file)
    upper = zip(*np.triu_indices(len(documents), k=1), strict=True)
    rows = [Row(file, int(i) + 1, [documents[i], documents[j], str(likeness[i, j])]) for i, j in upper]
    return Pairs(_halves(rows, seed, file.name), how="0 to 1, Lee's news documents in halves")


def _halves(rows: list[Row], seed: int, where: str) -> dict[str, Scored]:
    order = np.random.default_rng(seed).permutation(len(rows))
    middle = len(rows) // 2
    halves = {"validation": np.sort(order[:middle]), "test": np.sort(order[middle:])}
    return {split: _scored([rows[at] for at in half], f"{where}, half for {split}") for split, half in halves.items()}


def _scored(rows: list[Row], where: str) -> Scored:
    scores = [float(row.fields[2]) for row in rows]
    if len(rows) < FEWEST or len(set(scores)) < 2:
        raise AutopruneError(
            f"{where}: a rank correlation needs {FEWEST} pairs or more of different scores, "
            f"but there are {len(rows)} pairs with {len(set(scores))} different scores."
        )
    return Scored([row.fields[0] for row in rows], [row.fields[1] for row in rows], scores)


def _check(rows: list[Row], scale: tuple[float, float] | None, names: list[str]) -> tuple[float, float]:
    """The range of the scores; refuses empty sentences and scores that are not finite or out of range.

    Args:
        names: names of the three columns, for errors.
    """
    scores = []
    for row in rows:
        one, other, score = row.fields
        if not one or not other:
            raise AutopruneError(f"{row.where}: {names[1 if one else 0]} is empty; take the line out.")
        try:
            scores.append(float(score))
        except ValueError:
            scores.append(math.nan)
        if not math.isfinite(scores[-1]):
            raise AutopruneError(f"{row.where}: a {names[2]} must be a finite number, but got {score!r}.")
    found = np.array(scores)
    if scale is None:
        outside = [int(((found < low) | (found > high)).sum()) for low, high in SCALES]
        strays = STRAY * len(found)
        fits = [
            at
            for at, (low, high) in enumerate(SCALES)
            if (found < low).sum() <= strays and (found > high).sum() <= max(1, strays - (found < low).sum())
        ]
        # If no range fits, the error names the one that fits best.
        scale = SCALES[fits[0] if fits else outside.index(min(outside))]
    low, high = scale
    wrong = np.flatnonzero((found < low) | (found > high))
    if len(wrong):
        others = ", ".join(f"[{least:g}, {most:g}]" for least, most in SCALES)
        raise AutopruneError(
            f"{rows[wrong[0]].where}: {low:g} <= score <= {high:g} must hold, but got {found[wrong[0]]:g} "
            f"({len(wrong):,} of {len(found):,} scores lie outside). Correct it, or give the range as task.data.scale; "
            f"without one, scores may fill one of {others}."
        )
    return scale
