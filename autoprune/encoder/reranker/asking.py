"""Queries without labels: a user's own, or sentences of their documents, which ask for what is like them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoprune.encoder.benchmarks.tables import json_lines, read_text
from autoprune.encoder.reranker.first_stage import Bm25, listed
from autoprune.encoder.reranker.lists import Lists, Pair, Positions
from autoprune.encoder.texts.corpus import sentences
from autoprune.errors import AutopruneError

FEWEST = 20
"""Queries there must be: a fifth of them, four, is what orders are judged on."""

DEPTH_LEARNT = 8
"""Documents of a list that are distilled on: more queries tell more than longer lists."""

LEARNT = 16_384
"""Pairs that are distilled on, at most: the dense model reads each of them once."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Different queries, and where the text of each stands among the documents by itself; -1: nowhere.

    Attributes:
        left_out: how many more there were, which labels judge by.
    """

    queries: list[str]
    own: list[int]
    left_out: int = 0

    def without(self, judged: Collection[str], where: str) -> Asking:
        """The same without queries that labels judge by: nothing is learnt from these.

        Args:
            judged: such queries.
            where: the entry that the queries come from.

        Raises:
            AutopruneError: fewer than `FEWEST` are left.
        """
        known = set(judged)
        kept = [at for at, query in enumerate(self.queries) if query not in known]
        if len(kept) < FEWEST:
            raise AutopruneError(
                f"{where}: at least {FEWEST} different queries are needed that task.data does not judge by, but of "
                f"{len(self.queries):,} there are {len(kept):,}; give more as task.queries, or let sentences of more "
                "texts ask (task.queries=null)."
            )
        queries, own = [self.queries[at] for at in kept], [self.own[at] for at in kept]
        return Asking(queries=queries, own=own, left_out=len(self.queries) - len(kept))


def own_queries(path: str, where: str) -> Asking:
    """The queries in a file: a line each, or JSON lines with the key `text`.

    Raises:
        AutopruneError: there is no such file, a line cannot be read, or there are fewer than `FEWEST`.
    """
    file = Path(path)
    if file.suffix.lower() == ".jsonl":
        texts = []
        for number, entry in json_lines(file, where):
            if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
                raise AutopruneError(f"{file}, line {number:,}: an object with a string text is expected.")
            texts.append(entry["text"])
    elif file.suffix.lower() == ".txt":
        texts = read_text(file, where).splitlines()
    else:
        raise AutopruneError(f"{where}: the name of a file of queries ends in .txt or .jsonl, but got {path!r}.")
    found = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if len(found) < FEWEST:
        raise AutopruneError(f"{where}: at least {FEWEST} different queries are needed, but {path!r} has {len(found)}.")
    return Asking(queries=found, own=[-1] * len(found))


def sentences_asking(documents: Sequence[str], *, seed: int) -> Asking:
    """A sentence of each document, drawn, as in the inverse cloze task (Lee et al. 2019, "Latent Retrieval").

    None asks twice; a document of which all sentences have asked does not.
    """
    draw, own = np.random.default_rng(seed), dict[str, int]()
    for at, text in enumerate(documents):
        left = sentences(text) or [text]
        alone = at if len(left) == 1 else -1  # who asks with the whole text is no answer
        while left:
            query = left.pop(int(draw.integers(len(left))))
            if query not in own:
                own[query] = alone
                break
    return Asking(queries=list(own), own=list(own.values()))


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """What is distilled on, and what agreement is judged on: of different queries.

    Attributes:
        learnt: pairs.
        judged: validation and test.
        left_out: queries of neither, since labels judge by them.
    """

    learnt: list[Pair]
    judged: Lists
    left_out: int = 0


def unlabelled(documents: Sequence[str], asking: Asking, *, depth: int, judged: int, seed: int) -> Unlabelled:
    """Splits queries, and looks for their lists.

    Args:
        documents: among which BM25 looks.
        asking: the queries.
        depth: documents of a list that is judged, at most.
        judged: queries of validation, and of test, at most; never more than a fifth each.
        seed: draws queries and pairs.

    Raises:
        AutopruneError: nearly no query has words of a document.
    """
    search, draw = Bm25(documents), np.random.default_rng(seed)
    order = iter(draw.permutation(len(asking.queries)).tolist())
    wanted = min(judged, len(asking.queries) // 5)
    found: dict[str, dict[int, Positions]] = {"validation": {}, "test": {}}
    for held in found.values():
        for at in order:
            best = search.best(asking.queries[at], depth, without=asking.own[at])
            if len(best) > 1:
                held[at] = best
            if len(held) == wanted:
                break
    learnt: list[Pair] = []
    for at in order:
        best = search.best(asking.queries[at], depth, without=asking.own[at])
        taken = draw.permutation(best)[:DEPTH_LEARNT]
        learnt += [(asking.queries[at], documents[place]) for place in taken]
        if len(learnt) >= LEARNT:
            break
    if len(learnt) < 2 or not all(found.values()):
        raise AutopruneError(
            "task.texts: hardly any query has a word in common with documents, so that there is nothing to order; give "
            "texts and queries that are of one language and domain."
        )
    queries = {split: [asking.queries[at] for at in held] for split, held in found.items()}
    lists = {split: list(held.values()) for split, held in found.items()}
    judged_by = listed(documents, queries, lists)
    return Unlabelled(learnt=learnt[:LEARNT], judged=judged_by, left_out=asking.left_out)
