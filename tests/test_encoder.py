"""The model of a sentence encoder: what it answers, whole, hidden and cut."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoder import HEADS, HIDDEN, LAYERS, NEURONS, TEXTS, write_modules, write_tiny_bert

from autoprune.encoder.bert import read_encoder
from autoprune.encoder.functional import padded, pool
from autoprune.encoder.model import Encoder
from autoprune.encoder.task import EncoderTask
from autoprune.recipes.stages import sketch

transformers = pytest.importorskip("transformers")

FAMILIES = ["bert", "distilbert"]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    if request.param == "bert":
        return tiny
    return write_tiny_bert(tmp_path_factory.mktemp(request.param), family=request.param)


@pytest.fixture
def model(folder: Path) -> Encoder:
    return read_encoder(str(folder))


def answers(model: Encoder, texts: list[str] = TEXTS[:30]) -> torch.Tensor:
    with torch.no_grad():
        return model.calibrate(texts)


def test_matches_transformers_with_padding(model: Encoder, folder: Path) -> None:
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(TEXTS[:30], padding=True, truncation=True, max_length=48, return_tensors="pt")
    ids, there = padded(model.tokens(TEXTS[:30]))
    assert not there.all()
    assert torch.equal(ids, given["input_ids"] * there)
    assert torch.equal(there, given["attention_mask"].bool())
    with torch.no_grad():
        hidden = theirs(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
        seen: dict[str, torch.Tensor] = {}
        found = model(ids, there, lambda name, values: seen.setdefault(name, values))
    torch.testing.assert_close(seen["layers.end"][there], hidden[there], atol=2e-5, rtol=0)
    means = torch.stack([row[stands].mean(0) for row, stands in zip(hidden, there, strict=True)])
    torch.testing.assert_close(found, torch.nn.functional.normalize(means), atol=1e-5, rtol=0)


def test_padding_changes_nothing(model: Encoder) -> None:
    alone = torch.cat([answers(model, [text]) for text in TEXTS[:10]])
    torch.testing.assert_close(answers(model, TEXTS[:10]), alone, atol=1e-5, rtol=0)


def test_watch_sees_what_each_axis_carries_and_each_map_is_fed(model: Encoder) -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def watch(name: str, values: torch.Tensor) -> torch.Tensor:
        seen[name] = tuple(values.shape)
        return values

    with torch.no_grad():
        model.calibrate(TEXTS[:1], watch)
    tokens = seen["layers.0"][1]
    expected: dict[str, tuple[int, ...]] = {"layers.end": (1, tokens, HIDDEN)}
    for layer in range(LAYERS):
        expected |= {f"layers.{layer}": (1, tokens, HIDDEN), f"ffn.{layer}": (1, tokens, NEURONS)}
        expected |= {f"heads.{layer}": (1, HEADS, tokens, HIDDEN // HEADS)}
        expected |= {f"maps.{name}_{layer}": (1, tokens, HIDDEN) for name in ("query", "key", "value", "output", "up")}
        expected |= {f"maps.down_{layer}": (1, tokens, NEURONS)}
        expected |= {f"sums.{name}_{layer}": (1, tokens, HIDDEN) for name in ("output", "down")}
    assert seen == expected


@pytest.mark.parametrize(
    ("axis", "keep"),
    [
        ("layers", [0, 3]),
        ("heads.1", [0, 2]),
        ("ffn.2", list(range(1, NEURONS, 3))),
        ("vocab", None),
        ("out", list(range(0, HIDDEN, 2))),
    ],
)
def test_hiding_is_cutting(model: Encoder, axis: str, keep: list[int] | None) -> None:
    if keep is None:
        protected = set(model.protected(model.axes[axis]).tolist())
        keep = [at for at in range(model.size(model.axes[axis])) if at in protected or at % 3]
    hidden, cut = copy.deepcopy(model), copy.deepcopy(model)
    hidden.hide(hidden.axes[axis], torch.tensor(keep))
    cut.cut(cut.axes[axis], torch.tensor(keep))
    assert hidden.standing(hidden.axes[axis]).tolist() == keep
    assert cut.size(cut.axes[axis]) == len(keep)
    found, expected = answers(hidden), answers(cut)
    if axis == "out":
        assert not found[:, 1::2].any()
        found = found[:, keep]
        torch.testing.assert_close(hidden.wanted()[keep], cut.wanted())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    if axis != "out":
        assert not torch.allclose(found, answers(model), atol=1e-3), "what is hidden mattered"


def test_settings_say_what_stands(model: Encoder) -> None:
    for axis, keep in (("layers", [0, 2]), ("heads.2", [3]), ("ffn.0", [4, 5]), ("out", [1, 2, 3])):
        model.cut(model.axes[axis], torch.tensor(keep))
    settings = model.settings()
    assert settings["kind"] == "encoder"
    assert settings["layers"] == [{"heads": HEADS, "ffn": 2}, {"heads": 1, "ffn": NEURONS}]
    assert settings["out"] == 3
    assert sorted(model.axes) == ["ffn.0", "ffn.2", "heads.0", "heads.2", "layers", "out", "vocab"]
    assert not any(name.endswith(("_1", "_3")) for name in model.state_dict())


def test_calibrate_keeps_the_order_of_texts(model: Encoder) -> None:
    texts = [TEXTS[at] for at in (7, 3, 19, 0, 11)] * 3
    lengths: list[int] = []

    def watch(name: str, values: torch.Tensor) -> torch.Tensor:
        if name == "layers.0":
            lengths.append(values.shape[1])
        return values

    with torch.no_grad():
        found = model.calibrate(texts, watch, batch=4)
    assert lengths == sorted(lengths)
    assert len(lengths) == 4
    torch.testing.assert_close(found, torch.cat([answers(model, [text]) for text in texts]), atol=1e-5, rtol=0)


def test_turning_the_vectors_keeps_their_products(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    draw = torch.Generator().manual_seed(0)
    dense: dict[str, Any] = {"weight": torch.randn(12, HIDDEN, generator=draw), "bias": torch.randn(12, generator=draw)}
    write_modules(tmp_path / "model", dense=dense)
    for folder in (tiny, tmp_path / "model"):
        model = read_encoder(str(folder))
        before, dense_vectors = answers(model), answers(model)
        rotation = torch.linalg.qr(torch.randn(model.out, model.out, generator=draw)).Q
        model.rotate(model.axes["out"], rotation)
        torch.testing.assert_close(answers(model), before @ rotation, atol=1e-5, rtol=0)
        torch.testing.assert_close(dense_vectors @ model.wanted().T, answers(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_matches_a_loop(pooling: str) -> None:
    hidden = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    there = torch.arange(5) < torch.tensor([5, 1, 3])[:, None]
    ways = {"mean": lambda rows: rows.mean(0), "cls": lambda rows: rows[0], "max": lambda rows: rows.amax(0)}
    expected = [ways[pooling](row[stands]) for row, stands in zip(hidden, there, strict=True)]
    torch.testing.assert_close(pool(hidden, there, pooling), torch.stack(expected))


def test_padded_puts_zeros_behind() -> None:
    ids, there = padded([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert there.tolist() == [[True, True, True], [True, False, False]]


def test_a_sketch_reads_texts(encoder_task: EncoderTask) -> None:
    """Few rows, but those without which nothing can be read."""
    made = sketch(encoder_task, {}, rows=3)
    assert isinstance(made, Encoder)
    assert len(made.pieces) == len(made.tokenizer.protected)
    assert answers(made).isfinite().all()
