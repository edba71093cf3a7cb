"""Results that took long to compute, kept as files in the user's cache; each file is complete or absent."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def cache_folder(kind: str) -> Path:
    """The cache folder for one kind of file; it may not exist."""
    import platformdirs  # imported here because a served artifact rarely needs it

    return platformdirs.user_cache_path("autoprune") / kind


def keep(path: Path, write: Callable[[BinaryIO], object]) -> OSError | None:
    """Writes a file completely or not at all, even if other processes write it at the same time.

    Args:
        path: of the file; its folder is created.
        write: called with a binary file to write the content into.

    Returns:
        The error that prevented writing, or None. The caller can go on without the file: it is computed again next
        time.
    """
    draft = path.with_name(f"{path.stem}-{secrets.token_hex(4)}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            write(file)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return error
    return None
