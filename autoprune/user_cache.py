"""Results that took long to compute, kept as files in the user's cache; each file is complete or absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from autoprune.whole import whole_file


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
    try:
        with whole_file(path) as draft, draft.open("xb") as file:
            write(file)
    except OSError as error:
        return error
    return None
