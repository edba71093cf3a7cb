"""Retrieval: whether the documents nearest to a query are those that people judged relevant."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.beir import read_beir
from autoprune.encoder.benchmarks.benchmark import Benchmark, Encode, Perturb, Vectors, as_rows, embedded, sha256_of
from autoprune.encoder.benchmarks.hardest import Positions, fitting_queries, hardest_documents
from autoprune.encoder.benchmarks.judgements import WHERE, Collection
from autoprune.encoder.benchmarks.part import SEED, Budget
from autoprune.encoder.benchmarks.trec import read_trec
from autoprune.encoder.similarity import SIMILARITIES, all_compared
from autoprune.errors import AutopruneError
from autoprune.tasks.benchmarks import MeanValue

K = 10

PART_K = 2
"""How many of a query's nearest documents, and of its relevant ones, a part (`Benchmark.part`) must hold."""

POOL = 512
"""Documents among which the hardest of a part are chosen."""

SCORES_AT_ONCE = 2**25
"""Scores of queries × documents that are held at a time: 128 MiB."""


class Retrieval(Benchmark):
    """nDCG@10 as in `trec_eval`: linear gains, grades below 0 count as 0, the ideal list holds all relevant documents.

    Relevant documents that the collection lacks are in the ideal list as well. Queries without a relevant document are
    left out. Documents without text are never answers. Ties come in a neutral order, the same for every encoder
    (`order_of`); scores that differ by less than 1e-6 count as equal, so that rounding decides nothing.

    Args:
        collection: documents, queries and relevance.
        documents: how many documents are searched on validation, which the search does often; None: all, as on test. If
            the collection has more, the documents that are hardest to tell from the relevant ones are searched
            (`autoprune.encoder.benchmarks.hardest`), with as many queries as they suffice for.
        seed: draws the queries.
    """

    def __init__(self, collection: Collection, *, documents: int | None = None, seed: int = 0) -> None:
        self.name = "retrieval"
        self.metrics = {f"ndcg@{K}": MeanValue(self.name)}
        self._filled = np.flatnonzero([bool(text) for text in collection.documents])
        self._documents = documents if documents is not None and documents < len(self._filled) else None
        self._asked = {split: len(texts) for split, texts in collection.queries.items()}
        self._hardest: Positions | None = None
        if self._documents is not None:
            relevant = [len(grades) for grades in collection.grades["validation"]]
            chosen = fitting_queries(relevant, self._documents, k=K, seed=seed)
            collection = collection.asking("validation", chosen.tolist())
        self.collection = collection

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        texts, grades = self.collection.queries[split], self.collection.grades[split]
        queries = [perturb(text) for text in texts] if perturb else texts
        found = self._answers(encode, split, queries, self.candidates(split), K)
        values = [
            ndcg([known.get(int(at), 0.0) for at in row], known) for row, known in zip(found, grades, strict=True)
        ]
        return as_rows(self.name, texts, np.array(values))

    def candidates(self, split: str) -> Positions:
        """Positions of the documents that are searched: int64, ascending."""
        if split == "test" or self._documents is None:
            return self._filled
        if self._hardest is None:
            assert self.dense is not None, "the dense model must be known to find hard documents"
            near = self._answers(self.dense, split, self.collection.queries[split], self._filled, self._documents)
            filled = set(self._filled.tolist())
            known = [
                {at: gain for at, gain in grades.items() if at in filled} for grades in self.collection.grades[split]
            ]
            self._hardest = hardest_documents(np.stack(near), known, self._documents, k=K)
        return self._hardest

    def part(self, budget: Budget) -> Retrieval:
        """Queries, and for each the relevant documents and those that the dense model finds hardest to tell from them.

        The hardest are chosen among `POOL` documents, since the dense model must read these just for the part.
        """
        assert self.dense is not None, "the dense model must be known to find hard documents"
        split, draw = "validation", np.random.default_rng(SEED)
        pool = draw.permutation(self.candidates(split))
        there = set(pool.tolist())
        grades = [{at: gain for at, gain in known.items() if at in there} for known in self.collection.grades[split]]
        short = dict(zip(pool.tolist(), budget.short([self.collection.documents[at] for at in pool]), strict=True))
        fit = max(PART_K + 1, int(budget.tokens / budget.costs(list(short.values())[:POOL]).mean()))
        asking = [at for at, known in enumerate(grades) if known]
        if not asking:
            return self
        chosen = [asking[at] for at in fitting_queries([len(grades[at]) for at in asking], fit, k=PART_K, seed=SEED)]
        wanted = dict.fromkeys(at for query in chosen for at in grades[query])
        pool = np.sort(np.fromiter(dict.fromkeys([*wanted, *pool.tolist()]), dtype=np.int64)[: max(POOL, len(wanted))])
        whole = self._among(pool.tolist(), chosen, short)
        near = whole._answers(self.dense, split, whole.collection.queries[split], whole._filled, len(pool) - 1)
        kept = hardest_documents(np.stack(near), whole.collection.grades[split], fit, k=PART_K)
        return self._among(pool[kept].tolist(), chosen, short)

    def _among(self, documents: list[int], queries: Sequence[int], texts: Mapping[int, str]) -> Retrieval:
        """The same with only some documents and queries of validation, by position; other documents are dropped."""
        place = {at: new for new, at in enumerate(documents)}
        asked = self.collection.asking("validation", queries)
        grades = [
            {place[at]: gain for at, gain in known.items() if at in place} for known in asked.grades["validation"]
        ]
        own = {split: [place.get(at, -1) for at in owns] for split, owns in asked.own.items() if split == "validation"}
        part = Collection(
            documents=[texts[at] for at in documents],
            queries={"validation": asked.queries["validation"]},
            grades={"validation": grades},
            own=own,
        )
        return Retrieval(part).under(self.similarity)

    def _answers(
        self, encode: Encode, split: str, asked: Sequence[str], places: Positions, count: int
    ) -> list[Positions]:
        """For each query, the positions of its nearest documents, best first, without the query itself."""
        order = np.argsort(self._rank[places])
        documents = embedded(encode, [self.collection.documents[at] for at in places], role="document")[order]
        queries, places = embedded(encode, asked, role="query"), places[order]
        near = places[nearest_documents(queries, documents, count + 1, similarity=self.similarity)]
        return [row[row != itself][:count] for row, itself in zip(near, self.collection.itself(split), strict=True)]

    @cached_property
    def _rank(self) -> Positions:
        """The rank of each document in the neutral order that decides ties."""
        return np.argsort(order_of(self.collection.documents))

    def describe(self) -> str:
        notes = [*self.collection.notes]
        empty = len(self.collection.documents) - len(self._filled)
        if empty:
            notes.append(f"documents without text, never answers: {empty:,}")
        said = f"{self._counted('validation')} and {self._counted('test')}"
        return said + (f" ({'; '.join(notes)})" if notes else "")

    def _counted(self, split: str) -> str:
        queries, asked, documents = len(self.collection.queries[split]), self._asked[split], len(self._filled)
        if split == "test" or self._documents is None:
            return f"{queries:,} {split} queries among {documents:,} documents"
        of = f"{queries:,}" if queries == asked else f"{queries:,} of {asked:,}"
        return (
            f"{of} {split} queries among the {self._documents:,} of {documents:,} documents that are nearest to them "
            "under the dense model or relevant"
        )

    def fingerprint(self) -> str:
        collection = self.collection
        judged = [
            value
            for split in ("validation", "test")
            for text, grades in zip(collection.queries[split], collection.grades[split], strict=True)
            for value in (split, text, sorted(grades.items()))
        ]
        own = [collection.own] if collection.own else []  # an empty one would change older fingerprints
        among = self._filled.tolist() if self._documents is None else self._documents
        return sha256_of([*collection.documents, *judged, among, *own])


