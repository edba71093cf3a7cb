"""Models on the hub: what is fetched of one, and what is said of one that is not given."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from needed import needs

from autoprune.encoder.hub import find
from autoprune.errors import AutopruneError

needs("huggingface_hub")

COMMIT = "c0ffee" * 6 + "c0de"

MODULES = {
    "config.json": '{"model_type": "bert"}',
    "modules.json": "[]",
    "1_Pooling/config.json": '{"word_embedding_dimension": 32}',
    "2_Dense/config.json": '{"in_features": 32, "out_features": 8}',
    "onnx/config.json": '{"model_type": "bert"}',
    "onnx/model.onnx": "",
}
BOTH = ("model.safetensors", "pytorch_model.bin")


def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *weights: str) -> tuple[list[str], int]:
    """What is fetched of a model of these weights, beside its JSON files, and in how many calls."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    there, calls = {**MODULES, **dict.fromkeys(weights, "")}, list[str | None]()

    def snapshot_download(name: str, *, allow_patterns: Sequence[str], revision: str | None = None) -> str:
        assert name == "somebody/model"
        calls.append(revision)
        for path in filter_repo_objects(there, allow_patterns=list(allow_patterns)):
            target = tmp_path / COMMIT / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(there[path])
        return str(tmp_path / COMMIT)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    folder = find("somebody/model")
    assert folder == tmp_path / COMMIT
    assert calls in ([None], [None, COMMIT]), "both of one commit"
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert set(there) - set(weights) - {"onnx/model.onnx"} <= set(found)
    shutil.rmtree(folder)
    return sorted(name for name in found if name not in MODULES), len(calls)


def test_weights_are_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dense = [f"2_Dense/{name}" for name in BOTH]
    whole = ["2_Dense/model.safetensors", "model.safetensors"]
    assert fetched(monkeypatch, tmp_path, *BOTH, *dense) == (whole, 1)
    shards = [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    pickled = [f"pytorch_model-0000{at}-of-00002.bin" for at in (1, 2)]
    assert fetched(monkeypatch, tmp_path, *shards, *pickled, dense[0]) == ([dense[0], *shards], 1)


def test_pickles_are_fetched_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dense = "2_Dense/pytorch_model.bin"
    assert fetched(monkeypatch, tmp_path, *BOTH, dense) == ([dense, "model.safetensors"], 2)
    assert fetched(monkeypatch, tmp_path, dense, BOTH[1]) == ([dense, BOTH[1]], 2)
    shards = [f"pytorch_model-0000{at}-of-00002.bin" for at in (1, 2)]
    assert fetched(monkeypatch, tmp_path, dense, *shards) == ([dense, *shards], 2)
    old = "0_Transformer/pytorch_model.bin"
    monkeypatch.setitem(MODULES, "0_Transformer/config.json", '{"model_type": "bert"}')
    assert fetched(monkeypatch, tmp_path, old, dense) == ([old, dense], 2)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("GatedRepoError", r"somebody/model.* accepted its licence: do so on its page .*hf auth login"),
        ("RepositoryNotFoundError", r"the hub has no model 'somebody/model', or it is private .*\(hf auth login\)"),
    ],
)
def test_a_model_that_is_not_given_says_the_way_out(error: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    response: Any = SimpleNamespace(headers={}, request=None)

    def refuse(*_: Any, **__: Any) -> str:
        raise getattr(errors, error)("no", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(AutopruneError, match=words) as caught:
        find("somebody/model")
    assert "task.model=FOLDER" in str(caught.value)
