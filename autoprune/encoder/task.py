"""The sentence-encoder task: agreement with the dense model, and whatever else embeddings are judged by."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from autoprune.artifacts.served import Beside, Parts
from autoprune.encoder.benchmarks.benchmark import Benchmark
from autoprune.encoder.benchmarks.coverage import Coverage
from autoprune.encoder.benchmarks.fidelity import Fidelity, Neighbours, Similarities
from autoprune.encoder.benchmarks.retrieval import Retrieval
from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.functional import padded
from autoprune.encoder.judging import EncoderJudging
from autoprune.encoder.model import Encoder
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.reach import choosing, within_reach, without
from autoprune.encoder.serve import serve_encoder
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.teacher import Teacher, digest_of
from autoprune.encoder.texts import Corpus, split_texts
from autoprune.encoder.tokenizer import Tokenizer, Tokens
from autoprune.encoder.workloads import DOCUMENTS, QUERIES, TEXTS, asking, make_requests, read_workloads
from autoprune.machine import fastest_products
from autoprune.models.context import Context
from autoprune.tasks.task import Task

FIDELITY: tuple[type[Fidelity], ...] = (Similarities, Neighbours)

CALIBRATION_TEXTS, CALIBRATION_TOKENS = 1024, 48
"""Texts that importance is measured on, and how much of each: a scan measures it of many models, and whole texts take
longer by their length."""

REQUEST_TEXTS = 2000
"""Texts whose words make the requests that are timed."""


class EncoderTask(EncoderJudging[SentenceEncoder], Task[Encoder, SentenceEncoder]):
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

    runtimes = ("torch", "onnx")
    stores_vectors = True

    def __init__(self, config: EncoderConfig, dense: Encoder, corpus: Corpus, benchmarks: Sequence[Benchmark]) -> None:
        config.check()
        self.name, self.config, self.training = config.name, config, config.training
        self._dense, self._corpus = dense, corpus
        self._texts = split_texts(corpus.texts, seed=config.seed)
        self._digest = digest_of(dense)
        self.teacher = Teacher(
            self._digest, lambda: self._served(dense), out=dense.out, report=lambda message: self.report(message)
        )
        prompts, train = dense.architecture.prompts, self._texts["train"]
        self._train = prompts.spread(train)  # what distillation reads: texts as the model will be asked for them
        fidelity = [
            kind(self._texts, lambda split: self.teacher.vectors(prompts.before(self._texts[split])))
            for kind in FIDELITY
        ]
        super().__init__(
            [one.under(dense.architecture.similarity) for one in (*benchmarks, *fidelity)],
            Coverage(self._texts, dense.tokenizer.count),
            metric=config.metric,
            tokenizer=dense.tokenizer,
            common=train,
        )
        for one in self.benchmarks:
            one.prepare(lambda texts, role=None: self.teacher.vectors(prompts.before(texts, role)))
        self._calibration = dense.tokenizer.shortened(some(self._train, CALIBRATION_TEXTS), CALIBRATION_TOKENS)
        self._frequency = worth(dense.tokenizer, self._train)
        own = self._own_texts(train)
        workloads = read_workloads(config.workloads, there=list(own))
        self.workload_names = tuple(workloads)
        self.workload_items = {name: one.texts for name, one in workloads.items()}
        self._requests = make_requests(dense.tokenizer, own, workloads)
        self._tokens: tuple[bytes, list[Tokens]] | None = None
        self._wanted: Tensor | None = None

    def _own_texts(self, train: Sequence[str]) -> dict[str, list[str]]:
        """The user's texts that requests are made of, by their source, behind their prompts."""
        prompts, found = self._dense.architecture.prompts, {TEXTS: some(train, REQUEST_TEXTS)}
        for one in self.benchmarks:
            if isinstance(one, Retrieval):
                held = one.collection
                found[QUERIES] = prompts.before(some(held.queries["validation"], REQUEST_TEXTS), "query")
                there = [text for text in held.documents if text]
                found[DOCUMENTS] = prompts.before(some(there, REQUEST_TEXTS), "document")
        return found

    def tell(self, message: str) -> None:
        self.report(message)

    def describe(self) -> str:
        dense, architecture = self._dense, self._dense.architecture
        said = [
            f"{architecture.name}: {len(dense.layers)} layers, {len(dense.pieces):,} pieces",
            self._corpus.describe(),
            *(one.describe() for one in self.benchmarks),
        ]
        if not dense.tokenizer.reducible:
            said.append(f"the vocabulary stays whole: its tokenizer ({dense.tokenizer.kind}) can lose no pieces")
        if architecture.prompts.describe():
            said.append(f"prompts: {architecture.prompts.describe()}")
        if architecture.similarity != "cosine":
            said.append(f"similarity: {architecture.similarity}")
        if dense.matryoshka:
            said.append("the first dimensions of a vector can do without the others, its folder says (Matryoshka)")
        return "; ".join([*said, *dense.notes])

    def fingerprint(self) -> str:
        settings = dataclasses.asdict(self.config)
        for located in ("name", "model", "texts", "data", "metric", "matryoshka"):  # what is read, or the space, tells
            del settings[located]
        if self.config.workloads is None:  # the usual ones leave the fingerprint as it was
            del settings["workloads"]
        held = [self._digest, self._corpus.fingerprint(), *(one.fingerprint() for one in self.benchmarks)]
        return f"{hashlib.sha256(' '.join(held).encode()).hexdigest()} {json.dumps(settings, sort_keys=True)}"

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(seed=seed, device=device, frequency={"vocab": self._frequency}, calibration=self._calibration)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        found = suited_to(self._dense, recipe)
        told = self.config.matryoshka
        if not (self._dense.matryoshka if told is None else told):
            found = choosing(found, "dims", "importance", lambda importance: importance != "prefix")
        return found

    def model(self, base: Mapping[str, Any], *, seed: int) -> Encoder:  # it comes trained
        return copy.deepcopy(self._dense)

    def batches(self) -> Sequence[Tensor]:
        """An epoch's texts by number; those of a batch are of like length, so that little of it is padding."""
        lengths = [len(text) for text in self._distilled]
        return drawn_batches(lengths, count=self.config.texts_per_epoch, size=self.config.texts_per_update)

    def loss(self, model: Encoder, batch: Tensor) -> Tensor:
        """1 - cosine to the dense vectors, and the squared error of the cosines within the batch.

        Where a similarity rests on lengths, their squared relative error too.
        """
        if self._wanted is None:
            self._wanted = torch.from_numpy(self.teacher.vectors(self._distilled))
        tokens = self._tokenized(model)
        ids, there = padded([tokens[at] for at in batch.tolist()])
        device, precision = model.device, self.config.precision
        products = getattr(torch, precision) if precision else fastest_products(device)
        found = model(ids.to(device), there.to(device), products=products)
        dense = self._wanted[batch].to(device) @ model.wanted().T
        vectors, wanted = normalize(found), normalize(dense)
        apart = (1 - (vectors * wanted).sum(1)).mean()
        wrong = (vectors @ vectors.T - wanted @ wanted.T).square().mean()
        loss: Tensor = apart + self.config.similarities * wrong
        architecture = self._dense.architecture
        if architecture.similarity == "cosine" or architecture.normalize:
            return loss
        lengths: Tensor = found.norm(dim=1) / dense.norm(dim=1).clamp(min=1e-12)
        return loss + (lengths - 1).square().mean()

    def beside(self) -> Beside:
        return Beside(values={"model": self._dense.architecture.name}, tensors={})

    def parts(self, model: Encoder, runtime: str = "") -> Parts:
        return encoder_parts(model, runtime or self.runtimes[0], self.beside())

    def validate(self, model: Encoder) -> float:
        return self.metrics[self.metric](self.score(self._served(model), "validation"))

    def workloads(self, served: SentenceEncoder) -> dict[str, Callable[[], object]]:
        """Requests of so many texts, each of so many tokens to the dense model, read and answered."""
        return {name: asking(served, requests) for name, requests in self._requests.items()}

    def _served(self, model: Encoder) -> SentenceEncoder:
        """Ready to answer on onnxruntime, whatever ships."""
        served = serve_encoder(self.parts(model, "onnx"), device="cpu")
        assert isinstance(served, SentenceEncoder), "what gives vectors is a sentence encoder"
        served.pause = self.pause
        return served

    @cached_property
    def _distilled(self) -> list[str]:
        """The training texts as both models read them, the dense one and the smaller."""
        longest = self.config.longest
        return self._train if longest is None else self._dense.tokenizer.shortened(self._train, longest)

    def _tokenized(self, model: Encoder) -> list[Tokens]:
        """The training texts as token ids under the pieces that stand."""
        word = model.tables["word"]
        vocabulary = word.index.cpu().numpy().tobytes() + word.row_mask.cpu().numpy().tobytes()
        key = hashlib.sha256(vocabulary).digest()
        if self._tokens is None or self._tokens[0] != key:
            self._tokens = key, model.tokens(self._distilled)
        return self._tokens[1]


