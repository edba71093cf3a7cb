"""Users without a row: their vectors, from the items that they have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from autoprune.packing import PackedTable
from autoprune.packing.packed import BLOCK_ROWS

SOLVED_VALUES = 2**20
"""Values of the systems that are solved at a time, and of the rows they are made of: 4 MB, which stay cached."""

STEP = 0.5
"""How far a user goes along the slope of the softmax: as far as was best on three data sets."""

COMPARED = 4096
"""Items that a slope is taken against, at most, so that large catalogues cost no more."""


class Strangers:
    """Gives vectors to users without a row: strangers, and users that pruning removed.

    With rows v_i of the items that a user has seen (H) out of all items (I), the vector u comes of one of two losses.
    The first is a softmax over all items, which the tables are trained with. One Newton step from the vector that tells
    no items apart, where m is the mean of all rows, C their covariance and s its mean diagonal:

        u = (C + ridge * s * 1)⁻¹ (mean of H - m)

    One matrix serves all users. (Where rows lie in normal clouds about the users' means, it is Fisher's linear
    discriminant (1936), drawn towards the difference of the means.) Where the temperature of the training is known, a
    step along the slope of the loss follows, on the sphere, where r is the mean length of the rows:

        u / |u| + STEP * (mean of H - Σ_I softmax(u·v_i / (|u| r temperature)) v_i) / r

    The second, where an `alpha` is given, is that of implicit-feedback ALS (Hu, Koren & Volinsky 2008), whose half-step
    for users is a ridge regression:

        argmin_u  Σ_H (1 - u·v_i)² + alpha Σ_I (u·v_i)² + ridge * s * |u|²,   s = mean diagonal of Σ_I v_i v_iᵀ

    Of whom nothing is known has the vector of the average user. Where items have biases, and where the loss tells
    directions alone (the softmax), vectors are as long as those of users are on average.

    Args:
        items, users: the tables of the model.
        fold_in: as an artifact says it: {ridge, temperature}, the latter only if it is known, or {ridge, alpha}.
        biased: whether items have biases.
    """

    def __init__(
        self,
        items: PackedTable,
        users: PackedTable,
        *,
        fold_in: Mapping[str, float],
        biased: bool,
        device: torch.device,
    ) -> None:
        self._items = items
        self._squares = "alpha" in fold_in
        self._stretched = biased or not self._squares
        self._temperature = fold_in.get("temperature", 0.0)
        dim, lengths = items.dim, 0.0
        gram, total, mean = (torch.zeros(shape, device=device) for shape in ((dim, dim), (dim,), (dim,)))
        for block in _blocks(users, device):
            total += block.sum(0)
            lengths += float(block.norm(dim=1).sum())
        self._average, self._length = total / max(users.rows, 1), lengths / max(users.rows, 1)
        for block in _blocks(items, device):
            gram += block.T @ block
            mean += block.sum(0) / items.rows
        if self._squares:
            moments, penalty = gram, fold_in["alpha"] * gram
        else:
            moments = penalty = gram / max(items.rows, 1) - mean[:, None] * mean
        scale = moments.diagonal().mean().clamp_min(1e-12)
        self._mean, self._penalty = mean, penalty + fold_in["ridge"] * scale * torch.eye(dim, device=device)
        some = torch.linspace(0, max(items.rows - 1, 0), min(items.rows, COMPARED), device=device).long()
        self._compared = items.decode(some) if self._temperature else gram[:0]

    def vectors(self, owner: Tensor, rows: Tensor, *, count: int) -> Tensor:
        """The vectors of `count` users, float32 [count, dim].

        Args:
            owner: who has seen a row, int64 [n], ascending.
            rows: rows of the item table, int64 [n].
        """
        found = self._average.repeat(count, 1)
        seen = torch.bincount(owner, minlength=count)
        starts = torch.nn.functional.pad(seen.cumsum(0), (1, 0)).tolist()
        there = torch.where(seen > 0)[0]
        values = ((seen[there] + len(self._mean)) * len(self._mean)).cumsum(0) // SOLVED_VALUES
        for users in torch.split(there, torch.unique_consecutive(values, return_counts=True)[1].tolist()):
            first, last = starts[int(users[0])], starts[int(users[-1]) + 1]
            theirs = torch.split(self._items.decode(rows[first:last]), seen[users].tolist())
            found[users] = self._of_squares(theirs) if self._squares else self._of_softmax(theirs)
        if self._stretched:
            found[there] = self._length * normalize(found[there])
        return found

    def _of_squares(self, histories: Sequence[Tensor]) -> Tensor:
        """The vectors of users by the rows that each has seen, [users, dim]."""
        systems = torch.stack([torch.addmm(self._penalty, rows.T, rows) for rows in histories])
        found: Tensor = torch.linalg.solve(systems, torch.stack([rows.sum(0) for rows in histories]))
        return found

    def _of_softmax(self, histories: Sequence[Tensor]) -> Tensor:
        """The vectors of users by the rows that each has seen, [users, dim]."""
        means = torch.stack([rows.mean(0) for rows in histories])
        found = normalize(torch.linalg.solve(self._penalty, (means - self._mean).T).T)
        if not self._temperature:
            return found
        length = self._compared.norm(dim=1).mean().clamp_min(1e-12)
        liked = torch.softmax(found @ self._compared.T / (length * self._temperature), dim=1)
        slope = (means - liked @ self._compared) / length
        turned: Tensor = found + STEP * (slope - (slope * found).sum(1, keepdim=True) * found)
        return turned


def _blocks(table: PackedTable, device: torch.device) -> list[Tensor]:
    return [table.decode(rows) for rows in torch.split(torch.arange(table.rows, device=device), BLOCK_ROWS)]
