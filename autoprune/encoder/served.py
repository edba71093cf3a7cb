"""Sentence encoders that answer: `onnx_served` with onnxruntime, `torch_served` with torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from autoprune.artifacts.served import Parts, Served
from autoprune.encoder.prompts import Prompts
from autoprune.encoder.similarity import SIMILARITIES
from autoprune.encoder.stored import FLOAT, WIDTHS, stored, stored_bytes, widened
from autoprune.encoder.tokenizer import Text, Tokenizer, side_by_side
from autoprune.errors import AutopruneError
from autoprune.fits import fits
from autoprune.packing.ids import plain_id

Vectors = NDArray[np.float32]

BATCH = 32
"""Texts in a batch on a CPU: larger batches are no faster there."""

QUERY = "query"
"""The role of queries: their vectors are compared with stored ones, but not stored themselves."""

SETTINGS: dict[str, Any] = {
    "runtime": str,
    "max_tokens": int,
    "out": int,
    "head_dim": int,
    "layers": list[dict[str, Any]],
    "pooling": str,
    "normalize": bool,
    "activation": str,
    "epsilon": float,
    "padding": int | None,
    "prompts": dict[str, Any] | None,
    "similarity": str | None,
    "stored_bits": int | None,
    "rows": dict[str, int] | None,
    "outside": dict[str, list[Any]] | None,
}
"""The settings that a manifest must have, and their types; one that may be None may be absent."""


def how_many(given: object, what: str) -> int:
    """A positive count as an int, given as any type of number.

    Raises:
        AutopruneError: it is not a whole number >= 1.
    """
    count = plain_id(given)
    if not isinstance(count, int) or count < 1:
        raise AutopruneError(f"{what} >= 1 must hold, but got {given!r}.")
    return count


def batch_ends(lengths: NDArray[np.int64], at_once: Callable[[int], int]) -> list[int]:
    """Where batches of texts end, shortest texts first; the longest text of a batch limits how many it holds.

    Args:
        lengths: tokens of each text, ascending: int64 [n].
        at_once: how many texts of a length fit into a batch: at least one, and never more for a longer text.
    """
    distinct, which = np.unique(lengths, return_inverse=True)
    limits = np.array([at_once(int(length)) for length in distinct], dtype=np.int64)[which]
    first = np.arange(1, len(lengths) + 1) - limits  # where a batch that ends with this text can begin at the earliest
    ends = [0]
    while ends[-1] < len(lengths):
        ends.append(int(np.searchsorted(first, ends[-1], side="right")))
    return ends[1:]


class TextModel(Served):
    """A model that answers for texts or for pairs of texts.

    Attributes:
        prompts: what is put before a text, by role.
        similarity: how vectors are compared, one of `autoprune.encoder.similarity.SIMILARITIES`.
        stored_bits: bits in which a dimension is stored, one of `autoprune.encoder.stored.WIDTHS`.
    """

    prompts: Prompts
    similarity: str
    stored_bits: int = FLOAT

    @abstractmethod
    def vectors(
        self,
        texts: Sequence[Text],
        *,
        batch_size: int | None = None,
        told: Callable[[float], None] = lambda share: None,
    ) -> Vectors:
        """The outputs for texts, to which no prompt is added: float32 [n, numbers].

        Args:
            batch_size: texts in a batch; a batch holds texts of similar length. None: what suits the device.
            told: called after each batch with the share of all tokens read so far.
        """

    @abstractmethod
    def count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See `autoprune.encoder.tokenizer.Tokenizer.count`."""


