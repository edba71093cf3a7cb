"""How far the vectors of all-MiniLM-L6-v2 move by the bits of its weights and how they are rounded: a quick look.

    python studies/encoder_bits/vectors.py DATA                      # a folder with stsb/, cranfield/ and banking77/

The mean of 1 - cosine to the dense vectors, in torch, with activations as they are: 100 sentences of STS-B's dev file,
40 of Banking77's training texts, 12 beginnings of Cranfield's documents. Codes are fitted to the news inside gensim.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.encoder.benchmarks.trec import read_documents
from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.make import make_encoder
from autoprune.encoder.model import Encoder
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

RECIPES: dict[str, dict[str, Any]] = {
    "4 bits": {"bits": {"word": 4, "body": 4}},
    "4 bits, compensated": {"bits": {"word": 4, "body": 4}, "compensate": True},
    "words 3 bits, body 4, compensated": {"bits": {"word": 3, "body": 4}, "compensate": True},
    "words 2.2, body 4.0": {"bits": {"word": 2.2, "body": 4.0}, "entropy": True},
    "the same, compensated": {"bits": {"word": 2.2, "body": 4.0}, "compensate": True, "entropy": True},
    "words 2.0, body 3.6, compensated": {
        "bits": {"word": 2.0, "body": 3.6},
        "compensate": True,
        "entropy": True,
    },
}


def read(data: Path, dense: Encoder) -> dict[str, list[str]]:
    """Some texts of each source."""
    draw = random.Random(0)
    with (data / "stsb" / "stsb-en-dev.csv").open(encoding="utf-8") as file:
        pairs = draw.sample(list(csv.reader(file)), 50)
    with (data / "banking77" / "train.csv").open(encoding="utf-8") as file:
        asked = draw.sample([row["text"] for row in csv.DictReader(file)], 40)
    pages = draw.sample(list(read_documents(data / "cranfield" / "cran.all.1400.xml", "cranfield").values()), 12)
    return {
        "STS-B": [row[0] for row in pairs] + [row[1] for row in pairs],
        "Banking77": asked,
        "Cranfield": [text for text in dense.tokenizer.shortened(pages, 64) if text],
    }


def main() -> None:
    """Prints a line for each recipe, as soon as it is measured."""
    task = make_encoder(EncoderConfig())
    context, dense = task.context(seed=0, device=torch.device("cpu")), task.model({}, seed=0)
    assert isinstance(dense, Encoder), "an encoder task has an encoder"
    texts = read(Path(sys.argv[1]), dense)

    def vectors(model: Encoder) -> dict[str, Tensor]:
        with torch.no_grad():
            return {name: model.calibrate(held) for name, held in texts.items()}

    wanted = vectors(dense)
    print(f"| | {' | '.join(wanted)} |\n|{' --- |' * (len(wanted) + 1)}", flush=True)
    for name, parameters in RECIPES.items():
        recipe = plan({"quantize": parameters}, base_defaults=task.base)
        model = run(recipe, task, context, trainer=Trainer(task.training))
        assert isinstance(model, Encoder), "an encoder task has an encoder"
        apart = (1 - (found * wanted[source]).sum(1).mean() for source, found in vectors(model).items())
        print(f"| {name} | {' | '.join(f'{float(one):.4f}' for one in apart)} |", flush=True)


if __name__ == "__main__":
    main()