T = TypeVar("T")


def some(texts: Sequence[T], count: int) -> list[T]:
    """As many of some texts, drawn; the same ones at every call."""
    chosen = np.random.default_rng(0).choice(len(texts), size=min(count, len(texts)), replace=False)
    return [texts[at] for at in chosen]


def suited_to(dense: Encoder, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A space or a recipe without what can never be done to a model."""
    sizes: dict[str, tuple[int, ...]] = {"layers": (len(dense.layers),)}
    for kind in ("heads", "ffn"):
        of_layers = [dense.size(axis) for axis in dense.axes_of(kind).values()]
        sizes[kind] = (min(of_layers), sum(of_layers))
    found = within_reach(recipe, sizes)
    found = choosing(found, "store", "bits", lambda bits: not dense.unstorable(bits))
    return found if dense.tokenizer.reducible else without(found, "rows")


def drawn_batches(lengths: Sequence[int], *, count: int, size: int) -> list[Tensor]:
    """Positions of an epoch's texts, int64 each; those of a batch are of like length.

    Args:
        lengths: of all texts.
        count: texts of an epoch, at most.
        size: texts of a batch; one of a single text is left out.
    """
    chosen = torch.randperm(len(lengths))[:count]
    long = torch.tensor(lengths)[chosen]
    # Within a window of batches only: texts of one length alone would make odd batches.
    window = 16 * size
    batches: list[Tensor] = []
    for start in range(0, len(chosen), window):
        order = long[start : start + window].argsort(stable=True) + start
        batches += torch.split(chosen[order], size)
    full = [batch for batch in batches if len(batch) > 1]
    return [full[at] for at in torch.randperm(len(full)).tolist()]


def worth(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """How often pieces occur in texts, as ranks of rows rest on it: int64 [size].

    A character of the texts counts as if it had stood alone once: without it a word that loses its pieces could not be
    read at all. Pieces that others are merged from count for more than these. Among pieces that never occur those come
    last that are placeholders, or of a script that the texts do not use at all.
    """
    counts = 2 * tokenizer.frequency(texts) + 1
    letters = tokenizer.characters(texts)
    scripts = _scripts(letters)
    for at, piece in enumerate(tokenizer.pieces):
        bare = tokenizer.bare(piece)
        if bare in letters:
            counts[at] += 2
        elif piece.startswith("[unused") or not piece or (counts[at] == 1 and not _scripts(bare) <= scripts):
            counts[at] = 0
    return torch.from_numpy(tokenizer.with_parts(counts))


def _scripts(characters: Iterable[str]) -> set[str]:
    """The scripts of letters, by the word with which their names in Unicode begin: `LATIN`, `CYRILLIC`, `CJK`."""
    return {unicodedata.name(one, "").partition(" ")[0] for one in characters if one.isalpha()}
