"""The formats an artifact can be written in, and the way out of what stands in the way of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoprune.artifacts.formats import (
    OWN,
    Obstacle,
    check_format,
    find_format,
    format_names,
)
from autoprune.encoder.obstacles import OBSTACLES
from autoprune.errors import AutopruneError
from autoprune.fronts.obstacles import explain_obstacles, way_out

SHIPPED = Path(__file__).parent.parent / "conf" / "space" / "encoder.yaml"

STEPS = ("quantize", "mixed")


def test_every_format_is_found_by_its_name() -> None:
    assert format_names() == [
        "autoprune",
        "numpy",
        "safetensors",
        "parquet",
        "faiss",
        "sentence-transformers",
        "onnx",
        "cross-encoder",
        "word2vec",
        "model2vec",
    ]
    for name in format_names():
        assert check_format(name) == find_format(name).name == name
    known = (
        "autoprune, cross-encoder, faiss, model2vec, numpy, onnx, parquet, safetensors, sentence-transformers, word2vec"
    )
    with pytest.raises(AutopruneError, match=f"Available: {known}"):
        find_format("tflite")


def test_nothing_keeps_an_artifact_from_its_own_format() -> None:
    assert find_format(OWN).obstacles({"kind": "anything"}) == []


def test_the_ways_out_of_the_shipped_space() -> None:
    space = yaml.safe_load(SHIPPED.read_text())
    assert [way for _, obstacle in OBSTACLES for way in way_out(obstacle, space)] == [
        "space.runtime=torch",
        "space.cut.ffn.scope=layer",
        "space.cut.heads.sparsity=0",
        "space.cut.layers.sparsity=0",
        "space.cut.layers.sparsity=0",
        "space.cut.rows.sparsity=0",
        "'~space.encode'",
    ]


@pytest.mark.parametrize(
    ("space", "ways"),
    [
        ({}, []),
        ({"tune": {"epochs": 4}}, []),
        ({"quantize": {"bits": 8}}, ["'~space.quantize'"]),
        ({"code": {"quantize": {"bits": 8}}}, ["'~space.code'"]),
        ({"code": {"quantize": {"bits": 8}, "epochs": 2}}, ["'~space.code.quantize'"]),
        (
            {"code": {"method": {"choose": {"none": {}, "quantize": {}, "mixed": {}}}}},
            ["'~space.code.method.choose.quantize'", "'~space.code.method.choose.mixed'"],
        ),
        ({"code": {"method": {"choose": {"quantize": {}}}, "epochs": 2}}, ["'~space.code.method'"]),
        (
            {"a": {"quantize": {}, "epochs": 1}, "b": {"mixed": {}, "epochs": 1}},
            ["'~space.a.quantize'", "'~space.b.mixed'"],
        ),
        ({"cut": {"rows": {"quantize": 0.5}}}, []),
    ],
)
def test_a_step_is_taken_out_where_it_stands(space: dict[str, Any], ways: list[str]) -> None:
    assert way_out(Obstacle(reason="codes", steps=STEPS), space) == ways


@pytest.mark.parametrize(
    ("space", "ways"),
    [
        ({"ffn": {"sparsity": 0.5}}, ["space.ffn.scope=layer"]),
        ({"cut": {"method": {"choose": {"none": {}, "ffn": {}}}}}, ["space.cut.method.choose.ffn.scope=layer"]),
        ({"cut": {"heads": {}}}, []),
    ],
)
def test_a_setting_is_changed_where_its_step_stands(space: dict[str, Any], ways: list[str]) -> None:
    assert way_out(Obstacle(reason="uneven", steps=("ffn",), setting=".scope=layer"), space) == ways


def test_reasons_are_counted_and_ways_out_told_once() -> None:
    codes, kind = Obstacle(reason="values are codes", steps=STEPS), Obstacle(reason="it is no encoder")
    space = {"code": {"method": {"choose": {"none": {}, "quantize": {}}}, "epochs": 1}}
    text = explain_obstacles([[codes], [codes, kind], []], "flat", space)
    assert text.splitlines() == [
        "1 of 3 candidates can be written in the format flat. The obstacles:",
        "  values are codes (2 candidates)",
        "  it is no encoder (1 candidate)",
        "To search for candidates that can: autoprune … '~space.code.method.choose.quantize'",
    ]
    alone = explain_obstacles([[codes, kind]], "flat", {})
    assert "To search" not in alone
    assert "none of 1 candidate can be" in alone


def test_what_stands_in_the_way_is_known_without_torch() -> None:
    code = f"import sys, autoprune.artifacts.formats as f; [f.find_format(n).obstacles({{}}) for n in {format_names()}]"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert ran.stdout == "False\n", ran.stderr
