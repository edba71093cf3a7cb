"""The settings of a reranker task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from autoprune.encoder.config import TextConfig
from autoprune.errors import AutopruneError
from autoprune.tasks.task import Training


@dataclass(kw_only=True)
class RerankerData:
    """What orders are judged by, in addition to agreement with the dense model; each is a path or left out.

    Attributes:
        retrieval: documents, queries and relevance; see `autoprune.encoder.benchmarks.retrieval`.
        run: a run file with the documents that another first stage found for these queries; None: BM25 searches.
        depth: the most documents of a list, the documents found for a query, which are put in order.
        queries: the most queries of validation, and without labels also of test.
        pairs: a table of query, document and label, or a folder of these for validation and test.
    """

    retrieval: str | None = None
    run: str | None = None
    depth: int = 30
    queries: int = 100
    pairs: str | None = None

    def check(self) -> None:
        """Refuses impossible values.

        Raises:
            AutopruneError: a value is impossible; the error names the entry.
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
    """The settings of a reranker task, in addition to those of `TextConfig`.

    Attributes:
        model: a cross-encoder; one must be named.
        texts: documents for distillation, for counting pieces of the vocabulary, and for agreement. None: the documents
            of `data.retrieval`, else news that comes with gensim.
        queries: the user's own unlabelled queries; None: sentences of the texts.
        data: what else orders are judged by.
        metric: None: `ndcg@10` with a collection, else `spearman` with labelled pairs, else `kendall`.
        pairs_per_epoch: pairs in an epoch of distillation, so that a budget means the same for any corpus.
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
