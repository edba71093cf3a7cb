"""The sentence-encoder task: agreement with the dense model, and the labelled benchmarks that the user gives."""

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
"""How many texts importance is measured on, and how many tokens of each. A scan measures the importance of many models,
so whole texts would take too long."""

FEW_TEXTS = 50_000
"""Fewer texts than this do not show which pieces of a vocabulary other texts need: 40,000 were too few
(`studies/encoder_bits`)."""

REQUEST_TEXTS = 2000
"""How many texts of each source the timed requests are made from."""

PASSAGES, OF_EACH = 40_000, 16
"""The most passages of long texts that distillation reads (8 epochs read 65,536 texts), and the most of one text."""


class EncoderTask(TextTask[SentenceEncoder, EncoderConfig, str]):
    """A model that maps texts to vectors: texts that mean the same get similar vectors.

    Recovery is distillation: a smaller model learns the dense model's vectors of unlabelled texts. These vectors are
    computed once and cached (Reimers & Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using
    Knowledge Distillation").

    Args:
        config: the task's settings.
        dense: the unpruned model.
        corpus: the user's own texts; split here into training, validation and test texts.
        benchmarks: the labelled benchmarks, in addition to fidelity. The metric of the first is `quality` unless the
            config names another.
        elsewhere: texts that distillation never reads, on which fidelity is measured as well.
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
        train = prompts.spread(texts["train"])  # distillation reads texts with the prompts that they will have in use
        self._passages = _passages(dense.tokenizer, texts["train"], config.passage_tokens)
        measured, general = _measured_on(train, corpus.general), corpus.general

        def fidelity(kind: type[Fidelity], splits: Mapping[str, list[str]]) -> Fidelity:
            return kind(splits, lambda split: self.teacher.vectors(prompts.before(splits[split])))

        judged = [fidelity(kind, texts) for kind in FIDELITY]
        if elsewhere is not None:
            others = unseen(elsewhere, seen=[*corpus.texts, *measured])
            judged.append(fidelity(Elsewhere, others))
            excluded = {text for texts_of_split in others.values() for text in texts_of_split}
            general = [text for text in general if text not in excluded]  # their words must not count either
        super().__init__(
            config,
            dense,
            train=[*train, *prompts.spread(self._passages)],
            counted=train,
            calibration=dense.tokenizer.shortened(measured, CALIBRATION_TOKENS),
            whole=_of_all_lengths(dense, measured, _measured_on(texts["train"], general, 4 * CALIBRATION_TEXTS)),
            benchmarks=[benchmark.under(dense.architecture.similarity) for benchmark in (*benchmarks, *judged)],
            covered=texts,
            common=texts["train"],
            general=general,
        )
        own = self._own_texts()
        workloads = read_workloads(config.workloads, there=list(own))
        self.workload_names = tuple(workloads)
        self.workload_items = {name: workload.texts for name, workload in workloads.items()}
        self._requests = make_requests(dense.tokenizer, own, workloads)
        # Left out of the fingerprint: prompts are hashed with the model, and matryoshka only changes the space. The
        # default workloads and unused passages are left out so that older studies keep their fingerprint.
        unused = {"workloads": config.workloads is None, "passage_tokens": not self._passages}
        self.located = ("prompts", "matryoshka", *(name for name, is_unused in unused.items() if is_unused))

    def _own_texts(self) -> dict[str, list[str]]:
        """The user's texts, with prompts, from which the timed requests are made, by source."""
        prompts, by_source = self._dense.architecture.prompts, {TEXTS: some(self._texts["train"], REQUEST_TEXTS)}
        for benchmark in self.benchmarks:
            if isinstance(benchmark, Retrieval):
                collection = benchmark.collection
                by_source[QUERIES] = prompts.before(some(collection.queries["validation"], REQUEST_TEXTS), "query")
                documents = [text for text in collection.documents if text]
                by_source[DOCUMENTS] = prompts.before(some(documents, REQUEST_TEXTS), "document")
        return by_source

    def _said(self) -> list[str]:
        dense, architecture = self._dense, self._dense.architecture
        sentences = [
            f"{architecture.name}: {len(dense.layers)} layers, {len(dense.pieces):,} pieces",
            self._corpus.describe(),
            *([f"{len(self._passages):,} passages of long texts are distilled on as well"] if self._passages else []),
            *(benchmark.describe() for benchmark in self.benchmarks),
        ]
        if architecture.prompts.describe():
            sentences.append(f"prompts: {architecture.prompts.describe()}")
        elif any(isinstance(benchmark, Retrieval) for benchmark in self.benchmarks):
            sentences.append("queries and documents get no prompts; if the model card names prompts, set task.prompts")
        if architecture.similarity != "cosine":
            sentences.append(f"similarity: {architecture.similarity}")
        if dense.tokenizer.reducible and not self._corpus.general and len(self._corpus.texts) < FEW_TEXTS:
            sentences.append("pieces are counted in these only; task.texts=general,FILE counts general English as well")
        if dense.matryoshka:
            sentences.append("its folder says that the first dimensions of a vector work by themselves (Matryoshka)")
        return sentences

    def _learnt_from(self) -> str:
        return self._corpus.fingerprint()

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        suited, matryoshka = super().suited(recipe), self.config.matryoshka
        if not (self._dense.matryoshka if matryoshka is None else matryoshka):
            suited = choosing(suited, "dims", "importance", lambda importance: importance != "prefix")
        return suited

    @property
    def _per_epoch(self) -> int:
        return self.config.texts_per_epoch

    def batches(self) -> Sequence[Tensor]:
        return self._drawn(self.config.texts_per_update)

    def loss(self, model: Encoder, batch: Tensor) -> Tensor:
        """1 - cosine to the dense vectors, plus the squared error of the cosines within the batch.

        If the similarity depends on the lengths of vectors, the squared relative error of the lengths is added.
        """
        student, teacher = self._learning(model, batch)
        target = teacher @ model.wanted().T
        vectors, wanted = normalize(student), normalize(target)
        cosine_loss = (1 - (vectors * wanted).sum(1)).mean()
        similarity_loss = (vectors @ vectors.T - wanted @ wanted.T).square().mean()
        loss: Tensor = cosine_loss + self.config.similarities * similarity_loss
        architecture = self._dense.architecture
        if architecture.similarity == "cosine" or architecture.normalize:
            return loss
        ratios: Tensor = student.norm(dim=1) / target.norm(dim=1).clamp(min=1e-12)
        return loss + (ratios - 1).square().mean()

    def workloads(self, served: SentenceEncoder) -> dict[str, Callable[[], object]]:
        """By name, a function that answers the next request of the workload."""
        return {name: asking(served, requests) for name, requests in self._requests.items()}

    def _shortened(self, longest: int) -> list[str]:
        return self._dense.tokenizer.shortened(self._train, longest)


