"""What a sentence-encoder task can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from autoprune.encoder.workloads import read_workloads
from autoprune.errors import AutopruneError, unknown
from autoprune.tasks.task import LOOKED_AT, Training

PRECISIONS = ("float32", "bfloat16")

LEE = "lee"
"""In place of a path of pairs: those that come inside gensim."""

VALIDATION_DOCUMENTS, FEWEST_DOCUMENTS, ALL = 2000, 100, "all"


@dataclass(kw_only=True)
class EncoderData:
    """What embeddings are judged by, beside fidelity to the dense model; each is a path or left out.

    Attributes:
        pairs: sentence pairs with human scores; see `autoprune.encoder.benchmarks.pairs`.
        retrieval: documents, queries and relevance; see `autoprune.encoder.benchmarks.retrieval`.
        documents: among how many documents retrieval searches on validation, a number or `all`; where there are more,
            the hardest; see `autoprune.encoder.benchmarks.retrieval`. On test it always searches among all.
        classification: texts with labels; see `autoprune.encoder.benchmarks.classification`.
        elsewhere: texts without labels that nothing is distilled on, a path or `general`; judged by fidelity.
        scale: the least and the largest score of the pairs; None: as the scores suggest.
        path: of the one that a task is named after.
    """

    pairs: str | None = None
    retrieval: str | None = None
    documents: int | str = VALIDATION_DOCUMENTS
    classification: str | None = None
    elsewhere: str | None = None
    scale: tuple[float, float] | None = None
    path: str | None = None

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        if self.documents != ALL and not (isinstance(self.documents, int) and self.documents >= FEWEST_DOCUMENTS):
            raise AutopruneError(
                f"task.data.documents: a number >= {FEWEST_DOCUMENTS} or {ALL} must be given, "
                f"but got {self.documents!r}."
            )


@dataclass(kw_only=True)
class TextConfig:
    """What a task around a model of texts, or of pairs of them, can be told; the model comes trained.

    Attributes:
        name: of the task.
        model: a folder or a hub name.
        texts: the user's own, without labels: paths; `general` among them adds general English.
        metric: what `quality` means.
        longest: tokens of a text that distillation reads, the dense model and the smaller one the same text; None: as
            many as the model reads. Costs as much as they are.
        precision: of the matrix products of distillation, one of `PRECISIONS`; None: the fastest here.
        seed: splits the texts.
        training: of distillation.
    """

    LEAST: ClassVar[Mapping[str, int]] = {"longest": 8, "seed": 0}

    name: str = ""
    model: str | None = None
    texts: list[str] | None = None
    metric: str | None = None
    longest: int | None = None
    precision: str | None = None
    seed: int = 0
    training: Training = field(default_factory=Training)

    def idle(self) -> dict[str, str]:
        """What changes nothing beside the rest, dotted, and why."""
        return dict.fromkeys(LOOKED_AT, "it ends the training of a dense model, and this one comes trained")

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        self.training.check()
        if self.training.epochs:
            raise AutopruneError(
                f"task.training.epochs: the model comes trained, so 0 must be given, but got {self.training.epochs}; "
                "what a recipe trains for is space.<stage>.epochs."
            )
        for name, least in self.LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise AutopruneError(f"task.{name} >= {least} must hold, but got {value}.")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("task.precision", self.precision, PRECISIONS)


@dataclass(kw_only=True)
class EncoderConfig(TextConfig):
    """What a sentence-encoder task can be told, beside what `TextConfig` says.

    Attributes:
        model: without one the packaged all-MiniLM-L6-v2.
        texts: what is distilled on, what counts pieces of the vocabulary, and what fidelity is judged on (each text
            serves one of the three splits); without any, news that comes inside gensim.
        data: what else embeddings are judged by.
        metric: unless it is named, that of the first of pairs, retrieval and classification that is given, else
            `similarity`.
        texts_per_epoch: an epoch of distillation, so that a budget means the same for any corpus.
        texts_per_update: batch size.
        passage_tokens: of the passages of long texts that are distilled on as well, each as likely as a text; None:
            none, as in studies that were begun before there were any.
        similarities: weight of the squared error of the similarities within a batch, beside the cosine to the dense
            embedding.
        matryoshka: whether the model was trained so that the first dimensions of a vector can do without the others;
            None: as its folder says.
        workloads: what is timed, by name; see `autoprune.encoder.workloads`; None: the usual ones.
    """

    LEAST: ClassVar[Mapping[str, int]] = {
        "texts_per_epoch": 2,
        "texts_per_update": 2,
        "passage_tokens": 8,
        **TextConfig.LEAST,
    }

    name: str = "encoder"
    data: EncoderData = field(default_factory=EncoderData)
    texts_per_epoch: int = 8192
    texts_per_update: int = 32
    passage_tokens: int | None = None
    similarities: float = 10.0
    matryoshka: bool | None = None
    workloads: dict[str, str] | None = None
    training: Training = field(default_factory=lambda: Training(learning_rate=3e-4, warmup=50, decay=True, epochs=0))

    def idle(self) -> dict[str, str]:
        found, data = super().idle(), self.data
        if data.retrieval is None:
            found["data.documents"] = "it is of task.data.retrieval, which is not given"
        if data.pairs in (None, LEE) and data.path is None:
            found["data.scale"] = "it is of pairs of your own (task.data.pairs), and none are given"
        return found

    def check(self) -> None:
        super().check()
        self.data.check()
        read_workloads(self.workloads)
        if not 0 <= self.similarities < float("inf"):
            raise AutopruneError(f"task.similarities >= 0 must hold, but got {self.similarities}.")
