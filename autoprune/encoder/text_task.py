"""What tasks of texts and of pairs of texts have in common: the model comes trained, and smaller ones learn from it."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import unicodedata
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from autoprune.artifacts.served import Beside, Parts
from autoprune.encoder.benchmarks.benchmark import Benchmark
from autoprune.encoder.benchmarks.coverage import Coverage
from autoprune.encoder.config import TextConfig
from autoprune.encoder.functional import end_to_end, padded
from autoprune.encoder.judging import E, EncoderJudging
from autoprune.encoder.model import Encoder
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.reach import choosing, of_layers, within_reach, without
from autoprune.encoder.serve import serve_encoder
from autoprune.encoder.teacher import Teacher, digest_of
from autoprune.encoder.texts.counts import counted
from autoprune.encoder.tokenizer import Text, Tokenizer, Tokens
from autoprune.machine import fastest_products
from autoprune.models.context import Context
from autoprune.tasks.task import Task

TOKENS_MULTIPLE = 128
"""Of which the tokens of an update are one: oneDNN takes up to ten times as long for bfloat16 products of a size that
it has not seen before (MiniLM's, two cores with AMX)."""

WHOLE_TOKENS, WHOLE_PRODUCTS = (8192, 32_768), 350e9
"""Of texts of all lengths, on which the dense model is measured once, at least and at most, and what multiplications
these are worth: ten seconds for MiniLM, on two cores."""

C = TypeVar("C", bound=TextConfig)
T = TypeVar("T", bound=Text)


class TextTask(EncoderJudging[E], Task[Encoder, E], Generic[E, C, T]):
    """What a model of texts, or of pairs of them, makes smaller ones learn: they are distilled, without labels.

    Args:
        config: what the task was told.
        dense: the model as it came.
        train: what is distilled on, as the model will be asked for it.
        counted: of that, what counts pieces of the vocabulary; None: all.
        calibration: what importance is measured on.
        whole: the same kind of it, of all lengths that the model reads.
        benchmarks: by what answers are judged; the first one's metric is `quality` unless the config names another.
        covered: by split, texts of which it is told how much is still read.
        common: texts whose words are not rare.
        general: English whose pieces count as well, as much in all as those of `counted`.

    Attributes:
        located: settings that are no part of the fingerprint: what lies there is hashed, or something else tells it.
    """

    runtimes = ("torch", "onnx")
    located: tuple[str, ...] = ()

    def __init__(
        self,
        config: C,
        dense: Encoder,
        *,
        train: Sequence[T],
        counted: Sequence[T] | None = None,
        calibration: Sequence[T],
        whole: Sequence[T],
        benchmarks: Sequence[Benchmark],
        covered: Mapping[str, list[str]],
        common: Sequence[str],
        general: Sequence[str] = (),
    ) -> None:
        config.check()
        self.name, self.config, self.training = config.name, config, config.training
        self._dense, self._train, self._general = dense, train, general
        self._calibration, self._whole = calibration, whole
        self._digest = digest_of(dense)
        self.teacher = Teacher(
            self._digest, lambda: self._served(dense), out=dense.out, report=lambda message: self.report(message)
        )
        super().__init__(
            benchmarks,
            Coverage(covered, dense.tokenizer.count),
            metric=config.metric,
            tokenizer=dense.tokenizer,
            common=common,
        )
        prompts = dense.architecture.prompts
        for one in self.benchmarks:
            one.prepare(lambda texts, role=None: self.teacher.vectors(prompts.before(texts, role)))
        self._frequency = worth(dense.tokenizer, single(train if counted is None else counted), general)
        self._tokens: tuple[bytes, list[Tokens]] | None = None

    def describe(self) -> str:
        tokenizer = self._dense.tokenizer
        whole = f"the vocabulary stays whole: its tokenizer ({tokenizer.kind}) can lose no pieces"
        return "; ".join([*self._said(), *([] if tokenizer.reducible else [whole]), *self._dense.notes])

    def tell(self, message: str) -> None:
        self.report(message)

    @abstractmethod
    def _said(self) -> list[str]:
        """What the model is, what it learns from and how it is judged, for people."""

    def fingerprint(self) -> str:
        settings = dataclasses.asdict(self.config)
        for name in ("name", "model", "texts", "data", "metric", *self.located):
            del settings[name]
        held = [self._digest, self._learnt_from(), *(one.fingerprint() for one in self.benchmarks)]
        return f"{hashlib.sha256(' '.join(held).encode()).hexdigest()} {json.dumps(settings, sort_keys=True)}"

    @abstractmethod
    def _learnt_from(self) -> str:
        """SHA-256 of what is distilled on."""

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(
            seed=seed,
            device=device,
            frequency={"vocab": self._frequency},
            calibration=self._calibration,
            whole=self._whole,
        )

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """A space or a recipe without what can never be done to the model."""
        dense = self._dense
        sizes: dict[str, Sequence[int]] = {"layers": (len(dense.layers),)}
        for kind in ("heads", "ffn"):
            sizes[kind] = of_layers([dense.size(axis) for axis in dense.axes_of(kind).values()])
        found = within_reach(recipe, sizes)
        found = choosing(found, "store", "bits", lambda bits: not dense.unstorable(bits))
        return found if dense.tokenizer.reducible else without(found, "rows")

    def model(self, base: Mapping[str, Any], *, seed: int) -> Encoder:  # it comes trained
        return copy.deepcopy(self._dense)

    def beside(self) -> Beside:
        return Beside(values={"model": self._dense.architecture.name}, tensors={})

    def parts(self, model: Encoder, runtime: str = "") -> Parts:
        return encoder_parts(model, runtime or self.runtimes[0], self.beside())

    def validate(self, model: Encoder) -> float:
        return self.metrics[self.metric](self.score(self._served(model), "validation"))

    def _served(self, model: Encoder) -> E:
        """Ready to answer on onnxruntime, whatever ships."""
        served: Any = serve_encoder(self.parts(model, "onnx"), device="cpu")  # the model says of what kind it is
        served.pause = self.pause
        found: E = served
        return found

    def ready(self) -> None:
        self.teacher.vectors(self._distilled)

    def _drawn(self, *, count: int, size: int) -> Sequence[Tensor]:
        """An epoch of so many texts by number, in batches.

        Each batch is of any length: those of texts of like length teach far less (`studies/minilm/batches.py`). One of
        a single text is left out.
        """
        batches = torch.split(torch.randperm(len(self._train))[:count], size)
        return [batch for batch in batches if len(batch) > 1]

    def _learning(self, model: Encoder, batch: Tensor) -> tuple[Tensor, Tensor]:
        """What a model and the dense one give for a batch, each float32 [texts, numbers]."""
        known, device = self._tokenized(model), model.device
        products = getattr(torch, self.config.precision) if self.config.precision else fastest_products(device)
        batch = torch.tensor(sorted((at for at in batch.tolist() if len(known[at])), key=lambda at: len(known[at])))
        tokens = [known[at] for at in batch.tolist()]
        if device.type == "cpu":  # padding costs nothing so
            ids, runs = end_to_end(tokens, multiple=TOKENS_MULTIPLE)
            found = model(ids, None, products=products, runs=runs)[: len(batch)]
        else:  # a GPU has padding sooner than it has started a step for each length
            ids, there = padded(tokens)
            found = model(ids.to(device), there.to(device), products=products)
        return found, self._wanted[batch].to(device)

    @cached_property
    def _wanted(self) -> Tensor:
        return torch.from_numpy(self.teacher.vectors(self._distilled))

    @cached_property
    def _distilled(self) -> Sequence[T]:
        """What is distilled on as both models read it, the dense one and the smaller."""
        longest = self.config.longest
        return self._train if longest is None else self._shortened(longest)

    @abstractmethod
    def _shortened(self, longest: int) -> Sequence[T]:
        """What is distilled on, without what lies beyond so many tokens of a text."""

    def _tokenized(self, model: Encoder) -> list[Tokens]:
        """What is distilled on as token ids under the pieces that stand."""
        word = model.tables["word"]
        vocabulary = word.index.cpu().numpy().tobytes() + word.row_mask.cpu().numpy().tobytes()
        key = hashlib.sha256(vocabulary).digest()
        if self._tokens is None or self._tokens[0] != key:
            self._tokens = key, model.tokens(self._distilled)
        return self._tokens[1]


Some = TypeVar("Some")


def whole_tokens(dense: Encoder) -> int:
    """Tokens of texts of all lengths, on which the dense model is measured once: fewer for a large one."""
    least, most = WHOLE_TOKENS
    return round(min(max(WHOLE_PRODUCTS / dense.products, least), most))


def some(texts: Sequence[Some], count: int) -> list[Some]:
    """As many of some texts, drawn; the same ones at every call."""
    chosen = np.random.default_rng(0).choice(len(texts), size=min(count, len(texts)), replace=False)
    return [texts[at] for at in chosen]


def single(texts: Iterable[Text]) -> list[str]:
    """The different texts, of pairs each one by itself."""
    return list(dict.fromkeys(one for text in texts for one in ((text,) if isinstance(text, str) else text)))


def worth(tokenizer: Tokenizer, texts: Sequence[str], general: Sequence[str] = ()) -> Tensor:
    """How often pieces occur in texts, as ranks of rows rest on it: int64 [size].

    General English counts as well. Of whichever is less each piece counts for more, so that both weigh the same.

    A character of the texts counts as if it had stood alone once: without it a word that loses its pieces could not be
    read at all. Pieces that others are merged from count for more than these. Among pieces that never occur those come
    last that are placeholders, or of a script that the texts do not use at all.
    """
    own, letters = tokenizer.frequency(texts), tokenizer.characters(texts)
    others = np.zeros_like(own)
    if general:
        others, more = counted(tokenizer, general)
        letters |= more
        most = max(own.sum(), others.sum())
        own, others = (np.ceil(one * (most / max(1, one.sum()))).astype(np.int64) for one in (own, others))
    counts = 2 * (own + others) + 1
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
