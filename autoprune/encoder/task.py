"""The sentence-encoder task: agreement with the dense model, and whatever else embeddings are judged by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

from autoprune.encoder.benchmarks.benchmark import Benchmark
from autoprune.encoder.benchmarks.fidelity import Elsewhere, Fidelity, Neighbours, Similarities
from autoprune.encoder.benchmarks.retrieval import Retrieval
from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.model import Encoder
from autoprune.encoder.reach import choosing
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.text_task import TextTask, some, whole_tokens
from autoprune.encoder.texts.corpus import Corpus, split_texts, unseen
from autoprune.encoder.texts.lengths import first_of, joined
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.workloads import DOCUMENTS, QUERIES, TEXTS, asking, make_requests, read_workloads

FIDELITY: tuple[type[Fidelity], ...] = (Similarities, Neighbours)

CALIBRATION_TEXTS, CALIBRATION_TOKENS = 1024, 48
"""Texts that importance is measured on, and how much of each: a scan measures it of many models, and whole texts take
longer by their length."""

FEW_TEXTS = 50_000
"""Texts that tell little of which pieces of a vocabulary are needed elsewhere: 40,000 do (`studies/encoder_bits`)."""

REQUEST_TEXTS = 2000
"""Texts whose words make the requests that are timed."""

PASSAGES, OF_EACH = 40_000, 16
"""Passages of long texts that are distilled on, at most (8 epochs read 65,536 texts), and of a single one."""


class EncoderTask(TextTask[SentenceEncoder, EncoderConfig, str]):
    """Texts to vectors that are near where the texts mean the same.

    Recovery is distillation: on texts without labels a smaller model learns the vectors of the dense one, which are
    computed once and kept (Reimers & Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using
    Knowledge Distillation").

    Args:
        config: what the task was told.
        dense: the model as it came.
        corpus: the user's own texts; split here into those that are distilled on and those that judge.
        benchmarks: what embeddings are judged by beside fidelity; the first one's metric is `quality` unless the config
            names another.
        elsewhere: texts that nothing is distilled on; judged by fidelity, too.
    """

    stores_vectors = True
    recovers = 0.3  # 0.75x of Cranfield untrained, 0.98x after two epochs: studies/minilm#what-training-brings-back

    def __init__(
        self,
        config: EncoderConfig,
        dense: Encoder,
        corpus: Corpus,
        benchmarks: Sequence[Benchmark],
        *,
        elsewhere: Corpus | None = None,
    ) -> None:
        config.check()  # before its seed is used
        self._corpus, self._texts = corpus, split_texts(corpus.texts, seed=config.seed)
        prompts, texts = dense.architecture.prompts, self._texts
        train = prompts.spread(texts["train"])  # what distillation reads: texts as the model will be asked for them
        self._passages = _passages(dense.tokenizer, texts["train"], config.passage_tokens)
        measured, general = _measured_on(train, corpus.general), corpus.general

        def fidelity(kind: type[Fidelity], held: Mapping[str, list[str]]) -> Fidelity:
            return kind(held, lambda split: self.teacher.vectors(prompts.before(held[split])))

        judged = [fidelity(kind, texts) for kind in FIDELITY]
        if elsewhere is not None:
            others = unseen(elsewhere, seen=[*corpus.texts, *measured])
            judged.append(fidelity(Elsewhere, others))
            never = {text for held in others.values() for text in held}
            general = [text for text in general if text not in never]  # nor do their words count
        super().__init__(
            config,
            dense,
            train=[*train, *prompts.spread(self._passages)],
            counted=train,
            calibration=dense.tokenizer.shortened(measured, CALIBRATION_TOKENS),
            whole=_of_all_lengths(dense, measured, _measured_on(texts["train"], general, 4 * CALIBRATION_TEXTS)),
            benchmarks=[one.under(dense.architecture.similarity) for one in (*benchmarks, *judged)],
            covered=texts,
            common=texts["train"],
            general=general,
        )
        own = self._own_texts()
        workloads = read_workloads(config.workloads, there=list(own))
        self.workload_names = tuple(workloads)
        self.workload_items = {name: one.texts for name, one in workloads.items()}
        self._requests = make_requests(dense.tokenizer, own, workloads)
        # Matryoshka is told by the space; the usual workloads, and no passages, leave the fingerprint as it was.
        idle = {"workloads": config.workloads is None, "passage_tokens": not self._passages}
        self.located = ("matryoshka", *(name for name, unused in idle.items() if unused))

    def _own_texts(self) -> dict[str, list[str]]:
        """The user's texts that requests are made of, by their source, behind their prompts."""
        prompts, found = self._dense.architecture.prompts, {TEXTS: some(self._texts["train"], REQUEST_TEXTS)}
        for one in self.benchmarks:
            if isinstance(one, Retrieval):
                held = one.collection
                found[QUERIES] = prompts.before(some(held.queries["validation"], REQUEST_TEXTS), "query")
                there = [text for text in held.documents if text]
                found[DOCUMENTS] = prompts.before(some(there, REQUEST_TEXTS), "document")
        return found

    def _said(self) -> list[str]:
        dense, architecture = self._dense, self._dense.architecture
        said = [
            f"{architecture.name}: {len(dense.layers)} layers, {len(dense.pieces):,} pieces",
            self._corpus.describe(),
            *([f"{len(self._passages):,} passages of long ones are distilled on as well"] if self._passages else []),
            *(one.describe() for one in self.benchmarks),
        ]
        if architecture.prompts.describe():
            said.append(f"prompts: {architecture.prompts.describe()}")
        if architecture.similarity != "cosine":
            said.append(f"similarity: {architecture.similarity}")
        if dense.tokenizer.reducible and not self._corpus.general and len(self._corpus.texts) < FEW_TEXTS:
            said.append("pieces are counted in these alone; task.texts=general,FILE counts general English as well")
        if dense.matryoshka:
            said.append("the first dimensions of a vector can do without the others, its folder says (Matryoshka)")
        return said

    def _learnt_from(self) -> str:
        return self._corpus.fingerprint()

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        found, told = super().suited(recipe), self.config.matryoshka
        if not (self._dense.matryoshka if told is None else told):
            found = choosing(found, "dims", "importance", lambda importance: importance != "prefix")
        return found

    def batches(self) -> Sequence[Tensor]:
        return self._drawn(count=self.config.texts_per_epoch, size=self.config.texts_per_update)

    def loss(self, model: Encoder, batch: Tensor) -> Tensor:
        """1 - cosine to the dense vectors, and the squared error of the cosines within the batch.

        Where a similarity rests on lengths, their squared relative error too.
        """
        found, whole = self._learning(model, batch)
        dense = whole @ model.wanted().T
        vectors, wanted = normalize(found), normalize(dense)
        apart = (1 - (vectors * wanted).sum(1)).mean()
        wrong = (vectors @ vectors.T - wanted @ wanted.T).square().mean()
        loss: Tensor = apart + self.config.similarities * wrong
        architecture = self._dense.architecture
        if architecture.similarity == "cosine" or architecture.normalize:
            return loss
        lengths: Tensor = found.norm(dim=1) / dense.norm(dim=1).clamp(min=1e-12)
        return loss + (lengths - 1).square().mean()

    def workloads(self, served: SentenceEncoder) -> dict[str, Callable[[], object]]:
        """Requests of so many texts, each of so many tokens to the dense model, read and answered."""
        return {name: asking(served, requests) for name, requests in self._requests.items()}

    def _shortened(self, longest: int) -> list[str]:
        return self._dense.tokenizer.shortened(self._train, longest)


def _passages(tokenizer: Tokenizer, texts: Sequence[str], tokens: int | None) -> list[str]:
    """Passages of those texts that are long, spread over each and over all.

    What is asked for is mostly short, and of a collection of documents nothing short was read else.
    """
    found: dict[str, None] = {}
    for passages in tokenizer.passages(some(texts, len(texts)), tokens) if tokens else ():
        found.update(dict.fromkeys(passages[:: math.ceil(len(passages) / OF_EACH) or 1]))
        if len(found) >= PASSAGES:
            break
    return [passage for passage in found if passage][:PASSAGES]


def _measured_on(own: Sequence[str], general: Sequence[str], count: int = CALIBRATION_TEXTS) -> list[str]:
    """Texts that importance is measured on and codes are fitted to; half of them general English where there is any."""
    if not general:
        return some(own, count)
    return [*some(own, count // 2), *some(general, count // 2)]


def _of_all_lengths(dense: Encoder, measured: Sequence[str], bare: Sequence[str]) -> list[str]:
    """Texts as they are measured, and others, joined, that reach every place of the model; of each half of the tokens.

    Args:
        measured: behind their prompts.
        bare: without any: one joined text has one prompt.
    """
    tokens, tokenizer = whole_tokens(dense) // 2, dense.tokenizer
    read = first_of(tokenizer, some(measured, len(measured)), tokens=tokens)
    long = joined(tokenizer, some(bare, len(bare))[::-1], tokens=tokens)
    return [*read, *dense.architecture.prompts.spread([text for _, text in long])]
