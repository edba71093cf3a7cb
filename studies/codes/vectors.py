"""What codes of few bits keep of the neighbours of vectors, and the bytes that they take.

    .venv/bin/python studies/codes/vectors.py VECTORS.npy [--similarity cosine]

Kept is overlap@10: how many of the ten exact neighbours are found. Nothing is trained, and everything counts that
ships: codes, ids, and the matrix that queries are multiplied by. Codes of a rate are weighed twice: as they ship, and
with their file entropy-coded as a whole, so that what coding each column by itself is worth can be seen.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.models.context import Context
from autoprune.packing.squeezed import squeeze
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.vectors.config import VectorsConfig
from autoprune.vectors.make import make_vectors

RATES = (6.0, 5.0, 4.4, 3.8, 3.2, 2.8, 2.4, 2.0)


def ways() -> dict[str, dict[str, Any]]:
    """The recipes, by what a line is called."""
    found: dict[str, dict[str, Any]] = {
        f"{bits} bits": {"encode": {"quantize": {"bits": bits, "entropy": True}}} for bits in (8, 4, 2)
    }
    for width in (1, 2, 4):
        found[f"product, {width} dimensions a byte"] = {"encode": {"product": {"width": width, "entries": 256}}}
    for sparsity in (0, 0.02, 0.2, 0.35, 0.5):
        cut = {"cut": {"dims": {"sparsity": sparsity, "importance": "pca"}}} if sparsity else {}
        said = f"{100 * sparsity:.0f}% of dimensions cut by PCA, " if sparsity else ""
        for rate in RATES:
            found[f"{said}{rate} bits in the mean"] = {**cut, "encode": {"quantize": {"bits": rate, "entropy": True}}}
        if sparsity > 0.1:
            found[f"{said}8 bits"] = {**cut, "encode": {"quantize": {"bits": 8, "entropy": True}}}
    return found


def main() -> None:
    """Prints a line for each way of coding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--similarity", default="cosine")
    parser.add_argument("--only", default="", help="what the names of ways must hold")
    told = parser.parse_args()
    task = make_vectors(VectorsConfig(vectors=str(told.vectors), similarity=told.similarity))
    whole = artifact.weighed(task.parts(task.model({}, seed=0)))
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("codes", "validation", "test", "bytes", "times smaller", "coded as a whole, times smaller"))
    for name, recipe in ways().items():
        if told.only not in name:
            continue
        steps = plan(recipe, base_defaults={}, runtimes=task.runtimes)
        parts = task.parts(run(steps, task, Context(), trainer=Trainer(task.training)))
        served, metric = serve(parts), task.metrics[task.metric]
        kept = [f"{metric(task.score(served, split)):.3f}" for split in ("validation", "test")]
        size = artifact.weighed(parts)
        with tempfile.TemporaryDirectory() as folder:
            artifact.save(parts, Path(folder, "a"), provenance={})
            tensors = artifact.read(Path(folder, "a")).tensors
        as_one = f"{whole / len(squeeze(save(tensors))):.2f}" if parts.entropy else ""
        table.writerow((name, *kept, size, f"{whole / size:.2f}", as_one))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
