"""Benchmarks of word vectors: similarity sets, analogies, and the coverage of a running text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autoprune.tasks.benchmarks import MeanValue, Spearman
from autoprune.vectors.benchmarks import Benchmark, as_rows, vectors_of
from autoprune.vectors.catalogue import Catalogue
from autoprune.vectors.queries import SPLITS
from autoprune.vectors.served import VectorIndex
from autoprune.vectors.similarity import compared

RESTRICTED = 30_000
"""An analogy's answer is searched among this many most frequent words (as in Mikolov et al. 2013), and the words of the
questions."""

QUESTIONS = 5000
"""Most analogies of a split."""

LOOK_QUESTIONS = 1000

QUESTIONS_AT_ONCE = 256

BEGINS = ("\u2581", "\u0120")
"""How SentencePiece and byte-level BPE mark tokens that begin a word: `▁king`, `Ġking`."""

BLOCK_TOKENS = 100
"""Tokens of running text in a unit of coverage; all units have as many, so their mean is the share of all tokens."""


@dataclass(frozen=True)
class Scored:
    """Pairs of words that people scored.

    Attributes:
        first, second: the words, as written in the set.
        score: the score of each pair.
    """

    first: list[str]
    second: list[str]
    score: list[float]


class Lexicon:
    """The rows of words in a catalogue: as written, or else in lower case.

    In a catalogue of word pieces, a word is the piece that is the whole word: `king`, or as its tokenizer marks it.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        names = catalogue.ids.values.tolist()
        self._row = {name[1:]: row for row, name in enumerate(names) if name[:1] in BEGINS and name[1:]}
        self._row |= {name: row for row, name in enumerate(names)}
        counts = torch.zeros(len(catalogue), dtype=torch.long) if catalogue.counts is None else catalogue.counts
        self.counts = torch.cat([counts, torch.zeros(1, dtype=torch.long)])  # a count of 0 for row -1

    def rows(self, words: Iterable[str]) -> Tensor:
        """The row of each word, int64 [n]; -1 if there is none."""
        return torch.tensor([self._row.get(word, self._row.get(word.lower(), -1)) for word in words], dtype=torch.long)

    def knows(self, words: Iterable[str]) -> float:
        """The share of some words that have a row."""
        return float((self.rows(words) >= 0).double().mean())

    def rarest(self, rows: Tensor) -> Tensor:
        """The least frequent row of each of n groups, int64 [n] of [n, m]; -1 counts as the least frequent."""
        return rows.gather(1, self.counts[rows].argmin(1, keepdim=True))[:, 0]


class WordPairs(Benchmark):
    """Spearman's ρ of the similarities of pairs of words and the scores that people gave them.

    A word without a vector makes the similarity of its pair 0; no pair is dropped.

    Args:
        name: of the set.
        pairs: rows of the catalogue, int64 [n, 2], by split; -1 for words that it lacks.
        score: by split.
    """

    labelled = True

    def __init__(self, name: str, pairs: Mapping[str, Tensor], score: Mapping[str, Tensor], lexicon: Lexicon) -> None:
        self.name = name
        self.metrics = {name: Spearman(name)}
        self._pairs, self._score, self._lexicon = pairs, score, lexicon

    @staticmethod
    def of(name: str, scored: Scored, lexicon: Lexicon, *, seed: int) -> WordPairs:
        """A set, split into random halves."""
        rows = torch.stack([lexicon.rows(scored.first), lexicon.rows(scored.second)], dim=1)
        score = torch.tensor(scored.score, dtype=torch.float64)
        halves = drawn_halves(len(rows), seed=seed)
        return WordPairs(
            name, {split: rows[at] for split, at in halves.items()}, {s: score[at] for s, at in halves.items()}, lexicon
        )

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        pairs = self._pairs[split]
        vectors, exists = vectors_of(served, pairs.clamp_min(0).flatten())
        exists &= pairs.flatten() >= 0
        vectors = vectors.view(len(pairs), 2, -1)
        similarities = compared(vectors[:, 0], vectors[:, 1], served.similarity)
        similarities[~exists.view(-1, 2).all(1)] = 0.0
        return as_rows(self.name, similarities, asker=self._lexicon.rarest(pairs), gold=self._score[split])

    def part(self) -> WordPairs:
        return self

    def describe(self) -> str:
        return f"{self.name} ({_counts(self._pairs)})"

    def content(self) -> Iterator[object]:
        yield from (*self._pairs.values(), *self._score.values())


