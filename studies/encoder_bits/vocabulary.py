"""How far the vectors of all-MiniLM-L6-v2 move by a cut of its vocabulary, by what was counted; nothing is trained.

    python studies/encoder_bits/vocabulary.py DATA texts.txt     # texts: of studies/minilm/texts.py, or your own

The mean of 1 - cosine to the dense vectors of the texts that `vectors.py` reads. Needs wordnet-base and dict-gcide.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from vectors import read

from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.make import make_encoder
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

CUTS = (0.2, 0.3, 0.4, 0.5, 0.6)


def main() -> None:
    """Prints a line for each corpus and cut, as soon as it is measured."""
    data, own = Path(sys.argv[1]), sys.argv[2]
    counted = {"news": None, "news, general": ["general"], "texts": [own], "texts, general": ["general", own]}
    for name, texts in counted.items():
        task = make_encoder(EncoderConfig(texts=texts))
        context, dense = task.context(seed=0, device=torch.device("cpu")), task.model({}, seed=0)
        asked = read(data, dense)
        with torch.no_grad():
            wanted = {source: dense.calibrate(held) for source, held in asked.items()}
        for cut in CUTS:
            recipe = {"cut": {"rows": {"sparsity": {"vocab": cut}}}}
            model = run(plan(recipe, base_defaults=task.base), task, context, trainer=Trainer(task.training))
            with torch.no_grad():
                moved = {
                    source: float((1 - (model.calibrate(held) * wanted[source]).sum(1)).mean())
                    for source, held in asked.items()
                }
            print(f"{name:16} -{cut:.0%}  " + "  ".join(f"{source} {far:.4f}" for source, far in moved.items()))


if __name__ == "__main__":
    main()
