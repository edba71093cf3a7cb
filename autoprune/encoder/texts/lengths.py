"""Texts of all lengths that a model reads, made of those that there are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from autoprune.encoder.tokenizer import Tokenizer

LONGEST = 512
"""Tokens of the longest, where a model reads more."""


def first_of(tokenizer: Tokenizer, texts: Sequence[str], *, tokens: int) -> list[str]:
    """The first of some texts, one at least, that have no more than so many tokens together.

    Each is cut to what the model reads, and to `LONGEST`. Those without any text are left out.
    """
    read = [text for text in tokenizer.shortened(texts, min(tokenizer.max_tokens, LONGEST)) if text]
    ends = itertools.accumulate(map(len, tokenizer.encode(read)))
    return [text for text, end in zip(read, ends, strict=True) if end <= tokens] or read[:1]


def joined(tokenizer: Tokenizer, texts: Sequence[str], *, tokens: int) -> list[tuple[int, str]]:
    """Texts one behind the other, as long as the model reads or `LONGEST`, so many tokens in all.

    What is measured on short texts alone says nothing of the later places of a model.

    Args:
        texts: taken in their order, and from the first again once all were.

    Returns:
        Each with the position of the text that it begins with; at least one, unless no text has anything in it.
    """
    longest = min(tokenizer.max_tokens, LONGEST)
    special, *lengths = map(len, tokenizer.encode(["", *texts]))
    source = [(at, max(1, length - special)) for at, length in enumerate(lengths) if texts[at]]
    turn, begins, found = itertools.cycle(source), list[int](), list[str]()
    while source and len(found) < max(1, tokens // longest):
        parts, length = list[int](), special
        while length < longest:
            at, own = next(turn)
            parts, length = [*parts, at], length + own
        begins.append(parts[0])
        found.append(" ".join(texts[at] for at in parts))
    return list(zip(begins, tokenizer.shortened(found, longest), strict=True))
