"""What codes of fewer bits do to the order that a cross-encoder gives, beside its score on labelled pairs.

    .venv/bin/python studies/rerankers/measure.py MODEL STSB_FOLDER --pairs 300 --queries 30 --depth 15

Test data alone: pairs of STS-B's test table, and sentences of news that ask for sentences like them.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import torch

from autoprune.artifacts import artifact
from autoprune.encoder.reranker.config import RerankerConfig, RerankerData
from autoprune.encoder.reranker.make import make_reranker
from autoprune.encoder.reranker.task import RerankerTask
from autoprune.steps.quantize import Quantize

RECIPES = (None, (8, 8), (4, 8), (4, 4), (2, 4), (2, 2))
"""Bits of the word table and of all else; None: the dense model."""

METRICS = ("spearman", "kendall", "overlap@10")


def measured(task: RerankerTask, bits: tuple[int, int] | None, folder: Path) -> list[str]:
    """A row of the table: bits, bytes, metrics."""
    model = task.model({}, seed=0)
    if bits is not None:
        context = task.context(seed=0, device=torch.device("cpu"))
        step = Quantize(bits={"word": bits[0], "body": bits[1]})
        step.advance(model, context, 1.0)
        step.convert(model, context)
    artifact.save(task.parts(model, "onnx"), folder, provenance={})
    served = artifact.load(folder)
    rows = task.score(served, "test")  # type: ignore[arg-type]
    name = "dense" if bits is None else f"words {bits[0]}, body {bits[1]}"
    values = [f"{task.metrics[metric](rows):.4f}" for metric in METRICS]
    return [name, f"{artifact.size_bytes(folder) / 1e6:.1f} MB", *values]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--depth", type=int, default=15)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        pairs = Path(made) / "pairs"
        pairs.mkdir()
        for split in ("dev", "test"):
            lines = next(told.data.glob(f"*{split}*.csv")).read_text().splitlines()
            (pairs / f"{split}.csv").write_text("\n".join(itertools.islice(lines, told.pairs)) + "\n")
        data = RerankerData(pairs=str(pairs), depth=told.depth, queries=told.queries)
        task = make_reranker(RerankerConfig(model=str(told.model), data=data))
        print(task.describe())
        for at, bits in enumerate(RECIPES):
            print("| " + " | ".join(measured(task, bits, Path(made) / str(at))) + " |", flush=True)


if __name__ == "__main__":
    main()
