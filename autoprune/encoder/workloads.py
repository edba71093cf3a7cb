"""What an encoder is timed on: requests of so many texts, made up of so many tokens or taken as they are."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.errors import AutopruneError, nearest

TEXTS, QUERIES, DOCUMENTS = "texts", "queries", "documents"
SOURCES = (TEXTS, QUERIES, DOCUMENTS)
"""Whose texts a request can take as they are: those of `task.texts`, or of `task.data.retrieval`."""

DEFAULT = ("1x32", "1x16", "1x128", "32x32")

REQUESTS = 7
"""Different requests of each workload, in turn. An odd number: each second one is timed, of a model against itself each
fourth, and of an even number some would never be."""

MOST_TEXTS, MOST_TOKENS = 4096, 2**15

Request = list[str]


@dataclass(frozen=True)
class Workload:
    """Requests of one kind.

    Attributes:
        texts: in a request.
        tokens: of each text, to the dense model; or one of `SOURCES`, whose texts are taken as long as they are.
    """

    texts: int
    tokens: int | str


def read_workloads(told: Mapping[str, str] | None, *, there: Sequence[str] = SOURCES) -> dict[str, Workload]:
    """What is timed, by name: `{query: 1x16, index: 32xdocuments}`; the first is what `latency_ms` means.

    Args:
        told: by name, texts of a request x tokens of each, or x one of `SOURCES`; None: the usual ones.
        there: of `SOURCES`, those that the task has texts of.

    Raises:
        AutopruneError: one cannot be read, or has no texts.
    """
    if told is None:
        told = {name: name for name in DEFAULT}
    if not told:
        raise AutopruneError("task.workloads: one at least must be given, or null for the usual ones.")
    return {name: _read(name, said, there) for name, said in told.items()}


def _read(name: str, said: str, there: Sequence[str]) -> Workload:
    where = f"task.workloads.{name}"
    if not re.fullmatch(r"[\w-]+", name):
        raise AutopruneError(f"{where}: a name has letters, digits, _ and - only, for it is read as latency_ms.NAME.")
    match = re.fullmatch(r"(\d+)x(\d+|[a-z]+)", str(said))
    if match is None or not 1 <= int(match[1]) <= MOST_TEXTS:
        raise AutopruneError(
            f"{where}: TEXTSxTOKENS must be given, such as 1x16 or 32x256, or 32xtexts for texts as long as your own, "
            f"with 1 to {MOST_TEXTS} texts, but got {said!r}."
        )
    texts, tokens = int(match[1]), match[2]
    if tokens.isdecimal():
        if not 3 <= int(tokens) <= MOST_TOKENS:
            raise AutopruneError(f"{where}: 3 <= tokens <= {MOST_TOKENS} must hold, but got {tokens}.")
        return Workload(texts, int(tokens))
    if tokens not in SOURCES:
        raise AutopruneError(f"{where}: there are no {tokens!r} to take. {nearest(tokens, SOURCES)}")
    if tokens not in there:
        raise AutopruneError(f"{where}: {tokens} are those of task.data.retrieval, which is not given.")
    return Workload(texts, tokens)


def make_requests(
    tokenizer: Tokenizer, own: Mapping[str, Sequence[str]], workloads: Mapping[str, Workload]
) -> dict[str, list[Request]]:
    """The requests of each workload; the same at every call.

    Args:
        tokenizer: of the dense model.
        own: the user's texts by their source, as the model is asked for them. Made-up requests consist of words of
            `TEXTS`, which follow one another.
        workloads: by name.
    """
    draw, words = np.random.default_rng(0), " ".join(own[TEXTS]).split()

    def length(text: str) -> int:
        return len(tokenizer.encode([text])[0])

    def made_up(tokens: int) -> str:
        # Whole words until the next one would be too much; what is missing then is filled with a short one.
        start = int(draw.integers(len(words)))
        fit = bisect_right(range(1, tokens + 1), tokens, key=lambda count: length(_run(words, start, count)))
        taken = max(1, fit)
        found = _run(words, start, taken)
        if taken == 1:  # a text without spaces is one word, perhaps longer than all that is asked for
            found = found[: bisect_right(range(1, len(found) + 1), tokens, key=lambda end: length(found[:end]))]
        missing = tokens - length(found)
        return found + " a" * missing

    def text(tokens: int | str) -> str:
        if isinstance(tokens, int):
            return made_up(min(tokens, tokenizer.max_tokens))
        among = own[tokens]
        return among[int(draw.integers(len(among)))]

    return {
        name: [[text(one.tokens) for _ in range(one.texts)] for _ in range(REQUESTS)] for name, one in workloads.items()
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
