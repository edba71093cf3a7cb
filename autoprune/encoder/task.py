"""The sentence-encoder task: agreement with the dense model, and whatever else embeddings are judged by."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import platformdirs
import torch
from torch import Tensor
from torch.nn.functional import normalize

from autoprune.artifacts.served import Beside, Parts, Served, serve
from autoprune.encoder.benchmarks.benchmark import Benchmark, Vectors
from autoprune.encoder.benchmarks.coverage import Coverage
from autoprune.encoder.benchmarks.fidelity import Fidelity, Neighbours, Similarities
from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.model import Encoder, padded
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.slices import PERTURBATIONS, SLICES, slice_columns, word_frequency
from autoprune.encoder.texts import Corpus, split_texts
from autoprune.encoder.tokenizer import Tokenizer, Tokens
from autoprune.errors import unknown
from autoprune.machine import fastest_products
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.tasks.task import Task

WORKLOADS = {"1x32": (1, 32), "1x16": (1, 16), "1x128": (1, 128), "32x32": (32, 32)}
"""Texts in a request, and tokens of each."""

REQUESTS = 8
"""Different requests of each workload, in turn."""

FIDELITY: tuple[type[Fidelity], ...] = (Similarities, Neighbours)

CALIBRATION_TEXTS = 1024

CHUNK_TEXTS = 4096
"""Dense embeddings are kept on disk in chunks of so many texts: a kill costs at most one."""

UNITS = 10_000_000
"""Units of one benchmark, at most: each has a range of numbers of its own."""


class EncoderTask(Task):
    """Texts to vectors that are near where the texts mean the same.

    The dense model comes trained. Recovery is distillation: on texts without labels a smaller model learns the
    vectors of the dense one, which are computed once and kept (Reimers & Gurevych 2020, "Making Monolingual Sentence
    Embeddings Multilingual using Knowledge Distillation").

    Args:
        config: what the task was told.
        dense: the model as it came.
        corpus: the user's own texts; split here into those that are distilled on and those that judge.
        benchmarks: what embeddings are judged by beside fidelity; the first one's metric is `quality` unless the config
            names another.
    """

    slices = SLICES
    workload_names = tuple(WORKLOADS)
    unit = "unit"
    base: Mapping[str, Any] = {}
    runtimes = ("torch", "onnx")

    def __init__(self, config: EncoderConfig, dense: Encoder, corpus: Corpus, benchmarks: Sequence[Benchmark]) -> None:
        config.check()
        self.name, self.config, self.training = config.name, config, config.training
        self._dense, self._corpus = dense, corpus
        self._texts = split_texts(corpus.texts, seed=config.seed)
        self._digest = _digest_of(dense)
        train = self._texts["train"]
        own = [kind(self._texts, lambda split: self._dense_vectors(self._texts[split])) for kind in FIDELITY]
        self._coverage = Coverage(self._texts, dense.tokenizer.count)
        self._benchmarks = (*benchmarks, *own)
        self.metrics = {name: metric for part in self._benchmarks for name, metric in part.metrics.items()}
        self.metrics |= self._coverage.metrics
        self.metric = config.metric or next(iter(self.metrics))
        if self.metric not in self.metrics:
            raise unknown("task.metric", self.metric, self.metrics)
        # To a tokenizer that lower-cases, upper case is nothing new.
        one, other = dense.tokenizer.encode(["Deaf To Case", "DEAF TO CASE"])
        deaf = np.array_equal(one, other)
        self.perturbations = tuple(name for name in PERTURBATIONS if name != "upper_case" or not deaf)
        self._words = word_frequency(train)
        self._calibration = _some(train, CALIBRATION_TEXTS)
        self._frequency = _worth(dense.tokenizer, train)
        self._known: WeakKeyDictionary[Served, dict[str, Vectors]] = WeakKeyDictionary()
        self._judged: WeakKeyDictionary[Served, dict[tuple[str, str], pd.DataFrame]] = WeakKeyDictionary()
        self._tokens: tuple[bytes, list[Tokens]] | None = None
        self._teacher: Tensor | None = None
        self._kinds: dict[tuple[str, str], pd.DataFrame] = {}
        self._requests = self._make_requests()

    def describe(self) -> str:
        judged = "; ".join(part.describe() for part in self._benchmarks)
        vocabulary = (
            ""
            if self._dense.tokenizer.reducible
            else (f"; the vocabulary stays whole: its tokenizer is {self._dense.tokenizer.kind}, not WordPiece")
        )
        return (
            f"{self._dense.architecture.name}: {len(self._dense.layers)} layers, {len(self._dense.words):,} pieces; "
            f"{self._corpus.describe()}; {judged}{vocabulary}"
        )

    def fingerprint(self) -> str:
        settings = dataclasses.asdict(self.config)
        for located in ("name", "model", "texts", "data", "metric"):  # what they hold is hashed, wherever it lies
            del settings[located]
        parts = [self._digest, self._corpus.fingerprint(), *(part.fingerprint() for part in self._benchmarks)]
        return f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()} {json.dumps(settings, sort_keys=True)}"

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(seed=seed, device=device, frequency={"vocab": self._frequency}, calibration=self._calibration)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        if self._dense.tokenizer.reducible:
            return dict(recipe)
        stages = {name: stage for name, stage in recipe.items() if name != "rows"}
        return {
            name: {key: value for key, value in stage.items() if key != "rows"} if isinstance(stage, Mapping) else stage
            for name, stage in stages.items()
        }

    def model(self, base: Mapping[str, Any], *, seed: int) -> Model:  # it comes trained
        return copy.deepcopy(self._dense)

    def initialize(self, model: Model, *, seed: int) -> None:
        """Nothing: the dense model comes trained."""

    def batches(self) -> Sequence[Tensor]:
        """An epoch's texts by number; those of a batch are of like length, so that little of it is padding."""
        count = min(self.config.texts_per_epoch, len(self._texts["train"]))
        chosen = torch.randperm(len(self._texts["train"]))[:count]
        lengths = torch.tensor([len(self._texts["train"][at]) for at in chosen.tolist()])
        # Within a window of batches only: texts of one length alone would make odd batches.
        size, window = self.config.texts_per_update, 16 * self.config.texts_per_update
        batches: list[Tensor] = []
        for start in range(0, count, window):
            order = lengths[start : start + window].argsort(stable=True) + start
            batches += torch.split(chosen[order], size)
        full = [batch for batch in batches if len(batch) > 1]
        return [full[at] for at in torch.randperm(len(full)).tolist()]

    def loss(self, model: Model, batch: Tensor) -> Tensor:
        """1 - cosine to the dense vectors, and the squared error of the similarities within the batch."""
        assert isinstance(model, Encoder), "an encoder task trains encoders"
        if self._teacher is None:
            self._teacher = torch.from_numpy(self._dense_vectors(self._texts["train"]))
        tokens = self._tokenized(model)
        ids, there = padded([_cut_off(tokens[at], self.config.longest) for at in batch.tolist()])
        device, precision = model.layer_mask.device, self.config.precision
        products = getattr(torch, precision) if precision else fastest_products(device)
        vectors = normalize(model(ids.to(device), there.to(device), products=products))
        wanted = normalize(self._teacher[batch].to(device) @ model.wanted().T)
        apart = (1 - (vectors * wanted).sum(1)).mean()
        wrong = (vectors @ vectors.T - wanted @ wanted.T).square().mean()
        return apart + self.config.similarities * wrong

    def settle(self, model: Model) -> None:
        """Nothing: the loss sees what serves."""

    def beside(self) -> Beside:
        return Beside(values={"model": self._dense.architecture.name}, tensors={})

    def parts(self, model: Model, runtime: str = "") -> Parts:
        assert isinstance(model, Encoder), "an encoder task makes encoders"
        return encoder_parts(model, runtime or self.runtimes[0], self.beside())

    def score(self, served: Served, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """The rows of every benchmark, with the columns of slices; units count on from benchmark to benchmark."""
        assert isinstance(served, SentenceEncoder), "an encoder task serves encoders"
        perturb = PERTURBATIONS[perturbation] if perturbation else None

        def encode(texts: Sequence[str]) -> Vectors:
            return self._encode(served, texts)

        found = [
            part.rows(encode, split, perturb) if perturb else self._whole_rows(part, served, split).copy()
            for part in self._benchmarks
        ]
        found.append(self._coverage.rows(served, split, perturb))
        for number, rows in enumerate(found):
            rows["unit"] += number * UNITS
        columns = [self._slices(split, rows) for rows in found]
        whole = pd.concat(
            [pd.concat([rows.drop(columns="text"), cut], axis=1) for rows, cut in zip(found, columns, strict=True)],
            ignore_index=True,
        )
        return whole.astype({"benchmark": "category"})

    def _whole_rows(self, part: Benchmark, served: SentenceEncoder, split: str) -> pd.DataFrame:
        """What a benchmark makes of a model, computed once: a first look and the whole one share it."""
        known = self._judged.setdefault(served, {})
        if (part.name, split) not in known:
            known[part.name, split] = part.rows(lambda texts: self._encode(served, texts), split)
        return known[part.name, split]

    def glance(self, served: Served, metrics: Collection[str]) -> dict[str, float]:
        """Of the first benchmark that has one of the metrics; its vectors need not be computed again."""
        assert isinstance(served, SentenceEncoder), "an encoder task serves encoders"
        for part in self._benchmarks:
            if not part.metrics.keys().isdisjoint(metrics):
                rows = self._whole_rows(part, served, "validation")
                return {name: metric(rows) for name, metric in part.metrics.items()}
        return {}

    def _slices(self, split: str, rows: pd.DataFrame) -> pd.DataFrame:
        """What kinds of texts ask; for one benchmark and split they are always the same."""
        key = split, str(rows["benchmark"].iloc[0])
        if key not in self._kinds:
            self._kinds[key] = slice_columns(rows["text"].tolist(), self._words)
        return self._kinds[key]

    def validate(self, model: Model) -> float:
        return self.metrics[self.metric](self.score(serve(self.parts(model, "onnx")), "validation"))

    def workloads(self, served: Served) -> dict[str, Callable[[], object]]:
        """Requests of so many texts, each of so many tokens to the dense model, read and answered."""
        assert isinstance(served, SentenceEncoder), "an encoder task serves encoders"

        def asking(requests: list[list[str]]) -> Callable[[], object]:
            turn = {"next": 0}

            def ask() -> object:
                turn["next"] = (turn["next"] + 1) % len(requests)
                return served.encode(requests[turn["next"]])

            return ask

        return {name: asking(requests) for name, requests in self._requests.items()}

    def _make_requests(self) -> dict[str, list[list[str]]]:
        tokenizer, draw = self._dense.tokenizer, np.random.default_rng(0)
        words = " ".join(_some(self._texts["train"], 2000)).split()

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
            name: [[text(min(tokens, tokenizer.max_tokens)) for _ in range(texts)] for _ in range(REQUESTS)]
            for name, (texts, tokens) in WORKLOADS.items()
        }

    def _encode(self, served: SentenceEncoder, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, each text of a model's computed once."""
        known = self._known.setdefault(served, {})
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            vectors = served.encode(missing)
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            known.update(zip(missing, vectors, strict=True))
        return np.stack([known[text] for text in texts])

    def _tokenized(self, model: Encoder) -> list[Tokens]:
        """The training texts as token ids under the pieces that stand."""
        word = model.tables["word"]
        vocabulary = word.index.cpu().numpy().tobytes() + word.row_mask.cpu().numpy().tobytes()
        key = hashlib.sha256(vocabulary).digest()
        if self._tokens is None or self._tokens[0] != key:
            self._tokens = key, model.tokens(self._texts["train"])
        return self._tokens[1]

    def _dense_vectors(self, texts: Sequence[str]) -> Vectors:
        """What the dense model makes of texts, computed once on this machine."""
        folder = platformdirs.user_cache_path("autoprune") / "vectors" / self._digest[:16]
        dense: SentenceEncoder | None = None
        found = []
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = texts[start : start + CHUNK_TEXTS]
            path = folder / f"{hashlib.sha256(json.dumps(chunk).encode()).hexdigest()[:24]}.npy"
            try:
                found.append(np.load(path))
            except (OSError, ValueError, EOFError):
                self.report(f"embedding texts with the dense model: {start:,} of {len(texts):,}")
                if dense is None:
                    served = serve(self.parts(self._dense, "onnx"))
                    assert isinstance(served, SentenceEncoder), "an encoder is served"
                    dense = served
                found.append(self._encode(dense, chunk))
                folder.mkdir(parents=True, exist_ok=True)
                draft = path.with_name(f"{path.stem}-{os.getpid()}.draft.npy")
                np.save(draft, found[-1])
                draft.replace(path)
        return np.concatenate(found)


def _some(texts: Sequence[str], count: int) -> list[str]:
    chosen = np.random.default_rng(0).choice(len(texts), size=min(count, len(texts)), replace=False)
    return [texts[at] for at in chosen]


def _cut_off(tokens: Tokens, longest: int) -> Tokens:
    """The first tokens of a text, and the one that ends it."""
    return tokens if len(tokens) <= longest else np.append(tokens[: longest - 1], tokens[-1])


def _worth(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """How often pieces occur in texts, as ranks of rows rest on it: int64 [size].

    A character of the texts counts as if it had stood alone once: without it a word that loses its pieces could not be
    read at all. Among pieces that never occur those that are placeholders come last.
    """
    counts = 2 * tokenizer.frequency(texts) + 1
    letters = tokenizer.characters(texts)
    for at, piece in enumerate(tokenizer.pieces):
        if tokenizer.bare(piece) in letters:
            counts[at] += 2
        elif piece.startswith("[unused") or not piece:
            counts[at] = 0
    return counts


def _run(words: Sequence[str], start: int, count: int) -> str:
    return " ".join(words[(start + at) % len(words)] for at in range(count))


def _digest_of(model: Encoder) -> str:
    """SHA-256 of weights, tokenizer and architecture."""
    settings = {**model.settings(), "name": None}  # wherever it lies
    found = hashlib.sha256(json.dumps([settings, model.tokenizer.content], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
