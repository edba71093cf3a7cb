"""Checkpoints by content: the same training is never done twice, and a killed one goes on where it was."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch


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
        path = self._path(key)
        try:
            checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
            path.unlink(missing_ok=True)  # torn by a full disk or a crash; it can be made again
            return None
        return checkpoint

    def save(self, key: str, checkpoint: dict[str, Any]) -> None:
        """Stores a checkpoint (tensors and plain values) so that a reader sees it whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
            torch.save(checkpoint, file)
        Path(file.name).replace(self._path(key))
        self._evict(keep=self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"

    def _evict(self, *, keep: Path) -> None:
        files = sorted(self.folder.glob("*.pt"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in files)
        for path in files:
            if total <= self.limit_bytes:
                return
            if path != keep:
                total -= path.stat().st_size
                path.unlink(missing_ok=True)
