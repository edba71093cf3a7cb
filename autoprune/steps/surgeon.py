"""Which positions the maps behind them miss least, once those that stay make up for those that go.

Optimal Brain Surgeon (Hassibi & Stork 1993, "Second Order Derivatives for Network Pruning"), for whole columns of a
map, which ZipLM does (Kurtic et al. 2023, "Inference-Aware Structured Pruning of Language Models"). Where two neurons
tell the same one of them costs nothing, however strong both are; what looks at each alone keeps both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model, covered
from autoprune.models.table import Linear
from autoprune.packing.compensated import damped
from autoprune.steps.fed import DAMPING, Moments, maps_behind, moments

ROUNDS = 24
"""In which all positions go: only after each of them are all that stand made up for what went …"""

CANDIDATES = 2
"""… while a round picks one after the other, among so many times as many as go in it."""


class Behind:
    """A map behind an axis, while positions of the axis go one after the other.

    Args:
        weights: of the map, float64 [rows, n * width].
        inverse: of the damped covariance of what it is fed, float64 [n * width, n * width].
        width: columns that are one position.
    """

    def __init__(self, weights: Tensor, inverse: Tensor, width: int) -> None:
        self._weights, self._inverse, self._width = weights, inverse, width

    @classmethod
    def of(cls, table: Linear, known: Moments, width: int) -> Behind:
        """The map with all positions there are, and what it is fed."""
        spread = damped(known.to_answer(bias=table.bias is not None), DAMPING)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(spread))
        return cls(table.weights().detach().double(), inverse, width)

    def costs(self) -> Tensor:
        """By how much the map's answers move, squared, if one position goes of those that stand: float64 [n]."""
        columns = _columns(self._weights, self._width)
        told: Tensor = torch.linalg.solve(_blocks(self._inverse, self._width), columns)
        return (told * columns).sum((1, 2))

    def part(self, positions: Tensor) -> Behind:
        """Some positions alone: what one of them costs once others of them went is the same."""
        columns = covered(positions, self._width)
        return Behind(self._weights[:, columns], self._inverse[columns][:, columns], self._width)

    def remove(self, gone: Tensor) -> None:
        """Has some of the positions that stand go, and those that stay make up for them."""
        columns = covered(gone, self._width)
        stays = torch.ones(len(self._inverse), dtype=torch.bool, device=columns.device)
        stays[columns] = False
        rows = self._inverse[columns]
        told = torch.linalg.solve(rows[:, columns], rows[:, stays])
        self._weights = self._weights[:, stays] - self._weights[:, columns] @ told
        self._inverse = self._inverse[stays][:, stays] - self._inverse[stays][:, columns] @ told


def width_surgeon(model: Model, axis: Axis, felt: Tensor, context: Context) -> Tensor:
    """What it costs that a position goes after all that cost less: float64 [size]; 0 where no input reaches.

    By how much the answers of the maps behind move, squared. What this is to the vectors differs by layer: so it is
    multiplied by how much the vectors feel all positions of the layer, for how much these add to the answers.

    Args:
        felt: how much the vectors change, squared, without each position (`width_taylor`): float32 [size].

    Raises:
        OutOfTime: the context's deadline is over.
    """
    known = moments(model, context)
    tables = {name: (model.tables[name], width) for name, width in maps_behind(model, axis).items() if name in known}
    maps, added = list[Behind](), 0.0
    for name, (table, width) in tables.items():
        if isinstance(table, Linear):
            maps.append(Behind.of(table, known[name], width))
            added += float(_added(table, known[name], width).sum())
    costs = _costs(maps, model.size(axis), context)
    return costs * (float(felt.sum()) / added if added else 0.0)


def _costs(maps: Sequence[Behind], size: int, context: Context) -> Tensor:
    costs, most, count = torch.zeros(size, dtype=torch.float64), 0.0, -(-size // ROUNDS)
    standing = torch.arange(size)
    while maps and len(standing):
        context.deadline.check("finding which positions are missed least")
        near = _together(maps).argsort(stable=True)[: CANDIDATES * count]
        parts, left, gone = [one.part(near) for one in maps], near.tolist(), list[int]()
        while left and len(gone) < count:
            now = _together(parts)
            least = int(now.argmin())
            most = max(float(now[least]), most * (1 + 1e-9))  # who goes later costs more than who went before
            gone.append(left.pop(least))
            costs[standing[gone[-1]]] = most
            for part in parts:
                part.remove(torch.tensor([least]))
        for one in maps:
            one.remove(torch.tensor(gone))
        stays = torch.ones(len(standing), dtype=torch.bool)
        stays[gone] = False
        standing = standing[stays]
    return costs


def _together(maps: Sequence[Behind]) -> Tensor:
    return torch.stack([one.costs() for one in maps]).sum(0)


def _added(table: Linear, known: Moments, width: int) -> Tensor:
    """The squared length of what each position adds to a map's answers, in the mean: float64 [n]."""
    columns = _columns(table.weights().detach().double(), width)
    return (columns @ columns.mT * _blocks(known.second(), width)).sum((1, 2))


def _columns(weights: Tensor, width: int) -> Tensor:
    """Of each position: [n, width, rows] of [rows, n * width]."""
    return weights.T.reshape(-1, width, len(weights))


def _blocks(square: Tensor, width: int) -> Tensor:
    """What stands along the diagonal: [n, width, width] of [n * width, n * width]."""
    count = len(square) // width
    return square.reshape(count, width, count, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
