"""Which positions the maps behind them miss least, once those that stay make up for those that go.

Optimal Brain Surgeon (Hassibi & Stork 1993, "Second Order Derivatives for Network Pruning"), for whole columns of a
map, which ZipLM does (Kurtic et al. 2023, "Inference-Aware Structured Pruning of Language Models"). Where two neurons
tell the same one of them costs nothing, however strong both are; what looks at each alone keeps both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model, covered
from autoprune.models.table import Linear
from autoprune.packing.compensated import damped
from autoprune.steps.fed import DAMPING, Moments, maps_behind, moments
from autoprune.steps.importance import width_taylor

ROUNDS = 24
"""In which all positions go; of one round none hears of what goes with it."""


class Behind:
    """A map behind an axis, while positions of the axis go one after the other.

    Args:
        table: the map.
        known: of what it is fed.
        width: columns that are one position.

    Attributes:
        carried: the squared length of what each position adds to the answers, in the mean; of all together.
    """

    def __init__(self, table: Linear, known: Moments, *, width: int) -> None:
        self._weights, self._width = table.weights().detach().double(), width
        self._inverse = torch.linalg.inv(damped(known.about_mean(bias=table.bias is not None), DAMPING))
        columns = self._columns
        self.carried = float((columns @ columns.mT * _blocks(known.second.double(), width)).sum())

    def costs(self) -> Tensor:
        """By how much the map's answers move, squared, if one position goes of those that stand: float64 [n]."""
        columns = self._columns
        told: Tensor = torch.linalg.solve(_blocks(self._inverse, self._width), columns)
        return (told * columns).sum((1, 2))

    def remove(self, gone: Tensor) -> None:
        """Has some of the positions that stand go, and those that stay make up for them."""
        columns = covered(gone.to(self._inverse.device), self._width)
        stays = torch.ones(len(self._inverse), dtype=torch.bool, device=columns.device)
        stays[columns] = False
        rows = self._inverse[columns]
        told = torch.linalg.solve(rows[:, columns], rows[:, stays])
        self._weights = self._weights[:, stays] - self._weights[:, columns] @ told
        self._inverse = self._inverse[stays][:, stays] - self._inverse[stays][:, columns] @ told

    @property
    def _columns(self) -> Tensor:
        """Of each position that stands: [n, width, rows]."""
        return self._weights.T.reshape(-1, self._width, len(self._weights))


def width_surgeon(model: Model, axes: Mapping[str, Axis], inputs: Sequence[Any], context: Context) -> dict[str, Tensor]:
    """What it costs that a position goes after all that cost less, by axis: float64 [size]; 0 if no input reaches it.

    By how much the answers behind move, squared. What that is to the vectors differs by layer: it is multiplied by what
    all positions of the layer are to them, to first order (`width_taylor`), as a share of what these carry.

    Args:
        inputs: that tell what positions are to the vectors.

    Raises:
        OutOfTime: the context's deadline is over.
    """
    known, felt = moments(model, context), width_taylor(model, axes, inputs)
    found = {}
    for name, axis in axes.items():
        maps = [
            Behind(table, known[behind], width=width)
            for behind, width in maps_behind(model, axis).items()
            if behind in known and isinstance(table := model.tables[behind], Linear)
        ]
        carried = sum(one.carried for one in maps)
        by = float(felt[name].sum()) / carried if carried else 0.0
        found[name] = by * _costs(maps, model.size(axis), context).to(model.device)
    return found


def _costs(maps: Sequence[Behind], size: int, context: Context) -> Tensor:
    costs, standing, most = torch.zeros(size, dtype=torch.float64), torch.arange(size), 0.0
    while maps and len(standing):
        context.deadline.check("finding which positions are missed least")
        now = torch.stack([one.costs() for one in maps]).sum(0).cpu()
        gone = now.argsort(stable=True)[: -(-size // ROUNDS)]
        for at in gone.tolist():  # who goes later costs more than who went before
            most = max(float(now[at]), most * (1 + 1e-9))
            costs[standing[at]] = most
        for one in maps:
            one.remove(gone)
        stays = torch.ones(len(standing), dtype=torch.bool)
        stays[gone] = False
        standing = standing[stays]
    return costs


def _blocks(square: Tensor, width: int) -> Tensor:
    """What stands along the diagonal: [n, width, width] of [n * width, n * width]."""
    count = len(square) // width
    return square.reshape(count, width, count, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
