"""What is written down of an artifact: what it was made with, and the structure that its latency depends on."""

from __future__ import annotations

import platform

import numpy as np
import safetensors
import torch

from autoprune.artifacts.served import Parts
from autoprune.recipes.recipe import digest
from autoprune.version import VERSION

UNTIMED = ("stored_bits",)
"""Of a manifest, what no answer waits for."""


def versions() -> dict[str, str]:
    """Of what an artifact was made with."""
    return {
        "autoprune": VERSION,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


def structure_of(parts: Parts) -> str:
    """Names what latency depends on: encodings and the shape of every stored tensor."""
    shapes = {  # archives have named types as torch does from the first
        name: [f"torch.{array.dtype}", *array.shape]
        for name, array in parts.tensors.items()
        if not name.startswith("ids.")  # compressed: their length says nothing of the work
    }
    timed = {name: held for name, held in parts.manifest.items() if name not in UNTIMED}
    return digest({"tables": timed, "shapes": shapes})
