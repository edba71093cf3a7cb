"""Texts to token ids, with a vocabulary that can lose pieces: what is gone falls back to smaller pieces that stay."""

from __future__ import annotations

import copy
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from autoprune.encoder.vocabulary import is_least, is_reducible, made_of, restricted, unknown_piece
from autoprune.extras import need

if TYPE_CHECKING:
    import tokenizers

Text = str | tuple[str, str]
"""A text, or two that are read together, as a cross-encoder reads a query and a document."""

Tokens = np.ndarray[tuple[int], np.dtype[np.int32]]
"""Token ids of one text, special ones included; those of the second of two texts are marked (`unmarked`)."""

SECOND = 30
"""The bit that marks a token of a second text: ids are far below it."""

AT_ONCE, LONG_AT_ONCE = 4096, 256
"""Texts that are encoded at once, as `tokenizers` holds over 100 bytes of each of their tokens: where ids alone are
kept of them; and where it is kept where each token lies."""

Ids = TypeVar("Ids", bound=Any)
"""Arrays or tensors of whole numbers."""

N = TypeVar("N", np.int64, np.float64)
"""What an array holds: counts, or how much something matters."""


def unmarked(ids: Ids) -> tuple[Ids, Ids]:
    """Token ids, and of which text each token is (its token type): 0, or 1 for the second of two."""
    return ids & (2**SECOND - 1), ids >> SECOND


