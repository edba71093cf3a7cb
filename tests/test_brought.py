"""Tables that were trained elsewhere: scores are theirs, ids are matched, and what cannot be is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch

from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.config.compose import compose_sections
from autoprune.config.sections import structured
from autoprune.config.settings import StudyConfig
from autoprune.errors import AutopruneError, RecipeError
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.recommender.brought import BroughtTask
from autoprune.recommender.config import InteractionsConfig, InteractionsData, ModelFiles
from autoprune.recommender.make import make_interactions
from autoprune.recommender.pieces import role_of
from autoprune.recommender.served import Recommender
from autoprune.study.definition import Definition, make_task
from autoprune.study.suited import suited

USERS, ITEMS, DIM, EACH = 220, 60, 5, 10

DRAW = np.random.default_rng(0)
U, V = (DRAW.normal(size=(rows, DIM)).astype(np.float32) for rows in (USERS, ITEMS))
USER_BIAS, ITEM_BIAS = (DRAW.normal(size=rows).astype(np.float32) for rows in (USERS, ITEMS))
USER_IDS, ITEM_IDS = np.arange(USERS) * 3 + 1, np.array([f"film {item}" for item in range(ITEMS)])


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody's ten best films by the tables, with noise."""
    noisy = U @ V.T + DRAW.normal(size=(USERS, ITEMS))
    best = np.argsort(-noisy, axis=1)[:, :EACH]
    frame = pd.DataFrame({"user_id": np.repeat(USER_IDS, EACH), "item_id": ITEM_IDS[best.ravel()]})
    path = tmp_path_factory.mktemp("data") / "ratings.csv"
    frame.to_csv(path, index=False)
    return path


def write_ids(folder: Path, *, users: Any = USER_IDS, items: Any = ITEM_IDS) -> None:
    folder.mkdir(exist_ok=True)
    for name, ids in (("user", users), ("item", items)):
        (folder / f"{name}_ids.txt").write_text("".join(f"{one}\n" for one in ids))


def write_arrays(folder: Path, **arrays: Any) -> Path:
    write_ids(folder)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def brought(ratings: Path, model: Path | str, **told: str) -> BroughtTask:
    files = ModelFiles(path=str(model), **told)
    task = make_interactions(InteractionsConfig(data=InteractionsData(path=str(ratings)), model=files))
    assert isinstance(task, BroughtTask)
    return task


def dense(task: BroughtTask) -> Recommender:
    return Recommender(task.parts(task.model({}, seed=0)))


def scores(served: Recommender) -> np.ndarray[Any, Any]:
    """Of all items for all users, in the order of the tables."""
    order = [served.items.position(item) for item in ITEM_IDS.tolist()]
    return np.stack([served.scores(user)[order] for user in USER_IDS.tolist()])


def plain(folder: Path) -> Path:
    return write_arrays(folder / "m", user=U, item=V)


def implicit(folder: Path) -> Path:
    write_ids(folder)
    np.savez(folder / "als.npz", user_factors=U, item_factors=V, iterations=15, dtype="float32", num_threads=0)
    return folder / "als.npz"


def tensors(folder: Path) -> Path:
    write_ids(folder)
    safetensors.numpy.save_file({"user_emb.weight": U, "item_emb.weight": V}, folder / "m.safetensors")
    return folder / "m.safetensors"


def recbole(folder: Path) -> Path:
    pad = np.full((1, DIM), 9.0, dtype=np.float32)
    write_ids(folder, users=["[PAD]", *USER_IDS], items=["[PAD]", *ITEM_IDS])
    state = {
        f"{name}_embedding.weight": torch.from_numpy(np.concatenate([pad, rows]))
        for name, rows in (("user", U), ("item", V))
    }
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"m": torch.zeros(3, 2)}}, folder / "m.pth")
    return folder / "m.pth"


def by_shape(folder: Path) -> Path:
    write_ids(folder)
    np.savez(folder / "m.npz", P=U, Q=V)
    return folder / "m.npz"


def texts(folder: Path) -> Path:
    (folder / "m").mkdir()
    for name, ids, rows in (("users.txt", USER_IDS, U), ("items.vec", ITEM_IDS, V)):
        lines = ["\t".join([str(one), *map(str, row)]) for one, row in zip(ids, rows, strict=True)]
        (folder / "m" / name).write_text("\n".join(lines))
    return folder / "m"