class SentenceEncoder(TextModel):
    """A sentence encoder of an artifact: maps texts to vectors.

    Attributes:
        out: dimensions of a vector.
    """

    def __init__(self, parts: Parts) -> None:
        wrong = [name for name, kind in SETTINGS.items() if not fits(parts.manifest.get(name), kind)]
        if wrong:
            raise ValueError(f"{wrong[0]} in its manifest is {parts.manifest.get(wrong[0])!r}")
        self._max_tokens: int = parts.manifest["max_tokens"]
        self._tokenizer = Tokenizer.written(parts.content("tokenizer.json").decode(), max_tokens=self._max_tokens)
        self.out: int = parts.manifest["out"]
        self.prompts = Prompts(**parts.manifest.get("prompts", {}))
        self.similarity: str = parts.manifest.get("similarity", SIMILARITIES[0])
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"similarity in its manifest is {self.similarity!r}")
        self.stored_bits: int = parts.manifest.get("stored_bits", FLOAT)
        if self.stored_bits not in WIDTHS:
            raise ValueError(f"stored_bits in its manifest is {self.stored_bits!r}")

    @property
    def vector_bytes(self) -> int:
        return stored_bytes(self.out, self.stored_bits)

    @property
    def advice(self) -> str:
        if self.stored_bits == FLOAT:
            return ""
        kind = stored(np.ones((1, self.out), dtype=np.float32), self.stored_bits)
        return (
            f"Vectors of documents are stored in {self.stored_bits} bit{'s' * (self.stored_bits > 1)} a dimension, "
            f"{kind.dtype} [n, {kind.shape[1]}], and compared with those of queries, which stay float32:\n\n"
            "```python\n"
            'index = model.encode(documents, role="document")\n'
            'scores = model.encode(queries, role="query") @ model.widened(index).T  # where vectors have length 1\n'
            "```"
        )

    @property
    def example(self) -> str:
        role = ", role='query'" if self.prompts.describe() else ""
        return f"model.encode(['a text', 'another one']{role})"

    @overload
    def encode(self, texts: str, *, role: str | None = None, batch_size: int | None = None) -> NDArray[Any]: ...
    @overload
    def encode(
        self, texts: Sequence[str], *, role: str | None = None, batch_size: int | None = None
    ) -> NDArray[Any]: ...
    def encode(
        self, texts: str | Sequence[str], *, role: str | None = None, batch_size: int | None = None
    ) -> NDArray[Any]:
        """The vectors of texts, [n, out]; of a single text, [out].

        They are float32, unless the model stores vectors in fewer bits. Then all vectors but those of queries come as
        they are to be stored (`autoprune.encoder.stored.stored`), and `widened` turns them back into float32.

        Args:
            texts: a text that is longer than the model reads is cut off.
            role: `query` or `document` in a search, or the name of a prompt; its prompt is put before each text. None:
                the model's default prompt, for most models none.
            batch_size: texts in a batch; a batch holds texts of similar length. None: what suits the device.

        Raises:
            AutopruneError: something is not a text, there is no such role, or `batch_size` is not positive.
        """
        if isinstance(texts, str):
            only: NDArray[Any] = self.encode([texts], role=role)[0]
            return only
        batch_size = None if batch_size is None else how_many(batch_size, "encode: batch_size")
        if not isinstance(texts, Iterable):
            raise AutopruneError(f"encode: a text or a list of texts must be given, but got {texts!r}.")
        texts = list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise AutopruneError(f"encode: texts are strings, but among them is {text!r}.")
        vectors = self.vectors(self.prompts.before(texts, role), batch_size=batch_size)
        return vectors if role == QUERY else stored(vectors, self.stored_bits)

    def widened(self, codes: NDArray[Any]) -> Vectors:
        """Stored vectors as float32 [n, out], to be compared with queries.

        Args:
            codes: as `encode` returned them, [n, …].
        """
        vectors: Vectors = widened(codes, self.stored_bits, dim=self.out)
        return vectors

    def vectors(
        self,
        texts: Sequence[Text],
        *,
        batch_size: int | None = None,
        told: Callable[[float], None] = lambda share: None,
    ) -> Vectors:
        tokens = self._tokenizer.encode(texts)
        lengths = np.array([len(ids) for ids in tokens], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        tokens_read = np.cumsum(lengths[order])
        vectors = np.empty((len(texts), self.out), dtype=np.float32)
        ends = batch_ends(lengths[order], lambda tokens: batch_size or self.texts_at_once(tokens))
        for start, end in pairwise([0, *ends]):
            chosen = order[start:end]
            ids, there = side_by_side([tokens[at] for at in chosen])
            vectors[chosen] = self.forward(ids, there)
            told(float(tokens_read[end - 1] / max(1, tokens_read[-1])))
            self.pause()
        return vectors

    def texts_at_once(self, tokens: int) -> int:
        """How many texts of so many tokens fit into a batch: at least one, and never more for longer texts."""
        return BATCH

    def count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self._tokenizer.count(texts)

    def check(self) -> None:
        """Answers once, for two texts of different length, one with a piece of a large id.

        Raises:
            ValueError: the answer is not two vectors, or there are fewer positions than tokens.
        """
        tokens, *_ = self._tokenizer.encode(["a"])
        longer = np.append(tokens, self._tokenizer.large_id()).astype(np.int32)[-self._max_tokens :]
        ids, there = side_by_side([tokens, longer])
        vectors = self.forward(ids, there)
        if vectors.shape != (2, self.out) or vectors.dtype != np.float32:
            raise ValueError(f"its vectors are {vectors.dtype} {list(vectors.shape)}, not float32 {[2, self.out]}")
        if self.positions is not None and self._max_tokens > self.positions:
            raise ValueError(f"there are positions for {self.positions} tokens, but texts may have {self._max_tokens}")

    @property
    @abstractmethod
    def positions(self) -> int | None:
        """Tokens for which there are positions; None: an older artifact does not say."""

    @abstractmethod
    def forward(self, ids: NDArray[np.int64], there: NDArray[np.bool_]) -> Vectors:
        """The vectors of token ids, int64 [batch, tokens]; where `there` (bool) is False, the id is padding."""
