"""Makes the reranker task from a config: reads the model, the texts and the benchmarks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autoprune.encoder.benchmarks.beir import read_beir
from autoprune.encoder.benchmarks.benchmark import Benchmark
from autoprune.encoder.benchmarks.judgements import Collection
from autoprune.encoder.benchmarks.pairs import read_pairs
from autoprune.encoder.benchmarks.trec import read_trec
from autoprune.encoder.make import PACKAGES
from autoprune.encoder.reranker.asking import own_queries, sentences_asking, unlabelled
from autoprune.encoder.reranker.benchmarks import METRICS, Reranking
from autoprune.encoder.reranker.config import RerankerConfig, RerankerData
from autoprune.encoder.reranker.first_stage import Bm25, listed, read_run
from autoprune.encoder.reranker.labelled import read_labelled
from autoprune.encoder.reranker.lists import Lists, Positions
from autoprune.encoder.reranker.reading import read_cross_encoder
from autoprune.encoder.reranker.task import RerankerTask
from autoprune.encoder.texts.corpus import Corpus
from autoprune.encoder.texts.files import read_texts
from autoprune.errors import AutopruneError, doing
from autoprune.extras import need
from autoprune.tasks.task import TaskMaker

COLUMNS = {
    "query": r"query|question|anchor|(sentence|text|s)(1|a)",
    "document": r"document|passage|answer|text|positive|(sentence|text|s)(2|b)",
    "label": r"label|score|grade|relevance",
}
"""Patterns for the names of the columns of labelled pairs."""

LABELS = -math.inf, math.inf
"""The range of labels: any number is allowed, since only their order counts."""


class Judged(NamedTuple):
    """A collection prepared for rerankers."""

    lists: Lists
    benchmarks: list[Reranking]
    documents: list[str]


def make_reranker(config: RerankerConfig) -> RerankerTask:
    """A reranker, judged by agreement with the dense model and by what the config names.

    Raises:
        AutopruneError: a package is not installed, or the model, the texts or a benchmark cannot be used.
    """
    for package in PACKAGES:
        need(package, "text", f"task={config.name}")
    config.check()
    data, benchmarks, asked = config.data, list[Benchmark](), list[str]()
    # Everything small is read and checked before the model.
    with doing(where := "task.data.pairs"):
        labelled = (
            read_pairs(Path(data.pairs), scale=LABELS, seed=config.seed, where=where, columns=COLUMNS)
            if data.pairs
            else None
        )
    judged = read_judged(data, seed=config.seed) if data.retrieval else None
    if judged:
        benchmarks += judged.benchmarks
        asked += [query for queries in judged.lists.queries.values() for query in queries]
    if labelled:
        benchmarks += read_labelled(labelled.pairs)
        asked += [query for pairs in labelled.pairs.values() for query in pairs.first]
    with doing("task.queries"):
        own = own_queries(config.queries, "task.queries") if config.queries else None
    with doing("task.texts"):
        corpus = _corpus(config, judged)
    asking = own or sentences_asking(corpus.texts, seed=config.seed)
    texts = unlabelled(
        corpus.texts,
        asking.without(asked, "task.queries" if own else "task.texts"),
        depth=data.depth,
        judged=data.queries,
        seed=config.seed,
    )
    with doing("task.model"):
        dense = read_cross_encoder(config.model)
    return RerankerTask(config, dense, texts, benchmarks, judged.lists if judged else None, general=corpus.general)


def _corpus(config: RerankerConfig, judged: Judged | None) -> Corpus:
    if judged is None:
        return read_texts(config.texts)
    documents = judged.documents
    return read_texts(config.texts, instead=lambda: Corpus.of(documents, "the documents of task.data.retrieval"))


def read_judged(data: RerankerData, *, seed: int) -> Judged:
    """Reads a collection in BEIR's or TREC's form, and the documents that a first stage finds for its queries.

    Raises:
        AutopruneError: the content is invalid; the error gives the file and the line.
    """
    with doing(where := "task.data.retrieval"):
        path = Path(str(data.retrieval))
        if not path.is_dir():
            raise AutopruneError(f"{where}: there is no folder {str(path)!r}; a collection is a folder.")
        read = read_beir if (path / "corpus.jsonl").exists() else read_trec
        collection = read(path, seed=seed, where=where)
    draw = np.random.default_rng(seed).permutation(len(collection.queries["validation"]))
    collection = collection.asking("validation", np.sort(draw[: data.queries]).tolist())
    with doing(where := "task.data.run"):
        if data.run:
            found = read_run(Path(data.run), collection, data.depth, where)
        else:
            found = _searched(collection, data.depth)
    lists = listed(collection.documents, collection.queries, found)
    share = _found(collection, found)
    benchmarks = [Reranking(lists, collection.grades, metric=metric, found=share) for metric in METRICS]
    return Judged(lists, benchmarks, [text for text in collection.documents if text])


def _searched(collection: Collection, depth: int) -> dict[str, list[Positions]]:
    search = Bm25(collection.documents)
    return {
        split: [
            search.best(query, depth, without=own) for query, own in zip(queries, collection.itself(split), strict=True)
        ]
        for split, queries in collection.queries.items()
    }


def _found(collection: Collection, found: dict[str, list[Positions]]) -> str:
    """The share of the relevant documents that the first stage found; a reranker cannot find more."""
    shares = []
    for split, lists in found.items():
        relevant = [set(known) for known in collection.grades[split]]
        hits = sum(len(known & set(listed.tolist())) for known, listed in zip(relevant, lists, strict=True))
        shares.append(f"{100 * hits / sum(map(len, relevant)):.3g} % for {split}")
    return "; ".join([f"of what is relevant the first stage found {' and '.join(shares)}", *collection.notes])


LOCATED = ("model", "texts", "queries", "data.retrieval", "data.run", "data.pairs")

RERANKER = TaskMaker(config=RerankerConfig, make=make_reranker, idle=RerankerConfig.idle, located=LOCATED)
"""The reranker task, with its config."""