def side_by_side(tokens: Sequence[Tokens]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Token ids, zeros behind those of shorter texts, and which are there: int64 and bool [batch, longest]."""
    lengths = np.array([len(ids) for ids in tokens])
    there = np.arange(max(lengths.max(initial=1), 1)) < lengths[:, None]
    ids = np.zeros(there.shape, dtype=np.int64)
    ids[there] = np.concatenate(tokens)
    return ids, there


class Tokenizer:
    """A tokenizer as `tokenizers` writes it down, and what can be left of it.

    Without a piece a word becomes smaller ones, so any part of the vocabulary that keeps the smallest reads all texts
    (`autoprune.encoder.vocabulary`).

    Args:
        content: what `tokenizers.Tokenizer.to_str` says, as JSON values; never changed.
        max_tokens: longer texts are cut off there, special tokens included: at their end, unless the truncation in
            `content` has the direction `Left`.
    """

    def __init__(self, content: dict[str, Any], *, max_tokens: int) -> None:
        self.content = content
        self.max_tokens = max_tokens
        self._last: tuple[bytes, Tokenizer] | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """What `tokenizers.Tokenizer.to_str` says, as JSON values."""
        found: dict[str, Any] = json.loads(self._text)
        return found

    @cached_property
    def keeps_end(self) -> bool:
        """Whether a text that is too long loses its beginning."""
        return bool((self.content.get("truncation") or {}).get("direction") == "Left")

    @cached_property
    def _text(self) -> str:
        return json.dumps(self.content)

    @staticmethod
    def written(text: str, *, max_tokens: int) -> Tokenizer:
        """From a `tokenizer.json` that `to_json` wrote: who only encodes never waits for its content to be parsed."""
        made = Tokenizer({}, max_tokens=max_tokens)
        del made.content
        made._text = text
        made.keeps_end = '"direction":"Left"' in text[: text.find('"added_tokens"')]
        return made

    @staticmethod
    def read(text: str, *, max_tokens: int, keeps_end: bool | None = None) -> Tokenizer:
        """From the text of a `tokenizer.json`.

        Args:
            text: of the file.
            max_tokens: of a text.
            keeps_end: whether a text that is too long loses its beginning; None: as the file says.
        """
        content = json.loads(text)
        if keeps_end is None:
            keeps_end = (content.get("truncation") or {}).get("direction") == "Left"
        cut = {"direction": "Left", "max_length": max_tokens, "strategy": "LongestFirst", "stride": 0}
        content |= {"truncation": cut if keeps_end else None, "padding": None}
        return Tokenizer(content, max_tokens=max_tokens)

    @property
    def kind(self) -> str:
        """`WordPiece`, `BPE`, `Unigram` and so on."""
        return str(self.content["model"]["type"])

    @property
    def reducible(self) -> bool:
        """Whether the vocabulary can lose pieces."""
        return is_reducible(self.content)

    @cached_property
    def size(self) -> int:
        """Rows that a word table must have: the largest id, and one."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    def large_id(self) -> int:
        """The largest id where ids have no gaps; else a large one. Found without a list of all pieces, 7 MB of them."""
        found = self._backend.get_vocab_size(with_added_tokens=True) - 1
        while self._backend.id_to_token(found + 1) is not None:
            found += 1
        return int(found)

    @cached_property
    def pieces(self) -> list[str]:
        """The piece of every id; empty where an id has none."""
        found = [""] * self.size
        for piece, at in self._backend.get_vocab(with_added_tokens=True).items():
            found[at] = piece
        return found

    @cached_property
    def protected(self) -> NDArray[np.int64]:
        """Ids that every part keeps: special tokens, and ASCII characters or bytes by themselves; int64 [n]."""
        special = {unknown_piece(self.content["model"]), *(token["content"] for token in self.content["added_tokens"])}
        stay = [
            at for at, piece in enumerate(self.pieces) if piece in special or is_least(self.bare(piece), self.content)
        ]
        return np.array(stay, dtype=np.int64)

    def bare(self, piece: str) -> str:
        """A piece without the sign that it goes on with a word."""
        return piece.removeprefix(self.content["model"].get("continuing_subword_prefix") or "")

    def restricted(self, keep: NDArray[np.int64]) -> Tokenizer:
        """The tokenizer of a part of the vocabulary, whose ids are positions in that part.

        Args:
            keep: int64 [n], ascending; `protected` is among them.
        """
        if len(keep) == self.size:
            return self
        asked = keep.tobytes()
        if self._last is None or self._last[0] != asked:  # the same part is asked for again and again
            self._last = asked, self._restricted(keep)
        return self._last[1]

    def _restricted(self, keep: NDArray[np.int64]) -> Tokenizer:
        kept = {self.pieces[at]: place for place, at in enumerate(keep.tolist())}
        model, special = self.content["model"], copy.deepcopy(self.content.get("post_processor"))
        _renumber(special, kept)
        content = {
            **self.content,
            "model": restricted(model, kept),
            "added_tokens": [{**token, "id": kept[token["content"]]} for token in self.content["added_tokens"]],
            "post_processor": special,
        }
        return Tokenizer(content, max_tokens=self.max_tokens)

    def encode(self, texts: Sequence[Text]) -> list[Tokens]:
        """The token ids of texts; one that is too long is cut off at `max_tokens`, of two the longer one first."""
        found = list[Tokens]()
        for start in range(0, len(texts), AT_ONCE):
            found += self._encoded(texts[start : start + AT_ONCE])
        return found

    def _encoded(self, texts: Sequence[Text]) -> list[Tokens]:
        near = self._near
        try:
            encoded = self._backend.encode_batch_fast([_each(text, lambda one: one[near]) for text in texts])
        except TypeError:  # half of a surrogate pair is no character
            return self._encoded([_each(text, lambda one: one.encode("utf-8", "replace").decode()) for text in texts])
        for at, text in enumerate(texts):
            parts = (text,) if isinstance(text, str) else text
            if any(part[near] != part for part in parts) and len(encoded[at].ids) < self.max_tokens:
                encoded[at] = self._backend.encode(*parts)
        found = [np.asarray(one.ids, dtype=np.int32) for one in encoded]
        for at, text in enumerate(texts):
            if not isinstance(text, str):
                found[at] |= np.asarray(encoded[at].type_ids, dtype=np.int32) << SECOND
        return found

    @property
    def _near(self) -> slice:
        """What of a text is looked at: what lies far beyond what is read need not be, unless that is mostly empty."""
        longest = 40 * self.max_tokens
        return slice(-longest, None) if self.keeps_end else slice(longest)

    def shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        """Texts without what lies beyond so many tokens, special ones included; one that fits stays as it is."""
        limited = Tokenizer(self.content, max_tokens=min(tokens, self.max_tokens))
        long = [at for at, ids in enumerate(self.encode(texts)) if len(ids) > limited.max_tokens]
        found = list(texts)
        for at in long:
            text = found[at].encode("utf-8", "replace").decode()  # half of a surrogate pair is no character
            spans = _spans(limited._backend.encode(text))
            found[at] = text[min(start for start, _ in spans) : max(end for _, end in spans)]
        return found

    def passages(self, texts: Sequence[str], tokens: int) -> Iterator[list[str]]:
        """What is read of each text, in passages of about so many tokens, cut at spaces where there are any near.

        A text that would be a single passage has none.
        """
        for start in range(0, len(texts), LONG_AT_ONCE):
            # Half of a surrogate pair is no character.
            part = [
                text[self._near].encode("utf-8", "replace").decode() for text in texts[start : start + LONG_AT_ONCE]
            ]
            for text, read in zip(part, self._backend.encode_batch(part), strict=True):
                yield _passages(text, _spans(read), tokens)

    def frequency(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """How often each id occurs in texts: int64 [size]."""
        counts = np.zeros(self.size, dtype=np.int64)
        for start in range(0, len(texts), AT_ONCE):
            ids = np.concatenate(self.encode(texts[start : start + AT_ONCE]))
            counts += np.bincount(ids, minlength=self.size)
        return counts

    def with_parts(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """How often each id counts where the pieces that it is merged from count for more: int64 [size].

        So that by the most frequent pieces a part has all that these are merged from. What never occurs (it counts for
        1 at most) needs nothing.

        Args:
            counts: int64 [size].
        """
        return self._above(counts, lambda wholes: np.where(wholes > 1, wholes + 1, 0))

    def before_wholes(self, importance: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each id matters where the pieces that it is merged from matter more, by the least there is.

        Args:
            importance: float64 [size].
        """
        return self._above(importance, lambda wholes: np.nextafter(wholes, np.inf))

    def _above(self, held: NDArray[N], least: Callable[[NDArray[N]], NDArray[N]]) -> NDArray[N]:
        """What ids hold, [size], where those that others are merged from hold at least what follows from these."""
        wholes, parts = self._merged
        while True:
            found = held.copy()
            np.maximum.at(found, parts, least(held[wholes]))
            if not (found > held).any():
                return found
            held = found

    @cached_property
    def _merged(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of pieces that are merged, each twice, and of what they are merged from: int64 [n] each."""
        ids, merges = {piece: at for at, piece in enumerate(self.pieces)}, made_of(self.content["model"])
        pairs = [(whole, part) for whole, parts in merges.items() for part in parts if whole in ids and part in ids]
        found = np.array([(ids[whole], ids[part]) for whole, part in pairs], dtype=np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def count(self, texts: Sequence[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """How many tokens each text has, and how many of them say that a word could not be read: int64 [n] each."""
        encoded = self.encode(texts)
        unknown = unknown_piece(self.content["model"])
        place = None if unknown is None else self._backend.token_to_id(unknown)
        at = -1 if place is None else place
        return np.array([len(ids) for ids in encoded]), np.array([int((ids == at).sum()) for ids in encoded])

    def characters(self, texts: Sequence[str]) -> set[str]:
        """The characters of texts as the vocabulary sees them: normalised, without spaces."""
        found: set[str] = set()
        normalizer = self._backend.normalizer
        for start in range(0, len(texts), AT_ONCE):
            text = "\n".join(texts[start : start + AT_ONCE])
            found.update(text if normalizer is None else normalizer.normalize_str(text))
        return {character for character in found if not character.isspace()}

    def to_json(self) -> str:
        """A `tokenizer.json`, as `tokenizers.Tokenizer.from_file` reads it, in few bytes."""
        content = json.loads(self._backend.to_str())
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        need("tokenizers", "encoder", "what encodes texts")
        import tokenizers  # here, since a recommender has none

        made = tokenizers.Tokenizer.from_str(self._text)
        made.enable_truncation(self.max_tokens, direction="left" if self.keeps_end else "right")
        made.no_padding()
        return made

    def __deepcopy__(self, memo: object) -> Tokenizer:
        return self  # nothing in it changes


def _each(text: Text, change: Callable[[str], str]) -> Text:
    """A text, or both of two, changed."""
    return change(text) if isinstance(text, str) else (change(text[0]), change(text[1]))


def _renumber(node: Any, kept: dict[str, int]) -> None:
    """Gives the special tokens that a post-processor adds their new ids."""
    if isinstance(node, list):
        for entry in node:
            _renumber(entry, kept)
    elif isinstance(node, dict):
        for name, entry in node.items():
            if name in ("sep", "cls") and isinstance(entry, list) and len(entry) == 2:
                entry[1] = kept[entry[0]]
            elif name == "special_tokens" and isinstance(entry, dict):
                for token in entry.values():
                    token["ids"] = [kept[piece] for piece in token["tokens"]]
            else:
                _renumber(entry, kept)


def _spans(read: tokenizers.Encoding) -> list[tuple[int, int]]:
    """Where in a text its tokens begin and end, as far as it was read; special tokens are left out."""
    return [span for span, added in zip(read.offsets, read.special_tokens_mask, strict=True) if not added]


def _passages(text: str, spans: Sequence[tuple[int, int]], tokens: int) -> list[str]:
    """A text cut into even parts of about so many tokens, each cut moved to the next space within half of that."""
    count = round(len(spans) / tokens)
    if count < 2:
        return []
    words = [at for at, (start, _) in enumerate(spans) if re.search(r"\s", text[max(0, start - 1) : start + 1])]
    cuts = {0}
    for place in range(1, count):
        even = place * len(spans) // count
        after = bisect_left(words, even)
        near = [at for at in words[max(0, after - 1) : after + 1] if abs(at - even) < tokens // 2]
        cuts.add(min(near, key=lambda at: abs(at - even), default=even))
    edges = [*(spans[at][0] for at in sorted(cuts)), max(end for _, end in spans)]
    return [text[start:end].strip() for start, end in pairwise(edges)]
