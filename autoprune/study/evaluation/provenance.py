"""Provenance of an artifact: the versions that it was made with, and the structure that its latency depends on."""

from __future__ import annotations

import platform

import numpy as np
import safetensors
import torch

from autoprune.artifacts.served import Parts
from autoprune.recipes.recipe import digest
from autoprune.version import VERSION

UNTIMED = ("stored_bits",)
"""Entries of a manifest that do not affect latency."""


def versions() -> dict[str, str]:
    """The versions that an artifact is made with."""
    return {
        "autoprune": VERSION,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


def structure_of(parts: Parts) -> str:
    """A digest of what latency depends on: the encodings and the shape of every stored tensor."""
    shapes = {  # types are named as torch names them, as in existing archives
        name: [f"torch.{array.dtype}", *array.shape]
        for name, array in parts.tensors.items()
        if not name.startswith("ids.")  # compressed, so their length says nothing about the work
    }
    timed = {name: table for name, table in parts.manifest.items() if name not in UNTIMED}
    return digest({"tables": timed, "shapes": shapes})
