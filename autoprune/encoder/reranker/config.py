"""What a reranker task can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoprune.encoder.config import PRECISIONS
from autoprune.errors import AutopruneError, unknown
from autoprune.tasks.task import Training


@dataclass(kw_only=True)
class RerankerData:
    """What orders are judged by, beside agreement with the dense model; each is a path or left out.

    Attributes:
        retrieval: documents, queries and relevance; see `autoprune.encoder.benchmarks.retrieval`.
        run: a run file, which says what another first stage found for these queries; None: BM25 looks.
        depth: documents of a list, at most: what was found for a query, and is put in order.
        queries: that are asked on validation, at most, and where nothing is labelled on test too.
        pairs: a table of query, document and label, or a folder of these for validation and test.
    """

    retrieval: str | None = None
    run: str | None = None
    depth: int = 30
    queries: int = 100
    pairs: str | None = None

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        for name, least in (("depth", 2), ("queries", 2)):
            if getattr(self, name) < least:
                raise AutopruneError(f"task.data.{name} >= {least} must hold, but got {getattr(self, name)}.")
        if self.run is not None and self.retrieval is None:
            raise AutopruneError(
                "task.data.run: a run file names queries and documents of a collection, which must be given as "
                "task.data.retrieval."
            )


@dataclass(kw_only=True)
class RerankerConfig:
    """What a reranker task can be told.

    Attributes:
        name: of the task.
        model: a folder or a hub name of a cross-encoder.
        texts: the user's own documents, without labels: what is distilled on, what counts pieces of the vocabulary, and
            what agreement is judged on. Paths; None: the documents of `data.retrieval`, else news that comes inside
            gensim.
        queries: the user's own, without labels; None: sentences of the texts ask.
        data: what else orders are judged by.
        metric: what `quality` means; None: `ndcg@10` where there is a collection, else `spearman` where there are
            pairs, else `kendall`.
        pairs_per_epoch: an epoch of distillation, so that a budget means the same for any corpus.
        pairs_per_update: batch size.
        longest: tokens of a document that distillation reads, the dense model and the smaller one the same text; None:
            as many as the model reads. Costs as much as they are.
        precision: of the matrix products of distillation, one of `PRECISIONS`; None: the fastest here.
        seed: splits the queries.
        training: of distillation; the dense model comes trained.
    """

    name: str = "reranker"
    model: str | None = None
    texts: list[str] | None = None
    queries: str | None = None
    data: RerankerData = field(default_factory=RerankerData)
    metric: str | None = None
    pairs_per_epoch: int = 8192
    pairs_per_update: int = 32
    longest: int | None = None
    precision: str | None = None
    seed: int = 0
    training: Training = field(default_factory=lambda: Training(learning_rate=1e-4, warmup=50, decay=True, epochs=0))

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        self.training.check()
        self.data.check()
        if self.training.epochs:
            raise AutopruneError(
                f"task.training.epochs: a reranker comes trained, so 0 must be given, but got {self.training.epochs}; "
                "what a recipe trains for is space.<stage>.epochs."
            )
        for name, least in (("pairs_per_epoch", 2), ("pairs_per_update", 2), ("longest", 8), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise AutopruneError(f"task.{name} >= {least} must hold, but got {value}.")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("task.precision", self.precision, PRECISIONS)
