"""Files and folders that appear completely or not at all, even if their writer is killed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autoprune.errors import AutopruneError

DRAFT = ".tmp"
"""The end of the name of a file's draft; one that is not written any more was left by a killed process."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The path of a draft to write. It replaces `path` at the end; if writing fails, it is removed.

    Several processes may write the same file at the same time; the last one wins.

    Args:
        path: of the file; its folder is created.

    Raises:
        OSError: the folder cannot be created, or the file cannot be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}-{secrets.token_hex(4)}{DRAFT}")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


@contextmanager
def whole_folder(to: Path) -> Iterator[Path]:
    """An empty folder to fill. It becomes `to` once it is filled; if that fails, it is removed.

    Raises:
        AutopruneError: `to` exists already.
    """
    if to.exists():
        raise AutopruneError(f"--to {str(to)!r} exists already; name a new folder or remove it first.")
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = to.parent / f".draft-{to.name}-{os.getpid()}"
    try:
        draft.mkdir()
        yield draft
        draft.rename(to)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
