from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoprune.errors import AutopruneError
from autoprune.recipes.store import FEWEST, Checkpoints, Store

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


def test_a_value_is_read_without_the_tensors(tmp_path: Path) -> None:
    store, path = filled(tmp_path, "a"), tmp_path / "a.pt"
    weight = CHECKPOINT["model"]["weight"].numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(weight, bytes(len(weight))))
    assert (store.value("a", "updates"), store.value("a", "name")) == (3, "dense")
    assert store.value("a", "seconds") is None
    assert store.value("b", "updates") is None
    path.write_bytes(path.read_bytes()[:-1])
    assert store.value("a", "updates") is None
    store.path("a").write_bytes(b"")
    assert store.value("a", "updates") is None, "cut to nothing, it cannot even be mapped"


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


def test_a_flipped_bit_changes_no_checkpoint(tmp_path: Path) -> None:
    """It lies where nothing is read, such as in padding, or the checkpoint is absent."""
    store, draw, absent = filled(tmp_path, "a"), random.Random(0), 0
    raw, path = (tmp_path / "a.pt").read_bytes(), tmp_path / "a.pt"
    for _ in range(300):
        damaged = bytearray(raw)
        damaged[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        found = store.load("a")
        absent += found is None
        assert found is None or torch.equal(found["model"]["weight"], CHECKPOINT["model"]["weight"])
        assert found is None or (found["updates"], found["name"]) == (3, "dense")
    assert absent > 100


def test_a_tensor_that_is_marked_as_a_folder_is_absent(tmp_path: Path) -> None:
    """The bit that a campaign of kills and flipped bits has found: PyTorch leaves such a tensor as memory was."""
    store, path = filled(tmp_path, "a"), tmp_path / "a.pt"
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = raw.index(b"PK\x01\x02", archive.start_dir)
    raw[entry + 38] ^= 0x10  # external attributes: the bit of MS-DOS
    path.write_bytes(raw)
    assert store.load("a") is None


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    store, before = filled(tmp_path, "a"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # no file may be larger, as if the disk were full
    try:
        with pytest.raises(OSError, match="File too large"):
            store.save("b", {"model": torch.zeros(5000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_drafts_count_and_go_once_they_are_abandoned(tmp_path: Path) -> None:
    store = filled(tmp_path, "ab")
    old, new = tmp_path / "c-1.tmp", tmp_path / "d-2.tmp"
    for draft in (old, new):
        draft.write_bytes(b"half" * 10_000)
    os.utime(old, (0, 0))
    store.limit_bytes = 20_000
    store.save("e", CHECKPOINT)
    assert not old.exists()
    assert new.exists(), "somebody may be writing it"
    assert keys(store) == {"e"}


def test_clearing_leaves_nothing_and_a_save_goes_on(tmp_path: Path) -> None:
    store = filled(tmp_path, "ab")
    (tmp_path / "c-1.tmp").touch()
    store.clear()
    assert not list(tmp_path.iterdir())
    store.save("a", CHECKPOINT)
    assert keys(store) == {"a"}


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


def test_large_checkpoints_of_a_whole_search_have_room_where_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.recipes.store.LIMIT_BYTES", 1)
    store, free = Store(tmp_path), 10**12
    monkeypatch.setattr("autoprune.recipes.store.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    for at in range(FEWEST + 3):
        store.save(f"{at}", {"model": {"weight": torch.full((100,), float(at))}})
        os.utime(store.path(f"{at}"), (at, at))
    kept = sorted(int(path.stem) for path in tmp_path.glob("*.pt"))
    assert len(kept) == FEWEST
    assert kept[0] == 3, "those that were used longest ago go first"
    free = 0  # a full disk: half of what is there may stay
    store.save("last", {"model": {"weight": torch.zeros(100)}})
    assert FEWEST // 3 < len(list(tmp_path.glob("*.pt"))) <= FEWEST // 2 + 1


def test_a_checkpoint_may_hold_masks_of_minus_infinity_and_state_that_is_no_tensor(tmp_path: Path) -> None:
    kept = Checkpoints(Store(tmp_path), ["a"])
    held = {"mask": torch.tensor([0.0, -torch.inf]), "module._extra_state": {"seen": 3}}
    kept.save({"model": held})
    found = kept.latest()
    assert found is not None
    assert torch.equal(found["model"]["mask"], held["mask"])  # type: ignore[arg-type]
    kept.save({"model": {"mask": torch.tensor([0.0, torch.nan])}})
    with pytest.raises(AutopruneError, match=r"a\.pt: the checkpoint holds NaN in mask; delete the file"):
        kept.latest()
