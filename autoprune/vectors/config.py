"""The settings of vector tasks."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoprune.errors import AutopruneError, unknown
from autoprune.tasks.task import LOOKED_AT, Training
from autoprune.vectors.similarity import SIMILARITIES

FEWEST_JUDGED = 10


@dataclass(kw_only=True)
class VectorsConfig:
    """The settings of a vector task.

    Attributes:
        vectors: the file of vectors; see `autoprune.readers.table`.
        array: the name of the array, if the file holds several.
        ids: a file of ids; None: the one next to the vectors, or none.
        queries: a file of query vectors; None: rows of the table are the queries.
        relevant: a file of judgements: which vectors are relevant for which query.
        counts: a file of how often each id is looked up.
        similarity: how two vectors are compared, one of `SIMILARITIES`.
        neighbours: how many nearest rows count.
        judged: most queries of validation, and of test.
        metric: the metric that `quality` means; None: `retention` or recall if there are judgements, else overlap.
        seed: of the random queries and splits.
        training: of stages; the dense vectors are trained already.
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
        """Settings (dotted) that have no effect with the others, and why."""
        return dict.fromkeys(LOOKED_AT, "it ends the training of a dense model, and vectors come trained")

    def check(self) -> None:
        """Refuses settings that are impossible.

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
    """The settings of a task of word vectors.

    Attributes:
        vectors: None: GloVe 6B of 50 dimensions, from a package.
        texts: files of running text whose tokens should have vectors; None: the news texts in gensim.
        pairs: similarity sets, files of word, word, score; None: WordSim-353 and SimLex-999 from gensim.
        analogies: a file of questions, four words a line; None: those of Mikolov et al. 2013 from gensim.
    """

    name: str = "words"
    texts: list[str] | None = None
    pairs: list[str] | None = None
    analogies: str | None = None

    def idle(self) -> dict[str, str]:
        packaged = "it is of task.vectors, which is not given; the packaged GloVe knows its words"
        return super().idle() | (dict.fromkeys(("array", "ids"), packaged) if self.vectors is None else {})