def _passages(tokenizer: Tokenizer, texts: Sequence[str], tokens: int | None) -> list[str]:
    """Passages of the long texts, spread evenly over each text and over all texts.

    Most texts in use are short. From a collection of documents, distillation would otherwise read no short text at all.
    """
    chosen: dict[str, None] = {}
    for passages in tokenizer.passages(some(texts, len(texts)), tokens) if tokens else ():
        chosen.update(dict.fromkeys(passages[:: math.ceil(len(passages) / OF_EACH) or 1]))
        if len(chosen) >= PASSAGES:
            break
    return [passage for passage in chosen if passage][:PASSAGES]


def _measured_on(own: Sequence[str], general: Sequence[str], count: int = CALIBRATION_TEXTS) -> list[str]:
    """Texts on which importance is measured and to which codes are fitted; half are general English if there is any."""
    if not general:
        return some(own, count)
    return [*some(own, count // 2), *some(general, count // 2)]


def _of_all_lengths(dense: Encoder, measured: Sequence[str], bare: Sequence[str]) -> list[str]:
    """Texts of all lengths that the model reads; half of the tokens come from single texts, half from joined ones.

    Args:
        measured: texts with their prompts.
        bare: texts without prompts. They are joined to texts as long as the model reads, and each joined text gets one
            prompt.
    """
    tokens, tokenizer = whole_tokens(dense) // 2, dense.tokenizer
    read = first_of(tokenizer, some(measured, len(measured)), tokens=tokens)
    long = joined(tokenizer, some(bare, len(bare))[::-1], tokens=tokens)
    return [*read, *dense.architecture.prompts.spread([text for _, text in long])]
