"""The reranker task: agreement with the dense model's order, and the labelled benchmarks that the user gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from autoprune.encoder.benchmarks.benchmark import Benchmark
from autoprune.encoder.model import Encoder
from autoprune.encoder.reach import without
from autoprune.encoder.reranker.asking import Unlabelled
from autoprune.encoder.reranker.benchmarks import AGREEMENTS, Agreement
from autoprune.encoder.reranker.config import RerankerConfig
from autoprune.encoder.reranker.lists import Lists, Pair
from autoprune.encoder.reranker.served import Reranker
from autoprune.encoder.text_task import TextTask, single, some, whole_tokens
from autoprune.encoder.texts.lengths import first_of, joined
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.workloads import TEXTS, Workload, make_requests

CALIBRATION_PAIRS, CALIBRATION_TOKENS = 512, (16, 48)
"""How many pairs importance is measured on, and how many tokens of each query and document."""

COVERED = 500
"""The most documents whose coverage is measured."""

WORKLOADS = {"10x128": 10, "1x128": 1, "30x128": 30}
"""Workload → documents of a query; each pair of query and document has `PAIR_TOKENS` tokens."""

PAIR_TOKENS, QUERY_TOKENS = 128, 16

POOLED = 8
"""Documents made for each request; a larger request takes documents of the next requests as well."""

REQUEST_TEXTS = 2000
"""How many texts the timed requests are made from."""


class RerankerTask(TextTask[Reranker, RerankerConfig, Pair]):
    """A model that maps a query and a document to a score, by which documents are put in order.

    Recovery is distillation: on unlabelled pairs a smaller model learns the dense model's scores before the activation
    (Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models with Cross-Architecture
    Knowledge Distillation").

    Args:
        config: the task's settings.
        dense: the unpruned model.
        texts: the data for distillation, and for agreement unless `lists` is given.
        benchmarks: the labelled benchmarks, in addition to agreement. The metric of the first is `quality` unless the
            config names another.
        lists: the lists on which agreement is judged; None: the unlabelled queries of `texts`.
        general: English texts whose pieces count as well.
    """

    workload_names = tuple(WORKLOADS)
    located = ("queries",)

    def __init__(
        self,
        config: RerankerConfig,
        dense: Encoder,
        texts: Unlabelled,
        benchmarks: Sequence[Benchmark],
        lists: Lists | None = None,
        *,
        general: Sequence[str] = (),
    ) -> None:
        judged, read = lists or texts.judged, single(texts.learnt)
        measured = some(texts.learnt, CALIBRATION_PAIRS)
        super().__init__(
            config,
            dense,
            train=texts.learnt,
            calibration=_shortened(dense.tokenizer, measured, *CALIBRATION_TOKENS),
            whole=_of_all_lengths(dense.tokenizer, measured, whole_tokens(dense)),
            benchmarks=[*benchmarks, *(Agreement(judged, metric=metric) for metric in AGREEMENTS)],
            covered=_covered(judged),
            common=read,
            general=general,
        )
        self._requests = _requests(dense.tokenizer, some(read, REQUEST_TEXTS))
        self._left_out = texts.left_out

    def _said(self) -> list[str]:
        dense, architecture = self._dense, self._dense.architecture
        left_out = f" (queries left out, which labels judge by: {self._left_out:,})" if self._left_out else ""
        return [
            f"{architecture.name}: {len(dense.layers)} layers, {len(dense.pieces):,} pieces, {architecture.score}",
            f"{len(self._train):,} pairs to distil on{left_out}",
            *dict.fromkeys(benchmark.describe() for benchmark in self.benchmarks),
        ]

    def _learnt_from(self) -> str:
        learnt = [self._train, self._general] if self._general else self._train
        return hashlib.sha256(json.dumps(learnt).encode()).hexdigest()

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        return without(super().suited(recipe), "dims")  # a score is one number, which has no dimensions to cut

    @property
    def _per_epoch(self) -> int:
        return self.config.pairs_per_epoch

    def batches(self) -> Sequence[Tensor]:
        return self._drawn(self.config.pairs_per_update)

    def loss(self, model: Encoder, batch: Tensor) -> Tensor:
        """The mean squared error of the scores, in standard deviations of the dense model's scores."""
        scores, wanted = self._learning(model, batch)
        spread = self._wanted[:, 0].std().clamp_min(1e-6).to(scores.device)
        loss: Tensor = ((scores[:, 0] - wanted[:, 0]) / spread).square().mean()
        return loss

    def workloads(self, served: Reranker) -> dict[str, Callable[[], object]]:
        """By name, a function that answers the next request of the workload: a query and its documents."""
        return {name: _ranking(served, requests) for name, requests in self._requests.items()}

    def _shortened(self, longest: int) -> list[Pair]:
        return _shortened(self._dense.tokenizer, self._train, longest, longest)


Request = tuple[str, list[str]]


def _requests(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, list[Request]]:
    parts = {"query": Workload(1, QUERY_TOKENS), "documents": Workload(POOLED, PAIR_TOKENS - QUERY_TOKENS + 1)}
    made = make_requests(tokenizer, {TEXTS: texts}, parts)
    pool = [text for request in made["documents"] for text in request]
    return {
        name: [
            (query, [pool[(POOLED * number + at) % len(pool)] for at in range(count)])
            for number, (query,) in enumerate(made["query"])
        ]
        for name, count in WORKLOADS.items()
    }


def _ranking(served: Reranker, requests: Sequence[Request]) -> Callable[[], object]:
    """A function that answers one request at each call, in turn."""
    turn = {"next": 0}

    def ask() -> object:
        turn["next"] = (turn["next"] + 1) % len(requests)
        return served.rank(*requests[turn["next"]])

    return ask


def _shortened(tokenizer: Tokenizer, pairs: Sequence[Pair], query: int, document: int) -> list[Pair]:
    """Pairs whose texts are cut to at most so many tokens each."""
    first = tokenizer.shortened([one for one, _ in pairs], query)
    return list(zip(first, tokenizer.shortened([other for _, other in pairs], document), strict=True))


def _of_all_lengths(tokenizer: Tokenizer, pairs: Sequence[Pair], tokens: int) -> list[Pair]:
    """Pairs as they are, and pairs with joined documents as long as the model reads."""
    read = pairs[: len(first_of(tokenizer, [f"{query} {document}" for query, document in pairs], tokens=tokens // 2))]
    long = joined(tokenizer, [document for _, document in pairs], tokens=tokens // 2)
    return [*read, *((pairs[at][0], document) for at, document in long)]


def _covered(lists: Lists) -> dict[str, list[str]]:
    documents = [text for text in lists.documents if text][:COVERED]
    return {split: list(dict.fromkeys([*queries, *documents])) for split, queries in lists.queries.items()}
