"""Creates a folder completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoprune.errors import AutopruneError


@contextmanager
def made_whole(to: Path) -> Iterator[Path]:
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