def parquet(folder: Path) -> Path:
    (folder / "m").mkdir()
    for name, ids, rows in (("user", USER_IDS, U), ("item", ITEM_IDS, V)):
        pd.DataFrame({"id": ids, "vector": list(rows)}).to_parquet(folder / "m" / f"{name}.parquet")
    return folder / "m"


SLOW = [pytest.param(write, marks=pytest.mark.slow) for write in (tensors, by_shape, texts, parquet)]


@pytest.mark.parametrize("write", [plain, implicit, recbole, *SLOW])
def test_the_dense_model_scores_as_theirs(ratings: Path, tmp_path: Path, write: Callable[[Path], Path]) -> None:
    task = brought(ratings, write(tmp_path))
    model = task.model({}, seed=0)
    order = task.data.items.values.tolist()
    assert model.tables["user"].weight.detach().numpy().tobytes() == U.tobytes()
    assert (
        model.tables["item"].weight.detach().numpy().tobytes()
        == V[[ITEM_IDS.tolist().index(one) for one in order]].tobytes()
    )
    np.testing.assert_allclose(scores(dense(task)), U @ V.T, rtol=1e-5, atol=1e-5)


def biased(folder: Path) -> Path:
    return write_arrays(
        folder / "m", user=U, item=V, user_bias=USER_BIAS, item_bias=ITEM_BIAS[:, None], mu=np.float32(3.5)
    )


def of_logistic(folder: Path) -> Path:
    """As `implicit` keeps its models with biases: each side's beside the other's column of ones."""
    write_ids(folder)
    one = [np.ones((rows, 1), dtype=np.float32) for rows in (USERS, ITEMS)]
    users = np.concatenate([U, one[0], USER_BIAS[:, None] + 3.5], axis=1)
    np.savez(folder / "m.npz", user_factors=users, item_factors=np.concatenate([V, ITEM_BIAS[:, None], one[1]], axis=1))
    return folder / "m.npz"


@pytest.mark.parametrize("write", [biased, pytest.param(of_logistic, marks=pytest.mark.slow)])
def test_biases_are_kept_whatever_is_cut(ratings: Path, tmp_path: Path, write: Callable[[Path], Path]) -> None:
    task, theirs = brought(ratings, write(tmp_path)), U @ V.T + USER_BIAS[:, None] + ITEM_BIAS + np.float32(3.5)
    assert task.base == {"dim": DIM}
    served = dense(task)
    np.testing.assert_allclose(scores(served), theirs, rtol=1e-4, atol=1e-4)
    best = served.recommend(int(USER_IDS[7]), k=3, include_seen=True)
    assert [one.item for one in best] == ITEM_IDS[np.argsort(-theirs[7])[:3]].tolist()
    np.testing.assert_allclose([one.score for one in best], np.sort(theirs[7])[::-1][:3], rtol=1e-4)
    recipe = {
        "prune": {"dims": {"sparsity": 0.4, "importance": "pca"}, "rows": {"sparsity": {"item": 0.5, "user": 0.5}}},
        "encode": {"quantize": {"bits": 2}},
    }
    cut = made(task, recipe)
    artifact.save(task.parts(cut), tmp_path / "a", provenance={})
    loaded = artifact.load(tmp_path / "a")
    assert isinstance(loaded, Recommender)
    item, user = (cut.tables[name] for name in ("item", "user"))
    coded = user.values() @ item.values().T + user.bias[:, None] + item.bias + task._brought.trained.constant
    for row in (0, 5):
        found = loaded.scores(loaded._user_rows[row])
        np.testing.assert_allclose(found[loaded._item_of_row], coded[row].detach(), rtol=1e-4, atol=1e-4)
    kept = [ITEM_IDS.tolist().index(task.data.items[int(row)]) for row in item.index]
    assert np.array_equal(item.bias.detach().numpy(), ITEM_BIAS[kept])


def made(task: BroughtTask, recipe: dict[str, Any]) -> Any:
    context = task.context(seed=0, device=torch.device("cpu"))
    asked = plan(recipe, base_defaults=task.base, runtimes=task.runtimes)
    return run(asked, task, context, trainer=Trainer(task.training))


def test_cosines_are_folded_into_the_rows(ratings: Path, tmp_path: Path) -> None:
    theirs = (U / np.linalg.norm(U, axis=1, keepdims=True)) @ (V / np.linalg.norm(V, axis=1, keepdims=True)).T
    task = brought(ratings, plain(tmp_path), score="cosine")
    np.testing.assert_allclose(scores(dense(task)), theirs, rtol=1e-5, atol=1e-5)
    assert "length 1" in task.describe()


