"""What an encoder is timed on: requests of so many texts, each of so many tokens to the dense model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.tokenizer import Tokenizer

WORKLOADS = {"1x32": (1, 32), "1x16": (1, 16), "1x128": (1, 128), "32x32": (32, 32)}
"""Texts in a request, and tokens of each."""

REQUESTS = 8
"""Different requests of each workload, in turn."""

Request = list[str]


def make_requests(
    tokenizer: Tokenizer, texts: Sequence[str], workloads: Mapping[str, tuple[int, int]] = WORKLOADS
) -> dict[str, list[Request]]:
    """The requests of each workload, made of words of texts; the same at every call.

    Args:
        tokenizer: of the dense model.
        texts: whose words follow one another in the requests.
        workloads: texts in a request, and tokens of each, by name.
    """
    draw, words = np.random.default_rng(0), " ".join(texts).split()

    def length(text: str) -> int:
        return len(tokenizer.encode([text])[0])

    def text(tokens: int) -> str:
        # Whole words until the next one would be too much; what is missing then is filled with a short one.
        start, taken = int(draw.integers(len(words))), 1
        while length(_run(words, start, taken + 1)) <= tokens and taken < tokens:
            taken += 1
        found = _run(words, start, taken)
        if taken == 1:  # a text without spaces is one word, perhaps longer than all that is asked for
            found = found[: bisect_right(range(1, len(found) + 1), tokens, key=lambda end: length(found[:end]))]
        missing = tokens - length(found)
        return found + " a" * missing

    return {
        name: [[text(min(tokens, tokenizer.max_tokens)) for _ in range(count)] for _ in range(REQUESTS)]
        for name, (count, tokens) in workloads.items()
    }


def asking(served: SentenceEncoder, requests: Sequence[Request]) -> Callable[[], object]:
    """Asks for one of the requests after the other."""
    turn = {"next": 0}

    def ask() -> object:
        turn["next"] = (turn["next"] + 1) % len(requests)
        return served.vectors(requests[turn["next"]])

    return ask


def _run(words: Sequence[str], start: int, count: int) -> str:
    return " ".join(words[(start + at) % len(words)] for at in range(count))
