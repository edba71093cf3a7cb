"""The reranker task: agreement with the dense model's order, and whatever else orders are judged by."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from autoprune.artifacts.served import Beside, Parts
from autoprune.encoder.benchmarks.benchmark import Benchmark
from autoprune.encoder.benchmarks.coverage import Coverage
from autoprune.encoder.functional import padded
from autoprune.encoder.judging import EncoderJudging
from autoprune.encoder.model import Encoder
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.reach import without
from autoprune.encoder.reranker.asking import Unlabelled
from autoprune.encoder.reranker.benchmarks import AGREEMENTS, Agreement
from autoprune.encoder.reranker.config import RerankerConfig
from autoprune.encoder.reranker.lists import Lists, Pair
from autoprune.encoder.reranker.served import Reranker
from autoprune.encoder.serve import serve_encoder
from autoprune.encoder.task import drawn_batches, some, suited_to, worth
from autoprune.encoder.teacher import Teacher, digest_of
from autoprune.encoder.tokenizer import Tokenizer, Tokens
from autoprune.encoder.workloads import TEXTS, Workload, make_requests
from autoprune.machine import fastest_products
from autoprune.models.context import Context
from autoprune.tasks.task import Task

CALIBRATION_PAIRS, CALIBRATION_TOKENS = 512, (16, 48)
"""Pairs that importance is measured on, and how much of each query and document."""

COVERED = 500
"""Documents of which it is told how much can still be read, at most."""

WORKLOADS = {"10x128": 10, "1x128": 1, "30x128": 30}
"""Documents of a query, each of which is a pair of `PAIR_TOKENS` with it."""

PAIR_TOKENS, QUERY_TOKENS = 128, 16

POOLED = 8
"""Documents that are made for each request; a longer one takes those of the next ones as well."""

REQUEST_TEXTS = 2000
"""Texts whose words make the requests that are timed."""


class RerankerTask(EncoderJudging[Reranker], Task[Encoder, Reranker]):
    """A query and a document to a score, by which documents are put in order.

    The dense model comes trained. Recovery is distillation: on pairs without labels a smaller model learns the scores
    of the dense one, before anything becomes of them (Hofstätter et al. 2020, "Improving Efficient Neural Ranking
    Models with Cross-Architecture Knowledge Distillation").

    Args:
        config: what the task was told.
        dense: the model as it came.
        texts: what is distilled on, and what agreement is judged on where `lists` says nothing else.
        benchmarks: what orders are judged by beside agreement; the first one's metric is `quality` unless the config
            names another.
        lists: what agreement is judged on; None: queries without labels.
    """

    workload_names = tuple(WORKLOADS)
    runtimes = ("torch", "onnx")

    def __init__(
        self,
        config: RerankerConfig,
        dense: Encoder,
        texts: Unlabelled,
        benchmarks: Sequence[Benchmark],
        lists: Lists | None = None,
    ) -> None:
        config.check()
        self.name, self.config, self.training = config.name, config, config.training
        self._dense, self._train = dense, texts.learnt
        self._digest = digest_of(dense)
        self.teacher = Teacher(
            self._digest, lambda: self._served(dense), out=1, report=lambda message: self.report(message)
        )
        judged = lists or texts.judged
        read = list(dict.fromkeys(text for pair in self._train for text in pair))
        super().__init__(
            [*benchmarks, *(Agreement(judged, metric=metric) for metric in AGREEMENTS)],
            Coverage(_covered(judged), dense.tokenizer.count),
            metric=config.metric,
            tokenizer=dense.tokenizer,
            common=read,
        )
        for one in self.benchmarks:
            one.prepare(lambda pairs, role=None: self.teacher.vectors(pairs))  # pairs have no role
        self._calibration = _shortened(dense.tokenizer, some(self._train, CALIBRATION_PAIRS), *CALIBRATION_TOKENS)
        self._frequency = worth(dense.tokenizer, read)
        self._requests = _requests(dense.tokenizer, some(read, REQUEST_TEXTS))
        self._tokens: tuple[bytes, list[Tokens]] | None = None
        self._wanted: Tensor | None = None

    def describe(self) -> str:
        dense, architecture = self._dense, self._dense.architecture
        said = [
            f"{architecture.name}: {len(dense.layers)} layers, {len(dense.pieces):,} pieces, {architecture.score}",
            f"{len(self._train):,} pairs to distil on",
            *dict.fromkeys(one.describe() for one in self.benchmarks),
        ]
        if not dense.tokenizer.reducible:
            said.append(f"the vocabulary stays whole: its tokenizer ({dense.tokenizer.kind}) can lose no pieces")
        return "; ".join([*said, *dense.notes])

    def fingerprint(self) -> str:
        settings = dataclasses.asdict(self.config)
        for located in ("name", "model", "texts", "queries", "data", "metric"):  # what they hold is hashed
            del settings[located]
        pairs = hashlib.sha256(json.dumps(self._train).encode()).hexdigest()
        held = [self._digest, pairs, *(one.fingerprint() for one in self.benchmarks)]
        return f"{hashlib.sha256(' '.join(held).encode()).hexdigest()} {json.dumps(settings, sort_keys=True)}"

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(seed=seed, device=device, frequency={"vocab": self._frequency}, calibration=self._calibration)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        return without(suited_to(self._dense, recipe), "dims")  # there is one number

    def model(self, base: Mapping[str, Any], *, seed: int) -> Encoder:  # it comes trained
        return copy.deepcopy(self._dense)

    def batches(self) -> Sequence[Tensor]:
        """An epoch's pairs by number; those of a batch are of like length, so that little of it is padding."""
        lengths = [len(query) + len(document) for query, document in self._distilled]
        return drawn_batches(lengths, count=self.config.pairs_per_epoch, size=self.config.pairs_per_update)

    def loss(self, model: Encoder, batch: Tensor) -> Tensor:
        """The squared error of the scores, in standard deviations of the dense model's."""
        if self._wanted is None:
            self._wanted = torch.from_numpy(self.teacher.vectors(self._distilled))[:, 0]
        tokens = self._tokenized(model)
        ids, there = padded([tokens[at] for at in batch.tolist()])
        device, precision = model.device, self.config.precision
        products = getattr(torch, precision) if precision else fastest_products(device)
        found = model(ids.to(device), there.to(device), products=products)[:, 0]
        spread = self._wanted.std().clamp_min(1e-6).to(device)
        loss: Tensor = ((found - self._wanted[batch].to(device)) / spread).square().mean()
        return loss

    def beside(self) -> Beside:
        return Beside(values={"model": self._dense.architecture.name}, tensors={})

    def parts(self, model: Encoder, runtime: str = "") -> Parts:
        return encoder_parts(model, runtime or self.runtimes[0], self.beside())

    def validate(self, model: Encoder) -> float:
        return self.metrics[self.metric](self.score(self._served(model), "validation"))

    def workloads(self, served: Reranker) -> dict[str, Callable[[], object]]:
        """Requests of a query and so many documents, each pair of so many tokens to the dense model."""
        return {name: _ranking(served, requests) for name, requests in self._requests.items()}

    def _served(self, model: Encoder) -> Reranker:
        """Ready to answer on onnxruntime, whatever ships."""
        served = serve_encoder(self.parts(model, "onnx"), device="cpu")
        assert isinstance(served, Reranker), "what gives a score is a reranker"
        served.pause = self.pause
        return served

    @cached_property
    def _distilled(self) -> list[Pair]:
        """The training pairs as both models read them, the dense one and the smaller."""
        longest = self.config.longest
        return self._train if longest is None else _shortened(self._dense.tokenizer, self._train, longest, longest)

    def _tokenized(self, model: Encoder) -> list[Tokens]:
        """The training pairs as token ids under the pieces that stand."""
        word = model.tables["word"]
        vocabulary = word.index.cpu().numpy().tobytes() + word.row_mask.cpu().numpy().tobytes()
        key = hashlib.sha256(vocabulary).digest()
        if self._tokens is None or self._tokens[0] != key:
            self._tokens = key, model.tokens(self._distilled)
        return self._tokens[1]


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
    """Asks for one of the requests after the other."""
    turn = {"next": 0}

    def ask() -> object:
        turn["next"] = (turn["next"] + 1) % len(requests)
        return served.rank(*requests[turn["next"]])

    return ask


def _shortened(tokenizer: Tokenizer, pairs: Sequence[Pair], query: int, document: int) -> list[Pair]:
    """Pairs without what lies beyond so many tokens of each text."""
    first = tokenizer.shortened([one for one, _ in pairs], query)
    return list(zip(first, tokenizer.shortened([other for _, other in pairs], document), strict=True))


def _covered(lists: Lists) -> dict[str, list[str]]:
    documents = [text for text in lists.documents if text][:COVERED]
    return {split: list(dict.fromkeys([*queries, *documents])) for split, queries in lists.queries.items()}
