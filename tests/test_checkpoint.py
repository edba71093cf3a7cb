"""Weights as they lie about: read whatever form they have, or refused in one sentence that names the file."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from needed import needs
from tiny_encoder import TEXTS, VOCABULARY, write_modules, write_tiny_bert

from autoprune.encoder.bert import read_encoder
from autoprune.encoder.checkpoint import read_checkpoint
from autoprune.errors import AutopruneError

needs("transformers")

Tensors = dict[str, torch.Tensor]

WORDS, POSITIONS = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
QUERY, BIAS = "encoder.layer.2.attention.self.query.weight", "encoder.layer.1.output.dense.bias"
POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 90868376\n"
)


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT that can be changed."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def held(folder: Path) -> Tensors:
    return safetensors.torch.load_file(folder / "model.safetensors")


def keep(tensors: Tensors, folder: Path) -> None:
    safetensors.torch.save_file({name: one.contiguous() for name, one in tensors.items()}, folder / "model.safetensors")


def changed(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **entries}))


def refused(folder: Path, capfd: pytest.CaptureFixture[str] | None = None) -> str:
    with pytest.raises(AutopruneError) as caught:
        read_encoder(str(folder))
    if capfd is not None:
        assert "".join(capfd.readouterr()) == "", "nobody else speaks"
    said = str(caught.value)
    assert "\n" not in said
    return said


def sharded(folder: Path, kind: str) -> None:
    tensors = held(folder)
    (folder / "model.safetensors").unlink()
    stem, ending = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    names, places = sorted(tensors), {}
    for at, half in enumerate((names[:20], names[20:]), start=1):
        file = f"{stem}-{at:05}-of-00002.{ending}"
        part = {name: tensors[name] for name in half}
        safetensors.torch.save_file(part, folder / file) if ending == "safetensors" else torch.save(part, folder / file)
        places |= dict.fromkeys(half, file)
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def pickled(folder: Path) -> None:
    torch.save(held(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def prefixed(folder: Path) -> None:
    """As part of a masked language model, with names of layer norms from before 2019."""
    tensors = {f"bert.{name}": one for name, one in held(folder).items() if not name.startswith("pooler")}
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): one
        for name, one in tensors.items()
    }
    keep({**tensors, "cls.predictions.bias": torch.zeros(len(VOCABULARY))}, folder)


def with_positions(folder: Path) -> None:
    keep({**held(folder), "embeddings.position_ids": torch.arange(64)[None]}, folder)


@pytest.mark.parametrize(
    "store",
    [pickled, prefixed, with_positions, lambda at: sharded(at, "safetensors"), lambda at: sharded(at, "bin")],
    ids=["pickle", "masked language model", "position ids", "shards", "pickled shards"],
)
def test_weights_are_read_in_any_form(store: Callable[[Path], None], tiny: Path, folder: Path) -> None:
    store(folder)
    right = read_encoder(str(tiny)).state_dict()
    assert all(torch.equal(one, right[name]) for name, one in read_encoder(str(folder)).state_dict().items())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths_are_read(kind: torch.dtype, folder: Path) -> None:
    before = held(folder)
    keep({name: one.to(kind) for name, one in before.items()}, folder)
    found = read_checkpoint(folder)
    assert all(one.dtype == torch.float32 for one in found.values())
    assert all(torch.equal(one, before[name].to(kind).float()) for name, one in found.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("name", "row", "kind"),
    [
        (WORDS, len(VOCABULARY) - 1, torch.float32),  # a piece that no text has
        (POSITIONS, 63, torch.float32),  # beyond the longest text
        (QUERY, 5, torch.float16),
        (BIAS, 3, torch.bfloat16),
        ("embeddings.LayerNorm.weight", 0, torch.float32),
    ],
)
def test_what_is_no_number_is_named(name: str, row: int, kind: torch.dtype, value: float, folder: Path) -> None:
    tensors = {key: one.to(kind) for key, one in held(folder).items()}
    tensors[name][row] = value
    keep(tensors, folder)
    said = refused(folder)
    assert name in said
    assert f"({value})" in said
    assert (f"row {row}" if tensors[name].dim() > 1 else f"position {row}") in said


@pytest.mark.parametrize("name", ["pooler.dense.weight", "cls.predictions.decoder.weight", "classifier.bias"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_what_is_no_number_where_no_vector_rests_on_it(name: str, prefix: str, folder: Path) -> None:
    tensors = {prefix + key: one for key, one in held(folder).items()}
    keep({**tensors, name: torch.tensor([[1.0, torch.nan]])}, folder)
    said = refused(folder)
    assert f"{name} holds what is no number (1 of 2 values), the first (nan) in row 0" in said
    assert "no vector rests on this tensor, so the model can be saved without it: " in said
    assert "cannot be compressed" not in said
    keep({**tensors, "embeddings.position_ids": torch.tensor([[torch.nan, 1.0]])}, folder)
    read_encoder(str(folder))


def test_what_float32_cannot_hold_is_named(folder: Path) -> None:
    tensors = {name: one.double() for name, one in held(folder).items()}
    tensors[QUERY][4, 2] = 1e300
    keep(tensors, folder)
    assert f"{QUERY} (as float32) holds what is no number (1 of 1,024 values), the first (inf) in row 4" in refused(
        folder
    )


def test_a_projection_that_holds_no_numbers(folder: Path) -> None:
    weight = torch.ones(8, 32)
    weight[6, 1] = torch.nan
    write_modules(folder, dense={"weight": weight})
    assert "linear.weight holds what is no number (1 of 256 values), the first (nan) in row 6" in refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "modules.json"])
@pytest.mark.parametrize(
    ("content", "words"), [(POINTER, "a pointer of Git LFS stands there"), ("", "the file is empty")]
)
def test_what_stands_in_place_of_a_file(
    name: str, content: str, words: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text(content)
    assert f"{folder / name}: {words}" in refused(folder, capfd)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_cut_short(kind: str, share: float, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if kind == "pytorch_model.bin":
        pickled(folder)
    whole = (folder / kind).read_bytes()
    (folder / kind).write_bytes(whole[: int(share * len(whole))])
    assert f"{kind}: the weights cannot be read" in refused(folder, capfd)


class Ran(Exception):
    """Code of a model ran."""


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise __import__('test_checkpoint').Ran",)


def test_a_pickle_of_more_than_tensors_is_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb()}, folder / "pytorch_model.bin")
    assert "it is a pickle that holds more than tensors" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert "the weights cannot be read" in refused(folder)


@pytest.mark.parametrize(
    ("break_index", "words"),
    [
        (lambda index: index.update(weight_map={}), "weight_map must name the file of every tensor"),
        (lambda index: index["weight_map"].update({QUERY: "model-3.safetensors"}), "it names model-3.safetensors"),
        (lambda index: index["weight_map"].update({QUERY: "../x.safetensors"}), "which is not there"),
        (lambda index: index["weight_map"].update({QUERY: 3}), "weight_map must name"),
        (
            lambda index: index["weight_map"].update({"none": "model-00001-of-00002.safetensors"}),
            "names none in model-00001-of-00002.safetensors, which does not hold it",
        ),
    ],
)
def test_a_wrong_index(break_index: Callable[[dict[str, Any]], None], words: str, folder: Path) -> None:
    sharded(folder, "safetensors")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    break_index(index)
    path.write_text(json.dumps(index))
    assert words in refused(folder)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "neither model.safetensors nor pytorch_model.bin is there."),
        (["model.Q4_K_M.gguf"], "only GGUF (model.Q4_K_M.gguf)"),
        (["onnx/model.onnx", "tf_model.h5"], "only ONNX and TensorFlow (model.onnx)"),
        (["flax_model.msgpack"], "only Flax"),
        (["model.fp16.safetensors"], "only model.fp16.safetensors; call it model.safetensors if it is the model."),
    ],
)
def test_weights_of_other_libraries(names: list[str], words: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"GGUF")
    assert words in refused(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({WORDS: None}, "weights are missing from its files: there is no embeddings.word_embeddings.weight"),
        ({QUERY: None}, f"1 weight is missing from its files, such as {QUERY}"),
        ({WORDS: torch.zeros(9, 32)}, f"{WORDS} is [9, 32] in the files, but [{len(VOCABULARY)}, 32] by config.json"),
        ({POSITIONS: torch.zeros(70, 32)}, f"{POSITIONS} is [70, 32] in the files, but [64, 32]"),
        ({QUERY: torch.zeros(32, 16)}, f"{QUERY} is [32, 16] in the files, but [32, 32]"),
        ({QUERY: torch.zeros(32, 32, dtype=torch.int8)}, f"{QUERY} is int8, which is a code of some quantisation"),
        ({QUERY: torch.zeros(32, 32).to(torch.float8_e4m3fn)}, f"{QUERY} is float8_e4m3fn"),
        (
            {"encoder.layer.4.output.dense.bias": torch.zeros(32)},
            "1 weight is in its files for which a bert of 4 layers has no place",
        ),
        (
            {"encoder.layer.0.attention.self.distance_embedding.weight": torch.zeros(9, 8)},
            "1 weight is in its files for which",
        ),
        ({f"{QUERY}_lora_A.weight".replace(".weight_", "."): torch.zeros(4, 32)}, "its files hold an adapter"),
        ({f"other.{WORDS}": torch.zeros(4, 32)}, "its files hold several encoders"),
    ],
)
def test_weights_that_are_others_than_config_says(
    change: dict[str, torch.Tensor | None], words: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tensors = {**held(folder), **change}
    keep({name: one for name, one in tensors.items() if one is not None}, folder)
    assert words in refused(folder, capfd)


@pytest.mark.parametrize(
    "method", ["bitsandbytes", "gptq", "awq", "fp8", "compressed-tensors", "hqq", "torchao", "nobody knows"]
)
def test_quantised_models_are_refused(method: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changed(folder / "config.json", quantization_config={"quant_method": method, "load_in_4bit": True})
    said = refused(folder, capfd)
    assert "config.json sets quantization_config to" in said
    assert "give the model in float32, float16 or bfloat16" in said


def test_an_adapter_is_refused(folder: Path) -> None:
    changed(folder / "adapter_config.json", base_model_name_or_path="BAAI/bge-small-en-v1.5", peft_type="LORA")
    assert "an adapter (adapter_config.json) for BAAI/bge-small-en-v1.5; merge it" in refused(folder)


CODE = {"AutoModel": "modeling.Evil", "AutoConfig": "modeling.EvilConfig"}


@pytest.mark.parametrize(
    ("file", "entries", "words"),
    [
        ("config.json", {"model_type": "evil", "auto_map": CODE}, "it would run code that comes with the model"),
        ("config.json", {"auto_map": CODE}, "it would run code that comes with the model"),
        ("config.json", {"model_type": "evil"}, "it is a model of type 'evil'"),
        ("config.json", {"model_type": "../modeling"}, "it is a model of type '../modeling'"),
        ("config.json", {"model_type": ["bert"]}, "it is a model of type"),
        ("config.json", {"custom_pipelines": {"evil": {"impl": "modeling.Evil"}}}, "it would run code"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["modeling.Evil", None]}}, "it would run code"),
    ],
)
def test_no_code_of_a_model_runs(
    file: str,
    entries: dict[str, Any],
    words: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (folder / "modeling.py").write_text("raise __import__('test_checkpoint').Ran\n")
    changed(folder / file, **entries)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    assert words in refused(folder, capfd)


@pytest.mark.parametrize("kind", ["modeling.Transformer", "custom_st.Pooling", "Transformer", "sentence_transformers"])
def test_modules_of_others_are_refused(kind: str, folder: Path) -> None:
    (folder / "modeling.py").write_text("raise __import__('test_checkpoint').Ran\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(modules))
    assert f"modules.json names {kind}, which is code that comes with the model" in refused(folder)


@pytest.mark.parametrize("path", ["../other", "/tmp", "1_Pooling/../.."])
def test_modules_stay_in_their_folder(path: str, folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "leads out of the model's folder" in refused(folder)


def test_nothing_of_transformers_is_changed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import warnings

    from transformers.utils import logging as theirs

    theirs.enable_progress_bar()  # type: ignore[no-untyped-call]
    theirs.set_verbosity_warning()
    before = theirs.get_verbosity(), theirs.is_progress_bar_enabled(), list(warnings.filters)
    read_encoder(str(folder)).calibrate(TEXTS[:2])
    assert (theirs.get_verbosity(), theirs.is_progress_bar_enabled(), list(warnings.filters)) == before
    assert "".join(capfd.readouterr()) == ""


def test_roberta_needs_the_place_of_its_padding(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "model", family="roberta")
    for padding in (None, -1, 63, "1"):
        changed(folder / "config.json", pad_token_id=padding)
        assert "pad_token_id" in refused(folder)
