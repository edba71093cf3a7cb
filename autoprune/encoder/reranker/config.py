"""What a reranker task can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from autoprune.encoder.config import TextConfig
from autoprune.errors import AutopruneError
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
class RerankerConfig(TextConfig):
    """What a reranker task can be told, beside what `TextConfig` says.

    Attributes:
        model: a cross-encoder; one must be named.
        texts: documents: what is distilled on, what counts pieces of the vocabulary, and what agreement is judged on.
            Without any, the documents of `data.retrieval`, else news that comes inside gensim.
        queries: the user's own, without labels; without any, sentences of the texts ask.
        data: what else orders are judged by.
        metric: unless it is named, `ndcg@10` where there is a collection, else `spearman` where there are pairs, else
            `kendall`.
        pairs_per_epoch: an epoch of distillation, so that a budget means the same for any corpus.
        pairs_per_update: batch size.
    """

    LEAST: ClassVar[Mapping[str, int]] = {"pairs_per_epoch": 2, "pairs_per_update": 2, **TextConfig.LEAST}

    name: str = "reranker"
    queries: str | None = None
    data: RerankerData = field(default_factory=RerankerData)
    pairs_per_epoch: int = 8192
    pairs_per_update: int = 32
    training: Training = field(default_factory=lambda: Training(learning_rate=1e-4, warmup=50, decay=True, epochs=0))

    def check(self) -> None:
        super().check()
        self.data.check()
