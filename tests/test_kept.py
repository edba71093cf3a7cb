"""What studies and artifacts on disk rest on: keys of recipes, lines of archives, packed tables. None of it may drift.

The values were written down with version 0.1.0; whoever must change one reads the old form too.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from made_studies import make_study

from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.fronts.front import Front
from autoprune.machine import machine
from autoprune.measure.measurement import SEARCH, Latency, Measurement
from autoprune.packing.codes import quantize_rows
from autoprune.packing.packed import StoredTable
from autoprune.packing.writing import pack
from autoprune.recipes.recipe import plan
from autoprune.record.archive import Candidate
from autoprune.record.folder import open_folder
from autoprune.record.looks import LOOKS, Looks
from autoprune.record.record import Record

KEYS = {
    "movielens": {
        "int8": "16148933d27a",
        "int4": "f8b79205021d",
        "int4_aware": "c454dcffd617",
        "int2_aware": "e2b78e1f81a2",
        "sign_aware": "10153d95f979",
        "mixed_8_4": "e89c12e139a8",
        "product": "74b966248869",
        "half_dims": "a3e60302154f",
        "small_dense_int4": "90f8df9276c5",
        "magnitude_90": "0c1ad35fc203",
        "fewer_items": "0c4277af48ca",
        "frequency_cut": "44768860c39f",
    },
    "encoder": {
        "onnx": "e30790388751",
        "int8": "22e7161222d5",
        "words_int4": "0ebe3e0aa97e",
        "int4": "e0fb356f0ae7",
        "vocab_half_int4": "fbe0beb3fa86",
        "pca_two_thirds": "678d147d6f5b",
        "stock_vocab_half": "0c25383806a8",
        "int4_aware": "1c37cb6c4b7e",
        "layers_most": "0d55e16e355c",
        "ffn_half": "a6e45afd2e0f",
        "stock_layers_few": "f2d9691fe8dd",
    },
}

FORMER: dict[str, dict[str, Any]] = {
    "onnx": {"runtime": "onnx"},
    "pca_two_thirds": {
        "runtime": "onnx",
        "cut": {"dims": {"sparsity": 0.3333, "importance": "pca"}},
        "tune": {"method": {"quantize": {"bits": {"word": 8, "body": 8}}}},
    },
    "int4": {"runtime": "onnx", "tune": {"method": {"quantize": {"bits": {"word": 4, "body": 4}}}}},
    "vocab_half_int4": {
        "runtime": "onnx",
        "cut": {"rows": {"sparsity": {"vocab": 0.5}}},
        "tune": {"method": {"quantize": {"bits": {"word": 4, "body": 8}}}},
    },
    "int4_aware": {
        "runtime": "onnx",
        "cut": {"rows": {"sparsity": {"vocab": 0.5}}},
        "tune": {"method": {"quantize": {"bits": {"word": 4, "body": 4}}}, "epochs": 2},
    },
    "layers_most": {
        "runtime": "onnx",
        "cut": {"layers": {"sparsity": 0.17}, "rows": {"sparsity": {"vocab": 0.5}}},
        "tune": {"method": {"quantize": {"bits": {"word": 4, "body": 8}}}, "epochs": 2},
    },
    "ffn_half": {
        "runtime": "onnx",
        "cut": {"ffn": {"sparsity": 0.5}, "rows": {"sparsity": {"vocab": 0.5}}},
        "tune": {"method": {"quantize": {"bits": {"word": 4, "body": 8}}}, "epochs": 2},
    },
    "stock_layers_few": {
        "cut": {"layers": {"sparsity": 0.5}, "rows": {"sparsity": {"vocab": 0.5}}},
        "tune": {"epochs": 2},
    },
}
"""Presets of encoders that studies hold, and that are no longer shipped."""

STUDIES = Path(__file__).parents[1] / "studies"

MADE_WITH: dict[str, dict[str, Any]] = {
    "movielens": {"base_defaults": {"dim": 64}},
    "encoder": {"base_defaults": {}, "runtimes": ("torch", "onnx")},
}

RECIPE = {
    "base": {"dim": 32},
    "prune": {
        "method": {"magnitude": {"sparsity": 0.5, "scope": "table"}},
        "rows": {"sparsity": {"item": 0.3, "user": 0.0}, "importance": "both"},
        "l1": {"strength": 10, "groups": "rows"},
        "schedule": "iterative",
        "rounds": 4,
        "floor": 0.97,
        "epochs": 5,
    },
    "encode": {"method": {"mixed": {"head": 0.3, "head_bits": 8, "tail_bits": 2}}, "epochs": 20},
}

LINE = (
    '{"number":3,"name":"trial","key":"a1f86ee218d8","recipe":{"quantize":{"bits":8}},"words":"8 bits","rejected":"",'
    '"measurements":[{"split":"validation","purpose":"search","machine":"c4a0096a96","quality":{"ndcg@20":{"all":0.25}},'
    '"units":{"ndcg@20":{"all":240}},"size_bytes":5252,"memory_bytes":5000,"structure":"5f0a",'
    '"latency":{"single":{"median_ms":0.13,"p95_ms":0.15,"ratio":1.01,"ratio_low":1.0,"ratio_high":1.02,"pairs":15,'
    '"rounds":[]}},"errors":{"ndcg@20":0.01},"draws":[]}],"seconds":0.3}'
)

PACKED = {
    "float": "311398c6c073",
    "pruned": "1b92d324b2db",
    "8 bits": "2e6239f9e704",
    "4 bits": "8ef0f90f2ed0",
    "2 bits": "a653a76827e5",
    "1 bit": "7f512ef0702f",
    "8 and 2 bits": "c8181a9dc330",
}
"""SHA-256 of a small table's entry in the manifest and of its tensors."""


