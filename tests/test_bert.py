"""Reading encoders: what a folder says is what is read, and what cannot be read is refused with the reason."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from needed import needs
from tiny_encoder import HIDDEN, LONGEST, TEXTS, write_modules, write_tiny_bert

from autoprune.encoder.bert import read_encoder
from autoprune.encoder.hub import find
from autoprune.errors import AutopruneError

needs("sentence_transformers")

IDENTITY, TANH = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh"


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT that can be changed."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def changed(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def refused(folder: Path | str) -> str:
    with pytest.raises(AutopruneError) as caught:
        read_encoder(str(folder))
    return str(caught.value)


def dense(out: int, *, bias: bool = True, activation: str = IDENTITY) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    found: dict[str, Any] = {"weight": torch.randn(out, HIDDEN, generator=draw) * 0.2, "activation": activation}
    return {**found, "bias": torch.randn(out, generator=draw) * 0.1} if bias else found


def matches_sentence_transformers(folder: Path) -> None:
    import sentence_transformers

    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = theirs.encode(TEXTS[:40], show_progress_bar=False)
    with torch.no_grad():
        found = read_encoder(str(folder)).calibrate(TEXTS[:40]).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
@pytest.mark.parametrize("normalize", [True, False])
def test_matches_sentence_transformers(folder: Path, pooling: str, normalize: bool) -> None:
    shutil.rmtree(folder / "2_Normalize")
    write_modules(folder, pooling=pooling, normalize=normalize)
    matches_sentence_transformers(folder)


@pytest.mark.parametrize("family", ["electra", "distilbert", "roberta", "camembert"])
def test_other_families_match_sentence_transformers(family: str, tmp_path: Path) -> None:
    matches_sentence_transformers(write_tiny_bert(tmp_path, family=family))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", [12, HIDDEN, 40])
def test_a_dense_module_matches_sentence_transformers(folder: Path, out: int, bias: bool) -> None:
    write_modules(folder, dense=dense(out, bias=bias))
    matches_sentence_transformers(folder)
    model = read_encoder(str(folder))
    assert model.out == out
    assert "out" in model.tables
    torch.testing.assert_close(model.wanted(), torch.eye(out))


def test_a_dense_module_of_older_days(folder: Path) -> None:
    write_modules(folder, dense=dense(12, bias=True))
    now = read_encoder(str(folder)).state_dict()
    safe = folder / "2_Dense" / "model.safetensors"
    torch.save(safetensors.torch.load_file(safe), folder / "2_Dense" / "pytorch_model.bin")
    safe.unlink()
    assert all(torch.equal(weight, now[name]) for name, weight in read_encoder(str(folder)).state_dict().items())
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"no weights")
    assert "the weights cannot be read" in refused(folder)
    (folder / "2_Dense" / "pytorch_model.bin").unlink()
    assert "neither model.safetensors nor pytorch_model.bin is there" in refused(folder)


@pytest.mark.parametrize("activation", ["gelu_python", "gelu_fast", "gelu_pytorch_tanh"])
def test_activations_of_other_names_match_sentence_transformers(folder: Path, activation: str) -> None:
    changed(folder / "config.json", hidden_act=activation)
    matches_sentence_transformers(folder)


def test_what_the_folder_says_is_read(tiny: Path) -> None:
    model = read_encoder(str(tiny))
    architecture = model.architecture
    assert (architecture.hidden, architecture.head_dim, architecture.max_tokens) == (HIDDEN, 8, LONGEST)
    assert (architecture.pooling, architecture.normalize, architecture.activation) == ("mean", True, "gelu")
    assert architecture.name == str(tiny)
    assert "out" not in model.tables, "nothing is projected yet"


@pytest.mark.parametrize("settings", ["sentence_bert_config.json", "sentence_roberta_config.json", None])
def test_the_longest_text_stands_in_one_of_several_places(folder: Path, settings: str | None) -> None:
    (folder / "sentence_bert_config.json").unlink()
    if settings is None:  # as sentence-transformers 6 writes it
        changed(folder / "tokenizer_config.json", model_max_length=11)
    else:
        (folder / settings).write_text(json.dumps({"max_seq_length": 11, "do_lower_case": False}))
    assert read_encoder(str(folder)).tokens(["bread " * 40])[0].shape == (11,)
    if settings is None:
        matches_sentence_transformers(folder)


def test_a_damaged_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert "the tokenizer cannot be loaded" in refused(folder)


def test_a_folder_that_says_nothing_is_pooled_by_the_mean(folder: Path) -> None:
    for name in ("modules.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    architecture = read_encoder(str(folder)).architecture
    assert (architecture.pooling, architecture.normalize, architecture.max_tokens) == ("mean", False, 64)
    matches_sentence_transformers(folder)


def test_a_transformer_in_a_folder_of_its_own(folder: Path) -> None:
    # as sentence-transformers wrote it before version 2
    inside = folder / "0_Transformer"
    inside.mkdir()
    for file in [file for file in folder.iterdir() if file.is_file() and file.name != "modules.json"]:
        file.rename(inside / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = inside.name
    (folder / "modules.json").write_text(json.dumps(modules))
    assert read_encoder(str(folder)).architecture.max_tokens == LONGEST
    matches_sentence_transformers(folder)


@pytest.mark.parametrize("projected", [False, True])
def test_vectors_that_are_cut_short_match_sentence_transformers(folder: Path, projected: bool) -> None:
    shutil.rmtree(folder / "2_Normalize")
    write_modules(folder, dense=dense(16) if projected else None, normalize=False)
    told = folder / "config_sentence_transformers.json"
    told.write_text(json.dumps({"truncate_dim": 12}))
    assert read_encoder(str(folder)).out == 12
    matches_sentence_transformers(folder)
    told.write_text(json.dumps({"truncate_dim": 0}))
    assert "truncate_dim in config_sentence_transformers.json must be a whole number above 0" in refused(folder)


@pytest.mark.parametrize("projected", [False, True])
def test_vectors_of_length_1_are_cut_short_where_lengths_do_not_count(folder: Path, projected: bool) -> None:
    import sentence_transformers

    shutil.rmtree(folder / "2_Normalize")
    write_modules(folder, dense=dense(16) if projected else None, normalize=True)
    told = folder / "config_sentence_transformers.json"
    told.write_text(json.dumps({"truncate_dim": 12}))
    ours = read_encoder(str(folder))
    assert [note for note in ours.notes if "length 1 after they are cut to 12 dimensions" in note]
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = theirs.encode(TEXTS[:40], show_progress_bar=False)
    with torch.no_grad():
        found = ours.calibrate(TEXTS[:40]).numpy()
    assert not np.allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found @ found.T, theirs.similarity(expected, expected), atol=2e-5)
    for similarity in ("dot", "euclidean", "manhattan"):
        told.write_text(json.dumps({"truncate_dim": 12, "similarity_fn_name": similarity}))
        assert f"compares them by {similarity}: their lengths would differ here" in refused(folder)
        told.write_text(json.dumps({"truncate_dim": 40, "similarity_fn_name": similarity}))  # all there are, and more
        matches_sentence_transformers(folder)


def test_a_file_of_a_model_is_no_folder(tiny: Path) -> None:
    said = refused(tiny / "model.safetensors")
    assert "is a file; name the folder it lies in" in said
    assert said.endswith(f"task.model={tiny}.")


@pytest.mark.parametrize(
    ("prompts", "note"),
    [
        ({"passage": "p: "}, "'passage'"),
        ({"query": "q: ", "corpus": "c: "}, "'corpus'"),
        ({"document": "", "passage": "p: "}, ""),
        ({"passage": ""}, ""),
        ({"query": "q: "}, ""),
    ],
)
def test_a_prompt_that_others_put_before_no_document_is_told(folder: Path, prompts: dict[str, str], note: str) -> None:
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    notes = read_encoder(str(folder)).notes
    assert len(notes) == bool(note)
    assert not note or notes[0].startswith(f"documents get its prompt {note}; sentence-transformers 6")


def test_there_is_no_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == f"task.model: there is no folder {str(tmp_path / 'none')!r}."
    assert "there is no config.json" in refused(tmp_path)


def test_a_hub_name_without_a_network_says_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as the environment variable does before the first import
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(AutopruneError, match=r"no folder here, was not fetched before.*task\.model=FOLDER"):
        find("some-model-that-nobody-has")
    with pytest.raises(AutopruneError, match="neither a folder nor a name on the hub"):
        find("no such name!")


def test_what_is_no_encoder(folder: Path) -> None:
    changed(folder / "config.json", model_type="gpt2", architectures=["GPT2LMHeadModel"])
    assert "a model of type 'gpt2', not an encoder" in refused(folder)
    changed(folder / "config.json", model_type="bert", is_decoder=True)
    assert "config.json sets is_decoder to True; a decoder is no encoder" in refused(folder)
    (folder / "config.json").write_text("{}")
    assert "config.json cannot be read" in refused(folder)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"hidden_act": "mish"}, "the activation 'mish' is unknown"),
        (
            {"position_embedding_type": "relative_key"},
            "sets position_embedding_type to 'relative_key'; only absolute positions are known",
        ),
    ],
)
def test_architectures_that_are_not_known(folder: Path, entries: dict[str, Any], words: str) -> None:
    changed(folder / "config.json", **entries)
    assert words in refused(folder)


def test_an_unknown_pooling(folder: Path) -> None:
    changed(folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    assert "the pooling cls and mean is unknown; give exactly one of mean, cls, max, lasttoken" in refused(folder)


def test_a_dense_module_with_an_activation_matches_sentence_transformers(folder: Path) -> None:
    write_modules(folder, dense=dense(12, activation=TANH))
    matches_sentence_transformers(folder)
    model = read_encoder(str(folder))
    assert model.architecture.dense == "tanh"
    assert "dense" in model.tables
    assert "out" not in model.tables
    write_modules(folder, dense=dense(12, activation="torch.nn.modules.activation.Hardswish"))
    assert "a Dense module with the activation torch.nn.modules.activation.Hardswish is unknown" in refused(folder)


@pytest.mark.parametrize("activations", [(IDENTITY, IDENTITY), (IDENTITY, TANH), (TANH, IDENTITY), (TANH, TANH)])
def test_several_dense_modules_match_sentence_transformers(folder: Path, activations: tuple[str, str]) -> None:
    shutil.rmtree(folder / "2_Normalize")
    write_modules(folder, dense=dense(40, activation=activations[0]))
    modules = json.loads((folder / "modules.json").read_text())
    write_modules(folder, dense=dense(40, bias=False, activation=activations[1]))
    (folder / "2_Dense").rename(folder / "4_Dense")
    held = safetensors.torch.load_file(folder / "4_Dense" / "model.safetensors")
    narrow = {name: torch.nn.functional.pad(weight, (0, 8)).contiguous() for name, weight in held.items()}
    safetensors.torch.save_file(narrow, folder / "4_Dense" / "model.safetensors")
    changed(folder / "4_Dense" / "config.json", in_features=40)
    write_modules(folder, dense=dense(40, activation=activations[0]))
    more = {"idx": 4, "name": "4", "path": "4_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules[:3], more, *modules[3:]]))
    if activations == (TANH, TANH):
        assert "2 Dense modules, of which more than one has an activation, are not known here" in refused(folder)
    else:
        matches_sentence_transformers(folder)


@pytest.mark.parametrize(
    "kinds",
    [
        ["Transformer", "Pooling", "Dense", "Normalize", "Normalize"],
        ["Transformer", "Pooling", "Normalize", "Dense"],
        ["Transformer", "Dense", "Pooling"],
        ["Transformer", "Pooling", "LayerNorm"],
    ],
    ids="-".join,
)
def test_modules_in_another_order(folder: Path, kinds: list[str]) -> None:
    write_modules(folder, dense=dense(HIDDEN))
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense", "Normalize": "3_Normalize"}
    modules = [{"path": paths.get(kind, ""), "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    words = refused(folder)
    assert "modules.json" in words
    assert "Transformer, Pooling, Dense and Normalize" in words


def test_a_word_table_that_is_too_short(folder: Path) -> None:
    held = json.loads((folder / "tokenizer.json").read_text())
    held["model"]["vocab"]["unheard"] = len(held["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(held))
    (folder / "vocab.txt").unlink(missing_ok=True)
    assert "the word table has" in refused(folder)


def test_weights_that_are_missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "the weights are missing: neither model.safetensors nor pytorch_model.bin is there" in refused(folder)


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json"])
@pytest.mark.parametrize("content", ["{", "3"])
def test_damaged_settings_are_named(name: str, content: str, tmp_path: Path) -> None:
    (write_tiny_bert(tmp_path) / name).write_text(content)
    with pytest.raises(AutopruneError, match=re.escape(name)):
        read_encoder(str(tmp_path))


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    (write_tiny_bert(tmp_path) / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(AutopruneError, match=r"model\.safetensors: the weights cannot be read, the file is damaged"):
        read_encoder(str(tmp_path))


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    import safetensors.torch

    path = write_tiny_bert(tmp_path) / "model.safetensors"
    held = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: part for name, part in held.items() if "layer.1." not in name}, path)
    with pytest.raises(AutopruneError, match=r"16 weights are missing .* encoder\.layer\.1"):
        read_encoder(str(tmp_path))


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path)
    for name in ("tokenizer.json", "vocab.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(AutopruneError, match="there is no tokenizer in it"):
        read_encoder(str(tmp_path))


def test_lower_case_before_the_tokenizer_is_done(tmp_path: Path) -> None:
    config = write_tiny_bert(tmp_path) / "sentence_bert_config.json"
    config.write_text(json.dumps({"max_seq_length": 48, "do_lower_case": True}))
    found = read_encoder(str(tmp_path))
    one, other = found.tokens(["a TEXT", "a text"])
    assert one.tolist() == other.tolist()
