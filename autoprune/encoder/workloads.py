"""The requests that an encoder is timed on: texts of a given number of tokens, or the user's texts as they are."""

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
"""Sources whose texts a request can take as they are: `task.texts`, and `task.data.retrieval`."""

DEFAULT = ("1x32", "1x16", "1x128", "32x32")

REQUESTS = 7
"""Different requests of each workload, which take turns. The number is odd, because only every second request is timed
(every fourth when a model is compared with itself): of an even number, some would never be timed."""

MOST_TEXTS, MOST_TOKENS = 4096, 2**15

Request = list[str]


@dataclass(frozen=True)
class Workload:
    """Requests of one kind.

    Attributes:
        texts: texts in a request.
        tokens: tokens of each text, as the dense model counts them; or one of `SOURCES`, whose texts are taken as they
            are.
    """

    texts: int
    tokens: int | str


def read_workloads(told: Mapping[str, str] | None, *, there: Sequence[str] = SOURCES) -> dict[str, Workload]:
    """What is timed, by name: `{query: 1x16, index: 32xdocuments}`; the first is what `latency_ms` means.

    Args:
        told: by name, `TEXTSxTOKENS` or `TEXTSxSOURCE` with one of `SOURCES`; None: the default workloads.
        there: the sources of which the task has texts.

    Raises:
        AutopruneError: a workload cannot be read, or its source has no texts.
    """
    if told is None:
        told = {name: name for name in DEFAULT}
    if not told:
        raise AutopruneError("task.workloads: at least one must be given, or null for the default workloads.")
    return {name: _read(name, workload, there) for name, workload in told.items()}


def _read(name: str, workload: str, there: Sequence[str]) -> Workload:
    where = f"task.workloads.{name}"
    if not re.fullmatch(r"[\w-]+", name):
        raise AutopruneError(f"{where}: a name has letters, digits, _ and - only, since it becomes latency_ms.NAME.")
    match = re.fullmatch(r"(\d+)x(\d+|[a-z]+)", str(workload))
    if match is None or not 1 <= int(match[1]) <= MOST_TEXTS:
        raise AutopruneError(
            f"{where}: TEXTSxTOKENS must be given, such as 1x16 or 32x256, or 32xtexts for texts as long as your own, "
            f"with 1 to {MOST_TEXTS} texts, but got {workload!r}."
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
        tokenizer: that of the dense model.
        own: the user's texts, with prompts, by source. Requests of a given number of tokens consist of consecutive
            words of `TEXTS`.
        workloads: the workloads by name.
    """
    draw, words = np.random.default_rng(0), " ".join(own[TEXTS]).split()

    def length(text: str) -> int:
        return len(tokenizer.encode([text])[0])

    def made_up(tokens: int) -> str:
        # Whole words until the next one would be too much; short words fill the rest.
        start = int(draw.integers(len(words)))
        fit = bisect_right(range(1, tokens + 1), tokens, key=lambda count: length(_run(words, start, count)))
        taken = max(1, fit)
        run = _run(words, start, taken)
        if taken == 1:  # a text without spaces is one word, which may be longer than the request
            run = run[: bisect_right(range(1, len(run) + 1), tokens, key=lambda end: length(run[:end]))]
        missing = tokens - length(run)
        return run + " a" * missing

    def text(tokens: int | str) -> str:
        if isinstance(tokens, int):
            return made_up(min(tokens, tokenizer.max_tokens))
        among = own[tokens]
        return among[int(draw.integers(len(among)))]

    return {
        name: [[text(workload.tokens) for _ in range(workload.texts)] for _ in range(REQUESTS)]
        for name, workload in workloads.items()
    }


def asking(served: SentenceEncoder, requests: Sequence[Request]) -> Callable[[], object]:
    """A function that answers one request at each call, in turn."""
    turn = {"next": 0}

    def ask() -> object:
        turn["next"] = (turn["next"] + 1) % len(requests)
        return served.vectors(requests[turn["next"]])

    return ask


def _run(words: Sequence[str], start: int, count: int) -> str:
    return " ".join(words[(start + at) % len(words)] for at in range(count))
