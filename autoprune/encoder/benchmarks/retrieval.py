"""Retrieval: whether the documents nearest to a query are those that people called relevant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.beir import read_beir
from autoprune.encoder.benchmarks.benchmark import (
    Benchmark,
    Encode,
    MeanValue,
    Perturb,
    Vectors,
    as_rows,
    embedded,
    sha256_of,
)
from autoprune.encoder.benchmarks.judgements import WHERE, Collection
from autoprune.encoder.benchmarks.trec import read_trec
from autoprune.encoder.similarity import SIMILARITIES, all_compared
from autoprune.errors import AutopruneError

K = 10

VALIDATION_DOCUMENTS = 600

SCORES_AT_ONCE = 2**25
"""Scores of queries × documents that are held at a time: 128 MiB."""


class Retrieval(Benchmark):
    """nDCG@10 as `trec_eval` has it: linear gains, grades below 0 count as 0, the ideal list holds all relevant ones.

    Queries without a relevant document are left out. Documents without text are never answers. Ties go to the document
    that stands first; scores that differ by less than 1e-6 are one, so that rounding decides nothing.

    Args:
        collection: documents, queries and who is relevant to what.
        validation_documents: among how many is searched on validation, which the search does often: those relevant to
            its queries, and others drawn by the seed up to this number; None: among all, as on test.
        seed: draws them.
    """

    def __init__(
        self, collection: Collection, *, validation_documents: int | None = VALIDATION_DOCUMENTS, seed: int = 0
    ) -> None:
        self.name = "retrieval"
        self.metrics = {f"ndcg@{K}": MeanValue(self.name)}
        self.collection = collection
        filled = np.array([bool(text) for text in collection.documents], dtype=bool)
        self.candidates = {"validation": np.flatnonzero(filled), "test": np.flatnonzero(filled)}
        if validation_documents is not None and validation_documents < filled.sum():
            wanted = np.zeros(len(filled), dtype=bool)
            for grades in collection.grades["validation"]:
                wanted[list(grades)] = True
            others = np.random.default_rng(seed).permutation(np.flatnonzero(filled & ~wanted))
            wanted[others[: max(0, validation_documents - int((wanted & filled).sum()))]] = True
            self.candidates["validation"] = np.flatnonzero(wanted & filled)

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        texts, grades = self.collection.queries[split], self.collection.grades[split]
        asked = [perturb(text) for text in texts] if perturb else texts
        places = self.candidates[split]
        documents = embedded(encode, [self.collection.documents[at] for at in places], role="document")
        queries = embedded(encode, asked, role="query")
        own = self.collection.own.get(split)
        near = places[nearest_documents(queries, documents, K + bool(own), similarity=self.similarity)]
        found = [row[row != itself][:K] for row, itself in zip(near, own, strict=True)] if own else near
        values = [
            ndcg([known.get(int(at), 0.0) for at in row], known) for row, known in zip(found, grades, strict=True)
        ]
        return as_rows(self.name, texts, np.array(values))

    def describe(self) -> str:
        queries = {split: len(texts) for split, texts in self.collection.queries.items()}
        counts = [
            f"{queries[split]:,} {split} queries among {len(self.candidates[split]):,} documents"
            for split in ("validation", "test")
        ]
        notes = [*self.collection.notes]
        empty = sum(not text for text in self.collection.documents)
        if empty:
            notes.append(f"documents without text, never answers: {empty:,}")
        return " and ".join(counts) + (f" ({'; '.join(notes)})" if notes else "")

    def fingerprint(self) -> str:
        held = self.collection
        asked = [
            value
            for split in ("validation", "test")
            for text, grades in zip(held.queries[split], held.grades[split], strict=True)
            for value in (split, text, sorted(grades.items()))
        ]
        own = [held.own] if held.own else []  # none leaves the fingerprint as it was
        return sha256_of([*held.documents, *asked, self.candidates["validation"].tolist(), *own])


def nearest_documents(
    queries: Vectors, documents: Vectors, count: int, *, similarity: str = SIMILARITIES[0]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The positions of the `count` documents that are most similar, best first, int64 [queries, min(count, docs)].

    Args:
        queries: float32 [queries, dim].
        documents: float32 [docs, dim], docs > 0.
        count: of answers.
        similarity: one of `autoprune.encoder.similarity.SIMILARITIES`.
    """
    count = min(count, len(documents))
    found = np.empty((len(queries), count), dtype=np.int64)
    step = max(1, SCORES_AT_ONCE // len(documents))
    for start in range(0, len(queries), step):
        scores = np.round(all_compared(queries[start : start + step], documents, similarity), 6)
        least = np.partition(scores, len(documents) - count, axis=1)[:, len(documents) - count]
        for at, (row, bound) in enumerate(zip(scores, least, strict=True), start=start):
            close = np.flatnonzero(row >= bound)  # in the order of documents, which a stable sort keeps among ties
            found[at] = close[np.argsort(-row[close], kind="stable")[:count]]
    return found


def ndcg(gains: list[float], known: Mapping[int, float]) -> float:
    """Discounted cumulative gain of a list over that of the best list (Järvelin & Kekäläinen 2002), linear gains.

    Args:
        gains: of the answers, best answer first; `K` of them or fewer.
        known: document → its gain, at least one of them above 0.
    """
    ideal = sorted(known.values(), reverse=True)[:K]
    discounts = 1 / np.log2(np.arange(2, K + 2))
    return float(np.dot(gains, discounts[: len(gains)]) / np.dot(ideal, discounts[: len(ideal)]))


def read_retrieval(
    path: Path, *, validation_documents: int | None = VALIDATION_DOCUMENTS, seed: int = 0, where: str = WHERE
) -> Retrieval:
    """Reads a folder in BEIR's form (corpus.jsonl, queries.jsonl, qrels/) or in TREC's (documents, topics, qrels).

    Args:
        path: of the folder.
        validation_documents: see `Retrieval`.
        seed: splits queries in halves where the folder has no split, and draws documents.
        where: the entry that names the path.

    Raises:
        AutopruneError: what is read cannot be: with the file and the line.
    """
    if not path.is_dir():
        raise AutopruneError(f"{where}: there is no folder {str(path)!r}; retrieval reads a folder.")
    read = read_beir if (path / "corpus.jsonl").exists() else read_trec
    return Retrieval(read(path, seed=seed, where=where), validation_documents=validation_documents, seed=seed)
