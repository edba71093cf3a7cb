"""Cross-encoders that answer: an encoder of pairs that gives one number, and the activation of that number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.encoder.prompts import Prompts
from autoprune.encoder.served import SentenceEncoder, TextModel, how_many
from autoprune.encoder.tokenizer import Text
from autoprune.errors import AutopruneError

Scores = NDArray[np.float32]

SCORES: dict[str, Callable[[Scores], Scores]] = {
    "sigmoid": lambda logits: (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32),
    "identity": lambda logits: logits,
}
"""The activations that turn a model's number into a score."""


class Ranked(NamedTuple):
    """A document in the order of a query: its place in the list that was given, and its score."""

    place: int
    score: float


class Reranker(TextModel):
    """A cross-encoder of an artifact: maps two texts to a score.

    Args:
        encoder: reads the pairs, and gives one number for each.
        score: the activation of this number, one of `SCORES`.
    """

    def __init__(self, encoder: SentenceEncoder, score: str) -> None:
        if score not in SCORES:
            raise ValueError(f"score in its manifest is {score!r}")
        if encoder.out != 1:
            raise ValueError(f"it gives {encoder.out} numbers for a pair, not one")
        self.encoder, self._score = encoder, score
        self.prompts, self.similarity = Prompts(), encoder.similarity

    @property
    def memory_bytes(self) -> int:
        return self.encoder.memory_bytes

    @property
    def example(self) -> str:
        return "model.rank('a question', ['an answer', 'something else'])"

    @property
    def inside(self) -> str:
        return self.encoder.inside

    def rank(
        self, query: str, documents: Sequence[str], *, top_k: int | None = None, batch_size: int | None = None
    ) -> list[Ranked]:
        """The documents, best first; documents of equal score stay in their order.

        Args:
            query: the query.
            documents: texts; a pair that is longer than the model reads is cut off, the longer text first.
            top_k: how many documents to return; None: all.
            batch_size: pairs in a batch; a batch holds pairs of similar length. None: what suits the device.

        Raises:
            AutopruneError: something is not a text, or a number is not positive.
        """
        if not isinstance(query, str):
            raise AutopruneError(f"rank: the query is a text, but got {query!r}.")
        if isinstance(documents, str | Mapping | Set) or not isinstance(documents, Iterable):
            raise AutopruneError(
                f"rank: a list of documents, in which each has a place, must be given, but got {documents!r}."
            )
        top_k = None if top_k is None else how_many(top_k, "rank: top_k")
        given = self._given([(query, document) for document in documents], batch_size, "rank")
        scores = SCORES[self._score](given)
        order = np.argsort(-given, kind="stable")[:top_k]  # not by scores: a sigmoid makes large numbers equal
        return [Ranked(int(at), float(scores[at])) for at in order]

    def predict(self, pairs: Sequence[tuple[str, str]], *, batch_size: int | None = None) -> Scores:
        """The scores of pairs (query, document): float32 [n].

        Args:
            batch_size: as for `rank`.

        Raises:
            AutopruneError: something is not a pair of texts, or `batch_size` is not positive.
        """
        return SCORES[self._score](self._given(pairs, batch_size, "predict"))

    def _given(self, pairs: Sequence[Any], batch_size: int | None, asked: str) -> Scores:
        """The model's numbers for pairs of texts, float32 [n]; anything else is refused."""
        batch_size = None if batch_size is None else how_many(batch_size, f"{asked}: batch_size")
        return self.vectors([_checked(pair, asked) for pair in pairs], batch_size=batch_size)[:, 0]

    def vectors(
        self,
        texts: Sequence[Text],
        *,
        batch_size: int | None = None,
        told: Callable[[float], None] = lambda share: None,
    ) -> Scores:
        """The model's numbers for pairs, before the activation: float32 [n, 1]."""
        self.encoder.pause = self.pause
        return self.encoder.vectors(texts, batch_size=batch_size, told=told)

    def count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `SentenceEncoder.count`, for single texts."""
        return self.encoder.count(texts)


def _checked(pair: Any, asked: str) -> tuple[str, str]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise AutopruneError(f"{asked}: a pair is two texts, a query and a document, but got {pair!r}.")
    for text in pair:
        if not isinstance(text, str):
            raise AutopruneError(f"{asked}: texts are strings, but among them is {text!r}.")
    return pair[0], pair[1]
