"""What a model's folder declares is what every runtime and every export computes, as sentence-transformers does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from needed import needs
from tiny_encoder import HIDDEN, TEXTS, make_task, write_stock, write_tiny_bert

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Beside
from autoprune.encoder.benchmarks.judgements import Collection
from autoprune.encoder.benchmarks.retrieval import Retrieval
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.prompts import Prompts
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.similarity import SIMILARITIES, all_compared, compared, prepared
from autoprune.encoder.stock_format import STOCK
from autoprune.errors import AutopruneError

needs("sentence_transformers")

LONG = " ".join(TEXTS[:12])
ASKED = [*TEXTS[:12], LONG, "", "water [PAD] stone [SEP] river [UNK] bread", "[PAD]", "日 water"]
"""Among them what is cut off, what is empty, and texts that hold pieces which a tokenizer keeps for itself."""

FOUR = ("model", "torch", "onnx", "stock")


def stock(folder: Path) -> Any:
    import sentence_transformers

    return sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def artifacts(model: Encoder, to: Path) -> dict[str, Any]:
    """The artifact of each runtime, and the sentence-transformers folder that is made of one."""
    found: dict[str, Any] = {}
    for runtime in ("torch", "onnx"):
        artifact.save(encoder_parts(model, runtime, Beside(values={}, tensors={})), to / runtime, provenance={})
        found[runtime] = artifact.load(to / runtime)
        assert isinstance(found[runtime], SentenceEncoder)
    found["stock"] = stock(write_stock(to / "torch", to / "stock"))
    return found


def agrees(model: Encoder, to: Path, expected: np.ndarray, *, tolerance: float = 2e-5) -> None:
    """The model, both artifacts and the export give these vectors."""
    with torch.no_grad():
        np.testing.assert_allclose(model.calibrate(ASKED).numpy(), expected, atol=tolerance)
    for name, served in artifacts(model, to).items():
        more = {"show_progress_bar": False} if name == "stock" else {}
        np.testing.assert_allclose(served.encode(ASKED, **more), expected, atol=tolerance, err_msg=name)


def theirs(folder: Path) -> np.ndarray:
    return np.asarray(stock(folder).encode(ASKED, show_progress_bar=False))


def changed(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **entries}))


@pytest.mark.parametrize(
    ("family", "padding"),
    [
        ("roberta", 3),
        *(
            pytest.param(family, padding, marks=pytest.mark.slow)
            for family in ("roberta", "xlm-roberta", "camembert")
            for padding in (0, 1, 7)
        ),
    ],
)
def test_positions_are_counted_from_the_padding(family: str, padding: int, tmp_path: Path) -> None:
    """3 ends every text, and 0, 1 and 7 occur in some: what equals the padding has its place, and is not counted."""
    folder = write_tiny_bert(tmp_path / "model", family=family, config={"pad_token_id": padding})
    agrees(read_encoder(str(folder)), tmp_path, theirs(folder))


@pytest.mark.parametrize("gone", [False, True], ids=["padding stays", "padding goes"])
def test_positions_are_counted_in_a_smaller_vocabulary(gone: bool, tmp_path: Path) -> None:
    padding = 120  # a word that can go
    folder = write_tiny_bert(
        tmp_path / "model", family="roberta", config={"pad_token_id": padding, "max_position_embeddings": 200}
    )
    model = read_encoder(str(folder))
    vocab = model.axes["vocab"]
    stay = set(model.protected(vocab).tolist()) | set(range(100, 140)) - ({padding} if gone else set())
    model.cut(vocab, torch.tensor(sorted(stay)))
    with torch.no_grad():
        agrees(model, tmp_path, model.calibrate(ASKED).numpy())


@pytest.mark.parametrize(("embedding", "pooling"), [(16, "cls"), pytest.param(48, "mean", marks=pytest.mark.slow)])
def test_tables_of_another_width_are_projected(embedding: int, pooling: str, tmp_path: Path) -> None:
    folder = write_tiny_bert(
        tmp_path / "model", family="electra", config={"embedding_size": embedding}, pooling=pooling
    )
    model = read_encoder(str(folder))
    assert model.tables["project"].weights().shape == (HIDDEN, embedding)
    agrees(model, tmp_path, theirs(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "entries"),
    [
        ("bert", {"layer_norm_eps": 0.3}),
        ("roberta", {"layer_norm_eps": 0.3}),
        ("distilbert", {"layer_norm_eps": 0.3}),  # which DistilBERT does not look at
        ("bert", {"hidden_act": "relu"}),
        ("distilbert", {"activation": "relu", "hidden_act": "silu"}),
        ("bert", {"type_vocab_size": 1}),
        ("roberta", {"type_vocab_size": 2}),
        ("bert", {"num_attention_heads": 8}),
        ("bert", {"pad_token_id": 9}),
        ("bert", {"max_position_embeddings": 20}),
        ("roberta", {"max_position_embeddings": 20}),
    ],
)
def test_no_constant_stands_for_a_setting(family: str, entries: dict[str, Any], tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "model", family=family, config=entries)
    changed(folder / "config.json", **entries)
    if "max_position_embeddings" in entries:  # as published folders have it: what has no position is cut off
        changed(folder / "sentence_bert_config.json", max_seq_length=18)
    agrees(read_encoder(str(folder)), tmp_path, theirs(folder))


@pytest.mark.slow
@pytest.mark.parametrize("entries", [{"do_lower_case": False}, {"strip_accents": False}, {"model_max_length": 9}])
def test_the_tokenizer_is_that_of_its_settings(entries: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "sentence_bert_config.json").write_text("{}")
    changed(folder / "tokenizer_config.json", **entries)
    agrees(read_encoder(str(folder)), tmp_path, theirs(folder))


@pytest.mark.parametrize("place", ["tokenizer_config.json", "tokenizer.json"])
def test_texts_are_cut_where_it_is_declared(place: str, tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    if place == "tokenizer_config.json":
        changed(folder / place, truncation_side="left")
    else:
        held = json.loads((folder / "tokenizer_config.json").read_text())
        held.pop("truncation_side", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(held))
        side = {"direction": "Left", "max_length": 48, "strategy": "LongestFirst", "stride": 0}
        changed(folder / place, truncation=side)
    model = read_encoder(str(folder))
    assert not np.array_equal(model.tokens([LONG])[0], read_encoder(str(tiny)).tokens([LONG])[0])
    agrees(model, tmp_path, theirs(folder))
    long = " ".join([LONG] * 200)  # of which only the end is looked at
    np.testing.assert_array_equal(model.tokens([long])[0], model.tokens([LONG])[0])


def test_padding_on_the_left_is_refused_where_it_moves_positions(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    changed(folder / "tokenizer_config.json", padding_side="left")
    with pytest.raises(AutopruneError, match="set padding_side to right"):
        read_encoder(str(folder))
    counted = write_tiny_bert(tmp_path / "counted", family="roberta", config={"pad_token_id": 0})
    changed(counted / "tokenizer_config.json", padding_side="left")
    agrees(read_encoder(str(counted)), tmp_path, theirs(counted))
    changed(counted / "config.json", pad_token_id=3)  # what pads is counted then
    with pytest.raises(AutopruneError, match="set padding_side to right"):
        read_encoder(str(counted))


PROMPTS: list[dict[str, Any]] = [
    {"prompts": {"query": "river: ", "document": "stone: "}},
    {"prompts": {"query": "river: ", "document": "stone: "}, "default_prompt_name": "query"},
    {"prompts": {"query": "", "document": "stone "}, "default_prompt_name": "document"},
    {"prompts": {"query": "river: "}, "default_prompt_name": "query", "similarity_fn_name": "dot"},
    {"prompts": {"sts": "bread: ", "query": "Paint the "}, "default_prompt_name": "sts"},
    {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "euclidean"},
    {"similarity_fn_name": "manhattan"},
    {"prompts": {"query": "river: " * 30}},  # longer than what is read
]
REST = [told for at, told in enumerate(PROMPTS) if at not in (3, 4)]


@pytest.mark.parametrize("told", [*PROMPTS[3:5], *(pytest.param(told, marks=pytest.mark.slow) for told in REST)])
def test_prompts_are_used_and_carried(told: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(told))
    expected, model = stock(folder), read_encoder(str(folder))
    found = artifacts(model, tmp_path)
    quiet: dict[str, Any] = {"show_progress_bar": False}
    for role, encode in (("query", expected.encode_query), ("document", expected.encode_document)):
        right = encode(ASKED, **quiet)
        for runtime in ("torch", "onnx"):
            np.testing.assert_allclose(found[runtime].encode(ASKED, role=role), right, atol=2e-5)
        again = getattr(found["stock"], f"encode_{role}")(ASKED, **quiet)
        np.testing.assert_allclose(again, right, atol=2e-5)
    agrees_by_default = expected.encode(ASKED, **quiet)
    for name, served in found.items():
        np.testing.assert_allclose(
            served.encode(ASKED, **(quiet if name == "stock" else {})), agrees_by_default, atol=2e-5
        )
    assert found["stock"].similarity_fn_name == expected.similarity_fn_name == found["torch"].similarity
    for name, prompt in told.get("prompts", {}).items():
        assert found["stock"].prompts[name] == prompt
        np.testing.assert_allclose(
            found["onnx"].encode(ASKED, role=name), expected.encode(ASKED, prompt_name=name, **quiet), atol=2e-5
        )
    asked = any(told.get("prompts", {}).values())
    code = STOCK.use(tmp_path / "stock", ".").code
    assert ("encode_query" in code) == ("role='query'" in found["onnx"].example) == asked
    with pytest.raises(AutopruneError, match="role 'quarry' is unknown"):
        found["torch"].encode("a text", role="quarry")


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_documents_have_the_prompt_that_is_meant_for_them(name: str) -> None:
    prompts = Prompts(texts={"query": "q: ", name: "d: ", "sts": "s: "})
    assert [prompts.of(role) for role in (None, "query", "document", "sts")] == ["", "q: ", "d: ", "s: "]
    assert prompts.before(["a"], "document") == ["d: a"]
    assert prompts.spread(["a", "b", "c", "d"]) == ["a", "q: b", "d: c", "d"]
    assert prompts.declared()["prompts"]["document"] == "d: "
    assert Prompts().spread(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"default_prompt_name": "quest"}, "default_prompt_name 'quest' is unknown"),
        ({"prompts": ["query: "]}, "prompts must be an object"),
        ({"prompts": {"query": 3}}, "a prompt is a string"),
        ({"default_prompt_name": 3}, "default_prompt_name a name or null"),
        ({"similarity_fn_name": "maxsim"}, "the similarity_fn_name 'maxsim' is unknown"),
        ({"model_type": "SparseEncoder"}, "sets model_type to 'SparseEncoder'; only SentenceTransformer is known"),
    ],
)
def test_declarations_that_cannot_be_meant(told: dict[str, Any], words: str, tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(told))
    with pytest.raises(AutopruneError, match=words):
        read_encoder(str(folder))


def test_pooling_without_the_prompt_is_refused_where_there_is_one(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    changed(folder / "1_Pooling" / "config.json", include_prompt=False)
    agrees(read_encoder(str(folder)), tmp_path, theirs(folder))
    changed(folder / "config_sentence_transformers.json", prompts={"query": "river: "})
    with pytest.raises(AutopruneError, match="include_prompt is false"):
        read_encoder(str(folder))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_similarities_match_sentence_transformers(similarity: str) -> None:
    from sentence_transformers import SimilarityFunction

    draw = np.random.default_rng(0)
    one, other = (draw.normal(size=(6, 5)).astype(np.float32) for _ in range(2))
    ours = prepared(one, similarity), prepared(other, similarity)
    right = SimilarityFunction.to_similarity_fn(similarity)(one, other).numpy()
    np.testing.assert_allclose(all_compared(*ours, similarity), right, atol=1e-5)
    np.testing.assert_allclose(compared(*ours, similarity), np.diag(right), atol=1e-5)


@pytest.mark.parametrize(
    "similarity", ["dot", *(pytest.param(one, marks=pytest.mark.slow) for one in SIMILARITIES if one != "dot")]
)
def test_a_task_asks_as_the_model_declares(similarity: str, tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "model", normalize=False)
    told = {"prompts": {"query": "river: ", "document": "stone: "}, "default_prompt_name": "document"}
    changed(folder / "config_sentence_transformers.json", **told, similarity_fn_name=similarity)
    task = make_task(folder, TEXTS[:60])
    said = task.describe()
    assert "'river: ' before query" in said
    assert (similarity == "cosine") == ("similarity:" not in said)
    collection = Collection(
        documents=TEXTS[:30],
        queries={"validation": TEXTS[30:34], "test": TEXTS[34:50]},
        grades={"validation": [{at: 1.0} for at in range(4)], "test": [{at: 1.0} for at in range(16)]},
    )
    served = artifact_of(task, tmp_path)
    model = stock(folder)
    scores = model.similarity(model.encode_query(TEXTS[34:50]), model.encode_document(TEXTS[:30])).numpy()
    ranks = (-scores).argsort(axis=1).argsort(axis=1)[np.arange(16), np.arange(16)]
    right = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)
    judged = Retrieval(collection).under(similarity)
    rows = judged.rows(lambda texts, role=None: task._encode(served, texts, role), "test")
    np.testing.assert_allclose(rows["value"], right, atol=1e-6)
    pairs = task.benchmarks[0].rows(lambda texts, role=None: task._encode(served, texts, role), "test")
    first, second = task.benchmarks[0].pairs["test"].first, task.benchmarks[0].pairs["test"].second
    np.testing.assert_allclose(
        pairs["value"], model.similarity_pairwise(model.encode(first), model.encode(second)).numpy(), atol=1e-4
    )
    texts = task._texts["test"]
    own = {name: metric(task.score(served, "test")) for name, metric in task.metrics.items() if name != "spearman"}
    assert own["similarity"] == pytest.approx(1)
    assert own["overlap@10"] == pytest.approx(1)
    np.testing.assert_allclose(
        task.teacher.vectors(task._train[:4]), prepared(model.encode(task._train[:4], prompt=""), similarity), atol=1e-4
    )
    assert {text.partition(": ")[0] for text in task._train} == {"river", "stone"}
    assert not any(text.startswith("river") for text in texts)


def artifact_of(task: Any, to: Path) -> SentenceEncoder:
    artifact.save(task.parts(task.model({}, seed=0), "onnx"), to / "served", provenance={})
    found = artifact.load(to / "served")
    assert isinstance(found, SentenceEncoder)
    return found


def test_lengths_are_learnt_where_the_similarity_rests_on_them(tmp_path: Path) -> None:
    losses = {}
    for similarity in ("cosine", "dot"):
        folder = write_tiny_bert(tmp_path / similarity, normalize=False)
        changed(folder / "config_sentence_transformers.json", similarity_fn_name=similarity)
        task = make_task(folder, TEXTS[:60])
        model = task.model({}, seed=0)
        with torch.no_grad():
            for name in ("attention", "ffn"):
                norm = model.norms[f"{name}_3"]
                norm.weight.mul_(2), norm.bias.mul_(2)
        losses[similarity] = float(task.loss(model, torch.arange(8)).detach())
    assert losses["dot"] > losses["cosine"] + 0.3
