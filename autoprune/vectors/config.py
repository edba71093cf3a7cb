"""What tasks of vectors can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoprune.errors import AutopruneError, unknown
from autoprune.tasks.task import LOOKED_AT, Training
from autoprune.vectors.similarity import SIMILARITIES

FEWEST_JUDGED = 10


@dataclass(kw_only=True)
class VectorsConfig:
    """What a task of vectors can be told.

    Attributes:
        vectors: their file; see `autoprune.readers.table`.
        array: the name of theirs, where the file holds several.
        ids: a file of their ids; None: the one beside them, or none.
        queries: a file of the vectors that are searched for; None: vectors search for one another.
        relevant: a file of judgements: which vectors are right for which query.
        counts: a file of how often each id is looked up.
        similarity: how two vectors are compared, one of `SIMILARITIES`.
        neighbours: how many of the nearest count.
        judged: queries of validation, and of test, at most.
        metric: what `quality` means; None: `retention` or recall where there are judgements, else overlap.
        seed: draws queries and splits.
        training: of stages; the dense vectors come trained.
    """

    name: str = "vectors"
    vectors: str | None = None
    array: str = ""
    ids: str | None = None
    queries: str | None = None
    relevant: str | None = None
    counts: str | None = None
    similarity: str = "cosine"
    neighbours: int = 10
    judged: int = 500
    metric: str | None = None
    seed: int = 0
    training: Training = field(default_factory=lambda: Training(learning_rate=1e-3, epochs=0))

    def idle(self) -> dict[str, str]:
        """What changes nothing beside the rest, dotted, and why."""
        return dict.fromkeys(LOOKED_AT, "it ends the training of a dense model, and vectors come trained")

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        self.training.check()
        if self.training.epochs:
            raise AutopruneError(
                f"task.training.epochs: vectors come trained, so 0 must be given, but got {self.training.epochs}; what "
                "a recipe trains for is space.<stage>.epochs."
            )
        if self.similarity not in SIMILARITIES:
            raise unknown("task.similarity", self.similarity, SIMILARITIES)
        for name, least in (("neighbours", 1), ("judged", FEWEST_JUDGED), ("seed", 0)):
            if getattr(self, name) < least:
                raise AutopruneError(f"task.{name} >= {least} must hold, but got {getattr(self, name)}.")


@dataclass(kw_only=True)
class WordsConfig(VectorsConfig):
    """What a task of word vectors can be told.

    Attributes:
        vectors: None: GloVe 6B of 50 dimensions, as it comes inside a package.
        texts: running text, whose tokens should have a vector: files of text; None: news that come inside gensim.
        pairs: similarity sets, files of word, word, score; None: WordSim-353 and SimLex-999 as they come inside gensim.
        analogies: a file of questions, four words a line; None: those of Mikolov et al. 2013 inside gensim.
    """

    name: str = "words"
    texts: list[str] | None = None
    pairs: list[str] | None = None
    analogies: str | None = None

    def idle(self) -> dict[str, str]:
        packaged = "it is of task.vectors, which is not given; the packaged GloVe knows its words"
        return super().idle() | (dict.fromkeys(("array", "ids"), packaged) if self.vectors is None else {})
