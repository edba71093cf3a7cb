"""How a model's vectors depend on its weights: gradients along random directions of the vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.models.context import Context
from autoprune.models.model import Model

BATCH = 16
"""Inputs whose vectors and computation graph are in memory at a time."""


def slopes(
    model: Model, names: Collection[str], inputs: Sequence[Any], context: Context, *, directions: int
) -> Iterator[dict[str, Tensor]]:
    """Gradients of inputs' vectors, projected on random directions, with respect to the weights of tables.

    Every vector of a batch gets its own direction of independent normal numbers. So the mean outer product of these
    slopes, times the number of batches, estimates the Gauss-Newton matrix of the weights: how far a small change of
    them moves the vectors of all inputs, squared (Schraudolph 2002, "Fast Curvature Matrix-Vector Products"; random
    directions: Hutchinson 1990).

    Args:
        directions: how many slopes are yielded per batch.

    Yields:
        By table, float32 [rows, dim], without tables that no input of the batch passes through.
    """
    weights = [model.tables[name].weight for name in names]
    generator = torch.Generator().manual_seed(context.seed)
    for start in range(0, len(inputs), BATCH):
        with torch.enable_grad():
            context.deadline.check("measuring slopes")
            vectors = model.calibrate(inputs[start : start + BATCH])
            for left in reversed(range(directions)):  # the last direction frees the graph
                direction = torch.randn(vectors.shape, generator=generator).to(vectors.device)
                projected = (vectors * direction).sum()
                gradients = torch.autograd.grad(projected, weights, retain_graph=left > 0, allow_unused=True)
                yield {name: slope for name, slope in zip(names, gradients, strict=True) if slope is not None}
                del gradients
