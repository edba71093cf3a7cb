"""What is kept so that nothing is computed twice: shown, and cleared. Nothing that was found rests on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autoprune.record.folder import STORE
from autoprune.user_cache import cache_folder
from autoprune.views.phrases import byte_count


def kept(runs: Path) -> dict[str, Path]:
    """The folders of what is kept, by what it is.

    Args:
        runs: where studies live.
    """
    return {
        "checkpoints of trained models": runs / STORE,
        "a dense encoder's vectors of texts": cache_folder("vectors"),
        "counts of general English": cache_folder("counts"),
        "measured choices of kernels": cache_folder("kernels"),
    }


def told(runs: Path, *, clear: bool) -> Iterator[str]:
    """How much is kept where, a line each; deletes it if asked to. Whatever runs meanwhile goes on."""
    for what, folder in kept(runs).items():
        sizes = []
        for path in folder.glob("**/*"):
            if path.is_file():
                sizes.append(path.stat().st_size)
                if clear:
                    path.unlink(missing_ok=True)
        done = "deleted" if clear else "kept"
        yield f"{what}: {len(sizes):,} files, {byte_count(sum(sizes))} {done} in {folder}"
