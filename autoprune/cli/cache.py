"""The caches: how large they are, and how to delete them. No study or artifact depends on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autoprune.record.folder import STORE
from autoprune.user_cache import cache_folder
from autoprune.views.phrases import byte_count


def cache_folders(runs: Path) -> dict[str, Path]:
    """The folder of each cache, by a description of its content.

    Args:
        runs: the folder of all studies.
    """
    return {
        "checkpoints of trained models": runs / STORE,
        "a dense encoder's vectors of texts": cache_folder("vectors"),
        "counts of general English": cache_folder("counts"),
        "measured choices of kernels": cache_folder("kernels"),
    }


def cache_lines(runs: Path, *, clear: bool) -> Iterator[str]:
    """A line for each cache: files, bytes and folder.

    Args:
        runs: the folder of all studies.
        clear: whether the files are deleted; a search that runs at the same time goes on.
    """
    for content, folder in cache_folders(runs).items():
        sizes = []
        for path in folder.glob("**/*"):
            if path.is_file():
                sizes.append(path.stat().st_size)
                if clear:
                    path.unlink(missing_ok=True)
        state = "deleted" if clear else "kept"
        yield f"{content}: {len(sizes):,} files, {byte_count(sum(sizes))} {state} in {folder}"
