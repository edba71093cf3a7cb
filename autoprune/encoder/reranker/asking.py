"""Unlabelled queries: a user's own, or sentences of their documents, which search for similar documents."""

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
"""The fewest queries: orders are judged on a fifth of them, that is four."""

DEPTH_LEARNT = 8
"""Documents of a list that distillation reads: more queries teach more than longer lists."""

LEARNT = 16_384
"""The most pairs for distillation: the dense model reads each of them once."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Distinct queries, and for each the position of the document that equals it; -1: there is none.

    Attributes:
        left_out: how many queries were left out because labelled data judges by them.
    """

    queries: list[str]
    own: list[int]
    left_out: int = 0

    def without(self, judged: Collection[str], where: str) -> Asking:
        """The same without the queries of labelled data, from which nothing may be learnt.

        Args:
            judged: the queries of labelled data.
            where: the config entry that the queries come from.

        Raises:
            AutopruneError: fewer than `FEWEST` are left.
        """
        excluded = set(judged)
        kept = [at for at, query in enumerate(self.queries) if query not in excluded]
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
    queries = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if len(queries) < FEWEST:
        raise AutopruneError(
            f"{where}: at least {FEWEST} different queries are needed, but {path!r} has {len(queries)}."
        )
    return Asking(queries=queries, own=[-1] * len(queries))


def sentences_asking(documents: Sequence[str], *, seed: int) -> Asking:
    """A random sentence of each document, as in the inverse cloze task (Lee et al. 2019, "Latent Retrieval").

    No sentence is used twice; a document without an unused sentence gives no query.
    """
    draw, own = np.random.default_rng(seed), dict[str, int]()
    for at, text in enumerate(documents):
        left = sentences(text) or [text]
        alone = at if len(left) == 1 else -1  # a document that is the whole query is not an answer
        while left:
            query = left.pop(int(draw.integers(len(left))))
            if query not in own:
                own[query] = alone
                break
    return Asking(queries=list(own), own=list(own.values()))


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """Data for distillation and for agreement, from different queries.

    Attributes:
        learnt: pairs for distillation.
        judged: lists of validation and test.
        left_out: queries used for neither, because labelled data judges by them.
    """

    learnt: list[Pair]
    judged: Lists
    left_out: int = 0


def unlabelled(documents: Sequence[str], asking: Asking, *, depth: int, judged: int, seed: int) -> Unlabelled:
    """Splits queries, and searches their lists.

    Args:
        documents: documents that BM25 searches.
        asking: the queries.
        depth: the most documents of a judged list.
        judged: the most queries of validation, and of test; never more than a fifth each.
        seed: draws queries and pairs.

    Raises:
        AutopruneError: hardly any query shares a word with a document.
    """
    search, draw = Bm25(documents), np.random.default_rng(seed)
    order = iter(draw.permutation(len(asking.queries)).tolist())
    wanted = min(judged, len(asking.queries) // 5)
    lists_of: dict[str, dict[int, Positions]] = {"validation": {}, "test": {}}
    for by_query in lists_of.values():
        for at in order:
            best = search.best(asking.queries[at], depth, without=asking.own[at])
            if len(best) > 1:
                by_query[at] = best
            if len(by_query) == wanted:
                break
    learnt: list[Pair] = []
    for at in order:
        best = search.best(asking.queries[at], depth, without=asking.own[at])
        taken = draw.permutation(best)[:DEPTH_LEARNT]
        learnt += [(asking.queries[at], documents[place]) for place in taken]
        if len(learnt) >= LEARNT:
            break
    if len(learnt) < 2 or not all(lists_of.values()):
        raise AutopruneError(
            "task.texts: hardly any query has a word in common with documents, so that there is nothing to order; give "
            "texts and queries that are of one language and domain."
        )
    queries = {split: [asking.queries[at] for at in by_query] for split, by_query in lists_of.items()}
    lists = {split: list(by_query.values()) for split, by_query in lists_of.items()}
    judged_by = listed(documents, queries, lists)
    return Unlabelled(learnt=learnt[:LEARNT], judged=judged_by, left_out=asking.left_out)
