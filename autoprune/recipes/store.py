"""Checkpoints by content: the same training is never done twice, and a killed one goes on where it was."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from autoprune.errors import AutopruneError

ABANDONED_S = 600.0
"""A half-written checkpoint to which nothing was added for so long belongs to nobody: whoever wrote it was killed."""

LIMIT_BYTES = 4_000_000_000
"""Size at which old checkpoints go, unless …"""

FEWEST = 64
"""… so many of the largest take more, and there is room for these: a search trains some forty recipes in rungs."""

ROOM = 0.5
"""The share of what is free on the disk, and of what the folder takes, that it may take."""


class Store:
    """A folder of checkpoints named by what they were made from, shared by studies and by their processes.

    Whoever reads one sees it whole or not at all, whatever others write and whoever is killed, and every tensor is
    checked against its CRC-32. Once the folder outgrows its limit the checkpoints that were used longest ago are
    deleted; a study that needs one of them again trains again.

    Args:
        folder: made on the first save.
        limit_bytes: size at which old checkpoints go; None: `LIMIT_BYTES`, or more where checkpoints are large.
    """

    def __init__(self, folder: Path, *, limit_bytes: int | None = None) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def load(self, key: str) -> dict[str, Any] | None:
        """The checkpoint stored under `key`; None if there is none or the file is damaged."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                _check(file)
                checkpoint: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        except FileNotFoundError:
            return None
        except DAMAGES:
            with contextlib.suppress(OSError):
                path.unlink()  # torn by a full disk or a crash, or altered; it can be made again
            return None
        with contextlib.suppress(OSError):  # somebody else's, or cleared meanwhile
            os.utime(path)
        return checkpoint

    def save(self, key: str, checkpoint: dict[str, Any]) -> None:
        """Stores a checkpoint (tensors and plain values) so that a reader sees it whole or not at all.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"{key}-{secrets.token_hex(4)}.tmp"
        try:
            with draft.open("xb") as file:
                _write(checkpoint, file)
            with contextlib.suppress(FileNotFoundError):  # the store was cleared meanwhile
                draft.replace(self.path(key))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._evict(keep=self.path(key))

    def clear(self) -> None:
        """Deletes all checkpoints, half-written ones too."""
        for path in [*self.folder.glob("*.pt"), *self.folder.glob("*.tmp")]:
            path.unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        """Where the checkpoint under a key lies, if it is there."""
        return self.folder / f"{key}.pt"

    def _evict(self, *, keep: Path) -> None:
        found: list[tuple[float, int, Path]] = []
        total = 0
        for path in [*self.folder.glob("*.pt"), *self.folder.glob("*.tmp")]:
            with contextlib.suppress(FileNotFoundError):  # another study may be tidying up too
                about = path.stat()
                if path.suffix == ".pt":
                    found.append((about.st_mtime, about.st_size, path))
                elif time.time() - about.st_mtime > ABANDONED_S:
                    path.unlink()
                    continue
                total += about.st_size
        limit = self._limit(total, largest=max((size for _, size, _ in found), default=0))
        for _, size, path in sorted(found):
            if total > limit and path != keep:
                total -= size
                path.unlink(missing_ok=True)

    def _limit(self, total: int, *, largest: int) -> float:
        if self.limit_bytes is not None:
            return self.limit_bytes
        room = ROOM * (total + shutil.disk_usage(self.folder).free)
        return max(LIMIT_BYTES, min(FEWEST * largest, room))


DAMAGES = (RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)
"""What readers make of a file that is no checkpoint; the first is PyTorch's, and NotImplementedError is one of it."""


def _check(file: IO[bytes]) -> None:
    """Checks everything in a checkpoint against its CRC-32, which PyTorch writes and does not read.

    Raises:
        One of DAMAGES.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # PyTorch reads nothing of what is marked as a folder, and no CRC covers that mark.
            marked = [entry.filename for entry in archive.infolist() if entry.external_attr]
            damaged = archive.testzip() or next(iter(marked), None)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError("its table of contents names a place before its beginning") from error
    if damaged is not None:
        raise ValueError(damaged)
    file.seek(0)


def _write(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
    """Writes a checkpoint; PyTorch hides why that is not possible."""
    refused: list[OSError] = []

    class Writing:
        flush = file.flush

        def write(self, content: Any) -> int:
            try:
                return file.write(content)
            except OSError as error:
                refused.append(error)
                raise

    try:
        torch.save(checkpoint, Writing())  # type: ignore[arg-type]  # it needs no more than this
    except RuntimeError as error:
        if refused:
            raise refused[0] from error
        raise


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


def _refuse_nan(state: dict[str, Any], path: Path) -> None:
    """Refuses NaN alone: a mask may well be infinite. What a module keeps beside tensors is its own affair."""
    for name, held in state.items():
        if isinstance(held, torch.Tensor) and held.is_floating_point() and held.isnan().any():
            raise AutopruneError(
                f"{path}: the checkpoint holds NaN in {name}; delete the file, and what it held is trained again."
            )
