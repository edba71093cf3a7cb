"""Folders for stock sentence-transformers: they load and give the artifact's vectors; what has none says why."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from made_studies import make_study
from needed import needs
from shell import Ended, typed
from short_search import shorten
from tiny_encoder import write_stock

from autoprune import cli
from autoprune.artifacts import artifact
from autoprune.artifacts.formats import find_format
from autoprune.artifacts.served import Beside
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.obstacles import NO_ENCODER, OBSTACLES
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.stock_format import STOCK
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.fronts.obstacles import way_out
from autoprune.models.model import Model
from autoprune.record.record import Record

needs("sentence_transformers")
transformers = pytest.importorskip("transformers")

SPACE = yaml.safe_load((Path(__file__).parent.parent / "conf" / "space" / "encoder.yaml").read_text())

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "tree", "and", "not", "small", "blue", "was", "is", "it"]
TEXTS = ["The cat sat on the mat.", "a dog", "", "Übergrößen ran, and the small tree was not blue " * 8, "x1 ☃"]


def write_dense(folder: Path, *, pooling: str = "mean", normalize: bool = True) -> Path:
    """A BERT of 3 layers, 4 heads and random weights, with a WordPiece vocabulary of some words and all of ASCII."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*special, *characters, *(f"##{one}" for one in characters), *WORDS, "##s", "##an"]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **roles).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=40, initializer_range=0.3, **shape
    )
    model = transformers.BertModel(config)
    for name, weight in model.named_parameters():
        if name.endswith(("bias", "LayerNorm.weight")):
            torch.nn.init.normal_(weight, mean=float(name.endswith("weight")), std=0.3)
    model.save_pretrained(folder)
    modules = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    listed = [
        {"idx": at, "name": str(at), "path": f"{at}_{kind}" * (at > 0), "type": f"sentence_transformers.models.{kind}"}
        for at, kind in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    (folder / "1_Pooling").mkdir()
    mode = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}[pooling]
    pooled = {"word_embedding_dimension": 32, f"pooling_mode_{mode}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooled))
    return folder


@pytest.fixture(scope="module")
def dense_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("dense") / "bert")


def save(model: Model, folder: Path, runtime: str = "torch") -> Path:
    assert isinstance(model, Encoder)
    artifact.save(encoder_parts(model, runtime, Beside(values={}, tensors={})), folder, provenance={})
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model" / "manifest.json").read_text())
    return content


def smaller(model: Encoder) -> None:
    """Layers, pieces, neurons and dimensions go, and single weights."""
    generator = torch.Generator().manual_seed(1)
    model.cut(model.axes["layers"], torch.tensor([0, 2]))
    for layer in (0, 2):
        model.cut(model.axes[f"ffn.{layer}"], torch.arange(layer, layer + 30))
    vocab = model.axes["vocab"]
    protected = set(model.protected(vocab).tolist())
    rows = [at for at in range(model.size(vocab)) if at in protected or at % 2]
    model.cut(vocab, torch.tensor(rows))
    model.rotate(model.axes["out"], torch.linalg.qr(torch.randn(32, 32, generator=generator))[0])
    model.cut(model.axes["out"], torch.arange(20))
    up = model.tables["up_0"]
    up.prune(up.mask & (torch.rand(up.mask.shape, generator=generator) > 0.6))


def uneven(model: Encoder) -> None:
    model.cut(model.axes["ffn.1"], torch.arange(30))


def headless(model: Encoder) -> None:
    model.cut(model.axes["heads.1"], torch.arange(3))


def coded(model: Encoder) -> None:
    table = model.tables["word"]
    table.choose_bits(torch.full((table.rows,), 8))
    table.code()


def stock_vectors(folder: Path) -> np.ndarray[Any, Any]:
    import sentence_transformers

    loaded = sentence_transformers.SentenceTransformer(str(folder), local_files_only=True, device="cpu")
    return np.asarray(loaded.encode(TEXTS, show_progress_bar=False))


@pytest.mark.parametrize(
    ("pooling", "normalize", "change"),
    [("mean", True, None), ("mean", True, smaller), ("cls", False, smaller), ("max", True, None)],
)
def test_stock_vectors_are_the_artifacts(
    pooling: str,
    normalize: bool,
    change: Callable[[Encoder], None] | None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = read_encoder(str(write_dense(tmp_path / "bert", pooling=pooling, normalize=normalize)))
    if change is not None:
        change(model)
    made = save(model, tmp_path / "artifact")
    assert STOCK.obstacles(manifest(made)) == []
    stock = write_stock(made, tmp_path / "deep" / "st")
    capfd.readouterr()
    found = stock_vectors(stock)
    assert "MISSING" not in "".join(capfd.readouterr())
    served = artifact.load(made)
    np.testing.assert_allclose(found, served.encode(TEXTS), atol=1e-5)
    assert found.shape == (len(TEXTS), 20 if change else 32)
    assert STOCK.size_bytes(stock) < 3 * artifact.size_bytes(made)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["st"]
    if change is None:  # the way around: what was written is an encoder that can be read
        again = read_encoder(str(stock))
        np.testing.assert_allclose(again.calibrate(TEXTS).detach().numpy(), found, atol=1e-5)
        np.testing.assert_allclose(found, stock_vectors(tmp_path / "bert"), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "runtime", "reasons"),
    [
        (uneven, "torch", ["several widths"]),
        (headless, "torch", ["heads are pruned"]),
        (coded, "torch", ["codes"]),
        (coded, "onnx", ["runtime is onnx", "codes"]),
    ],
)
def test_what_stock_configs_cannot_express_says_why(
    change: Callable[[Encoder], None], runtime: str, reasons: list[str], dense_folder: Path, tmp_path: Path
) -> None:
    model = read_encoder(str(dense_folder))
    change(model)
    made = save(model, tmp_path / "artifact", runtime)
    found = STOCK.obstacles(manifest(made))
    assert len(found) == len(reasons)
    assert all(reason in one.reason and way_out(one, SPACE) for reason, one in zip(reasons, found, strict=True))
    with pytest.raises(AutopruneError, match=reasons[0]):
        write_stock(made, tmp_path / "st")
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_an_existing_folder_is_left_alone(dense_folder: Path, tmp_path: Path) -> None:
    made = save(read_encoder(str(dense_folder)), tmp_path / "artifact")
    (tmp_path / "st").mkdir()
    with pytest.raises(AutopruneError, match="exists already"):
        write_stock(made, tmp_path / "st")