@pytest.mark.slow
def test_training_goes_on_from_the_tables(ratings: Path, tmp_path: Path) -> None:
    task = brought(ratings, biased(tmp_path))
    start, tuned = task.model({}, seed=0), made(task, {"encode": {"l1": {"strength": 1e-9}, "epochs": 2}})
    batch = task.batches()[0]
    with torch.no_grad():
        assert task.loss(tuned, batch) < task.loss(start, batch)
    for name, table in start.tables.items():
        moved = (tuned.tables[name].weight - table.weight).abs().max().item()
        assert 0 < moved < 0.1 * table.weight.abs().max().item()
    assert not torch.equal(tuned.tables["item"].bias, start.tables["item"].bias)


def test_training_items_for_users_without_a_row_serves_these_better(ratings: Path, tmp_path: Path) -> None:
    """Most users lose their row. Trained for the few that keep theirs alone, items gain half of it."""
    worse = V + np.random.default_rng(1).normal(size=V.shape).astype(np.float32)
    task = brought(ratings, write_arrays(tmp_path / "m", user=U, item=worse, item_bias=ITEM_BIAS))
    found = {}
    for epochs in (0, 60):
        cut = {"rows": {"sparsity": {"user": 0.95}}, "schedule": "one_shot", "epochs": epochs}
        served = serve(task.parts(made(task, {"prune": cut})))
        found[epochs] = task.metrics[task.metric](task.score(served, "validation"))
    assert found[60] > 1.25 * found[0]


