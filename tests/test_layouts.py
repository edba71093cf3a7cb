"""Every type of transformer that is read: its vectors are those of others' code, whole, cut, coded and exported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from needed import needs
from tiny_encoder import HIDDEN, TEXTS, VOCABULARY, write_stock, write_tiny_bert

from autoprune.artifacts import artifact, tensor_file
from autoprune.artifacts.served import Beside
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.functional import end_to_end, padded
from autoprune.encoder.layouts.known import AS_BERT, LAYOUTS
from autoprune.encoder.model import Encoder
from autoprune.encoder.obstacles import stock_obstacles
from autoprune.encoder.onnx import nodes
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.serve import serve_encoder
from autoprune.encoder.stock_format import STOCK
from autoprune.encoder.transformer import buckets
from autoprune.errors import AutopruneError
from autoprune.steps.importance import width_activation, width_taylor

needs("sentence_transformers")

CHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in LAYOUTS if family not in AS_BERT},
    "t5, gated": ("t5", {"feed_forward_proj": "gated-gelu"}),
    "modernbert, biased": ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
    "qwen3, both ways": ("qwen3", {"is_causal": False}),
    "qwen3, sliding": ("qwen3", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2}),
    "gemma3_text, causal": ("gemma3_text", {"use_bidirectional_attention": False}),
}
"""What is tested: a type, and what of its config is not as in most models."""

LINEAR = {"weight": torch.linspace(-1, 1, 20 * HIDDEN).view(20, HIDDEN).sin()}
TANH = {**LINEAR, "activation": "torch.nn.modules.activation.Tanh"}


def write(folder: Path, kind: str, **more: Any) -> Path:
    family, config = CHANGED[kind]
    return write_tiny_bert(folder, family=family, config={**config, **more.pop("config", {})}, **more)


def theirs(folder: Path) -> np.ndarray[Any, Any]:
    import sentence_transformers

    loaded = sentence_transformers.SentenceTransformer(str(folder), local_files_only=True, device="cpu")
    return np.asarray(loaded.encode(TEXTS[:24], show_progress_bar=False))


def save(model: Encoder, folder: Path, runtime: str = "torch") -> Path:
    artifact.save(encoder_parts(model, runtime, Beside(values={}, tensors={})), folder, provenance={})
    return folder


def ours(model: Encoder) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return model.calibrate(TEXTS[:24]).numpy()


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=[pytest.mark.slow] * (one not in LAYOUTS)) for one in CHANGED]
)
def test_vectors_are_those_of_sentence_transformers(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path, kind)
    model, expected = read_encoder(str(folder)), theirs(folder)
    assert max(len(ids) for ids in model.tokens(TEXTS[:24])) > 20, "longer than what a layer sees, and what is near"
    np.testing.assert_allclose(ours(model), expected, atol=1e-5)
    for runtime in ("torch", "onnx"):
        served = serve_encoder(encoder_parts(model, runtime, Beside(values={}, tensors={})), device="cpu")
        np.testing.assert_allclose(served.encode(TEXTS[:24]), expected, atol=1e-5)


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=[pytest.mark.slow] * (one not in LAYOUTS)) for one in CHANGED]
)
def test_texts_that_lie_end_to_end_are_read_each_by_itself(kind: str, tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path, kind)))
    texts = sorted(TEXTS[:24], key=lambda text: len(model.tokens([text])[0]))
    ids, runs = end_to_end(model.tokens(texts), multiple=64)
    assert len(runs) > 3
    assert ids.shape == (1, sum(count * length for count, length in runs))
    assert ids.numel() % 64 == 0
    with torch.no_grad():
        found = model(ids, None, runs=runs)[: len(texts)]
        torch.testing.assert_close(found, model.calibrate(texts), atol=1e-5, rtol=0)
        narrow = model(ids, None, runs=runs, products=torch.bfloat16)[: len(texts)]
    assert narrow.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(narrow, found).min()) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["cls", "lasttoken", "weightedmean"])
@pytest.mark.parametrize("kind", [kind for kind in CHANGED if kind in LAYOUTS])
def test_poolings_are_those_of_sentence_transformers(kind: str, pooling: str, tmp_path: Path) -> None:
    folder = write(tmp_path, kind, pooling=pooling, normalize=False)
    model, expected = read_encoder(str(folder)), theirs(folder)
    served = serve_encoder(encoder_parts(model, "onnx", Beside(values={}, tensors={})), device="cpu")
    np.testing.assert_allclose(ours(model), expected, atol=1e-5)
    np.testing.assert_allclose(served.encode(TEXTS[:24]), expected, atol=2e-5)
    tokens = sorted(model.tokens(TEXTS[:24]), key=len)
    ids, runs = end_to_end(tokens)
    beside, there = padded(tokens)
    with torch.no_grad():
        found = model(ids, None, runs=runs)
        torch.testing.assert_close(found, model(beside, there), atol=1e-5, rtol=0)


def cut(model: Encoder) -> None:
    """Loses layers, neurons, pieces and dimensions."""
    for axis in model.axes_of("ffn").values():
        model.cut(axis, torch.arange(1, 31))
    model.cut(model.axes["layers"], torch.tensor([0, 1]))
    vocab = model.axes["vocab"]
    model.cut(vocab, torch.tensor(sorted({*range(len(VOCABULARY) - 40), *model.protected(vocab).tolist()})))
    out = model.axes["out"]
    model.rotate(out, torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)))[0])
    model.cut(out, torch.arange(8))


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHANGED)
def test_what_is_left_of_it_answers_everywhere(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", kind, dense=TANH)
    model = read_encoder(str(folder))
    np.testing.assert_allclose(
        theirs(write_stock(save(model, tmp_path / "whole"), tmp_path / "st")), theirs(folder), atol=1e-5
    )
    cut(model)
    left = ours(model)
    made = save(model, tmp_path / "cut")
    for folder in (made, save(model, tmp_path / "onnx", "onnx")):
        np.testing.assert_allclose(artifact.load(folder).encode(TEXTS[:24]), left, atol=1e-5)
    stock = write_stock(made, tmp_path / "small")
    np.testing.assert_allclose(theirs(stock), left, atol=1e-5)
    again = read_encoder(str(stock))
    np.testing.assert_allclose(ours(again), left, atol=1e-5)
    assert again.notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHANGED)
def test_heads_and_codes_answer_everywhere(kind: str, tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path / "model", kind)))
    whole = ours(model)
    for number, axis in enumerate(model.axes_of("heads").values()):
        model.cut(axis, torch.arange(number % 2, model.size(axis)))
    left = ours(model)
    assert not np.allclose(left, whole, atol=1e-2)
    for runtime in ("torch", "onnx"):
        made = save(model, tmp_path / runtime, runtime)
        np.testing.assert_allclose(artifact.load(made).encode(TEXTS[:24]), left, atol=1e-5)
    assert "attention heads are pruned" in [
        one.reason for one in stock_obstacles(artifact.read(tmp_path / "torch").manifest)
    ]
    for table in model.tables.values():
        table.choose_bits(torch.full((table.rows,), 8))
        table.code()
    coded = ours(model)
    for runtime in ("torch", "onnx"):
        found = artifact.load(save(model, tmp_path / f"coded-{runtime}", runtime)).encode(TEXTS[:24])
        assert (found * coded).sum(1).min() > (0.9999 if runtime == "torch" else 0.995)
    assert (coded * left).sum(1).mean() > 0.99


def test_a_graph_codes_gates_as_it_codes_maps(tmp_path: Path) -> None:
    """An answer does not rest on the texts beside it."""
    model = read_encoder(str(write(tmp_path / "model", "qwen3", pooling="lasttoken")))
    for table in model.tables.values():
        table.choose_bits(torch.full((table.rows,), 4))
        table.code()
    served = artifact.load(save(model, tmp_path / "onnx", "onnx"))
    one, many = served.encode(TEXTS[0]), served.encode(TEXTS[:24])
    np.testing.assert_allclose(many[0], one, atol=1e-6)


def test_heads_that_share_keys_go_together(tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path / "model", "qwen3")))
    axis = model.axes["heads.1"]
    assert (model.size(axis), model.numbers(axis)) == (2, [0, 1])
    before = {name: table.rows for name, table in model.tables.items()}
    model.hide(axis, torch.tensor([1]))
    hidden = ours(model)
    model.cut(axis, torch.tensor([1]))
    np.testing.assert_allclose(ours(model), hidden, atol=1e-6)
    assert model.numbers(axis) == [1]
    after = {name: table.rows for name, table in model.tables.items()}
    assert [before[f"{name}_1"] // after[f"{name}_1"] for name in ("query", "key", "value")] == [2, 2, 2]
    for layer in (0, 2, 3):  # as many in every layer is what its config can say
        model.cut(model.axes[f"heads.{layer}"], torch.tensor([0]))
    made = save(model, tmp_path / "even")
    np.testing.assert_allclose(theirs(write_stock(made, tmp_path / "st")), ours(model), atol=1e-5)


def test_layers_that_share_weights_are_cut_and_counted_as_layers(tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path / "model", "albert")))
    assert (model.layers, model.blocks) == ([0, 1, 2, 3], [0, 1])
    assert list(model.axes_of("heads")) == ["0", "1"]
    whole = model.products
    model.cut(model.axes["layers"], torch.tensor([0, 1, 2]))
    assert whole > model.products > 0.7 * whole
    assert model.blocks == [0, 1]
    reasons = [one.reason for one in stock_obstacles(artifact.read(save(model, tmp_path / "uneven")).manifest)]
    assert reasons == ["its layers share weights in groups of several sizes"]
    model.cut(model.axes["layers"], torch.tensor([2]))
    assert (model.layers, model.blocks, list(model.axes_of("ffn"))) == ([2], [1], ["1"])
    assert not [name for name in model.tables if name.endswith("_0")]


def test_what_matters_of_weights_that_layers_share_is_what_matters_in_all_of_them(tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path / "model", "albert", config={"num_hidden_groups": 1})))
    axes = model.axes_of("ffn")
    for measure in (width_taylor, width_activation):
        all_layers = measure(model, axes, TEXTS[:8])["0"]
        last = read_encoder(str(tmp_path / "model"))
        last.cut(last.axes["layers"], torch.tensor([3]))
        assert not torch.allclose(measure(last, last.axes_of("ffn"), TEXTS[:8])["0"], all_layers)
        assert bool((all_layers > 0).all())


def test_a_first_layer_without_a_norm_is_the_only_one(tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path / "model", "modernbert")))
    model.cut(model.axes["layers"], torch.tensor([1, 2]))
    made = save(model, tmp_path / "cut")
    np.testing.assert_allclose(artifact.load(made).encode(TEXTS[:24]), ours(model), atol=1e-5)
    with pytest.raises(AutopruneError, match="its first layer is gone, the only one that has no norm"):
        write_stock(made, tmp_path / "st")


def test_distances_are_told_apart_as_t5_does() -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-300, 301)
    for count, farthest in ((32, 128), (16, 20), (8, 40)):
        wanted = T5Attention._relative_position_bucket(distance, num_buckets=count, max_distance=farthest)
        assert torch.equal(buckets(distance, count, farthest), wanted)


def test_padding_on_the_left_is_read_where_places_are_relative(tmp_path: Path) -> None:
    folder = write(tmp_path, "qwen3", pooling="lasttoken")
    told = folder / "tokenizer_config.json"
    told.write_text(json.dumps({**json.loads(told.read_text()), "padding_side": "left"}))
    np.testing.assert_allclose(ours(read_encoder(str(folder))), theirs(folder), atol=1e-5)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_weightedmean_tokens": True}))
    with pytest.raises(AutopruneError, match="pads on the left"):
        read_encoder(str(folder))


def test_a_word_table_that_is_held_twice_or_under_another_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", "t5")
    whole, path = ours(read_encoder(str(folder))), folder / "model.safetensors"
    held = safetensors.torch.load_file(path)
    word = held.pop("shared.weight")
    for names in (("encoder.embed_tokens.weight",), ("shared.weight", "encoder.embed_tokens.weight")):
        decoder = {"decoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(2, 2)}
        safetensors.torch.save_file({**held, **decoder, **{name: word.clone() for name in names}}, path)
        np.testing.assert_array_equal(ours(read_encoder(str(folder))), whole)


@pytest.mark.parametrize(
    ("kind", "config", "said"),
    [
        ("qwen3", {"num_key_value_heads": 3}, "3 key heads cannot serve 4 heads evenly"),
        ("albert", {"num_hidden_groups": 3}, "3 groups cannot make 4 layers evenly"),
        ("albert", {"inner_group_num": 2}, "save it with one layer for each group"),
        ("gemma3_text", {"attn_logit_softcapping": 30.0}, "attn_logit_softcapping to 30.0"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "an MPNet tells 32 distances apart"),
        ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": "much"}}, "but the kinds are ['full_att"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "'yarn'"),
        ("modernbert", {"hidden_activation": "mish"}, "the activation 'mish' is unknown"),
        ("deberta-v2", {}, "its scores compare contents with distances"),
        ("llama", {}, "not an encoder of a known family"),
    ],
)
def test_what_would_be_lost_is_refused(kind: str, config: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", kind if kind in CHANGED else "mpnet")
    path = folder / "config.json"
    family = {} if kind in CHANGED else {"model_type": kind}
    path.write_text(json.dumps({**json.loads(path.read_text()), **config, **family}))
    with pytest.raises(AutopruneError) as caught:
        read_encoder(str(folder))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "told",
    [{"rope_theta": 1e6, "layer_types": ["full_attention"] * 2}, {"global_attn_every_n_layers": 3}],
    ids=["bases by their older names", "no kinds"],
)
def test_what_transformers_before_5_makes_of_a_config_is_refused(told: dict[str, Any]) -> None:
    for family in ("modernbert", "qwen3", "gemma3_text"):
        config = {"local_attention": 8, "sliding_window": 8, "query_pre_attn_scalar": 20, **told}
        with pytest.raises(AutopruneError, match=r"rope_parameters {}; .*pip install 'transformers>=5'"):
            LAYOUTS[family].traits(config)


OLDER = {
    "modernbert": {"global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0, "global_attn_every_n_layers": 3},
    "qwen3": {"rope_theta": 5000.0},
    "gemma3_text": {"rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0},
}
"""What transformers before 5 reads in place of `rope_parameters`, and of a ModernBERT in place of `layer_types`."""


@pytest.mark.parametrize("family", OLDER)
def test_older_names_stand_beside_those_that_transformers_reads(family: str, tmp_path: Path) -> None:
    import transformers

    config = {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}} if family == "qwen3" else {}
    folder = write(tmp_path / "model", family, config=config)
    model = read_encoder(str(folder))
    stock = write_stock(save(model, tmp_path / "artifact"), tmp_path / "st")
    said = json.loads((stock / "config.json").read_text())
    assert said.items() >= OLDER[family].items()
    read = transformers.AutoConfig.from_pretrained(stock)
    rest = {name: held for name, held in said.items() if name not in OLDER[family]}
    (stock / "config.json").write_text(json.dumps(rest))
    alone = transformers.AutoConfig.from_pretrained(stock)
    assert read.rope_parameters == alone.rope_parameters
    assert read.layer_types == alone.layer_types == said["layer_types"]


@pytest.mark.parametrize(
    ("kind", "layers", "since"),
    [
        ("modernbert", [0, 1, 2, 3, 4, 5], ""),
        ("modernbert", [0, 1, 3], ""),
        ("modernbert", [0, 3], ""),
        ("modernbert", [0, 3, 4], "5.1"),
        ("qwen3", [0, 1], ""),
        ("qwen3, sliding", [0, 3], "4.53"),
        ("qwen3, both ways", [0, 1], "5.2"),
        ("gemma3_text", [0, 1], "4.57"),
        ("gemma3_text, causal", [0, 1], "4.53"),
        ("mpnet", [0, 1], ""),
    ],
)
def test_an_export_says_which_transformers_reads_it(kind: str, layers: list[int], since: str, tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path / "model", kind, config={"num_hidden_layers": 6})))
    model.cut(model.axes["layers"], torch.tensor(layers))
    stock = write_stock(save(model, tmp_path / "artifact"), tmp_path / "st")
    inside = STOCK.use(stock, ".").inside
    assert ("The folder needs transformers" in inside) == bool(since)
    assert not since or f"The folder needs transformers {since} or newer" in inside


@pytest.mark.parametrize("kind", ["gemma3_text", "gemma3_text, causal"])
def test_half_of_a_window_is_not_halved_again(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions of transformers give back half of the window that config.json names."""
    import transformers

    folder = write(tmp_path / "model", kind)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sliding_window": 12}))
    before = read_encoder(str(folder)).architecture.reach
    assert set(before) == {None, 11 if "causal" in kind else 6}
    config = transformers.Gemma3TextConfig
    known = config.to_dict
    monkeypatch.setattr(config, "to_dict", lambda self: {**known(self), "sliding_window": self.sliding_window // 2 + 1})
    assert read_encoder(str(folder)).architecture.reach == before


def test_weights_that_a_graph_has_no_room_for_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    model = read_encoder(str(write(tmp_path / "model", "qwen3")))
    for name, table in model.tables.items():
        if name.startswith("up"):
            table.choose_bits(torch.full((table.rows,), 8))
            table.code()
    made = save(model, tmp_path / "whole", "onnx")
    monkeypatch.setattr(nodes, "MOST", 10_000)
    apart = save(model, tmp_path / "apart", "onnx")
    names = {path.name for path in (apart / "model").iterdir()}
    assert names == {*(path.name for path in (made / "model").iterdir()), "model.onnx.data"}
    assert (apart / "model" / "model.onnx").stat().st_size < (made / "model" / "model.onnx").stat().st_size / 2
    served = artifact.load(apart)
    np.testing.assert_array_equal(served.encode(TEXTS[:24]), artifact.load(made).encode(TEXTS[:24]))
    assert served.memory_bytes == pytest.approx(artifact.load(made).memory_bytes, rel=0.1)
    session = onnxruntime.InferenceSession(str(apart / "model" / "model.onnx"), providers=["CPUExecutionProvider"])
    fed = {"input_ids": np.array([model.tokens(["a bird"])[0]], np.int64)}
    fed["attention_mask"] = np.ones_like(fed["input_ids"])
    np.testing.assert_allclose(session.run(None, fed)[0][0], served.encode("a bird"), atol=1e-6)


@pytest.mark.parametrize("apart", [False, True])
def test_large_graphs_are_entropy_coded_too(apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate would take eight bits in them."""
    monkeypatch.setattr(tensor_file, "LARGE", 1000)
    monkeypatch.setattr(nodes, "MOST", 10_000 if apart else nodes.MOST)
    model = read_encoder(str(write(tmp_path / "model", "qwen3")))
    for table in model.tables.values():
        table.choose_bits(torch.full((table.rows,), 8))
        table.code()
    before = artifact.load(save(model, tmp_path / "plain", "onnx"))
    model.entropy = True
    made, names = save(model, tmp_path / "made", "onnx"), ["model.onnx", *(["model.onnx.data"] if apart else [])]
    assert {path.name for path in (made / "model").iterdir()} >= {f"{name}.zst" for name in names}
    parts = encoder_parts(model, "onnx", Beside(values={}, tensors={}))
    assert artifact.size_bytes(made) == artifact.weighed(parts) < artifact.size_bytes(tmp_path / "plain")
    np.testing.assert_array_equal(artifact.load(made).encode(TEXTS[:24]), before.encode(TEXTS[:24]))


def test_weights_that_are_bytes_are_found_by_a_graph_that_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "MOST", 10_000)
    made = save(read_encoder(str(write(tmp_path / "model", "qwen3"))), tmp_path / "made", "onnx")
    read = artifact.read(made)
    squeezed = replace(read, files={**read.files, "model.onnx.data": read.content("model.onnx.data")})
    (made / "model" / "model.onnx.data").unlink()
    assert isinstance(read.files["model.onnx"], Path)
    assert serve_encoder(squeezed, device="cpu").vectors(TEXTS[:2]).shape == (2, HIDDEN)


def test_where_places_are_relative_there_are_any_number(tmp_path: Path) -> None:
    model = read_encoder(str(write(tmp_path / "model", "t5")))
    for runtime in ("onnx", "torch"):
        assert artifact.load(save(model, tmp_path / runtime, runtime)).positions is None
