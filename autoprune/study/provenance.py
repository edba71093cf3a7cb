"""What an artifact says of where it came from, and what its latency depends on."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import safetensors
import torch

from autoprune.artifacts import artifact
from autoprune.recipes.recipe import digest
from autoprune.version import VERSION


def versions() -> dict[str, str]:
    """Of what an artifact was made with."""
    return {
        "autoprune": VERSION,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


def structure_of(folder: Path) -> str:
    """Names what latency depends on: encodings and the shape of every stored tensor."""
    parts = artifact.read(folder)
    shapes = {
        name: [str(tensor.dtype), *tensor.shape]
        for name, tensor in parts.tensors.items()
        if not name.startswith("ids.")  # compressed: their length says nothing of the work
    }
    return digest({"tables": parts.manifest, "shapes": shapes})
