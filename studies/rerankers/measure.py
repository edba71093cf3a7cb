"""What codes of fewer bits do to the order that a cross-encoder gives: nothing is trained, test data alone.

    python studies/rerankers/measure.py MADE              # the folder that finetune.py wrote

Everything is measured as it ships: saved, read again, asked under onnxruntime.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.encoder.reranker.config import RerankerConfig, RerankerData
from autoprune.encoder.reranker.make import make_reranker
from autoprune.encoder.reranker.served import Reranker
from autoprune.encoder.reranker.task import RerankerTask
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

DEPTH = 15


def coded(word: int, body: int, **more: bool) -> dict[str, Any]:
    """The recipe of such bits."""
    return {"runtime": "onnx", "tune": {"quantize": {"bits": {"word": word, "body": body}, **more}}}


RECIPES: dict[str, dict[str, Any]] = {
    "dense": {"runtime": "onnx"},
    "8 bits": coded(8, 8),
    "words 4 bits, body 8": coded(4, 8),
    "4 bits": coded(4, 4),
    "4 bits, compensated": coded(4, 4, compensate=True),
    "words 2 bits, body 4": coded(2, 4),
}

METRICS = ("ndcg@10", "mrr@10", "spearman", "accuracy", "kendall", "overlap@10")


def measured(task: RerankerTask, recipe: Mapping[str, Any], folder: Path) -> tuple[float, list[float]]:
    """Bytes, and the metrics."""
    made = plan(recipe, base_defaults=task.base, runtimes=task.runtimes)
    model = run(made, task, task.context(seed=0, device=torch.device("cpu")), trainer=Trainer(task.training))
    artifact.save(task.parts(model, "onnx"), folder, provenance={})  # type: ignore[arg-type]
    served = serve(artifact.read(folder))
    assert isinstance(served, Reranker), "as its artifact says"
    rows = task.score(served, "test")
    return artifact.size_bytes(folder), [task.metrics[name](rows) for name in METRICS]


def main() -> None:
    """Prints a line for each recipe, as soon as it is measured."""
    made = Path(sys.argv[1])
    data = RerankerData(retrieval=str(made / "beir"), pairs=str(made / "pairs"), depth=DEPTH)
    task = make_reranker(RerankerConfig(model=str(made / "model"), data=data))
    print(f"{task.describe()}\n\n| | MB | {' | '.join(METRICS)} |\n|{' --- |' * (len(METRICS) + 2)}", flush=True)
    for at, (name, recipe) in enumerate(RECIPES.items()):
        with tempfile.TemporaryDirectory() as folder:
            size, values = measured(task, recipe, Path(folder) / str(at))
        print(f"| {name} | {size / 1e6:.1f} | {' | '.join(f'{one:.4f}' for one in values)} |", flush=True)


if __name__ == "__main__":
    main()
