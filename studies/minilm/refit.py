"""What it is worth that what stays is refit to what all gave, before any training, and that this decides what goes.

    python studies/minilm/refit.py DATA TEXTS       # DATA holds stsb/ and cranfield/

Cuts of MiniLM, float32, without training: as they are, refit (`refit: true`), and refit where those go that others
make up for best (`importance: surgeon`). Prints what `batches.py` does.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from batches import CUT, Judge

from autoprune.encoder.config import EncoderConfig, EncoderData
from autoprune.encoder.make import make_encoder
from autoprune.encoder.model import Encoder
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

HEADS = {"sparsity": 0.25, "importance": "taylor", "scope": "global"}
CUTS: dict[str, dict[str, Any]] = {
    "25 % of the heads": {"heads": HEADS},
    "30 % of the neurons": {"ffn": {**HEADS, "sparsity": 0.3}},
    "50 % of the neurons": {"ffn": {**HEADS, "sparsity": 0.5}},
    "a layer, 25 % of the heads, 20 % of the neurons": {
        "layers": {"sparsity": 0.17},
        "heads": HEADS,
        "ffn": {**HEADS, "sparsity": 0.2},
    },
    "two layers, 30 % of the neurons, half of the pieces": CUT,
}

SURGEON = {"refit": True, "importance": "surgeon"}


def also(cut: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """A cut whose steps on heads and neurons say more."""
    return {step: {**held, **parameters} if step in ("heads", "ffn") else held for step, held in cut.items()}


def main() -> None:
    """Prints three lines for each cut."""
    data, texts = sys.argv[1:]
    config = EncoderConfig(texts=["general", texts], data=EncoderData(retrieval=str(Path(data) / "cranfield")))
    task = make_encoder(config)
    judge = Judge(Path(data), task, task.model({}, seed=0))
    context = task.context(seed=0, device=torch.device("cpu"))  # which remembers what the dense model is fed
    for name, cut in CUTS.items():
        for way, chosen in (("as it is", cut), ("refit", also(cut, refit=True)), ("surgeon", also(cut, **SURGEON))):
            start = time.monotonic()
            found = plan({"cut": chosen}, base_defaults=task.base)
            model = run(found, task, context, trainer=Trainer(task.training)).eval()
            assert isinstance(model, Encoder), "an encoder task has an encoder"
            seconds = time.monotonic() - start
            print(f"{name}, {way}: {judge.of(model)}; {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