def test_other_models_have_no_stock_form() -> None:
    assert STOCK.obstacles({"kind": "recommender"}) == [NO_ENCODER]
    assert find_format("autoprune").obstacles({"kind": "recommender"}) == []


def test_where_nothing_fits_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_study(tmp_path / "runs" / "made", count=12, space=SPACE)
    even = [{"heads": 4, "ffn": 8}, {"heads": 4, "ffn": 8}]
    encoder = {"kind": "encoder", "runtime": "torch", "hidden": 32, "head_dim": 8, "layers": even, "bits": {"word": 32}}
    others = [
        {"runtime": "onnx"},
        {"runtime": "onnx", "bits": {"word": 4}},
        {"layers": [*even, {"heads": 3, "ffn": 9}]},
    ]
    for point in record.points:
        (point.folder / "model").mkdir(parents=True)
        other = others[point.number % 3] if point.number else {}
        (point.folder / "model" / "manifest.json").write_text(json.dumps({**encoder, **other}))

    def pick(words: str) -> str:
        monkeypatch.setattr(sys, "argv", shlex.split(f"autoprune pick made --runs {tmp_path}/runs --to st {words}"))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        return capsys.readouterr().err

    said = pick("--format sentence-transformers")
    assert "study 'made': none of 11 candidates can be written in the format sentence-transformers" in said
    for reason, count in (("its runtime is onnx", 7), ("FFNs", 4), ("attention heads", 4), ("values are codes", 4)):
        assert any(reason in line and line.endswith(f"({count} candidates)") for line in said.splitlines())
    ways = "space.runtime=torch space.cut.ffn.scope=layer space.cut.heads.sparsity=0 '~space.encode'"
    assert set(shlex.split(ways)) <= set(shlex.split(said.splitlines()[-1]))
    assert "Available: autoprune, cross-encoder, faiss, model2vec, numpy" in pick("--format tflite")
    # a front among what fits, which here is the dense model alone
    assert [point.number for point in Front(record, Limits(format="sentence-transformers"))] == [0]


def autoprune(folder: Path, line: str) -> Ended:
    return typed(folder, *shlex.split(line))


@pytest.mark.slow
def test_a_study_picks_among_what_can_be_written(
    dense_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    draw = np.random.default_rng(0)
    lines = {" ".join(draw.choice(WORDS, size=draw.integers(4, 9))) for _ in range(400)}
    (tmp_path / "texts.txt").write_text("\n".join(sorted(lines)))
    presets = {
        "stock": "{cut: {layers: {sparsity: 0.34}, rows: {sparsity: {vocab: 0.1}}}}",
        "codes": "{tune: {method: {quantize: {bits: {word: 8, body: 8}}}}}",
        "heads": "{cut: {heads: {sparsity: 0.25}}}",
    }
    more = " ".join(f"'+presets.{name}={recipe}'" for name, recipe in presets.items())
    common = f"task=encoder task.model={dense_folder} task.texts=texts.txt presets=none requirements=none"
    space = " ".join(way for _, one in OBSTACLES for way in way_out(one, SPACE))
    space += " space.cut.rows.sparsity=0 space.tune.epochs=0"
    budget = "study.looks=20 study.trials=1 study.latency_seconds=0.02 study.verify_rounds=0"
    ended = autoprune(tmp_path, f"{common} {budget} {space} {more}")
    assert ended.returncode == 0, ended.stderr
    (study,) = (path.name for path in (tmp_path / "runs").iterdir())
    usual = autoprune(tmp_path, f"pick {study} --to usual --prefer size")
    assert usual.returncode == 0, usual.stderr
    assert json.loads((tmp_path / "usual/model/manifest.json").read_text())["tables"]["word"]["bits"] == 8
    stock = autoprune(tmp_path, f"pick {study} --format sentence-transformers --to st --prefer size")
    assert stock.returncode == 0, stock.stderr
    assert re.search(r"\d+ of \d+ candidates can be written", stock.stdout)
    assert "SentenceTransformer('st')" in stock.stdout
    card = (tmp_path / "st" / "README.md").read_text()
    assert "SentenceTransformer('.')" in card
    assert f"autoprune verify {study} --prefer size --format sentence-transformers" in card
    record = Record(tmp_path / "runs" / study)
    picked = Front(record, Limits(format="sentence-transformers")).pick(prefer="size")
    trials = [point for point in record.points if point.candidate.name == "trial"]
    assert trials
    assert not any(point.obstacles(STOCK.name) for point in trials), "by the ways out that are told"
    np.testing.assert_allclose(stock_vectors(tmp_path / "st"), picked.load().encode(TEXTS), atol=1e-5)
    named = autoprune(tmp_path, f"pick {study} 2 --format sentence-transformers --to no")
    assert named.returncode == 2
    assert "candidate 2 cannot be written in the format sentence-transformers: values are codes" in named.stderr
    assert not (tmp_path / "no").exists()
