"""Texts of all lengths that a model reads, made of those that there are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from autoprune.encoder.tokenizer import Tokenizer

LONGEST = 512
"""Tokens of the longest, where a model reads more."""


def of_all_lengths(tokenizer: Tokenizer, texts: Sequence[str], *, tokens: int) -> list[str]:
    """Texts as they are, and as long as the model reads: of each about half of so many tokens.

    Whatever the texts are, every place of the model is read: what is measured on short ones alone says nothing of later
    places. For long texts others are put one behind the other, from the first again where they do not do.

    Args:
        texts: in an order in which the first say as much as all.
    """
    longest = min(tokenizer.max_tokens, LONGEST)
    read = [text for text in tokenizer.shortened(texts, longest) if text]
    special, *lengths = map(len, tokenizer.encode(["", *read]))
    ends = itertools.accumulate(lengths)
    found = [text for text, end in zip(read, ends, strict=True) if end <= tokens // 2] or read[:1]
    source = itertools.cycle(zip(read, lengths, strict=True))
    joined = list[str]()
    while read and len(joined) < max(1, tokens // 2 // longest):
        parts, length = list[str](), special
        while length < longest:
            text, own = next(source)
            parts, length = [*parts, text], length + max(1, own - special)
        joined.append(" ".join(parts))
    return [*found, *tokenizer.shortened(joined, longest)]
