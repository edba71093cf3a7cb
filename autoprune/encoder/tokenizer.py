"""Texts to token ids, with a vocabulary that can lose pieces: a lost piece is read as smaller pieces that remain."""

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
"""A text, or two texts that are read together, as a cross-encoder reads a query and a document."""

Tokens = np.ndarray[tuple[int], np.dtype[np.int32]]
"""Token ids of a text, special tokens included; in a pair, those of the second text are marked (`unmarked`)."""

SECOND = 30
"""The bit that marks a token of a second text: ids are far below it."""

AT_ONCE, LONG_AT_ONCE = 4096, 256
"""Texts that are encoded at once, since `tokenizers` holds over 100 bytes for each token: when only ids are kept, and
when the place of each token in the text is kept as well."""

Ids = TypeVar("Ids", bound=Any)
"""Arrays or tensors of whole numbers."""

N = TypeVar("N", np.int64, np.float64)
"""Values of an array: counts, or importances."""


def unmarked(ids: Ids) -> tuple[Ids, Ids]:
    """Token ids without marks, and the text of each token (its token type): 0, or 1 for the second text of a pair."""
    return ids & (2**SECOND - 1), ids >> SECOND


def side_by_side(tokens: Sequence[Tokens]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Token ids, shorter texts padded with zeros, and the mask of real tokens: int64 and bool [batch, longest]."""
    lengths = np.array([len(ids) for ids in tokens])
    there = np.arange(max(lengths.max(initial=1), 1)) < lengths[:, None]
    ids = np.zeros(there.shape, dtype=np.int64)
    ids[there] = np.concatenate(tokens)
    return ids, there


class Tokenizer:
    """A tokenizer of the library `tokenizers`, which can be restricted to a part of its vocabulary.

    A word that loses its piece is read as smaller pieces, so any part of the vocabulary that has the smallest pieces
    reads all texts (`autoprune.encoder.vocabulary`).

    Args:
        content: the output of `tokenizers.Tokenizer.to_str`, as JSON values; never changed.
        max_tokens: longer texts are cut to so many tokens, special tokens included. They lose their end, unless the
            truncation in `content` has the direction `Left`.
    """

    def __init__(self, content: dict[str, Any], *, max_tokens: int) -> None:
        self.content = content
        self.max_tokens = max_tokens
        self._last: tuple[bytes, Tokenizer] | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """The output of `tokenizers.Tokenizer.to_str`, as JSON values."""
        content: dict[str, Any] = json.loads(self._text)
        return content

    @cached_property
    def keeps_end(self) -> bool:
        """Whether a text that is too long loses its beginning."""
        return bool((self.content.get("truncation") or {}).get("direction") == "Left")

    @cached_property
    def _text(self) -> str:
        return json.dumps(self.content)

    @staticmethod
    def written(text: str, *, max_tokens: int) -> Tokenizer:
        """From a `tokenizer.json` that `to_json` wrote; its content is parsed only if more than encoding needs it."""
        made = Tokenizer({}, max_tokens=max_tokens)
        del made.content
        made._text = text
        made.keeps_end = '"direction":"Left"' in text[: text.find('"added_tokens"')]
        return made

    @staticmethod
    def read(text: str, *, max_tokens: int, keeps_end: bool | None = None) -> Tokenizer:
        """From the text of a `tokenizer.json`.

        Args:
            text: content of the file.
            max_tokens: the most tokens of a text.
            keeps_end: whether a text that is too long loses its beginning; None: as the file says.
        """
        content = json.loads(text)
        if keeps_end is None:
            keeps_end = (content.get("truncation") or {}).get("direction") == "Left"
        truncation = {"direction": "Left", "max_length": max_tokens, "strategy": "LongestFirst", "stride": 0}
        content |= {"truncation": truncation if keeps_end else None, "padding": None}
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
        """Rows that a word table must have: the largest id + 1."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    def large_id(self) -> int:
        """The largest id if ids have no gaps, else a large id. It needs no list of all pieces, which takes 7 MB."""
        largest = self._backend.get_vocab_size(with_added_tokens=True) - 1
        while self._backend.id_to_token(largest + 1) is not None:
            largest += 1
        return int(largest)

    @cached_property
    def pieces(self) -> list[str]:
        """The piece of every id; empty where an id has none."""
        pieces = [""] * self.size
        for piece, at in self._backend.get_vocab(with_added_tokens=True).items():
            pieces[at] = piece
        return pieces

    @cached_property
    def protected(self) -> NDArray[np.int64]:
        """Ids that every part keeps: special tokens, and pieces of a single ASCII character or byte; int64 [n]."""
        special = {unknown_piece(self.content["model"]), *(token["content"] for token in self.content["added_tokens"])}
        stay = [
            at for at, piece in enumerate(self.pieces) if piece in special or is_least(self.bare(piece), self.content)
        ]
        return np.array(stay, dtype=np.int64)

    def bare(self, piece: str) -> str:
        """A piece without the prefix that marks the continuation of a word."""
        return piece.removeprefix(self.content["model"].get("continuing_subword_prefix") or "")

    def restricted(self, keep: NDArray[np.int64]) -> Tokenizer:
        """The tokenizer of a part of the vocabulary, whose ids are positions in that part.

        Args:
            keep: int64 [n], ascending; `protected` is among them.
        """
        if len(keep) == self.size:
            return self
        key = keep.tobytes()
        if self._last is None or self._last[0] != key:  # mostly the same part is needed many times
            self._last = key, self._restricted(keep)
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
        """The token ids of texts, cut off at `max_tokens`; in a pair, the longer text is cut first."""
        encoded = list[Tokens]()
        for start in range(0, len(texts), AT_ONCE):
            encoded += self._encoded(texts[start : start + AT_ONCE])
        return encoded

    def _encoded(self, texts: Sequence[Text]) -> list[Tokens]:
        near = self._near
        try:
            encoded = self._backend.encode_batch_fast([_each(text, lambda part: part[near]) for text in texts])
        except TypeError:
            return self._encoded([_each(text, _readable) for text in texts])
        for at, text in enumerate(texts):
            parts = (text,) if isinstance(text, str) else text
            if any(part[near] != part for part in parts) and len(encoded[at].ids) < self.max_tokens:
                whole = _each(text, _readable)
                encoded[at] = self._backend.encode(whole) if isinstance(whole, str) else self._backend.encode(*whole)
        ids = [np.asarray(encoding.ids, dtype=np.int32) for encoding in encoded]
        for at, text in enumerate(texts):
            if not isinstance(text, str):
                ids[at] |= np.asarray(encoded[at].type_ids, dtype=np.int32) << SECOND
        return ids

    @property
    def _near(self) -> slice:
        """The part of a text to encode first: characters far beyond `max_tokens` are mostly never read."""
        longest = 40 * self.max_tokens
        return slice(-longest, None) if self.keeps_end else slice(longest)

    def shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        """Texts cut to so many tokens, special tokens included; a text that fits stays as it is."""
        most, shortened = min(tokens, self.max_tokens), list(texts)
        for at, ids in enumerate(self.encode(texts)):
            if len(ids) > most:
                shortened[at] = self._cut(shortened[at], most)
        return shortened

    def reached(self, texts: Sequence[str]) -> list[str]:
        """Texts cut to `max_tokens`, the part that is read; a text that fits stays as it is."""
        long = [len(ids) == self.max_tokens for ids in self.encode(texts)]
        return [self._cut(text, self.max_tokens) if cut else text for text, cut in zip(texts, long, strict=True)]

    def _cut(self, text: str, tokens: int) -> str:
        """The part of a text that has so many tokens, special tokens included."""
        text = _readable(text)
        read = self._backend.encode(text)
        spans = _spans(read)
        room = tokens - (len(read.ids) - len(spans))
        spans = spans[-room:] if self.keeps_end else spans[:room]
        return text[min(start for start, _ in spans) : max(end for _, end in spans)]

    def passages(self, texts: Sequence[str], tokens: int) -> Iterator[list[str]]:
        """The part of each text that is read, in passages of about so many tokens, cut at a space if there is one near.

        A text that would be a single passage has no passages.
        """
        for start in range(0, len(texts), LONG_AT_ONCE):
            part = [_readable(text[self._near]) for text in texts[start : start + LONG_AT_ONCE]]
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
        """Counts raised so that a piece counts for more than the pieces that are merged from it: int64 [size].

        A part made of the most frequent pieces then holds all pieces that these are merged from. A piece that never
        occurs (its count is at most 1) raises nothing.

        Args:
            counts: how often each id occurs, int64 [size].
        """
        return self._above(counts, lambda wholes: np.where(wholes > 1, wholes + 1, 0))

    def before_wholes(self, importance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Importances raised by the least possible amount, so that a piece matters more than pieces merged from it.

        Args:
            importance: of each id, float64 [size].
        """
        return self._above(importance, lambda wholes: np.nextafter(wholes, np.inf))

    def _above(self, values: NDArray[N], least: Callable[[NDArray[N]], NDArray[N]]) -> NDArray[N]:
        """Values of ids, [size], raised until each part has at least `least` of the value of its merged piece."""
        wholes, parts = self._merged
        while True:
            raised = values.copy()
            np.maximum.at(raised, parts, least(values[wholes]))
            if not (raised > values).any():
                return raised
            values = raised

    @cached_property
    def _merged(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of merged pieces, each twice, and of the two parts that each is merged from: int64 [n] each."""
        ids, merges = {piece: at for at, piece in enumerate(self.pieces)}, made_of(self.content["model"])
        pairs = [(whole, part) for whole, parts in merges.items() for part in parts if whole in ids and part in ids]
        merged = np.array([(ids[whole], ids[part]) for whole, part in pairs], dtype=np.int64).reshape(-1, 2)
        return merged[:, 0], merged[:, 1]

    def count(self, texts: Sequence[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """How many tokens each text has, and how many of them stand for an unknown word: int64 [n] each.

        Tokens beyond `max_tokens` count as well, though they are not read.
        """
        encoded = self.encode(texts)
        for at, ids in enumerate(encoded):
            if len(ids) == self.max_tokens:
                encoded[at] = self._whole(texts[at])
        unknown = unknown_piece(self.content["model"])
        found = None if unknown is None else self._backend.token_to_id(unknown)
        unknown_id = -1 if found is None else found
        return np.array([len(ids) for ids in encoded]), np.array([int((ids == unknown_id).sum()) for ids in encoded])

    def _whole(self, text: str) -> Tokens:
        """The token ids of a text, followed by those beyond `max_tokens`."""
        read = self._backend.encode(_readable(text))
        beyond = [
            at
            for part in read.overflowing
            for at, added in zip(part.ids, part.special_tokens_mask, strict=True)
            if not added
        ]
        return np.array([*read.ids, *beyond], dtype=np.int32)

    def characters(self, texts: Sequence[str]) -> set[str]:
        """The characters of texts as the vocabulary sees them: normalised, without spaces."""
        characters: set[str] = set()
        normalizer = self._backend.normalizer
        for start in range(0, len(texts), AT_ONCE):
            text = _readable("\n".join(texts[start : start + AT_ONCE]))
            characters.update(text if normalizer is None else normalizer.normalize_str(text))
        return {character for character in characters if not character.isspace()}

    def to_json(self) -> str:
        """A compact `tokenizer.json`, which `tokenizers.Tokenizer.from_file` can read."""
        content = json.loads(self._backend.to_str())
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def _backend(self) -> tokenizers.Tokenizer:
        need("tokenizers", "encoder", "what encodes texts")
        import tokenizers  # here, since a recommender needs none

        backend = tokenizers.Tokenizer.from_str(self._text)
        backend.enable_truncation(self.max_tokens, direction="left" if self.keeps_end else "right")
        backend.no_padding()
        return backend

    def __deepcopy__(self, memo: object) -> Tokenizer:
        return self  # it never changes


def _readable(text: str) -> str:
    """A text with each half of a surrogate pair, which is not a character, replaced by a question mark."""
    return text.encode("utf-8", "replace").decode()


def _each(text: Text, change: Callable[[str], str]) -> Text:
    """A text, or both texts of a pair, changed."""
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
    """Where the tokens that were read begin and end in the text; special tokens are left out."""
    return [span for span, added in zip(read.offsets, read.special_tokens_mask, strict=True) if not added]


def _passages(text: str, spans: Sequence[tuple[int, int]], tokens: int) -> list[str]:
    """A text cut into parts of about so many tokens; each cut moves to the nearest space, if one is near enough."""
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
