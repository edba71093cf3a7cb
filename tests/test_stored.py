"""Vectors as an index stores them: what becomes of them, what is judged, and what it comes to in a study."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoder import HIDDEN, TEXTS, make_task, write_tiny_bert

from autoprune.artifacts.formats import Export
from autoprune.artifacts.served import Beside
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.onnx.format import ONNX
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.serve import serve_encoder
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.stock_format import STOCK
from autoprune.encoder.stored import WIDTHS, kept, stored, stored_bytes, widened
from autoprune.errors import AutopruneError, RecipeError
from autoprune.fronts.requirements import parse_requirements
from autoprune.measure.reading import reading_names
from autoprune.steps.dims import Dims
from autoprune.steps.store import Store

DRAWN = np.random.default_rng(0).normal(size=(40, 20)).astype(np.float32)


def storing(model: Encoder, bits: int) -> SentenceEncoder:
    changed = model.twin()
    Store(bits=bits).check(changed)
    changed.stored_bits = bits
    return serve_encoder(encoder_parts(changed, "onnx", Beside(values={}, tensors={})), device="cpu")


@pytest.mark.parametrize("bits", WIDTHS)
def test_what_is_stored_has_the_bytes_that_are_told(bits: int) -> None:
    assert stored(DRAWN, bits)[0].nbytes == stored_bytes(DRAWN.shape[1], bits)


@pytest.mark.parametrize(("bits", "least"), [(32, 1.0), (16, 0.999999), (8, 0.9999), (1, 0.6)])
def test_fewer_bits_keep_the_direction(bits: int, least: float) -> None:
    found = widened(stored(DRAWN, bits), bits, dim=DRAWN.shape[1])
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(DRAWN, axis=1)
    assert ((found * DRAWN).sum(axis=1) / lengths).min() >= least - 1e-6
    np.testing.assert_allclose(kept(DRAWN, bits), found)


@pytest.mark.parametrize("bits", WIDTHS)
def test_one_vector_is_widened_as_many_are(bits: int) -> None:
    codes = stored(DRAWN, bits)
    one = widened(codes[3], bits, dim=DRAWN.shape[1])
    np.testing.assert_allclose(one, widened(codes, bits, dim=DRAWN.shape[1])[3], atol=1e-7)


def test_signs_are_compared_as_hamming_compares_them() -> None:
    """Half of the length of the difference of signs is the number of bits that differ."""
    codes = stored(DRAWN, 1)
    apart = np.unpackbits(codes[0] ^ codes[1:], axis=1).sum(axis=1)
    found = widened(codes, 1, dim=DRAWN.shape[1])
    np.testing.assert_allclose(found[1:] @ found[0], 1 - 2 * apart / DRAWN.shape[1], atol=1e-6)


@pytest.mark.parametrize("bits", [16, 8, 1])
def test_a_vector_that_is_not_finite_is_stored_as_nothing(bits: int) -> None:
    spoilt = np.array([[np.nan, 1.0], [np.inf, 1.0], [1.0, -1.0]], dtype=np.float32)
    found = kept(spoilt, bits)
    assert not found[:2].any()
    assert found[2].any()


def test_numbers_beyond_float16_become_its_largest() -> None:
    found = stored(np.array([[7e4, 1.0], [-1e9, 0.5]], dtype=np.float32), 16)
    assert found.dtype == np.float16
    assert found.tolist() == [[65504, 1], [-65504, 0.5]]


def test_documents_are_judged_as_stored_and_queries_as_they_are(tmp_path: Path) -> None:
    model = read_encoder(str(write_tiny_bert(tmp_path / "m")))
    task, served = make_task(tmp_path / "m"), storing(model, 1)
    whole = storing(model, 32).encode(TEXTS[:6])
    np.testing.assert_allclose(task._encode(served, TEXTS[:6], "query"), whole, atol=1e-6)
    codes = served.encode(TEXTS[:6], role="document")
    assert (codes.dtype, codes.shape) == (np.uint8, (6, HIDDEN // 8))
    np.testing.assert_allclose(task._encode(served, TEXTS[:6], "document"), served.widened(codes), atol=1e-6)
    assert served.vector_bytes == HIDDEN // 8


def test_lengths_that_count_are_not_lost(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "m", normalize=False)
    declared = folder / "config_sentence_transformers.json"
    said = json.loads(declared.read_text()) if declared.is_file() else {}
    declared.write_text(json.dumps({**said, "similarity_fn_name": "dot"}))
    model = read_encoder(str(folder))
    with pytest.raises(RecipeError, match=r"similarity \(dot\) depends; give 16 or 32"):
        storing(model, 8)
    assert storing(model, 16).encode(TEXTS[:2]).dtype == np.float16
    space = {"store": {"bits": {"any_of": [32, 16, 8, 1]}}}
    assert make_task(folder).suited(space) == {"store": {"bits": {"any_of": [32, 16]}}}


@pytest.mark.parametrize("form", [STOCK, ONNX], ids=lambda form: form.name)
@pytest.mark.parametrize("bits", [16, 8, 1])
def test_an_export_says_how_its_vectors_are_stored_as_they_were_measured(
    tmp_path: Path, bits: int, form: Export
) -> None:
    manifest = tmp_path / "model" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"stored_bits": bits}))
    (said,) = form.losses(tmp_path)
    (how,) = re.findall("`(.*)`", said)
    for vectors in (DRAWN, 1e5 * DRAWN):
        np.testing.assert_array_equal(eval(how, {"numpy": np, "vectors": vectors}), stored(vectors, bits))
    manifest.write_text("{}")
    assert form.losses(tmp_path) == []


def test_a_prefix_keeps_the_first_dimensions(tmp_path: Path) -> None:
    model = read_encoder(str(write_tiny_bert(tmp_path / "m")))
    whole, step = storing(model, 32).encode(TEXTS[:4]), Dims(sparsity=0.75, importance="prefix")
    context = make_task(tmp_path / "m").context(seed=0, device=torch.device("cpu"))
    step.advance(model, context, 1.0)
    step.convert(model, context)
    first = whole[:, : HIDDEN // 4]
    np.testing.assert_allclose(
        storing(model, 32).encode(TEXTS[:4]), first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-5
    )


def test_prefixes_are_searched_where_the_model_was_trained_so(tmp_path: Path) -> None:
    space = {"dims": {"sparsity": 0.5, "importance": {"any_of": ["pca", "prefix"]}}}
    folder = write_tiny_bert(tmp_path / "m")
    assert make_task(folder).suited(space) == {"dims": {"sparsity": 0.5, "importance": {"any_of": ["pca"]}}}
    (folder / "README.md").write_text("---\ntags:\n- loss:MatryoshkaLoss\n---\n")
    assert make_task(folder).suited(space) == space
    assert "Matryoshka" in make_task(folder).describe()


def test_stored_bytes_can_be_limited_where_any_are_stored() -> None:
    asked = {"vector_bytes": {"max": "96B"}}
    names = reading_names("ndcg@10", ["ndcg@10"], [], ["1x32"], stored=True)
    (item,) = parse_requirements(asked, names).items
    assert (item.ceiling, item.limit, item.relative) == (True, 96.0, False)
    with pytest.raises(AutopruneError, match="nothing called 'vector_bytes' is measured"):
        parse_requirements(asked, reading_names("ndcg@10", ["ndcg@10"], [], ["1x32"]))