@pytest.mark.parametrize("task", KEYS)
def test_presets_have_the_keys_they_had(task: str) -> None:
    presets = FORMER | sections(compose_config([f"task={task}"]))["presets"]
    if task == "movielens":  # those of the studies that are recorded; the names of some mean another recipe now
        presets = yaml.safe_load((STUDIES / "ablation/conf/presets/whole.yaml").read_text())
    found = {name: plan(presets[name], **MADE_WITH[task]).key for name in KEYS[task]}
    assert found == KEYS[task]


def test_the_dense_model_has_the_key_it_had() -> None:
    assert plan({}, base_defaults={"dim": 64}).key == "8cab4dc7758e"


def test_a_recipe_of_many_steps_has_the_key_and_the_summary_it_had() -> None:
    made = plan(RECIPE, base_defaults={"dim": 64})
    assert made.key == "1cb1345f4f4b"
    assert made.summary() == (
        "dim 32, rows both item -30%, magnitude table -50%, l1 rows 10, 4 rounds to 0.97x, 5 epochs, 20 epochs, "
        "30% of rows 8 bits, others 2"
    )


def test_a_line_of_an_archive_is_read_and_written_as_it_was() -> None:
    candidate = Candidate.from_json(json.loads(LINE))
    latency = Latency(median_ms=0.13, p95_ms=0.15, ratio=1.01, ratio_low=1.0, ratio_high=1.02, pairs=15)
    measured = Measurement(
        split="validation",
        purpose=SEARCH,
        machine="c4a0096a96",
        quality={"ndcg@20": {"all": 0.25}},
        units={"ndcg@20": {"all": 240}},
        size_bytes=5252,
        memory_bytes=5000,
        structure="5f0a",
        latency={"single": latency},
        errors={"ndcg@20": 0.01},
    )
    assert candidate == Candidate(
        number=3,
        name="trial",
        key="a1f86ee218d8",
        recipe={"quantize": {"bits": 8}},
        summary="8 bits",
        rejected="",
        measurements=(measured,),
        seconds=0.3,
    )
    assert json.dumps(candidate.to_json(), separators=(",", ":")) == LINE


def test_tables_are_packed_as_they_were() -> None:
    values = (torch.arange(60, dtype=torch.float32).view(10, 6) * 0.37).sin()
    mask = (torch.arange(60).view(10, 6) % 7) > 2

    def coded(*widths: int) -> StoredTable:
        bits = torch.tensor(widths, dtype=torch.uint8)
        return pack(values, coded=quantize_rows(values, bits, torch.ones(len(bits))))

    stored = {
        "float": pack(values),
        "pruned": pack(values * mask, mask=mask),
        **{name: coded(*[width] * 10) for width, name in ((8, "8 bits"), (4, "4 bits"), (2, "2 bits"), (1, "1 bit"))},
        "8 and 2 bits": coded(*[8] * 3, *[2] * 7),
    }
    assert {name: digest_of(table) for name, table in stored.items()} == PACKED


def digest_of(table: StoredTable) -> str:
    found = hashlib.sha256(json.dumps(table.entry, sort_keys=True).encode())
    for name, tensor in sorted(table.tensors.items()):
        found.update(f"{name} torch.{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.tobytes())
    return found.hexdigest()[:12]


def test_the_fingerprint_of_a_machine_names_its_device_only_beside_the_cpu() -> None:
    """What answers on the CPU is timed alike, whatever other devices there are."""
    assert "device" not in machine()
    assert machine("cpu") == machine()
    assert machine("cuda:1")["id"] != machine()["id"]
    assert machine("cuda:1")["device"] == "cuda:1"


def test_a_study_that_names_no_main_metrics_has_one_and_learns_the_others_when_it_goes_on(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", 3, verified=False).folder
    assert Record(folder).metrics == ["ndcg@20"]
    content = yaml.safe_load((folder / "study.yaml").read_text())
    told = {"overrides": [], "described": "", "metrics": ["ndcg@20", "recall@20"]}
    open_folder(folder, definition=content["definition"], told=told)
    assert Record(folder).metrics == ["ndcg@20", "recall@20"]
    assert yaml.safe_load((folder / "study.yaml").read_text())["definition"] == content["definition"]


def test_a_study_of_an_older_search_is_still_read(tmp_path: Path) -> None:
    """Its sampler was TPE, with a journal; it knew no looks, and counted the trials that it had no time for."""
    folder = make_study(tmp_path / "s", 20, verified=False).folder
    (folder / "journal.log").write_text('{"op_code": 0, "study_name": "s"}\n')
    left = {"minutes": 10, "doing": "pca 50%, training", "presets": {"int2": "0123456789ab"}, "trials": 7, "of": 20}
    (folder / "unfinished.json").write_text(json.dumps({**left, "seconds": 300.0}))
    record = Record(folder)
    assert record.definition["study"]["sampler"] == "tpe"
    assert not Looks(folder / LOOKS).found
    said = record.unfinished
    assert "study.minutes=10 was over" in said
    assert "stopped at: pca 50%, training; what was trained is kept" in said
    assert "presets not run: int2" in said
    assert "trials not run: 7 of 20" in said
    assert "What is left takes about 5:00." in said
    assert len(Front(record)) > 1
