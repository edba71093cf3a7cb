"""What tasks of texts and of text pairs share: the dense model is already trained, and smaller models learn from it."""

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
"""The tokens of an update are padded to a multiple of this: oneDNN takes up to ten times as long for bfloat16 products
of a size that it has not seen before (MiniLM, two cores with AMX)."""

WHOLE_TOKENS, WHOLE_PRODUCTS = (8192, 32_768), 350e9
"""The fewest and the most tokens of the texts of all lengths on which the dense model is measured once, and the number
of multiplications that decides between the two: ten seconds for MiniLM on two cores."""

C = TypeVar("C", bound=TextConfig)
T = TypeVar("T", bound=Text)


class TextTask(EncoderJudging[E], Task[Encoder, E], Generic[E, C, T]):
    """A task whose dense model reads texts or pairs of texts; smaller models are distilled from it, without labels.

    Args:
        config: the task's settings.
        dense: the unpruned model.
        train: the texts that distillation reads, with their prompts.
        counted: the texts of `train` in which pieces of the vocabulary are counted; None: all.
        calibration: the texts on which importance is measured.
        whole: more texts for measuring, of all lengths that the model reads.
        benchmarks: what judges the answers. The metric of the first is `quality` unless the config names another.
        covered: by split, the texts whose coverage is measured.
        common: texts whose words do not count as rare.
        general: English texts whose pieces count as well; all together they weigh as much as those of `counted`.

    Attributes:
        located: settings left out of the fingerprint, because what they point to is hashed or another part of the
            fingerprint covers them.
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
            Coverage(covered, dense.tokenizer),
            metric=config.metric,
            tokenizer=dense.tokenizer,
            common=common,
        )
        prompts = dense.architecture.prompts
        for benchmark in self.benchmarks:
            benchmark.prepare(lambda texts, role=None: self.teacher.vectors(prompts.before(texts, role)))
        self._frequency = worth(dense.tokenizer, single(train if counted is None else counted), general)
        self._tokens: tuple[bytes, dict[int, Tokens]] | None = None

    def describe(self) -> str:
        tokenizer = self._dense.tokenizer
        uncut = f"the vocabulary stays whole: its tokenizer ({tokenizer.kind}) can lose no pieces"
        return "; ".join([*self._said(), *([] if tokenizer.reducible else [uncut]), *self._dense.notes])

    def tell(self, message: str) -> None:
        self.report(message)

    @abstractmethod
    def _said(self) -> list[str]:
        """Sentences for people: what the model is, what smaller models learn from, and how they are judged."""

    def fingerprint(self) -> str:
        settings = dataclasses.asdict(self.config)
        for name in ("name", "model", "texts", "data", "metric", *self.located):
            del settings[name]
        parts = [self._digest, self._learnt_from(), *(benchmark.fingerprint() for benchmark in self.benchmarks)]
        # Older versions counted only tokens within the length that the model reads, and had shorter epochs. These marks
        # are added only where the result differs, so that all other studies keep their fingerprint.
        parts += ["whole coverage"] * self._coverage.cuts + ["whole epochs"] * (len(self._train) < self._per_epoch)
        return f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()} {json.dumps(settings, sort_keys=True)}"

    @abstractmethod
    def _learnt_from(self) -> str:
        """SHA-256 of the texts that distillation reads."""

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(
            seed=seed,
            device=device,
            frequency={"vocab": self._frequency},
            calibration=self._calibration,
            whole=self._whole,
        )

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """The space or recipe without the steps and values that this model cannot take."""
        dense = self._dense
        sizes: dict[str, Sequence[int]] = {"layers": (len(dense.layers),)}
        for kind in ("heads", "ffn"):
            sizes[kind] = of_layers([dense.size(axis) for axis in dense.axes_of(kind).values()])
        suited = within_reach(recipe, sizes)
        suited = choosing(suited, "store", "bits", lambda bits: not dense.unstorable(bits))
        return suited if dense.tokenizer.reducible else without(suited, "rows")

    def model(self, base: Mapping[str, Any], *, seed: int) -> Encoder:  # already trained
        return copy.deepcopy(self._dense)

    def beside(self) -> Beside:
        return Beside(values={"model": self._dense.architecture.name}, tensors={})

    def parts(self, model: Encoder, runtime: str = "") -> Parts:
        return encoder_parts(model, runtime or self.runtimes[0], self.beside())

    def validate(self, model: Encoder) -> float:
        return self.metrics[self.metric](self.score(self._served(model), "validation"))

    def _served(self, model: Encoder) -> E:
        """The model, ready to answer on onnxruntime, whatever runtime its artifact will have."""
        served: Any = serve_encoder(self.parts(model, "onnx"), device="cpu")  # the model's settings decide its class
        served.pause = self.pause
        typed: E = served
        return typed

    def ready(self) -> None:
        self.teacher.vectors(self._distilled)

    @property
    @abstractmethod
    def _per_epoch(self) -> int:
        """Texts, or pairs of texts, in an epoch."""

    def _drawn(self, size: int) -> Sequence[Tensor]:
        """The numbers of an epoch's texts, in batches; if there are too few texts, each is read several times.

        A batch mixes texts of any length: batches of texts of similar length teach far less
        (`studies/minilm/batches.py`). A batch of a single text is left out.
        """
        count, available = self._per_epoch, len(self._train)
        order = torch.cat([torch.randperm(available) for _ in range(0, count, available)])[:count]
        return [batch for batch in torch.split(order, size) if len(batch) > 1]

    def _learning(self, model: Encoder, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of a model and of the dense model for a batch: float32 [texts, numbers] each."""
        tokens_of, device = self._tokenized(model, batch.tolist()), model.device
        products = getattr(torch, self.config.precision) if self.config.precision else fastest_products(device)
        readable = [text for text in batch.tolist() if len(tokens_of[text])]
        batch = torch.tensor(sorted(readable, key=lambda text: len(tokens_of[text])))
        tokens = [tokens_of[text] for text in batch.tolist()]
        if device.type == "cpu":  # texts laid end to end need no padding
            ids, runs = end_to_end(tokens, multiple=TOKENS_MULTIPLE)
            outputs = model(ids, None, products=products, runs=runs)[: len(batch)]
        else:  # on a GPU, padding costs less than launching kernels for each length
            ids, there = padded(tokens)
            outputs = model(ids.to(device), there.to(device), products=products)
        return outputs, self._wanted[batch].to(device)

    @cached_property
    def _wanted(self) -> Tensor:
        return torch.from_numpy(self.teacher.vectors(self._distilled))

    @cached_property
    def _distilled(self) -> Sequence[T]:
        """The texts of distillation, cut to the length that both the dense model and the smaller model read."""
        longest = self.config.longest
        return self._train if longest is None else self._shortened(longest)

    @abstractmethod
    def _shortened(self, longest: int) -> Sequence[T]:
        """The texts of distillation, each cut to at most `longest` tokens."""

    def _tokenized(self, model: Encoder, texts: Iterable[int]) -> dict[int, Tokens]:
        """Token ids, by number of the text, of at least the texts asked for, under the remaining vocabulary.

        They are cached until the vocabulary changes. A schedule may cut it before every update, so only the texts of
        the batch are encoded.
        """
        word = model.tables["word"]
        vocabulary = word.index.cpu().numpy().tobytes() + word.row_mask.cpu().numpy().tobytes()
        key = hashlib.sha256(vocabulary).digest()
        if self._tokens is None or self._tokens[0] != key:
            self._tokens = key, {}
        cached = self._tokens[1]
        if missing := [text for text in dict.fromkeys(texts) if text not in cached]:
            cached.update(zip(missing, model.tokens([self._distilled[text] for text in missing]), strict=True))
        return cached


