"""Finds the positions whose removal changes the outputs of the next linear layers least, after these are refit.

Optimal Brain Surgeon (Hassibi & Stork 1993, "Second Order Derivatives for Network Pruning") for whole columns of a
linear layer, as in ZipLM (Kurtic et al. 2023, "Inference-Aware Structured Pruning of Language Models"). Of two neurons
that say the same, one costs nothing, however strong both are; importances of single neurons would keep both.
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
"""Rounds in which all positions go. Only after each round are all remaining positions refit …"""

CANDIDATES = 2
"""… while a round removes one position at a time, from this many times as many candidates as it removes."""


class Behind:
    """A linear layer behind an axis, while positions of the axis are removed one after the other.

    Args:
        weights: the layer's weights, float64 [rows, n * width].
        inverse: the inverse of the damped covariance of its inputs, float64 [n * width, n * width].
        width: columns per position.
    """

    def __init__(self, weights: Tensor, inverse: Tensor, width: int) -> None:
        self._weights, self._inverse, self._width = weights, inverse, width

    @classmethod
    def of(cls, table: Linear, known: Moments, width: int) -> Behind:
        """The layer with all positions, and the moments of its inputs."""
        spread = damped(known.to_answer(bias=table.bias is not None), DAMPING)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(spread))
        return cls(table.weights().detach().double(), inverse, width)

    def costs(self) -> Tensor:
        """How far the layer's outputs move, squared, if a single remaining position goes: float64 [n]."""
        columns = _columns(self._weights, self._width)
        solved: Tensor = torch.linalg.solve(_blocks(self._inverse, self._width), columns)
        return (solved * columns).sum((1, 2))

    def part(self, positions: Tensor) -> Behind:
        """The layer with only some positions: they cost the same here, even after others of them are removed."""
        columns = covered(positions, self._width)
        return Behind(self._weights[:, columns], self._inverse[columns][:, columns], self._width)

    def remove(self, positions: Tensor) -> None:
        """Removes some positions and refits the remaining ones."""
        columns = covered(positions, self._width)
        stays = torch.ones(len(self._inverse), dtype=torch.bool, device=columns.device)
        stays[columns] = False
        rows = self._inverse[columns]
        solved = torch.linalg.solve(rows[:, columns], rows[:, stays])
        self._weights = self._weights[:, stays] - self._weights[:, columns] @ solved
        self._inverse = self._inverse[stays][:, stays] - self._inverse[stays][:, columns] @ solved


def width_surgeon(model: Model, axis: Axis, felt: Tensor, context: Context) -> Tensor:
    """The cost of removing each position after all cheaper ones: float64 [size]; 0 if no input reaches the axis.

    The cost is how far the outputs of the linear layers behind move, squared. How much that moves the model's vectors
    differs by axis, so costs are scaled: by how far the vectors move without the axis's positions, summed, over the
    squared length of what these positions add to the outputs.

    Args:
        felt: how far the vectors move, squared, without each position (`width_taylor`): float32 [size].

    Raises:
        OutOfTime: the context's deadline has passed.
    """
    known = moments(model, context)
    tables = {name: (model.tables[name], width) for name, width in maps_behind(model, axis).items() if name in known}
    layers, added = list[Behind](), 0.0
    for name, (table, width) in tables.items():
        if isinstance(table, Linear):
            layers.append(Behind.of(table, known[name], width))
            added += float(_added(table, known[name], width).sum())
    costs = _costs(layers, model.size(axis), context)
    return costs * (float(felt.sum()) / added if added else 0.0)


def _costs(layers: Sequence[Behind], size: int, context: Context) -> Tensor:
    costs, most, count = torch.zeros(size, dtype=torch.float64), 0.0, -(-size // ROUNDS)
    standing = torch.arange(size)
    while layers and len(standing):
        context.deadline.check("ranking positions by what they cost")
        candidates = _total_costs(layers).argsort(stable=True)[: CANDIDATES * count]
        parts, left, gone = [layer.part(candidates) for layer in layers], candidates.tolist(), list[int]()
        while left and len(gone) < count:
            candidate_costs = _total_costs(parts)
            least = int(candidate_costs.argmin())
            most = max(float(candidate_costs[least]), most * (1 + 1e-9))  # later positions cost more than earlier ones
            gone.append(left.pop(least))
            costs[standing[gone[-1]]] = most
            for part in parts:
                part.remove(torch.tensor([least]))
        for layer in layers:
            layer.remove(torch.tensor(gone))
        stays = torch.ones(len(standing), dtype=torch.bool)
        stays[gone] = False
        standing = standing[stays]
    return costs


def _total_costs(layers: Sequence[Behind]) -> Tensor:
    return torch.stack([layer.costs() for layer in layers]).sum(0)


def _added(table: Linear, known: Moments, width: int) -> Tensor:
    """The mean squared length of what each position adds to a layer's outputs: float64 [n]."""
    columns = _columns(table.weights().detach().double(), width)
    return (columns @ columns.mT * _blocks(known.second(), width)).sum((1, 2))


def _columns(weights: Tensor, width: int) -> Tensor:
    """The columns of each position: [n, width, rows] from [rows, n * width]."""
    return weights.T.reshape(-1, width, len(weights))


def _blocks(square: Tensor, width: int) -> Tensor:
    """The blocks on the diagonal: [n, width, width] from [n * width, n * width]."""
    count = len(square) // width
    return square.reshape(count, width, count, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