@pytest.mark.slow
def test_the_softmax_is_as_sharp_as_explains_the_data_best(ratings: Path, tmp_path: Path) -> None:
    write_arrays(tmp_path / "m", user=U * 100, item=V)
    write_arrays(tmp_path / "n", user=U, item=V)
    many, few = (brought(ratings, tmp_path / name) for name in "mn")
    batch = torch.arange(USERS)
    with torch.no_grad():
        losses = [float(task.loss(task.model({}, seed=0), batch)) for task in (many, few)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_users_without_a_row_are_as_loud_as_others_beside_biases(ratings: Path, tmp_path: Path) -> None:
    served = dense(brought(ratings, biased(tmp_path)))
    stranger = served._query(None, np.array([1, 5, 7]), fold=True)
    assert float(np.linalg.norm(stranger)) == pytest.approx(float(np.linalg.norm(U, axis=1).mean()), rel=1e-4)
    added = ITEM_BIAS + np.float32(USER_BIAS.mean()) + np.float32(3.5)
    expected = stranger[0] @ V.T + added
    found = served.scores(history=[served.items[1], served.items[5], served.items[7]])
    order = [served.items.position(item) for item in ITEM_IDS.tolist()]
    np.testing.assert_allclose(found[order], expected, rtol=1e-4, atol=1e-4)


def test_ids_are_matched_and_what_is_on_one_side_is_counted(ratings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    write_ids(folder, users=[*USER_IDS[5:], 100_000], items=[*ITEM_IDS[2:], "new", "newer"])
    np.save(folder / "user.npy", np.concatenate([U[5:], U[:1]]))
    np.save(folder / "item.npy", np.concatenate([V[2:], V[:2]]))
    task = brought(ratings, folder)
    said = task.describe()
    assert "the dense model comes trained: 216 users and 60 items x 5" in said
    assert "5 of the data's 220 users are not in the table: they are served from their history" in said
    assert "1 of the table's 216 users are not in the data: they stay" in said
    assert "2 of the data's 60 items are not in the table: they are never recommended" in said
    served = dense(task)
    known = served.scores(int(USER_IDS[9]))
    assert known[served.items.position("film 0")] == -torch.inf
    assert float(known[served.items.position("newer")]) == pytest.approx(float(U[9] @ V[1]), rel=1e-5)
    assert served.recommend(int(USER_IDS[0]), k=2)  # from the history
    assert served.recommend(100_000, k=2)
    assert served.history_bytes > 0


def test_rows_without_ids_are_numbered_only_where_the_data_counts_so(ratings: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(ratings)
    frame["item_id"] = frame["item_id"].str.removeprefix("film ").astype(int)
    frame["user_id"] = (frame["user_id"] - 1) // 3
    frame.to_csv(tmp_path / "r.csv", index=False)
    (tmp_path / "m").mkdir()
    for name, rows in (("user", U), ("item", V)):
        np.save(tmp_path / "m" / f"{name}.npy", rows)
    task = brought(tmp_path / "r.csv", tmp_path / "m")
    assert "rows of items are numbered as the data's ids" in task.describe()
    assert float(dense(task).scores(3)[7]) == pytest.approx(float(U[3] @ V[7]), rel=1e-5)
    frame["user_id"] += 1
    frame.to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(AutopruneError, match=r"220 rows have no ids, and .* 1 to 220, are not their numbers, 0 to 219"):
        brought(tmp_path / "r.csv", tmp_path / "m")


def test_ids_in_the_file_of_the_tables_are_never_left_out(ratings: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(ratings)
    frame["item_id"] = frame["item_id"].str.removeprefix("film ").astype(int)
    frame["user_id"] = (frame["user_id"] - 1) // 3
    frame.to_csv(tmp_path / "r.csv", index=False)
    users, items = np.arange(USERS)[::-1], np.arange(ITEMS)[::-1]
    held = {"user_factors": U[users], "item_factors": V[items]}
    np.savez(tmp_path / "m.npz", **held, user_ids=users.astype(object), item_ids=items.astype(object))
    with pytest.raises(AutopruneError, match=r"m\.npz: user_ids holds Python objects"):
        brought(tmp_path / "r.csv", tmp_path / "m.npz")
    weights = {name: torch.from_numpy(rows.copy()) for name, rows in held.items()}
    torch.save({"state_dict": weights, "user_ids": users.tolist(), "item_ids": items.tolist()}, tmp_path / "m.pt")
    task = brought(tmp_path / "r.csv", tmp_path / "m.pt")
    np.testing.assert_allclose(dense(task).scores(3), U[3] @ V.T, rtol=1e-4, atol=1e-5)
    write_ids(tmp_path, users=users, items=items)
    task = brought(tmp_path / "r.csv", tmp_path / "m.npz")
    np.testing.assert_allclose(dense(task).scores(3), U[3] @ V.T, rtol=1e-4, atol=1e-5)


def test_a_width_is_the_tables_own(ratings: Path, tmp_path: Path) -> None:
    path = plain(tmp_path)
    task = brought(ratings, path)
    told = ["task=interactions", f"task.data.path={ratings}", f"task.model={path}"]
    found, words = suited(compose_sections(told), task)
    assert found["space"]["base"]["dim"] == {"any_of": [DIM]}
    assert "space.base: dim 64, dim 32, dim 16 left out, since the dense model has dim 5" in words
    with pytest.raises(RecipeError, match=r"base.dim: the tables of task.model have 5 dimensions, .* but got 16"):
        task.model({"dim": 16}, seed=0)


def test_the_content_of_tables_is_part_of_the_fingerprint(ratings: Path, tmp_path: Path) -> None:
    path = plain(tmp_path)
    before = brought(ratings, path).fingerprint()
    moved = path.rename(tmp_path / "moved")
    assert brought(ratings, moved).fingerprint() == before
    np.save(moved / "item.npy", V + np.float32(1e-6))
    assert brought(ratings, moved).fingerprint() != before


def test_studies_without_tables_are_defined_as_they_were(ratings: Path) -> None:
    sections = compose_sections(["task=interactions", f"task.data.path={ratings}", "study.name=s"])
    task = make_task(sections["task"])
    found = Definition.of_sections(sections, structured(StudyConfig, sections["study"], "study"), task)
    assert "model" not in found.content["task"]
    assert set(found.places) == {"task.data.path"}
    assert '"model"' not in task.fingerprint()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "widths": ({"user": U[:, :4], "item": V}, r"one width, but .*user\.npy has 4 dimensions and .*item\.npy has 5"),
    "rows": ({"user": U[:9], "item": V}, r"user_ids\.txt: there are 220 ids, but .*user\.npy has 9 rows"),
    "nan": ({"user": np.where(U[3, 2] == U, np.nan, U), "item": V}, r"user\.npy: row 3 \(id '10'\) holds nan"),
    "two": ({"user": U, "user_vectors": U, "item": V}, r"several tables of users: user\.npy, user_vectors\.npy"),
    "none": (
        {"user": U},
        r"no name in .* says which is the table of items, .* no arrays have 60 rows. It holds: user\.npy \[220, 5\]",
    ),
    "bias": (
        {"user": U, "item": V, "item_bias": USER_BIAS},
        r"item_bias\.npy: it must have one bias for each of the 60 rows",
    ),
    "words": ({"user": U.astype(str), "item": V}, r"user\.npy: numbers are expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_a_model_is_said(ratings: Path, tmp_path: Path, name: str) -> None:
    arrays, said = BAD[name]
    with pytest.raises(AutopruneError, match=said):
        brought(ratings, write_arrays(tmp_path / "m", **arrays))


def test_ids_of_another_kind_than_the_datas_are_refused(ratings: Path, tmp_path: Path) -> None:
    path = plain(tmp_path)
    write_ids(path, items=range(ITEMS))
    with pytest.raises(AutopruneError, match=r"none of its 60 ids .* such as '0', and the data's such as 'film 0'"):
        brought(ratings, path)
    write_ids(path, users=[f"u{user}" for user in USER_IDS])
    with pytest.raises(
        AutopruneError, match=r"user\.npy: none of its 220 ids .* such as 'u1', and the data's such as '1'"
    ):
        brought(ratings, path)
    write_ids(path, users=["1", "1.0", *USER_IDS[2:]])
    with pytest.raises(AutopruneError, match="id '1' stands twice, written in two ways"):
        brought(ratings, path)


def test_a_model_with_more_weights_than_tables_is_not_taken_for_two(ratings: Path, tmp_path: Path) -> None:
    write_ids(tmp_path)
    state = {
        "user_emb.weight": torch.from_numpy(U),
        "item_emb.weight": torch.from_numpy(V),
        "mlp.0.weight": torch.ones(4, 10),
    }
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(AutopruneError, match=r"holds more weights than two tables and biases: mlp\.0\.weight"):
        brought(ratings, tmp_path / "m.pt")
    task = brought(ratings, tmp_path / "m.pt", user="user_emb.weight", item="item_emb")
    np.testing.assert_allclose(scores(dense(task)), U @ V.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.model={model}", "task.model.score=euclidean"], "task.model.score 'euclidean' is unknown"),
        (["task.model.user=a.npy"], "task.model.user: the folder or file with it must be given: task.model=F"),
        (["task.model=nowhere"], "task.model: there is no 'nowhere'"),
        (["task.model={model}/user.npy"], "holds one table, but a model has one of users and one of items"),
        (
            ["task.model={model}", "task.model.item=itm.npy"],
            r"task.model.item: there is no 'itm.npy' in .* Did you mean item.npy",
        ),
        (["task.model={model}", "task.model.global_bias=inf"], "a finite number must be given, but got inf"),
    ],
)
def test_what_is_said_of_a_model_is_checked(ratings: Path, tmp_path: Path, overrides: list[str], said: str) -> None:
    model = plain(tmp_path)
    told = ["task=interactions", f"task.data.path={ratings}", *(one.format(model=model) for one in overrides)]
    with pytest.raises(AutopruneError, match=said):
        make_task(compose_sections(told)["task"])


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("user_embedding.weight", "user"),
        ("itemFactors", "item"),
        ("module.items_emb", "item"),
        ("user_bias", "user_bias"),
        ("biases.item", "item_bias"),
        ("item-ids", "item_ids"),
        ("user_item_matrix", None),
        ("superuser", None),
    ],
)
def test_names_say_what_arrays_are(name: str, role: str | None) -> None:
    assert role_of(name) == role


def test_ids_of_nineteen_digits_are_matched(ratings: Path, tmp_path: Path) -> None:
    far = 2**63 - 1 - int(USER_IDS.max())  # the last of them is the largest that 64 bits hold
    frame = pd.read_csv(ratings)
    frame.assign(user_id=frame.user_id + far).to_csv(tmp_path / "far.csv", index=False)
    folder = plain(tmp_path)
    write_ids(folder, users=[*(USER_IDS + far)[:-1], f"{2**63 - 1}.0"])
    served = dense(brought(tmp_path / "far.csv", folder))
    order = [served.items.position(item) for item in ITEM_IDS.tolist()]
    for row in (0, USERS - 1):
        np.testing.assert_allclose(served.scores(int(USER_IDS[row]) + far)[order], U[row] @ V.T, rtol=1e-4, atol=1e-4)
    np.save(folder / "user.npy", np.concatenate([U, U[:2]]))
    write_ids(folder, users=[*(USER_IDS + far), 2**63, "9" * 5000])
    assert f"2 of 222 ids of users left out, such as '{2**63}'" in brought(tmp_path / "far.csv", folder).describe()
