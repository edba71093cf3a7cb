"""Folders of model2vec: what its own library wrote is read, and what is written here its own library reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tokenizers
import torch
from tiny_vectors import WIDTH, served, words_of, words_task, write_words
from tokenizers import models, normalizers, pre_tokenizers

from autoprune.artifacts import artifact
from autoprune.artifacts.formats import find_format
from autoprune.errors import AutopruneError
from autoprune.readers.model2vec import read_model2vec
from autoprune.readers.table import read_table
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.vectors.config import WordsConfig
from autoprune.vectors.make import make_words
from autoprune.vectors.task import VectorsTask
from autoprune.vectors.words import Lexicon

NAMES, VECTORS = words_of()
PIECES = ["[PAD]", "[UNK]", *NAMES, "##s"]
ROWS = np.concatenate([np.zeros((2, WIDTH)), VECTORS, np.ones((1, WIDTH))]).astype(np.float32)

FEWER = {"cut": {"rows": {"sparsity": 0.25, "importance": "frequency"}}}


def wordpiece() -> tokenizers.Tokenizer:
    found = tokenizers.Tokenizer(models.WordPiece({one: at for at, one in enumerate(PIECES)}, unk_token="[UNK]"))
    found.normalizer, found.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    found.add_special_tokens(["[PAD]", "[UNK]"])
    return found


def unigram() -> tokenizers.Tokenizer:
    pieces = [("<unk>", 0.0), *((f"▁{name}", -float(at)) for at, name in enumerate(NAMES))]
    found = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0))
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    return found


def theirs(folder: Path) -> Any:
    return pytest.importorskip("model2vec").StaticModel.from_pretrained(folder)


def save(folder: Path, rows: Any = ROWS, **told: Any) -> Path:
    """As model2vec itself writes its folders."""
    told = {"tokenizer": wordpiece(), "normalize": False, **told}
    pytest.importorskip("model2vec").StaticModel(rows, **told).save_pretrained(folder)
    return folder


def written(task: VectorsTask, folder: Path, recipe: dict[str, Any]) -> Path:
    context = task.context(seed=0, device=torch.device("cpu"))
    model = run(plan(recipe, base_defaults={}), task, context, trainer=Trainer(task.training))
    artifact.save(task.parts(model), folder / "small", provenance={})
    find_format("model2vec").write(folder / "small", folder / "out")
    return folder / "out"


def test_tokens_and_their_vectors_are_read(tmp_path: Path) -> None:
    found = read_table(save(tmp_path / "m"))
    assert found.ids == [one for one in PIECES if one != "[UNK]"]
    model = theirs(tmp_path / "m")
    for word in ("aland", "king"):
        np.testing.assert_array_equal(found.vectors[found.ids.index(word)], model.encode(word))


def test_tokens_that_share_rows_and_have_weights_are_read(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    mapping, weights = draw.integers(9, size=len(PIECES)), draw.uniform(0.5, 2, size=len(PIECES)).astype(np.float32)
    rows = draw.normal(size=(9, 5)).astype(np.float16)
    found = read_table(save(tmp_path / "m", rows, token_mapping=mapping, weights=weights))
    assert found.ids is not None
    model = theirs(tmp_path / "m")
    for word in ("aland", "king", "w5"):
        np.testing.assert_allclose(found.vectors[found.ids.index(word)], model.encode(word), atol=2e-3)


def test_words_are_found_among_marked_tokens(tmp_path: Path) -> None:
    write_words(tmp_path / "data")
    rows = np.concatenate([np.zeros((1, WIDTH)), VECTORS]).astype(np.float32)
    task = words_task(tmp_path / "data", vectors=str(save(tmp_path / "m", rows, tokenizer=unigram())))
    assert isinstance(task, VectorsTask)
    lexicon = Lexicon(task.catalogue)
    assert lexicon.knows(NAMES) == 1.0
    assert lexicon.knows(["stranger"]) == 0.0
    assert task.catalogue.ids[int(lexicon.rows(["King"])[0])] == "▁king"


def test_a_folder_is_searched_and_written_again(tmp_path: Path) -> None:
    """Texts are taken apart as before; a token that was removed counts as zeros."""
    task = words_task(tmp_path / "data", vectors=str(save(tmp_path / "m")))
    before, after = theirs(tmp_path / "m"), theirs(written(task, tmp_path, FEWER))
    index = served(task, FEWER)
    gone = next(one for one in NAMES if one not in index)
    assert after.tokenize(["Kings"]) == before.tokenize(["Kings"]), "king, and s that goes on"
    text = f"{NAMES[0]} {gone}"
    assert after.tokenize([text]) == before.tokenize([text])
    np.testing.assert_array_equal(after.encode("aland"), before.encode("aland"))
    np.testing.assert_array_equal(after.encode(gone), np.zeros(WIDTH))
    np.testing.assert_allclose(after.encode(text), before.encode(NAMES[0]) / 2, atol=1e-6)
    assert len(after.embedding) == len(index) + 1, "a row for each that stays, and one of zeros"
    dense = written(task, tmp_path / "dense", {})
    again = read_table(dense)
    assert again.ids == read_table(tmp_path / "m").ids
    assert not (tmp_path / "out" / "modules.json").exists(), "sentence-transformers reads no shared rows"
    assert (dense / "modules.json").exists()


def test_words_of_other_files_get_a_tokenizer_of_words(tmp_path: Path) -> None:
    task = words_task(tmp_path / "data")
    recipe = {"cut": {**FEWER["cut"], "dims": {"sparsity": 0.5, "importance": "pca"}}}
    out = written(task, tmp_path, recipe)
    found, index = read_table(out), served(task, recipe)
    assert found.ids == [index.ids[row] for row in index.ordered_rows.tolist()]
    model = theirs(out)
    rows = [found.vectors[found.ids.index(word)] for word in ("king", "queen")]
    mean = np.mean(rows, axis=0)
    np.testing.assert_allclose(model.encode("King, stranger: queen!"), mean / np.linalg.norm(mean), atol=1e-6)
    with pytest.raises(AutopruneError, match="exists already"):
        find_format("model2vec").write(tmp_path / "small", out)


@pytest.mark.slow
def test_sentence_transformers_reads_the_same_folder(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    out = written(words_task(tmp_path / "data"), tmp_path, FEWER)
    model = SentenceTransformer(str(out), device="cpu")
    np.testing.assert_allclose(model.encode("king queen"), theirs(out).encode("king queen"), atol=1e-6)


def broken(folder: Path, tensors: dict[str, Any], tokenizer: str | None = None) -> Path:
    folder.mkdir()
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer or wordpiece().to_str())
    return folder


HOLED = json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 2}, "unk_token": "a"}})


@pytest.mark.parametrize(
    ("tensors", "tokenizer", "said"),
    [
        ({"encoder.weight": ROWS}, None, "it must hold a table embeddings or embedding.weight.*task=encoder"),
        ({"embeddings": ROWS[:-1]}, None, "has 150 rows, but its tokenizer has 151 tokens"),
        ({"embeddings": ROWS, "weights": ROWS[:, 0][:-1]}, None, "weights must have an entry for each of 151 tokens"),
        (
            {"embeddings": ROWS[:9], "mapping": np.arange(151)},
            None,
            "mapping must hold rows of embeddings",
        ),
        ({"embeddings": ROWS}, "[1]", "it must hold a mapping, but it holds list"),
        ({"embeddings": ROWS}, "{", "tokenizer.json: it cannot be read as JSON"),
        ({"embeddings": ROWS}, "{}", "it must hold a vocabulary"),
        ({"embeddings": ROWS}, HOLED, "its 2 tokens are not numbered from 0 to 1"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(
    tmp_path: Path, tensors: dict[str, Any], tokenizer: str | None, said: str
) -> None:
    with pytest.raises(AutopruneError, match=said):
        read_model2vec(broken(tmp_path / "m", tensors, tokenizer))


def test_another_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match="is a folder, but not one of model2vec"):
        read_table(tmp_path)
    with pytest.raises(AutopruneError, match=r"task\.ids: the tokens of the folder"):
        make_words(WordsConfig(vectors=str(tmp_path), ids="words.txt"))


def test_words_that_point_to_others_do_so_there(tmp_path: Path) -> None:
    task = words_task(tmp_path / "data")
    recipe = {"cut": {"rows": {"sparsity": 0.5, "importance": "frequency", "points": True}}}
    out, index = written(task, tmp_path, recipe), served(task, recipe)
    model, found = theirs(out), read_table(out)
    assert found.ids == NAMES, "in the order of their file"
    assert len(model.embedding) == len(index) + 1, "and one for what is unknown"
    np.testing.assert_array_equal(found.vectors, [index.vector(name) for name in NAMES])
    gone = index.pointing[0]
    own = index.vector(gone)
    np.testing.assert_allclose(model.encode(str(gone)), own / np.linalg.norm(own), atol=1e-6)
