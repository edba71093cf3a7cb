"""The settings of a sentence-encoder task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from autoprune.encoder.prompts import ROLES
from autoprune.encoder.workloads import read_workloads
from autoprune.errors import AutopruneError, unknown
from autoprune.tasks.task import LOOKED_AT, Training

PRECISIONS = ("float32", "bfloat16")

LEE = "lee"
"""In place of a path of pairs: the Lee pairs, which come with gensim."""

VALIDATION_DOCUMENTS, FEWEST_DOCUMENTS, ALL = 2000, 100, "all"


@dataclass(kw_only=True)
class EncoderData:
    """What embeddings are judged by, in addition to fidelity to the dense model; each is a path or left out.

    Attributes:
        pairs: sentence pairs with human scores; see `autoprune.encoder.benchmarks.pairs`.
        retrieval: documents, queries and relevance; see `autoprune.encoder.benchmarks.retrieval`.
        documents: how many documents retrieval searches on validation, a number or `all`. If there are more, the
            hardest; see `autoprune.encoder.benchmarks.retrieval`. On test it always searches all.
        classification: texts with labels; see `autoprune.encoder.benchmarks.classification`.
        elsewhere: unlabelled texts that distillation never reads, a path or `general`; judged by fidelity.
        scale: the lowest and the highest score of the pairs; None: derived from the scores.
        path: path of the benchmark that the task is named after.
    """

    pairs: str | None = None
    retrieval: str | None = None
    documents: int | str = VALIDATION_DOCUMENTS
    classification: str | None = None
    elsewhere: str | None = None
    scale: tuple[float, float] | None = None
    path: str | None = None

    def check(self) -> None:
        """Refuses impossible values.

        Raises:
            AutopruneError: a value is impossible; the error names the entry.
        """
        if self.documents != ALL and not (isinstance(self.documents, int) and self.documents >= FEWEST_DOCUMENTS):
            raise AutopruneError(
                f"task.data.documents: a number >= {FEWEST_DOCUMENTS} or {ALL} must be given, "
                f"but got {self.documents!r}."
            )


@dataclass(kw_only=True)
class TextConfig:
    """The settings of a task whose model reads texts or pairs of texts; the model is already trained.

    Attributes:
        name: name of the task.
        model: a folder or a hub name.
        texts: paths of the user's own unlabelled texts; `general` among them adds general English.
        metric: what `quality` means.
        longest: the most tokens of a text that distillation reads, in both models; None: as many as the model reads.
            The cost grows with the number of tokens.
        precision: dtype of the matrix products of distillation, one of `PRECISIONS`; None: the fastest on this machine.
        seed: splits the texts.
        training: settings of distillation.
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
        """The dotted names of settings that have no effect, with the reason."""
        return dict.fromkeys(LOOKED_AT, "it ends the training of a dense model, and this one comes trained")

    def check(self) -> None:
        """Refuses impossible values.

        Raises:
            AutopruneError: a value is impossible; the error names the entry.
        """
        self.training.check()
        if self.training.epochs:
            raise AutopruneError(
                f"task.training.epochs: 0 must be given, because the model is already trained, but got "
                f"{self.training.epochs}; space.<stage>.epochs sets how long a recipe trains."
            )
        for name, least in self.LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise AutopruneError(f"task.{name} >= {least} must hold, but got {value}.")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("task.precision", self.precision, PRECISIONS)


@dataclass(kw_only=True)
class EncoderConfig(TextConfig):
    """The settings of a sentence-encoder task, in addition to those of `TextConfig`.

    Attributes:
        model: None: the packaged all-MiniLM-L6-v2.
        prompts: what is put before queries and documents, by role; None: what the model's folder declares.
        texts: the texts for distillation, for counting pieces of the vocabulary, and for fidelity (each text serves one
            of the three splits). None: news that comes with gensim.
        data: what else embeddings are judged by.
        metric: None: the metric of the first of pairs, retrieval and classification that is given, else `similarity`.
        texts_per_epoch: texts in an epoch of distillation, so that a budget means the same for any corpus.
        texts_per_update: batch size.
        passage_tokens: tokens of the passages of long texts. Distillation reads passages as well, each as often as a
            text. None: no passages, as in studies from before this setting existed.
        similarities: weight of the squared error of the similarities within a batch, relative to the cosine loss.
        matryoshka: whether the model was trained so that the first dimensions of a vector work without the others;
            None: as its folder says.
        workloads: what is timed, by name; see `autoprune.encoder.workloads`. None: the default workloads.
    """

    LEAST: ClassVar[Mapping[str, int]] = {
        "texts_per_epoch": 2,
        "texts_per_update": 2,
        "passage_tokens": 8,
        **TextConfig.LEAST,
    }

    name: str = "encoder"
    prompts: dict[str, str] | None = None
    data: EncoderData = field(default_factory=EncoderData)
    texts_per_epoch: int = 8192
    texts_per_update: int = 32
    passage_tokens: int | None = None
    similarities: float = 10.0
    matryoshka: bool | None = None
    workloads: dict[str, str] | None = None
    training: Training = field(default_factory=lambda: Training(learning_rate=3e-4, warmup=50, decay=True, epochs=0))

    def idle(self) -> dict[str, str]:
        idle, data = super().idle(), self.data
        if data.retrieval is None:
            idle["data.documents"] = "it belongs to task.data.retrieval, which is not given"
        if data.pairs in (None, LEE) and data.path is None:
            idle["data.scale"] = "it is of pairs of your own (task.data.pairs), and none are given"
        return idle

    def check(self) -> None:
        super().check()
        self.data.check()
        for role in self.prompts or ():
            if role not in ROLES:
                raise unknown("task.prompts", role, ROLES)
        read_workloads(self.workloads)
        if not 0 <= self.similarities < float("inf"):
            raise AutopruneError(f"task.similarities >= 0 must hold, but got {self.similarities}.")
