"""What batches teach as they are drawn: of texts of any length, or of like length; and of passages of long texts too.

    python studies/minilm/batches.py DATA TEXTS [EPOCHS [SEED]]       # DATA holds stsb/ and cranfield/

Four of MiniLM's six layers, with 30 % of the neurons and half of the pieces gone, distilled on TEXTS for EPOCHS (2).
Prints, before and after it, nDCG@10 of Cranfield's validation queries as a ratio to the dense model's, and the mean of
1 - cosine to the dense vectors: sentences of STS-B's dev file, Cranfield's documents as far as 64 tokens, and its
validation queries. Texts are read end to end in any case, so that seconds do not tell what padding costs.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from autoprune.encoder.benchmarks.retrieval import Retrieval
from autoprune.encoder.benchmarks.trec import read_documents
from autoprune.encoder.config import EncoderConfig, EncoderData
from autoprune.encoder.make import make_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.task import EncoderTask
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

CUT = {
    "layers": {"sparsity": 0.34, "importance": "even"},
    "ffn": {"sparsity": 0.3, "importance": "taylor", "scope": "global"},
    "rows": {"sparsity": {"vocab": 0.5}, "importance": "frequency"},
}

WINDOWS = {"of any length": 1, "of like length, among 16 batches": 16, "of like length, among 64": 64}
"""Batches among which texts are sorted by length."""

PASSAGE_TOKENS, USUAL = 32, (2, 0)
"""USUAL: epochs, and the seed."""


def drawn(lengths: Tensor, *, count: int, size: int, window: int) -> Sequence[Tensor]:
    """Positions of an epoch's texts in batches."""
    chosen, batches = torch.randperm(len(lengths))[:count], list[Tensor]()
    for part in torch.split(chosen, window * size):
        batches += torch.split(part[lengths[part].argsort(stable=True)], size)
    full = [batch for batch in batches if len(batch) > 1]
    return [full[at] for at in torch.randperm(len(full)).tolist()]


def read(data: Path, task: EncoderTask, dense: Encoder) -> dict[str, list[str]]:
    """What judges, by source."""
    with (data / "stsb" / "stsb-en-dev.csv").open(encoding="utf-8") as file:
        pairs = list(csv.reader(file))
    folder = data / "cranfield"
    pages = list(read_documents(folder / "cran.all.1400.xml", "cranfield").values())
    [asked] = [one.collection.queries["validation"] for one in task.benchmarks if isinstance(one, Retrieval)]
    return {
        "STS-B": [sentence for row in pairs for sentence in row[:2]],
        "Cranfield's documents": [text for text in dense.tokenizer.shortened(pages, 64) if text],
        "its queries": asked,
    }


class Judge:
    """How near a model is to the dense one, in a few words."""

    def __init__(self, data: Path, task: EncoderTask, dense: Encoder) -> None:
        self._task, self._judging, self._quality = task, read(data, task, dense), task.validate(dense)
        with torch.no_grad():
            self._wanted = {name: normalize(dense.calibrate(held)) for name, held in self._judging.items()}

    def of(self, model: Encoder) -> str:
        """nDCG@10 as a ratio, and 1 - cosine by source."""
        far = []
        with torch.no_grad():
            for name, held in self._judging.items():
                near = (normalize(model.calibrate(held)) * self._wanted[name]).sum(1)
                far.append(f"{name} {1 - float(near.mean()):.4f}")
        return f"nDCG@10 {self._task.validate(model) / self._quality:.3f}x, {', '.join(far)}"


def main() -> None:
    """Prints a line for each way."""
    data, texts, *more = sys.argv[1:]
    epochs, seed = [*map(int, more), *USUAL[len(more) :]]
    config = EncoderConfig(texts=["general", texts], data=EncoderData(retrieval=str(Path(data) / "cranfield")))
    task = make_encoder(config)
    dense = task.model({}, seed=0)
    judge = Judge(Path(data), task, dense)
    lengths = torch.tensor([len(ids) for ids in dense.tokens(task._distilled)])

    def show(name: str, task: EncoderTask, recipe: dict[str, Any]) -> None:
        start, context = time.monotonic(), task.context(seed=seed, device=torch.device("cpu"))
        model = run(plan(recipe, base_defaults=task.base), task, context, trainer=Trainer(task.training)).eval()
        assert isinstance(model, Encoder), "an encoder task has an encoder"
        seconds = time.monotonic() - start
        print(f"{name}: {judge.of(model)}; {seconds:.0f} s", flush=True)

    trained = {"cut": CUT, "tune": {"epochs": epochs}}
    show("untrained", task, {"cut": CUT})
    passages = make_encoder(dataclasses.replace(config, passage_tokens=PASSAGE_TOKENS))
    passages.ready()
    show("of any length, with passages", passages, trained)
    for name, window in WINDOWS.items():
        batches = partial(drawn, lengths, count=config.texts_per_epoch, size=config.texts_per_update, window=window)
        task.batches = batches  # type: ignore[method-assign]
        show(name, task, trained)


if __name__ == "__main__":
    main()