def order_of(texts: Iterable[str]) -> Positions:
    """A neutral order of texts, by the hash of each, int64; it tells equal texts apart as well."""
    seen: Counter[str] = Counter()
    hashes = []
    for text in texts:
        seen[text] += 1
        hashes.append(hashlib.sha256(f"{seen[text]} {text}".encode("utf-8", "surrogatepass")).digest())
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)


def nearest_documents(
    queries: Vectors, documents: Vectors, count: int, *, similarity: str = SIMILARITIES[0]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The positions of the `count` documents that are most similar, best first, int64 [queries, min(count, docs)].

    Ties go to the document that comes first. A document whose vector is 0 (or was not finite) comes last: by a distance
    or a product it could otherwise be near.

    Args:
        queries: float32 [queries, dim].
        documents: float32 [docs, dim], docs > 0.
        count: number of answers.
        similarity: one of `autoprune.encoder.similarity.SIMILARITIES`.
    """
    count = min(count, len(documents))
    found = np.empty((len(queries), count), dtype=np.int64)
    nothing = ~documents.any(axis=1)
    step = max(1, SCORES_AT_ONCE // len(documents))
    for start in range(0, len(queries), step):
        scores = np.round(all_compared(queries[start : start + step], documents, similarity), 6)
        scores[:, nothing] = -np.inf
        least = np.partition(scores, len(documents) - count, axis=1)[:, len(documents) - count]
        for at, (row, bound) in enumerate(zip(scores, least, strict=True), start=start):
            close = np.flatnonzero(row >= bound)  # in the order of documents, which a stable sort keeps among ties
            found[at] = close[np.argsort(-row[close], kind="stable")[:count]]
    return found


def ndcg(gains: list[float], known: Mapping[int, float]) -> float:
    """Discounted cumulative gain of a list over that of the best list (Järvelin & Kekäläinen 2002), linear gains.

    Args:
        gains: gains of the answers, best answer first; at most `K`.
        known: document → its gain, at least one of them above 0.
    """
    ideal = sorted(known.values(), reverse=True)[:K]
    discounts = 1 / np.log2(np.arange(2, K + 2))
    return float(np.dot(gains, discounts[: len(gains)]) / np.dot(ideal, discounts[: len(ideal)]))


def read_retrieval(path: Path, *, documents: int | None = None, seed: int = 0, where: str = WHERE) -> Retrieval:
    """Reads a folder in BEIR's form (corpus.jsonl, queries.jsonl, qrels/) or in TREC's (documents, topics, qrels).

    Args:
        path: the folder.
        documents: see `Retrieval`.
        seed: splits queries in halves where the folder has no split, and draws those of validation.
        where: the config entry that names the path.

    Raises:
        AutopruneError: the content is invalid; the error gives the file and the line.
    """
    if not path.is_dir():
        raise AutopruneError(f"{where}: there is no folder {str(path)!r}; retrieval reads a folder.")
    read = read_beir if (path / "corpus.jsonl").exists() else read_trec
    return Retrieval(read(path, seed=seed, where=where), documents=documents, seed=seed)
