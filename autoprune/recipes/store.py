"""Checkpoints by content: the same training is never done twice, and a killed one continues where it was."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
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
from autoprune.whole import DRAFT, whole_file

ABANDONED_S = 600.0
"""A half-written checkpoint that has not grown for so long is abandoned: its writer was killed."""

LIMIT_BYTES = 4_000_000_000
"""Folder size above which old checkpoints are deleted, unless …"""

FEWEST = 64
"""… so many of the largest size need more and there is room for them: a search trains some forty recipes in rungs."""

ROOM = 0.5
"""The share of the free disk space, plus its own size, that the folder may take."""


class Store:
    """A folder of checkpoints named by what they were made from, shared by studies and their processes.

    A reader sees a checkpoint whole or not at all, even if a writer is killed, and every tensor is checked against its
    CRC-32. Once the folder exceeds its limit, the least recently used checkpoints are deleted; a study that needs one
    again trains again.

    Args:
        folder: created on the first save.
        limit_bytes: size above which old checkpoints are deleted; None: `LIMIT_BYTES`, or more for large checkpoints.
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
                path.unlink()  # torn by a full disk or a crash, or altered; it can be rebuilt
            return None
        with contextlib.suppress(OSError):  # it belongs to another user, or was deleted meanwhile
            os.utime(path)
        return checkpoint

    def value(self, key: str, name: str) -> Any:
        """A plain value in a checkpoint, unchecked, without reading the tensors; None if there is none."""
        try:
            return torch.load(self.path(key), weights_only=True, map_location="cpu", mmap=True).get(name)
        except (OSError, *DAMAGES):  # OSError: also for a file cut to nothing, which cannot be mapped
            return None

    def save(self, key: str, checkpoint: dict[str, Any]) -> None:
        """Stores a checkpoint (tensors and plain values) so that a reader sees it whole or not at all.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        with (
            contextlib.suppress(FileNotFoundError),  # the store was cleared meanwhile
            whole_file(self.path(key)) as draft,
            draft.open("xb") as file,
        ):
            _write(checkpoint, file)
        self._evict(keep=self.path(key))

    def clear(self) -> None:
        """Deletes all checkpoints, half-written ones too."""
        for path in [*self.folder.glob("*.pt"), *self.folder.glob(f"*{DRAFT}")]:
            path.unlink(missing_ok=True)

    def path(self, key: str) -> Path:
        """The path of the checkpoint under a key, whether it exists or not."""
        return self.folder / f"{key}.pt"

    def _evict(self, *, keep: Path) -> None:
        checkpoints: list[tuple[float, int, Path]] = []
        total = 0
        for path in [*self.folder.glob("*.pt"), *self.folder.glob(f"*{DRAFT}")]:
            with contextlib.suppress(FileNotFoundError):  # another study may be deleting too
                info = path.stat()
                if path.suffix == ".pt":
                    checkpoints.append((info.st_mtime, info.st_size, path))
                elif time.time() - info.st_mtime > ABANDONED_S:
                    path.unlink()
                    continue
                total += info.st_size
        limit = self._limit(total, largest=max((size for _, size, _ in checkpoints), default=0))
        for _, size, path in sorted(checkpoints):
            if total > limit and path != keep:
                total -= size
                path.unlink(missing_ok=True)

    def _limit(self, total: int, *, largest: int) -> float:
        if self.limit_bytes is not None:
            return self.limit_bytes
        room = ROOM * (total + shutil.disk_usage(self.folder).free)
        return max(LIMIT_BYTES, min(FEWEST * largest, room))


DAMAGES = (RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)
"""Errors that readers raise on a damaged file; RuntimeError is PyTorch's, and includes NotImplementedError."""


def _check(file: IO[bytes]) -> None:
    """Checks everything in a checkpoint against its CRC-32, which PyTorch writes but does not check.

    Raises:
        One of DAMAGES.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # PyTorch reads no entry that is marked as a folder, and no CRC covers that mark.
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
    """Writes a checkpoint, raising the original OSError, which PyTorch hides."""
    errors: list[OSError] = []

    class Writing:
        flush = file.flush

        def write(self, content: Any) -> int:
            try:
                return file.write(content)
            except OSError as error:
                errors.append(error)
                raise

    try:
        torch.save(checkpoint, Writing())  # type: ignore[arg-type]  # torch needs no more than this
    except RuntimeError as error:
        if errors:
            raise errors[0] from error
        raise


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints from which a training can resume, and its own.

    Attributes:
        store: None: nothing is kept.
        keys: one for each training that begins like this one, shortest first; the last is this one's own.
    """

    store: Store | None
    keys: Sequence[str]

    def latest(self) -> dict[str, Any] | None:
        """The training's own checkpoint, or else that of the longest beginning; None if there is none.

        Raises:
            AutopruneError: it holds NaN, which every later stage would inherit.
        """
        for key in reversed(self.keys):
            checkpoint = self.store.load(key) if self.store else None
            # A checkpoint without an optimizer belongs to a training that cannot be continued.
            if self.store and checkpoint and (key == self.keys[-1] or "optimizer" in checkpoint):
                _refuse_nan(checkpoint["model"], self.store.path(key))
                return checkpoint
        return None

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Keeps a checkpoint as this training's own."""
        if self.store:
            self.store.save(self.keys[-1], checkpoint)


def _refuse_nan(state: dict[str, Any], path: Path) -> None:
    """Refuses NaN, but not infinity, which masks may hold; values other than tensors are not checked."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.isnan().any():
            raise AutopruneError(
                f"{path}: the checkpoint holds NaN in {name}; delete the file, and its model is trained again."
            )