Some = TypeVar("Some")


def whole_tokens(dense: Encoder) -> int:
    """How many tokens of texts of all lengths the dense model is measured on once: fewer for a large model."""
    least, most = WHOLE_TOKENS
    return round(min(max(WHOLE_PRODUCTS / dense.products, least), most))


def some(texts: Sequence[Some], count: int) -> list[Some]:
    """At most `count` of the texts, drawn at random, but the same ones at every call."""
    chosen = np.random.default_rng(0).choice(len(texts), size=min(count, len(texts)), replace=False)
    return [texts[at] for at in chosen]


def single(texts: Iterable[Text]) -> list[str]:
    """The distinct texts; a pair counts as two texts."""
    return list(dict.fromkeys(one for text in texts for one in ((text,) if isinstance(text, str) else text)))


def worth(tokenizer: Tokenizer, texts: Sequence[str], general: Sequence[str] = ()) -> Tensor:
    """How often pieces occur in texts, the counts by which rows of the vocabulary are ranked: int64 [size].

    General English counts as well. The smaller of the two sets is weighted up, so that both weigh the same.

    Each character of the texts counts as if it had occurred alone once: a word that loses its pieces could not be read
    without its characters. A piece that others are merged from counts for more than they do. Among pieces that never
    occur, placeholders and pieces of scripts that the texts do not use rank last.
    """
    own, letters = tokenizer.frequency(texts), tokenizer.characters(texts)
    others = np.zeros_like(own)
    if general:
        others, other_letters = counted(tokenizer, general)
        letters |= other_letters
        total = max(own.sum(), others.sum())
        own, others = (np.ceil(part * (total / max(1, part.sum()))).astype(np.int64) for part in (own, others))
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
    """The scripts of the letters: the first word of each Unicode name, such as `LATIN`, `CYRILLIC` or `CJK`."""
    return {unicodedata.name(one, "").partition(" ")[0] for one in characters if one.isalpha()}
