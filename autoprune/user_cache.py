"""What took long on this machine and is kept for the next time: files in the user's cache, each whole or not there."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def cache_folder(kind: str) -> Path:
    """The folder of one kind of files; it may not be there."""
    import platformdirs  # here, because an artifact that answers rarely asks

    return platformdirs.user_cache_path("autoprune") / kind


def keep(path: Path, write: Callable[[BinaryIO], object]) -> OSError | None:
    """Writes a file as a whole or not at all, whoever else writes it meanwhile.

    Args:
        path: of the file; its folder is made.
        write: called with what takes the content.

    Returns:
        What kept it from being written; None: it is there. Without it all goes on, and is computed again another time.
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