class Analogies(Benchmark):
    """The share of questions a : b = c : ? whose answer is the nearest to b - a + c (3CosAdd, Mikolov et al. 2013).

    The words of the question cannot be answers. Answers are searched among the `RESTRICTED` most frequent words of the
    dense model and all words of the questions; a question with a missing word counts as wrong, and is not dropped. If
    n words are equally near, the right one counts as 1/n.

    Args:
        questions: rows of the catalogue, int64 [n, 4], by split; -1 for words that it lacks.
        among: rows that may be answers, int64 [m], ascending.
    """

    labelled = True

    def __init__(self, questions: Mapping[str, Tensor], among: Tensor, lexicon: Lexicon) -> None:
        self.name = "analogies"
        self.metrics = {self.name: MeanValue(self.name)}
        self._questions, self._among, self._lexicon = questions, among, lexicon

    @staticmethod
    def of(questions: Sequence[Sequence[str]], lexicon: Lexicon, *, seed: int) -> Analogies:
        """Questions of four words each, split into random halves of at most `QUESTIONS`."""
        rows = lexicon.rows(word for question in questions for word in question).view(-1, 4)
        frequent = lexicon.counts[:-1].argsort(descending=True, stable=True)[:RESTRICTED]
        among = torch.unique(torch.cat([frequent, rows[rows >= 0]]))
        halves = drawn_halves(len(rows), seed=seed)
        return Analogies({split: rows[at[:QUESTIONS]] for split, at in halves.items()}, among, lexicon)

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        questions = self._questions[split]
        words, exists = vectors_of(served, self._among)
        at = torch.searchsorted(self._among, questions.clamp_min(0)).clamp(max=len(self._among) - 1)
        answerable = ((questions >= 0) & exists[at]).all(1)
        values = torch.zeros(len(questions))
        for block in torch.split(answerable.nonzero()[:, 0], QUESTIONS_AT_ONCE):
            values[block] = _answered(words, exists, at[block])
            served.pause()
        return as_rows(self.name, values, asker=self._lexicon.rarest(questions))

    def part(self) -> Analogies:
        return Analogies({"validation": self._questions["validation"][:LOOK_QUESTIONS]}, self._among, self._lexicon)

    def describe(self) -> str:
        return f"analogies ({_counts(self._questions)})"

    def content(self) -> Iterator[object]:
        yield from (self._among, *self._questions.values())


def _answered(words: Tensor, exists: Tensor, at: Tensor) -> Tensor:
    """The score of each question, float32 [n].

    Args:
        words: prepared vectors, float32 [m, dim].
        exists: which of them may be answers, bool [m].
        at: positions in `words` of the words of each question, int64 [n, 4].
    """
    scores = (words[at[:, 1]] - words[at[:, 0]] + words[at[:, 2]]) @ words.T
    scores[:, ~exists] = -torch.inf
    right = scores.gather(1, at[:, 3:])
    scores.scatter_(1, at[:, :3], -torch.inf)
    # a question may contain its own answer, such as go : going = go : going
    best = scores.amax(1, keepdim=True)
    ties = (scores == best).sum(1).clamp_min(1)
    return ((right >= best)[:, 0] & (at[:, 3:] != at[:, :3]).all(1)).float() / ties


class Coverage(Benchmark):
    """The share of the tokens of a running text that have a vector of their own, not just point to one.

    Args:
        tokens: rows of the catalogue, int64 [blocks, `BLOCK_TOKENS`], by split; -1 for those that it lacks.
    """

    def __init__(self, tokens: Mapping[str, Tensor], lexicon: Lexicon) -> None:
        self.name = "text"
        self.metrics = {"coverage": MeanValue(self.name)}
        self._tokens, self._lexicon = tokens, lexicon

    @staticmethod
    def of(tokens: Sequence[str], lexicon: Lexicon, *, seed: int) -> Coverage:
        """A text in blocks, split into random halves; an incomplete last block is dropped."""
        blocks = len(tokens) // BLOCK_TOKENS
        rows = lexicon.rows(tokens[: blocks * BLOCK_TOKENS]).view(blocks, BLOCK_TOKENS)
        return Coverage({split: rows[at] for split, at in drawn_halves(blocks, seed=seed).items()}, lexicon)

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        tokens = self._tokens[split]
        covered = torch.from_numpy(served.row_of[tokens.clamp_min(0).numpy()] >= 0) & (tokens >= 0)
        return as_rows(self.name, covered.double().mean(1), asker=self._lexicon.rarest(tokens))

    def part(self) -> Coverage:
        return self

    def describe(self) -> str:
        return f"{sum(rows.numel() for rows in self._tokens.values()):,} tokens of running text"

    def content(self) -> Iterator[object]:
        yield from self._tokens.values()


def drawn_halves(count: int, *, seed: int) -> dict[str, Tensor]:
    """Two halves of 0 … count - 1 in random order, by split, int64."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    return dict(zip(SPLITS, (order[: count // 2], order[count // 2 :]), strict=True))


def _counts(by_split: Mapping[str, Tensor]) -> str:
    return " and ".join(f"{len(rows):,} {split}" for split, rows in by_split.items())
