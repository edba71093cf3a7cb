"""What vectors are written in, other libraries read, and it answers as the artifact does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_vectors import RANK, WIDTH, vectors_task, words_task

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.exported import Exported, ExportedTable
from autoprune.artifacts.formats import find_format
from autoprune.errors import AutopruneError
from autoprune.exports.faiss_index import _overlap
from autoprune.packing import restore
from autoprune.packing.product import load_faiss
from autoprune.packing.writing import pack
from autoprune.readers.table import read_table
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.vectors.config import VectorsConfig
from autoprune.vectors.formats import WORD2VEC
from autoprune.vectors.make import make_vectors
from autoprune.vectors.served import VectorIndex
from autoprune.vectors.task import VectorsTask

SMALL = {
    "cut": {
        "method": {
            "rows": {"sparsity": 0.25, "importance": "frequency"},
            "dims": {"sparsity": 1 - RANK / WIDTH, "importance": "pca"},
        }
    },
    "encode": {"quantize": {"bits": 8}},
}


CUT = {"cut": SMALL["cut"]}


def saved(task: VectorsTask, folder: Path, recipe: dict[str, Any] = SMALL) -> VectorIndex:
    context = task.context(seed=0, device=torch.device("cpu"))
    model = run(plan(recipe, base_defaults={}), task, context, trainer=Trainer(task.training))
    artifact.save(task.parts(model), folder, provenance={})
    found = autoprune.load(folder)
    assert isinstance(found, VectorIndex)
    return found


def test_gensim_reads_word2vecs_format(tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    index = saved(words_task(tmp_path / "data"), tmp_path / "small")
    form = find_format("word2vec")
    form.write(tmp_path / "small", tmp_path / "out")
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "out" / "vectors.bin"), binary=True)
    assert len(theirs) == len(index)
    assert theirs.index_to_key[0] == "aland", "frequent words first"
    for word in ("aland", "btown"):
        mine = index.most_similar(word, k=5)
        assert [one for one, _ in theirs.most_similar(word, topn=5)] == [one.id for one in mine]
    assert theirs.similarity("aland", "atown") == pytest.approx(index.similarity_of("aland", "atown"), abs=1e-5)
    assert form.size_bytes(tmp_path / "out") > 0
    with pytest.raises(AutopruneError, match="exists already"):
        form.write(tmp_path / "small", tmp_path / "out")


def test_gensim_reads_ids_with_spaces_of_other_kinds(tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    ids = [f"{at}{mark}b" for at, mark in enumerate("\u00a0\t\r\u2028\u3000\x0b", start=10)]
    table = pack(torch.eye(len(ids)))
    packed = restore(table.entry, table.tensors)
    rows = ExportedTable(ids=ids, vectors=np.eye(len(ids), dtype=np.float32), packed=packed)
    WORD2VEC.put(Exported(tables={"vectors": rows}, searched="vectors"), tmp_path)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "vectors.bin"), binary=True)
    assert theirs.index_to_key == read_table(tmp_path / "vectors.bin").ids == ids
    assert np.array_equal(theirs.vectors, rows.vectors)
    for mark in " \n":
        broken = dataclasses.replace(rows, ids=[f"a{mark}b", *ids[1:]])
        with pytest.raises(AutopruneError, match="holds a space or a line break, which ends an id there"):
            WORD2VEC.put(Exported(tables={"vectors": broken}, searched="vectors"), tmp_path)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_an_index_of_faiss_answers_as_the_artifact(tmp_path: Path, similarity: str) -> None:
    index = saved(vectors_task(tmp_path / "data", similarity=similarity), tmp_path / "small", CUT)
    find_format("faiss").write(tmp_path / "small", tmp_path / "out")
    theirs = load_faiss().read_index(str(tmp_path / "out" / "index.faiss"))
    ids = json.loads((tmp_path / "out" / "ids.json").read_text())
    queries = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32)
    scores, found = theirs.search(queries, 4)
    for query, near, at in zip(queries, scores, found, strict=True):
        mine = index.search(query, k=4)
        assert [ids[row] for row in at] == [str(one.id) for one in mine]
        if similarity != "euclidean":  # Faiss tells squares, of what the projection leaves
            np.testing.assert_allclose(near, [one.score for one in mine], atol=1e-4)


def test_codes_of_8_bits_stay_8_bits_in_faiss(tmp_path: Path) -> None:
    index, form = saved(vectors_task(tmp_path / "data"), tmp_path / "small"), find_format("faiss")
    form.write(tmp_path / "small", tmp_path / "out")
    theirs = load_faiss().read_index(str(tmp_path / "out" / "index.faiss"))
    ids = json.loads((tmp_path / "out" / "ids.json").read_text())
    queries = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32)
    scores, found = theirs.search(queries, 10)
    batch = index.search_batch(queries.tolist(), k=10)
    assert [[one.id for one in near] for near in batch] == [[one.id for one in index.search(q, 10)] for q in queries]
    mine = [{str(one.id): one.score for one in near} for near in batch]
    shared = [{ids[row]: score for row, score in zip(*one, strict=True)} for one in zip(found, scores, strict=True)]
    both = [(mine[at][name], shared[at][name]) for at in range(5) for name in mine[at] if name in shared[at]]
    assert len(both) >= 0.9 * 50
    np.testing.assert_allclose(*zip(*both, strict=True), atol=0.01)
    size = (tmp_path / "out" / "index.faiss").stat().st_size
    assert size < 1.2 * len(ids) * RANK + 4 * WIDTH * RANK + 1024, "a byte each value, and the projection"
    (lost,) = form.losses(tmp_path / "small")
    assert "computed again as Faiss's SQ8" in lost
    use = form.use(tmp_path / "out", "here")
    assert "of the 10 best rows in the artifact, the index finds" in use.inside.lower()
    assert "compared by cosine" in use.inside


def test_how_much_an_index_finds_is_told_far_from_the_origin_too(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = (100 + 0.1 * draw.normal(size=(600, 16))).astype(np.float32)
    np.save(tmp_path / "far.npy", rows)
    task = make_vectors(VectorsConfig(vectors=str(tmp_path / "far.npy"), judged=60, similarity="euclidean"))
    exported = saved(task, tmp_path / "a", {}).exported()

    class Exact:
        """What finds the nearest by differences."""

        def search(self, queries: np.ndarray, count: int) -> tuple[None, np.ndarray]:
            away = [np.linalg.norm(rows.astype(np.float64) - query, axis=1) for query in queries]
            return None, np.argsort(away, axis=1)[:, :count]

    assert _overlap(Exact(), exported, rows) == pytest.approx(1.0, abs=2e-3)


def test_numpy_and_parquet_are_read_again(tmp_path: Path) -> None:
    index = saved(vectors_task(tmp_path / "data"), tmp_path / "small")
    for name, file in {"numpy": "vectors.npy", "parquet": "vectors.parquet"}.items():
        find_format(name).write(tmp_path / "small", tmp_path / name)
        again = read_table(tmp_path / name / file)
        assert again.ids is not None
        projection = np.load(tmp_path / name / "projection.npy")
        np.testing.assert_allclose(again.vectors[0] @ projection.T, index.vector(int(again.ids[0])), atol=1e-5)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("\n".join(f"new york {at},{at},1,{at % 7}" for at in range(1, 60)))
    from autoprune.vectors.config import VectorsConfig
    from autoprune.vectors.make import make_vectors

    task = make_vectors(VectorsConfig(vectors=str(tmp_path / "w.csv"), judged=10))
    artifact.save(task.parts(task.model({}, seed=0)), tmp_path / "a", provenance={})
    with pytest.raises(AutopruneError, match="the id 'new york 1' holds a space"):
        find_format("word2vec").write(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert find_format("faiss").obstacles({"kind": "encoder"})[0].reason == (
        "its kind cannot be written in this format, only recommender, vectors"
    )
