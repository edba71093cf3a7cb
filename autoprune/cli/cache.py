"""What is kept so that nothing is computed twice: shown, and cleared. Nothing that was found rests on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import platformdirs

from autoprune.record.folder import STORE
from autoprune.views.phrases import byte_count


def kept(runs: Path) -> dict[str, Path]:
    """The folders of what is kept, by what it is.

    Args:
        runs: where studies live.
    """
    home = platformdirs.user_cache_path("autoprune")
    return {
        "checkpoints of trained models": runs / STORE,
        "a dense encoder's vectors of texts": home / "vectors",
        "counts of general English": home / "counts",
        "measured choices of kernels": home / "kernels",
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
