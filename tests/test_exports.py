"""What is exported, the stock reader of each format reads, and it ranks and encodes as the artifact does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from needed import needs
from tiny_encoder import TEXTS

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.formats import find_format
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.task import EncoderTask
from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.packing.product import load_faiss
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.recommender.config import ModelFiles
from autoprune.recommender.served import Recommender
from autoprune.recommender.task import RecommenderTask
from autoprune.recommender.trained import read_trained

CUT = {"rows": {"sparsity": {"item": 0.2, "user": 0.3}}}


@pytest.fixture(scope="module")
def saved(
    tmp_path_factory: pytest.TempPathFactory, task: RecommenderTask, dense: Model, context: Context, trainer: Trainer
) -> dict[str, Path]:
    """Artifacts by what is in them, all without some items and users; one has biases and a constant."""
    recipes: dict[str, dict[str, Any]] = {
        "float32": {},
        "8 bits": {"code": {"quantize": {"bits": 8}}},
        "product": {"code": {"product": {"width": 3, "entries": 16}}},
        "lengths": {"code": {"product": {"width": 3, "entries": 16, "lengths": True}}},
    }
    found, draw = {}, np.random.default_rng(0)
    for name, recipe in recipes.items():
        model = dense
        for stage in plan({"cut": CUT, **recipe}, base_defaults=task.base).stages:
            model = run_stage(model, stage, task, context, trainer=trainer, key="")
        found[name] = tmp_path_factory.mktemp("exports") / "a"
        artifact.save(task.parts(model), found[name], provenance={})
    parts = artifact.read(found["float32"])
    biases = {
        f"{side}.bias": draw.normal(size=parts.manifest["tables"][side]["rows"]).astype(np.float32)
        for side in ("user", "item")
    }
    biased = dataclasses.replace(
        parts, tensors={**parts.tensors, **biases}, manifest={**parts.manifest, "constant": 0.25}
    )
    found["biased"] = tmp_path_factory.mktemp("exports") / "a"
    artifact.save(biased, found["biased"], provenance={})
    return found


def assert_ranks(
    served: Recommender, scores: np.ndarray[Any, Any], ids: dict[str, list[str]], *, score: float = 1e-4
) -> None:
    """Scores [users, items] that put the artifact's best items first, with the artifact's scores."""
    for row, user in list(enumerate(ids["user"]))[::7]:
        best = served.recommend(int(user), k=5, include_seen=True)
        told = dict(zip(ids["item"], scores[row], strict=True))
        np.testing.assert_allclose([told[str(one.item)] for one in best], [one.score for one in best], atol=score)
        assert max(told.values()) <= best[0].score + score


@pytest.mark.parametrize("made", ["float32", "8 bits", "biased"])
def test_two_tables_rank_as_the_artifact_in_numpy_and_safetensors(
    made: str, saved: dict[str, Path], tmp_path: Path
) -> None:
    import safetensors.numpy

    served: Any = autoprune.load(saved[made])
    for name in ("numpy", "safetensors"):
        find_format(name).write(saved[made], tmp_path / name)
        ids = {side: json.loads((tmp_path / name / f"{side}_ids.json").read_text()) for side in ("user", "item")}
        assert len(ids["user"]) == len(served.users), "who has no row is written with a vector all the same"
        assert len(ids["item"]) < len(served.items)
        if name == "numpy":
            held = {path.stem: np.load(path) for path in (tmp_path / name).glob("*.npy")}
        else:
            read = safetensors.numpy.load_file(tmp_path / name / "model.safetensors")
            held = {key.removesuffix(".weight").replace(".", "_"): one for key, one in read.items()}
        scores = held["user"] @ held["item"].T + held.get("item_bias", 0) + held.get("global_bias", 0)
        scores += held["user_bias"][:, None] if "user_bias" in held else 0
        assert_ranks(served, scores, ids)
        place = tmp_path / name / ("" if name == "numpy" else "model.safetensors")
        counts = {side: len(ids[side]) for side in ids}
        again = read_trained(ModelFiles(path=str(place)), counts=counts)
        assert again.item.table.ids == ids["item"]
        np.testing.assert_array_equal(again.user.table.vectors, held["user"])
        assert again.constant == (0.25 if made == "biased" else 0.0)
    losses = " ".join(find_format("numpy").losses(saved[made]))
    assert ("Codes of few bits" in losses) == (made == "8 bits")
    assert "72 users without a row are written" in losses
    assert "only autoprune can make one from a history" in losses


@pytest.mark.parametrize(
    ("made", "precision"),
    [
        ("float32", "float32"),
        ("8 bits", "SQ8"),
        ("product", "PQ"),
        ("lengths", "float32"),
        ("biased", "float32"),
    ],
)
def test_an_index_of_faiss_finds_what_the_artifact_recommends(
    made: str, precision: str, saved: dict[str, Path], tmp_path: Path
) -> None:
    form, served = find_format("faiss"), autoprune.load(saved[made])
    assert isinstance(served, Recommender)
    form.write(saved[made], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["precision"] == precision
    widened = any("become float32" in said for said in form.losses(saved[made]))
    assert widened == (made == "lengths"), "Faiss has codes for the others, or they are float32 already"
    index = load_faiss().read_index(str(tmp_path / "out" / "index.faiss"))
    items = json.loads((tmp_path / "out" / "ids.json").read_text())
    users = json.loads((tmp_path / "out" / "user_ids.json").read_text())
    found = index.search(np.load(tmp_path / "out" / "user.npy"), 5)[1]
    best = served.recommend_batch([int(user) for user in users], k=5, include_seen=True)
    shared = [
        len({items[at] for at in near} & {str(one.item) for one in mine})
        for near, mine in zip(found, best, strict=True)
    ]
    assert np.mean(shared) / 5 >= (0.95 if precision == "SQ8" else 0.999)


def test_parquet_holds_both_tables(saved: dict[str, Path], tmp_path: Path) -> None:
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    find_format("parquet").write(saved["biased"], tmp_path / "out")
    users, items = (pd.read_parquet(tmp_path / "out" / f"{side}.parquet") for side in ("user", "item"))
    scores = np.stack(users.vector) @ np.stack(items.vector).T + items.bias.to_numpy() + users.bias.to_numpy()[:, None]
    served: Any = autoprune.load(saved["biased"])
    assert_ranks(served, scores + 0.25, {"user": users.id.tolist(), "item": items.id.tolist()})
    counts = {"user": len(users), "item": len(items)}
    again = read_trained(ModelFiles(path=str(tmp_path / "out")), counts=counts)
    assert again.user.bias is not None
    assert again.item.bias is not None
    assert again.user.bias.tolist() == users.bias.tolist()
    assert again.item.bias.tolist() == items.bias.tolist()
    said = " ".join(find_format("parquet").losses(saved["biased"]))
    assert "task.model.global_bias=0.25" in said, "of which no table tells"
    assert "global_bias" not in " ".join(find_format("parquet").losses(saved["float32"]))
    np.save(tmp_path / "out" / "item_bias.npy", items.bias.to_numpy())
    with pytest.raises(AutopruneError, match=r"item\.parquet has a column of biases, and item_bias.* holds others"):
        read_trained(ModelFiles(path=str(tmp_path / "out")), counts=counts)


def test_an_index_of_faiss_says_what_is_in_it_of_a_model_with_biases(saved: dict[str, Path], tmp_path: Path) -> None:
    form = find_format("faiss")
    form.write(saved["biased"], tmp_path / "out")
    said = json.loads((tmp_path / "out" / "settings.json").read_text())
    index = load_faiss().read_index(str(tmp_path / "out" / "index.faiss"))
    assert said["tables"]["item"] == [index.ntotal, index.d]
    assert said["tables"]["user"] == list(np.load(tmp_path / "out" / "user.npy").shape)
    use = form.use(tmp_path / "out", "here")
    assert f"`index.faiss`: {index.ntotal} x {index.d} in float32" in use.inside
    assert "item i for user u is the dot product of their rows.\n" in use.inside, "nothing is added"
    assert "The bias is one more dimension" in use.inside
    assert any("Scores lack the bias of the user and the constant 0.25" in one for one in form.losses(saved["biased"]))
    assert not any("Scores lack" in one for one in form.losses(saved["float32"]))


TABLE = {"tables": {"größe": [1, 2]}, "searched": "größe", "similarity": "dot", "biased": [], "width": 2, "constant": 0}

WRITTEN: dict[str, dict[str, Any]] = {
    "numpy": {"settings.json": TABLE},
    "model2vec": {"config.json": {"hidden_dim": 3, "language": "größe"}},
    "cross-encoder": {
        "tokenizer_config.json": {"model_max_length": 8, "unk_token": "größe"},
        "config.json": {"model_type": "bert", "_name_or_path": "größe"},
    },
    "sentence-transformers": {
        "config_sentence_transformers.json": {"prompts": {"query": "größe: "}, "similarity_fn_name": "cosine"},
        "sentence_bert_config.json": {"max_seq_length": 8, "größe": 1},
        "modules.json": [{"type": "größe.Transformer"}],
        "config.json": {"model_type": "bert", "_name_or_path": "größe"},
    },
    "onnx": {"settings.json": {"prompts": {"texts": {"query": "größe: "}, "default": None}, "keeps_end": True}},
}
"""Files of each format that tell how it is run, with letters beyond ASCII."""


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read_alike_wherever_the_locale_has_another_encoding(
    name: str, encoder_task: EncoderTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(path: Path, encoding: str = "ascii", errors: str = "strict") -> str:
        return path.read_bytes().decode(encoding, errors)

    monkeypatch.setattr(Path, "read_text", elsewhere)
    manifest = encoder_task.parts(encoder_task.model({}, seed=0), "onnx").manifest if name == "onnx" else {}
    for file, content in WRITTEN[name].items():
        whole = {**manifest, **content} if isinstance(content, dict) else content
        (tmp_path / file).write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    use = find_format(name).use(tmp_path, "here")
    assert "here" in use.code
    if name in ("numpy", "onnx"):
        assert "größe" in use.code + use.inside


@pytest.mark.slow
@pytest.mark.parametrize("bits", [None, 8])
def test_onnxruntime_and_transformers_read_an_encoder(
    encoder_task: EncoderTask, bits: int | None, tmp_path: Path
) -> None:
    needs("onnxruntime")
    needs("transformers")
    import onnxruntime
    import transformers

    model = encoder_task.model({}, seed=0)
    if bits:
        (stage,) = plan({"quantize": {"bits": {"word": 8, "body": 8}}}, base_defaults={}).stages
        trainer, context = Trainer(encoder_task.training), encoder_task.context(seed=0, device=torch.device("cpu"))
        model = run_stage(model, stage, encoder_task, context, trainer=trainer, key="")
    parts = encoder_task.parts(model, "onnx")
    prompts = {"texts": {"query": "find: "}, "default": None}
    told = dataclasses.replace(parts, manifest={**parts.manifest, "prompts": prompts, "similarity": "dot"})
    artifact.save(told, tmp_path / "a", provenance={})
    form, served = find_format("onnx"), autoprune.load(tmp_path / "a")
    form.write(tmp_path / "a", tmp_path / "größe 1")
    folder = tmp_path / "größe 1"
    graph = folder / "onnx" / ("model_quantized.onnx" if bits else "model.onnx")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == parts.manifest["max_tokens"]
    long = "water " * 100
    fed = tokenizer([*TEXTS[:3], long], padding=True, truncation=True, return_tensors="np")
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    given = {one.name: fed[one.name].astype(np.int64) for one in session.get_inputs()}
    (vectors,) = session.run(None, given)
    assert isinstance(served, SentenceEncoder)
    np.testing.assert_allclose(vectors, served.encode([*TEXTS[:3], long]), atol=1e-5)
    declared = json.loads((folder / "config_sentence_transformers.json").read_text())
    assert declared["prompts"]["query"] == "find: "
    assert declared["similarity_fn_name"] == "dot"
    assert transformers.AutoConfig.from_pretrained(folder).model_type == "bert"
    assert form.losses(tmp_path / "a") == ["Nothing puts prompts before texts there: 'find: ' before query."]
    use = form.use(folder, str(folder))
    exec(use.code, {})
    assert "int64 [batch, tokens]" in use.inside
    assert "compared by dot" in use.inside
    torch_made = encoder_task.parts(encoder_task.model({}, seed=0), "torch").manifest
    assert [one.setting for one in form.obstacles(torch_made)] == ["=onnx"]


def test_an_artifact_of_the_first_format_answers_as_one_of_now(saved: dict[str, Path], tmp_path: Path) -> None:
    now: Any = autoprune.load(saved["float32"])
    parts = artifact.read(saved["float32"])
    tensors, titles = dict(parts.beside.tensors), [f"item {at}" for at in range(len(now.items))]
    del tensors["histories"]
    tensors |= {"starts": now._histories.starts, "history": now._histories.items}
    before = dataclasses.replace(parts.beside, values={"titles": titles}, tensors=tensors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact, "FORMAT", 1)
        artifact.save(dataclasses.replace(parts, beside=before), tmp_path / "old", provenance={})
    old: Any = autoprune.load(tmp_path / "old")
    users = now.users.values.tolist()
    ask = {"users": users, "k": 7}
    assert [[(one.item, one.score) for one in found] for found in old.recommend_batch(**ask)] == [
        [(one.item, one.score) for one in found] for found in now.recommend_batch(**ask)
    ]
    assert old.recommend(users[0])[0].title.startswith("item ")
    cut = dataclasses.replace(
        parts.beside, tensors={**parts.beside.tensors, "histories": now._beside.tensors["histories"][:-9]}
    )
    with pytest.raises(AutopruneError, match="its histories cannot be read"):
        Recommender(dataclasses.replace(parts, beside=cut)).recommend(users[0])
    assert old.history_bytes > now.history_bytes > 0
