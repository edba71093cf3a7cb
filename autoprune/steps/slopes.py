"""How the vectors of a model answer to its weights: slopes by random directions of the vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.models.context import Context
from autoprune.models.model import Model

BATCH = 16
"""Inputs whose vectors are held at a time, with all that their slopes take."""


def slopes(
    model: Model, names: Collection[str], inputs: Sequence[Any], context: Context, *, directions: int
) -> Iterator[dict[str, Tensor]]:
    """The slopes of the weights of tables by random directions of the vectors of some inputs, again and again.

    Each time every vector of a batch has a direction of its own, of independent normal numbers. So the mean of the
    outer product of slopes, times the number of batches, is the Gauss-Newton matrix of the weights: how far the vectors
    of all inputs move by a small change of them, squared (Schraudolph 2002, "Fast Curvature Matrix-Vector Products";
    by random directions: Hutchinson 1990).

    Args:
        directions: of each batch.

    Yields:
        By table float32 [rows, dim], without tables that no input of the batch passes through.
    """
    weights = [model.tables[name].weight for name in names]
    draw = torch.Generator().manual_seed(context.seed)
    for start in range(0, len(inputs), BATCH):
        with torch.enable_grad():
            context.deadline.check("measuring slopes")
            vectors = model.calibrate(inputs[start : start + BATCH])
            for left in reversed(range(directions)):  # memory of a batch is given back with its last direction
                along = torch.randn(vectors.shape, generator=draw).to(vectors.device)
                total = (vectors * along).sum()
                found = torch.autograd.grad(total, weights, retain_graph=left > 0, allow_unused=True)
                yield {name: slope for name, slope in zip(names, found, strict=True) if slope is not None}
                del found
