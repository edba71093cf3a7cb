"""Tables of vectors: what is found is exact, whatever was cut; what is bad is refused with its place."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_vectors import RANK, ROWS, WIDTH, served, vectors_task, write_items

import autoprune
from autoprune.artifacts import artifact, tensor_file
from autoprune.config.compose import compose_sections
from autoprune.errors import AutopruneError, RecipeError
from autoprune.models.context import Context
from autoprune.packing import arrays
from autoprune.packing.arrays import topk
from autoprune.readers.named import NamedRows
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.study.suited import suited
from autoprune.vectors import catalogue, neighbours
from autoprune.vectors import served as vectors_served
from autoprune.vectors import task as vectors_task_file
from autoprune.vectors.benchmarks import without_itself
from autoprune.vectors.catalogue import Catalogue
from autoprune.vectors.config import VectorsConfig
from autoprune.vectors.make import make_vectors
from autoprune.vectors.queries import own_queries, split_queries
from autoprune.vectors.served import VectorIndex
from autoprune.vectors.sets import read_counts, read_relevant
from autoprune.vectors.similarity import SIMILARITIES
from autoprune.vectors.task import VectorsTask

LESS = {"cut": {"rows": {"sparsity": 0.5, "importance": "frequency"}}}
TURNED = {"cut": {"dims": {"sparsity": 1 - RANK / WIDTH, "importance": "pca"}}}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> VectorsTask:
    return vectors_task(tmp_path_factory.mktemp("items"))


def brute_force(vectors: np.ndarray, query: np.ndarray, similarity: str) -> np.ndarray:
    if similarity == "euclidean":
        return -np.linalg.norm(vectors - query, axis=1)
    products = vectors @ query
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return products if similarity == "dot" else products / lengths


def test_rows_stand_in_the_order_of_their_ids() -> None:
    rows = NamedRows(where="here", ids=["30", "4", "5"], vectors=np.eye(3, dtype=np.float32))
    found = Catalogue.of(rows, counts={"30": 7, "nobody": 1})
    assert found.ids.values.tolist() == [4, 5, 30]
    assert found.vectors.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert found.order.tolist() == [2, 0, 1]
    assert found.counts is not None
    assert found.counts.tolist() == [0, 0, 7]
    texts = Catalogue.of(NamedRows(where="here", ids=["7", "007"], vectors=np.eye(2, dtype=np.float32)))
    assert texts.ids.values.tolist() == ["007", "7"]


def test_words_in_no_order_of_their_letters_follow_zipfs_law() -> None:
    rows = NamedRows(where="here", ids=["the", "of", "and"], vectors=np.eye(3, dtype=np.float32))
    found = Catalogue.of(rows, words=True)
    assert found.ids.values.tolist() == ["and", "of", "the"]
    assert found.counts is not None
    assert (found.counts.double() / found.counts.max()).tolist() == pytest.approx([1 / 3, 1 / 2, 1])
    by_letters = NamedRows(where="here", ids=["a", "b", "c"], vectors=np.eye(3, dtype=np.float32))
    assert Catalogue.of(by_letters, words=True).counts is None


def test_the_nearest_of_many_rows_are_chosen_in_two_steps(items: VectorsTask, monkeypatch: pytest.MonkeyPatch) -> None:
    index, query, widths = served(items), items.catalogue.vectors[3].numpy(), list[int]()
    expected = index.search(query, k=2)

    def measured(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        widths.append(values.shape[1])
        return topk(values, k)

    monkeypatch.setattr(arrays, "GROUPING_ONE", 0)
    for place in (arrays, vectors_served):
        monkeypatch.setattr(place, "topk", measured)
    assert index.search(query, k=2) == expected
    assert max(widths) < ROWS / 2


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("recipe", [{}, TURNED], ids=["dense", "turned"])
def test_search_matches_brute_force(tmp_path: Path, similarity: str, recipe: dict[str, object]) -> None:
    task = vectors_task(tmp_path, similarity=similarity)
    index, vectors = served(task, recipe), task.catalogue.vectors.numpy()
    assert index.table.dim == (RANK if recipe else WIDTH)
    query = np.random.default_rng(5).normal(size=WIDTH).astype(np.float32)  # outside the span of the vectors too
    scores = brute_force(vectors, query, similarity)
    best = np.argsort(-scores)[:7]
    found = index.search(query.tolist(), k=7)
    assert [one.id for one in found] == [task.catalogue.ids[int(row)] for row in best]
    assert [one.score for one in found] == pytest.approx(scores[best].tolist(), abs=2e-4)
    name = task.catalogue.ids[3]
    np.testing.assert_allclose(index.vector(name), vectors[3], atol=1e-4)
    near = np.argsort(-brute_force(vectors, vectors[3], similarity))
    assert [one.id for one in index.most_similar(name, k=4)] == [
        task.catalogue.ids[int(row)] for row in near[near != 3][:4]
    ]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_neighbours_match_brute_force_across_blocks(monkeypatch: pytest.MonkeyPatch, similarity: str) -> None:
    monkeypatch.setattr(neighbours, "ROWS", 16)
    draw = torch.Generator().manual_seed(0)
    vectors, queries = torch.randn(100, 5, generator=draw), torch.randn(9, 5, generator=draw)
    among = torch.arange(0, 100, 2)
    scores, found = neighbours.nearest(queries, vectors.__getitem__, among, similarity=similarity, k=6)
    for query, near, at in zip(queries.numpy(), scores, found, strict=True):
        right = brute_force(vectors.numpy()[::2], query, similarity)
        assert at.tolist() == (2 * np.argsort(-right)[:6]).tolist()
        np.testing.assert_allclose(near, np.sort(right)[::-1][:6], atol=1e-5)


def test_who_asks_is_no_neighbour_of_itself() -> None:
    found = np.array([[3, 1, 2], [1, 0, 2], [1, 2, 0]])
    assert without_itself(found, np.array([3, 5, -1]), 2).tolist() == [[1, 2], [1, 0], [1, 2]]


def test_what_was_removed_is_told_and_finds_nothing(items: VectorsTask) -> None:
    index = served(items, LESS)
    assert len(index) == ROWS // 2
    gone = next(one for one in items.catalogue.ids.values.tolist() if one not in index)
    with pytest.raises(AutopruneError, match=f"{gone} was removed by pruning"):
        index.vector(gone)
    with pytest.raises(AutopruneError, match=r"'x' is unknown\. Ids are whole numbers here"):
        index.most_similar("x")
    assert all(one.id in index for one in index.search(np.ones(WIDTH), k=ROWS))
    rows = items.score(index, "test")
    counts = items.catalogue.counts
    assert counts is not None
    overlap = rows[rows["benchmark"] == "neighbours"]
    lost = [int(index.row_of[place]) < 0 for place in items.benchmarks[0]._queries["test"].places.tolist()]  # type: ignore[attr-defined]
    assert any(lost)
    assert not overlap["value"].to_numpy()[lost].any()
    assert overlap["value"].to_numpy()[~np.array(lost)].mean() > 0.3


def test_the_dense_vectors_keep_all_of_their_neighbours(items: VectorsTask) -> None:
    for recipe in ({}, TURNED):
        index = served(items, recipe)
        for rows in (items.score(index, "validation"), items.look(index)):
            assert items.metrics["overlap@10"](rows) == pytest.approx(1.0, abs=0.01)
            assert items.metrics["similarity"](rows) == pytest.approx(1.0, abs=0.001)
    coarse = served(items, {"encode": {"quantize": {"bits": 2}}})
    assert items.metrics["overlap@10"](items.score(coarse, "validation")) < 0.9


def test_judgements_and_queries_of_ones_own(tmp_path: Path) -> None:
    path = write_items(tmp_path)
    vectors = np.load(path)
    names = (tmp_path / "items_ids.txt").read_text().split()
    np.save(tmp_path / "users.npy", vectors[:80] + 0.01)
    right = [f"{user}\t{names[user]}\t1" for user in range(80)] + ["0\tnobody\t1", f"3\t{names[9]}\t0"]
    (tmp_path / "right.tsv").write_text("query\tid\tgrade\n" + "\n".join(right))
    task = make_vectors(
        VectorsConfig(vectors=str(path), queries=str(tmp_path / "users.npy"), relevant=str(tmp_path / "right.tsv"))
    )
    assert "1 of the 161 queries and ids of task.relevant are unknown" in task.describe()
    assert task.metric == "recall@10"
    assert task.main_metrics == ("recall@10",)
    for rows in (task.score(served(task), "test"), task.look(served(task))):
        assert task.metrics["recall@10"](rows) > 0.95
    assert task.suited({"cut": {"rows": {"sparsity": 0.5}, "dims": {"sparsity": 0.5}}}) == {
        "cut": {"dims": {"sparsity": 0.5}}
    }
    by_norm = {"sparsity": 0.5, "importance": "norm"}
    assert task.suited({"cut": {"rows": by_norm}}) == {"cut": {"rows": by_norm}}, "which asks for no counts"
    either = {**by_norm, "importance": {"any_of": ["frequency", "norm"]}}
    assert task.suited({"cut": {"rows": either}}) == {"cut": {"rows": by_norm}}
    with pytest.raises(AutopruneError, match=r"task\.metric 'ndcg' is unknown"):
        make_vectors(VectorsConfig(vectors=str(path), metric="ndcg"))


def test_only_the_queries_that_are_drawn_are_copied(items: VectorsTask) -> None:
    draw = np.random.default_rng(0)
    vectors, names = draw.normal(size=(300, WIDTH)).astype(np.float32), [str(name) for name in draw.permutation(300)]
    table, ids = own_queries(NamedRows(where="here", ids=names, vectors=vectors), items.catalogue)
    assert table.vectors is vectors
    for queries in split_queries(table, torch.arange(len(table)), judged=20, seed=0).values():
        rows = [names.index(str(ids[place])) for place in queries.places.tolist()]
        assert np.array_equal(queries.vectors.numpy(), vectors[rows])
        assert len(rows) == len(queries.own) == 20


@pytest.mark.parametrize("rows", [255, 256])
def test_codebooks_are_no_larger_than_the_table(rows: int, tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32))
    task = make_vectors(VectorsConfig(vectors=str(tmp_path / "items.npy"), judged=60))

    def suited_to(entries: object) -> object:
        options = task.suited({"encode": {"choose": {"none": {}, "product": {"width": 2, "entries": entries}}}})
        return options["encode"]["choose"].get("product", {}).get("entries")

    whole = rows == 256
    assert suited_to(256) == (256 if whole else None)
    assert suited_to(255) == 255
    assert suited_to({"any_of": [256, 16]}) == {"any_of": [256, 16] if whole else [16]}
    assert suited_to({"any_of": [256]}) == ({"any_of": [256]} if whole else None)
    assert suited_to({"int": [2, 256]}) == {"int": [2, rows]}
    assert suited_to("many") == "many", "what is no number is refused by its name"
    assert task.suited({"encode": {"product": {}}}) == {"encode": {"product": {}} if whole else {}}
    told = compose_sections(["task=vectors", f"task.vectors={tmp_path / 'items.npy'}"])
    sections, words = suited(told, task)
    assert ("product" in sections["space"]["encode"]["method"]["choose"]) == whole
    assert ("product_2" in sections["presets"]) == whole
    assert any("product_2 is left out" in one for one in words) != whole
    for entries in (256, 255, 16):
        recipe = {"encode": {"product": {"width": 2, "entries": entries}}}
        if entries <= rows:
            assert len(served(task, task.suited(recipe))) == rows
        else:
            with pytest.raises(RecipeError, match="a codebook of 256 entries is larger"):
                served(task, recipe)


@pytest.mark.parametrize("large", [False, True])
def test_tables_whose_files_are_mapped_have_no_rates(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = vectors_task(tmp_path)
    monkeypatch.setattr(vectors_task_file, "LARGE", ROWS * WIDTH + (not large))
    told = compose_sections(["task=vectors", f"task.vectors={tmp_path / 'items.npy'}"])
    sections, words = suited(told, task)
    widths = sections["space"]["encode"]["method"]["choose"]["quantize"]["bits"]["any_of"]
    assert [bits for bits in widths if isinstance(bits, int)] == [8, 4, 2]
    assert any(isinstance(bits, float) for bits in widths) is not large
    assert ("pca_bits_4" in sections["presets"]) is not large
    assert any("pca_bits_4 is left out" in one for one in words) is large


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("entropy", [False, True])
def test_a_projection_beside_entropy_coded_files_is_of_half_precision(
    entropy: bool, similarity: str, tmp_path: Path
) -> None:
    task = vectors_task(tmp_path, similarity=similarity)
    cut, encode = {"dims": {"sparsity": 0.25, "importance": "pca"}}, {"quantize": {"bits": 8, "entropy": entropy}}
    steps = plan({"cut": cut, "encode": encode}, base_defaults={}, runtimes=task.runtimes)
    parts = task.parts(run(steps, task, Context(), trainer=Trainer(task.training)))
    half = entropy and similarity != "euclidean"  # whose distances are small differences of squares
    assert parts.tensors["projection"].dtype == (np.float16 if half else np.float32)
    artifact.save(parts, tmp_path / "a", provenance={})
    assert artifact.read_card(tmp_path / "a")["format"] == (artifact.NEWEST if entropy else artifact.FORMAT)
    loaded = autoprune.load(tmp_path / "a")
    assert isinstance(loaded, VectorIndex)
    assert loaded.projection is not None
    assert loaded.projection.dtype == np.float32
    if similarity != "dot":  # where the longest are near to all
        assert loaded.search(loaded.vector(loaded.ids[3]), k=1)[0].id == loaded.ids[3]


def test_a_file_that_is_not_coded_is_weighed_without_making_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = vectors_task(tmp_path)
    steps = plan({"encode": {"quantize": {"bits": 8, "entropy": True}}}, base_defaults={}, runtimes=task.runtimes)
    parts = task.parts(run(steps, task, Context(), trainer=Trainer(task.training)))
    monkeypatch.setattr(tensor_file, "LARGE", 1000)
    artifact.save(parts, tmp_path / "a", provenance={})
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "_write_model", None)
        assert artifact.weighed(parts) == artifact.size_bytes(tmp_path / "a") > 1000
    beside = {"tokenizer.json": b'{"vocab": "aaaa"}' * 40, "noise.bin": np.random.default_rng(0).bytes(300)}
    artifact.save(dataclasses.replace(parts, files=beside), tmp_path / "b", provenance={})
    assert (tmp_path / "b" / "model" / "tokenizer.json.zst").is_file(), "which alone is coded"
    assert artifact.weighed(dataclasses.replace(parts, files=beside)) == artifact.size_bytes(tmp_path / "b")


BAD = {
    "no file is named": ({}, "task.vectors: a file of vectors must be named"),
    "another width": ({"queries": "wide.npy"}, "holds vectors of 5 dimensions.*have 12"),
    "few queries": ({"queries": "few.npy"}, "at least 20 are needed, but .*few.npy holds 3"),
    "unknown counts": ({"counts": "c.tsv"}, "none of its 1 ids is one of the ids of"),
    "counts twice": ({"counts": "twice.tsv"}, r"twice.tsv, line 2: the id appears twice"),
    "counts of nothing": ({"counts": "zero.tsv"}, "has no count above 0"),
    "no judgements": ({"relevant": "r.tsv"}, "at least 20 queries with a relevant row"),
    "grades of words": ({"relevant": "words.tsv"}, "line 2: the grade must be a number, but got 'good'"),
    "an empty file": ({"relevant": "empty.tsv"}, "empty.tsv is empty"),
    "bytes": ({"counts": "wide.npy"}, "is not UTF-8; save it as text"),
    "a folder": ({"counts": "."}, "is a folder"),
    "another similarity": ({"similarity": "cos"}, "task.similarity 'cos' is unknown. Did you mean cosine"),
    "training": ({"neighbours": 0}, "task.neighbours >= 1 must hold, but got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    told, message = BAD[case]
    path = write_items(tmp_path)
    monkeypatch.chdir(tmp_path)
    np.save("wide.npy", np.full((30, 5), np.pi))
    np.save("few.npy", np.ones((3, WIDTH)))
    for name, text in {
        "c.tsv": "nobody\t3",
        "twice.tsv": "10\t3\n10\t4",
        "zero.tsv": "10\t0",
        "r.tsv": "10\t20",
        "words.tsv": "10\t20\t1\n10\t30\tgood",
        "empty.tsv": " \n",
    }.items():
        Path(name).write_text(text)
    vectors = {} if case == "no file is named" else {"vectors": str(path)}
    with pytest.raises(AutopruneError, match=message):
        make_vectors(VectorsConfig(**{**vectors, **told}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0] * 5, r"a vector has 12 numbers, but got the shape \[5\]"),
        ([float("nan")] * WIDTH, "infinite or NaN"),
        ("x", "12 numbers"),
    ],
)
def test_what_is_no_vector_is_refused(items: VectorsTask, vector: object, message: str) -> None:
    with pytest.raises(AutopruneError, match=message):
        served(items).search(vector)
    with pytest.raises(AutopruneError, match="k >= 1 must be given, but got 0"):
        served(items).search([1.0] * WIDTH, k=0)


def test_slices_are_of_equal_parts(items: VectorsTask) -> None:
    rows = items.score(served(items), "test")
    own = rows[rows["benchmark"] == "neighbours"]
    assert set(items.slices) == {"norm", "density", "frequency"}
    assert own["frequency"].value_counts().tolist() == [20, 20, 20]
    assert isinstance(own["norm"].dtype, pd.CategoricalDtype)
    assert own["norm"].value_counts().tolist() == [30, 30]


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # numpy answers, and torch
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_many_queries_are_answered_as_one_is(
    tmp_path: Path, similarity: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SCORES": 400, "BLOCK_SCORES": 200, "BLOCK_ROWS": 16, "MOST_QUERIES": 5}.items():
        monkeypatch.setattr(vectors_served, name, value)
    index = served(vectors_task(tmp_path, similarity=similarity), TURNED, device=device)
    queries = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(3))
    for k in (7, ROWS):
        scores, rows = index.topk(queries, k)
        for query, near, at in zip(queries, scores, rows, strict=True):
            alone, place = index.topk(query[None], k)
            np.testing.assert_allclose(near, alone[0], atol=1e-4, rtol=1e-4)
            assert (at == place[0]).mean() > 0.95  # of equal ones the order is open


def test_a_batch_of_which_no_row_stands_teaches_nothing(tmp_path: Path) -> None:
    task = vectors_task(tmp_path)
    model = task.model({}, seed=0)
    model.settle()
    table = model.tables["vectors"]
    table.cut_rows(torch.arange(10))
    loss = task.loss(model, torch.arange(20, 30))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert table.weight.grad is not None
    assert not table.weight.grad.any()


CODES = {"8 bits": {"quantize": {"bits": 8}}, "product": {"product": {"width": 4, "entries": 16, "lengths": True}}}


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # numpy answers, and torch
@pytest.mark.parametrize("code", ["none", "mapped", *CODES, "turned"])
def test_distances_are_exact_far_from_the_origin(
    tmp_path: Path, code: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    rows, queries = (100 + 0.1 * draw.normal(size=(count, 16)).astype(np.float32) for count in (600, 40))
    np.save(tmp_path / "far.npy", rows)
    task = make_vectors(VectorsConfig(vectors=str(tmp_path / "far.npy"), judged=60, similarity="euclidean"))
    turned = {"cut": {"dims": {"sparsity": 0.5, "importance": "pca"}}} if code == "turned" else {}
    index = served(task, {"code": CODES[code]} if code in CODES else turned, device=device)
    if code == "mapped":
        monkeypatch.setattr(tensor_file, "LARGE", 0)
        artifact.save(task.parts(task.model({}, seed=0)), tmp_path / "a", provenance={})
        loaded = artifact.load(tmp_path / "a", device=device)
        assert isinstance(loaded, VectorIndex)
        index = loaded
    held = np.stack([index.vector(one) for one in index.ids.values.tolist()]).astype(np.float64)
    away = np.linalg.norm(queries[:, None] - held, axis=2)
    for blocks in (False, True):
        if blocks:
            monkeypatch.setattr(vectors_served, "SCORES", 100)
        scores, found = index.topk(queries, 10)
        alone = [index.topk(query[None], 10)[0][0] for query in queries]
        for told in (-scores, -np.stack(alone), np.take_along_axis(away, found, axis=1)):
            np.testing.assert_allclose(told, np.sort(away, axis=1)[:, :10], atol=1e-3)


def test_training_goes_on_from_what_is_kept(tmp_path: Path) -> None:
    task, store = vectors_task(tmp_path), Store(tmp_path / "store")
    recipe = plan({"tune": {"epochs": 2}}, base_defaults=task.base)
    context, trainer = task.context(seed=0, device=torch.device("cpu")), Trainer(task.training)
    whole = run(recipe, task, context, trainer=trainer)
    for epochs in (1, 2, 2):
        found = run(recipe, task, context, trainer=trainer, store=store, epochs=epochs)
    torch.testing.assert_close(found.tables["vectors"].weights(), whole.tables["vectors"].weights())


def test_large_vectors_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_items(tmp_path, ids=False, counts=False)
    copied = make_vectors(VectorsConfig(vectors=str(path), judged=60))
    monkeypatch.setattr(catalogue, "MAPPED", 0)
    mapped = make_vectors(VectorsConfig(vectors=str(path), judged=60))
    before = path.read_bytes()
    assert mapped.fingerprint() == copied.fingerprint()
    assert any(str(path.resolve()) in line for line in Path("/proc/self/maps").read_text().splitlines())
    for recipe in ({}, TURNED, {"tune": {"epochs": 1}}):
        left, right = (served(task, recipe) for task in (mapped, copied))
        assert [one.id for one in left.most_similar(5)] == [one.id for one in right.most_similar(5)]
    assert path.read_bytes() == before


def test_a_table_that_must_be_sorted_and_is_larger_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_items(tmp_path)
    monkeypatch.setattr(catalogue, "memory", lambda: 1000)
    with pytest.raises(AutopruneError, match=r"240 x 12 float32 take 0\.0 GB, and this machine has 0\.0 GB.*sort it"):
        make_vectors(VectorsConfig(vectors=str(path)))


POINTING = {"cut": {"rows": {"sparsity": 0.5, "importance": "frequency", "points": True}}}


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_what_was_removed_can_point_to_its_nearest(tmp_path: Path, similarity: str) -> None:
    task = vectors_task(tmp_path, similarity=similarity)
    whole, index = served(task), served(task, POINTING)
    assert len(index) == len(index.pointing) == ROWS // 2
    gone = index.pointing[3]
    kept = np.stack([whole.vector(name) for name in index.ids.values.tolist()])
    asked = whole.vector(gone)
    if similarity == "cosine":
        near = int((kept @ asked / np.linalg.norm(kept, axis=1)).argmax())
    else:
        near = int(np.linalg.norm(kept - asked, axis=1).argmin())
    assert np.array_equal(index.vector(gone), kept[near])
    assert gone in index
    assert index.most_similar(gone, k=1)[0].id == index.ids[near] or similarity == "dot"
    assert index.row_of[index.catalogue.position(gone)] == -1, "it has no vector of its own"
    assert index.answer_of[index.catalogue.position(gone)] == near
    bare = served(task, {"cut": {"rows": {"sparsity": 0.5, "importance": "frequency"}}})
    assert index.memory_bytes > bare.memory_bytes
    assert index.ids.values.tolist() == bare.ids.values.tolist()


def test_beyond_many_pairs_nearly_all_point_to_their_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(40, 12))[draw.integers(40, size=2600)] + 0.5 * draw.normal(size=(2600, 12))
    asking, among = torch.from_numpy(draw.permutation(2600)).split([600, 2000])
    vectors = torch.from_numpy(rows.astype(np.float32))
    for similarity in ("cosine", "euclidean"):
        exact = neighbours.nearest_of_each(vectors, asking, among, similarity=similarity)
        shares = []
        for probes in (1, neighbours.PROBES):
            with monkeypatch.context() as patch:
                for name, value in {"PAIRS": 0, "ASKED": 256, "PROBES": probes}.items():
                    patch.setattr(neighbours, name, value)
                found = neighbours.nearest_of_each(vectors, asking, among, similarity=similarity)
            shares.append((found == exact).mean())
        assert 0.4 < shares[0] < shares[1]
        assert shares[1] > 0.95


COUNTED = {"the": 100, '"': 90, "#": 80, "#tag": 7, ",": 60, '""': 5, "a,b": 4}


def test_ids_of_counts_may_be_any_texts(tmp_path: Path) -> None:
    path, rows = tmp_path / "c.tsv", [f"{name}\t{count}\n" for name, count in COUNTED.items()]
    for heading in ("", "id\tcount\n", "# how often\n# id\tcount\n"):
        path.write_text(heading + "".join(rows))
        assert read_counts(path) == COUNTED
    path.write_text("".join(rows[2:4]))
    assert read_counts(path) == {"#": 80, "#tag": 7}, "which are no comments"
    path.write_text("the 100\n, 90\n")
    assert read_counts(path) == {"the": 100, ",": 90}
    path.write_text('# both\n"new york",3\nparis,2\n')
    assert read_counts(path) == {"new york": 3, "paris": 2}


def test_ids_of_judgements_may_be_any_texts(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    path.write_text('# what is right\nq\t#\n#q\t,\t1\n#q\t"\t2\nq\tno\t0\n')
    assert read_relevant(path) == {"q": ["#"], "#q": [",", '"']}
    path.write_text("# qrels\nq 0 a,b 1\nq 0 c 1\n")
    assert read_relevant(path) == {"q": ["a,b", "c"]}


def test_ids_that_match_nothing_are_told(tmp_path: Path) -> None:
    path = write_items(tmp_path)
    counts = tmp_path / "counts.tsv"
    told = {"vectors": str(path), "counts": str(counts), "judged": 60}
    assert "unknown" not in make_vectors(VectorsConfig(**told)).describe()  # type: ignore[arg-type]
    counts.write_text(counts.read_text() + "nobody\t3\n7\t1\n")
    task = make_vectors(VectorsConfig(**told))  # type: ignore[arg-type]
    assert task.describe().endswith("; 2 of the 242 ids of task.counts are unknown")


def test_biases_beside_vectors_are_told_to_be_left_out(tmp_path: Path) -> None:
    rows = np.load(write_items(tmp_path))
    pd.DataFrame({"vector": list(rows), "bias": rows[:, 0]}).to_parquet(tmp_path / "items.parquet")
    task = make_vectors(VectorsConfig(vectors=str(tmp_path / "items.parquet"), judged=60))
    assert "its column of biases is left out" in task.describe()


def test_a_vector_may_be_a_tensor_of_any_kind(items: VectorsTask) -> None:
    index, asked = served(items), torch.ones(WIDTH)
    expected = index.search(asked, k=3)
    for vector in (asked.requires_grad_(), asked.detach().bfloat16(), asked.detach().double()):
        assert index.search(vector, k=3) == expected
        assert index.search_batch(vector[None], k=3)[0][0].id == expected[0].id
        assert index.topk(vector[None], 3)[1].tolist() == [[index.ids.position(one.id) for one in expected]]
    for large in ([1e300] * WIDTH, np.full(WIDTH, 1e300), torch.full((WIDTH,), 1e300, dtype=torch.float64)):
        with pytest.raises(AutopruneError, match="one is infinite or NaN"):
            index.search(large)


def save(task: VectorsTask, recipe: dict[str, object], folder: Path) -> None:
    context = task.context(seed=0, device=torch.device("cpu"))
    made = run(plan(recipe, base_defaults=task.base), task, context, trainer=Trainer(task.training))
    artifact.save(task.parts(made), folder, provenance={})


@pytest.mark.parametrize("folder", ["model", "beside"])
def test_ids_that_are_damaged_in_a_mapped_file_are_told_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    task = vectors_task(tmp_path / "data")
    save(task, LESS, tmp_path / "a")
    file = tmp_path / "a" / folder / "tensors.safetensors"
    content, packed = bytearray(file.read_bytes()), tensor_file.read(file)["ids"].tobytes()
    content[bytes(content).find(packed) + len(packed) // 2] ^= 255
    file.write_bytes(content)
    monkeypatch.setattr(tensor_file, "LARGE", 1)  # what is mapped is not hashed
    index = autoprune.load(tmp_path / "a")
    assert isinstance(index, VectorIndex)
    with pytest.raises(AutopruneError, match=rf"{folder}/tensors\.safetensors: its ids cannot be read .*; copy the"):
        index.vector("nobody")


def test_a_bare_artifact_answers_by_pointers_for_what_it_knows(tmp_path: Path) -> None:
    task = vectors_task(tmp_path / "data")
    save(task, POINTING, tmp_path / "a")
    artifact.copy(tmp_path / "a", tmp_path / "bare", bare=True)
    whole, bare = (autoprune.load(tmp_path / name) for name in ("a", "bare"))
    assert isinstance(whole, VectorIndex)
    assert isinstance(bare, VectorIndex)
    assert bare.most_similar(bare.pointing[3], k=2) == whole.most_similar(whole.pointing[3], k=2)
    assert bare.answer_of.tolist() == list(range(len(bare))), "each row for its own id"
