from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.recipes.store import Store

CHECKPOINT: dict[str, Any] = {"model": {"weight": torch.arange(6.0).reshape(2, 3)}, "updates": 3, "name": "dense"}


def age(store: Store, key: str, seconds: int) -> None:
    """Makes a checkpoint look used some seconds after the others."""
    os.utime(store.folder / f"{key}.pt", (1_000_000 + seconds, 1_000_000 + seconds))


def keys(store: Store) -> set[str]:
    return {path.stem for path in store.folder.glob("*.pt")}


def filled(folder: Path, names: str) -> Store:
    store = Store(folder)
    for number, name in enumerate(names):
        store.save(name, CHECKPOINT)
        age(store, name, number)
    return store


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder")
    assert store.load("a") is None
    store.save("a", CHECKPOINT)
    found = store.load("a")
    assert found is not None
    assert torch.equal(found["model"]["weight"], CHECKPOINT["model"]["weight"])
    assert (found["updates"], found["name"]) == (3, "dense")
    assert store.load("b") is None


def test_saving_again_replaces(tmp_path: Path) -> None:
    store = filled(tmp_path, "a")
    store.save("a", {"updates": 4})
    assert store.load("a") == {"updates": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda raw: raw[: len(raw) // 2],
    "last byte gone": lambda raw: raw[:-1],
    "zeros": lambda raw: bytes(len(raw)),
    "text": lambda _: b"no checkpoint",
    "a flipped bit": lambda raw: raw.replace(b"FloatStorage", b"Float\xd3torage"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_absent_and_goes(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = filled(tmp_path, "ab")
    path = tmp_path / "a.pt"
    path.write_bytes(damage(path.read_bytes()))
    assert store.load("a") is None
    assert keys(store) == {"b"}


def test_a_file_torn_anywhere_is_absent(tmp_path: Path) -> None:
    store = filled(tmp_path, "a")
    path = tmp_path / "a.pt"
    raw = path.read_bytes()
    for cut in range(0, len(raw), len(raw) // 40):
        path.write_bytes(raw[:cut])
        assert store.load("a") is None, cut


def test_a_save_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    store = filled(tmp_path, "a")
    with pytest.raises(Exception, match="pickle"):
        store.save("b", {"function": lambda: None})
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_eviction_drops_the_oldest(tmp_path: Path) -> None:
    store = filled(tmp_path, "abc")
    store.limit_bytes = int(2.5 * (tmp_path / "a.pt").stat().st_size)
    store.save("d", CHECKPOINT)
    assert keys(store) == {"c", "d"}


def test_loading_is_use(tmp_path: Path) -> None:
    store = filled(tmp_path, "abc")
    assert store.load("a") is not None
    store.limit_bytes = int(2.5 * (tmp_path / "a.pt").stat().st_size)
    store.save("d", CHECKPOINT)
    assert keys(store) == {"a", "d"}


def test_what_was_just_saved_stays_however_large(tmp_path: Path) -> None:
    store = filled(tmp_path, "ab")
    store.limit_bytes = 1
    store.save("c", CHECKPOINT)
    assert keys(store) == {"c"}
