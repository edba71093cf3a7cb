"""Checkpoints by content: the same training is never done twice, and a killed one goes on where it was."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autoprune.errors import AutopruneError

ABANDONED_S = 3600.0
"""A half-written checkpoint of this age belongs to nobody: whoever wrote it was killed."""


class Store:
    """A folder of checkpoints named by what they were made from.

    Once the folder outgrows `limit_bytes` the checkpoints that were used longest ago are deleted; a study that
    needs one of them again trains again.

    Args:
        folder: made on the first save.
        limit_bytes: size at which old checkpoints go.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 4_000_000_000) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def load(self, key: str) -> dict[str, Any] | None:
        """The checkpoint stored under `key`; None if there is none or the file is damaged."""
        path = self.path(key)
        try:
            checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
            path.unlink(missing_ok=True)  # torn by a full disk or a crash; it can be made again
            return None
        return checkpoint

    def save(self, key: str, checkpoint: dict[str, Any]) -> None:
        """Stores a checkpoint (tensors and plain values) so that a reader sees it whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
            try:
                torch.save(checkpoint, file)
            except BaseException:
                Path(file.name).unlink()
                raise
        Path(file.name).replace(self.path(key))
        self._evict(keep=self.path(key))

    def path(self, key: str) -> Path:
        """Where the checkpoint under a key lies, if it is there."""
        return self.folder / f"{key}.pt"

    def _evict(self, *, keep: Path) -> None:
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*.pt"):
            with contextlib.suppress(FileNotFoundError):  # another study may be tidying up too
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        for draft in self.folder.glob("*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > ABANDONED_S:
                    draft.unlink()
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total > self.limit_bytes and path != keep:
                total -= size
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Checkpoints:
    """Where a training finds where it was left, and leaves its own.

    Attributes:
        store: None keeps nothing.
        keys: one for each training that begins as this one does, shortest first; the last is this one's own.
    """

    store: Store | None
    keys: Sequence[str]

    def latest(self) -> dict[str, Any] | None:
        """Its own checkpoint, or that of the longest of the others; None if there is none.

        Raises:
            AutopruneError: there is NaN in it, which every later stage would inherit.
        """
        for key in reversed(self.keys):
            checkpoint = self.store.load(key) if self.store else None
            # A training that nothing was to go on from kept no optimiser.
            if self.store and checkpoint and (key == self.keys[-1] or "optimizer" in checkpoint):
                _refuse_nan(checkpoint["model"], self.store.path(key))
                return checkpoint
        return None

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Keeps a checkpoint as this training's own."""
        if self.store:
            self.store.save(self.keys[-1], checkpoint)


def _refuse_nan(state: dict[str, torch.Tensor], path: Path) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise AutopruneError(
                f"{path}: the checkpoint holds NaN or infinite values in {name}; delete the file, and "
                "what it held is trained again."
            )
