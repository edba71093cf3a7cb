"""Texts of all lengths that a model reads, made from a corpus."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from autoprune.encoder.tokenizer import Tokenizer

LONGEST = 512
"""The most tokens of such a text, if the model reads more."""


def first_of(tokenizer: Tokenizer, texts: Sequence[str], *, tokens: int) -> list[str]:
    """The first of some texts, at least one, that have at most so many tokens together.

    Each is cut to what the model reads, and to `LONGEST`. Empty texts are left out.
    """
    read = [text for text in tokenizer.shortened(texts, min(tokenizer.max_tokens, LONGEST)) if text]
    ends = itertools.accumulate(map(len, tokenizer.encode(read)))
    return [text for text, end in zip(read, ends, strict=True) if end <= tokens] or read[:1]


def joined(tokenizer: Tokenizer, texts: Sequence[str], *, tokens: int) -> list[tuple[int, str]]:
    """Texts joined until they are as long as the model reads, or `LONGEST`; so many tokens in all.

    Measurements on short texts say nothing about the later positions of a model.

    Args:
        texts: taken in their order, and again from the first when all are used up.

    Returns:
        Each joined text with the position of its first text; at least one, unless all texts are empty.
    """
    longest = min(tokenizer.max_tokens, LONGEST)
    special, *lengths = map(len, tokenizer.encode(["", *texts]))
    source = [(at, max(1, length - special)) for at, length in enumerate(lengths) if texts[at]]
    turn, begins, long = itertools.cycle(source), list[int](), list[str]()
    while source and len(long) < max(1, tokens // longest):
        parts, length = list[int](), special
        while length < longest:
            at, own = next(turn)
            parts, length = [*parts, at], length + own
        begins.append(parts[0])
        long.append(" ".join(texts[at] for at in parts))
    return list(zip(begins, tokenizer.shortened(long, longest), strict=True))
