"""Vectors of users without a row, from the items that they have seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from autoprune.packing import PackedTable
from autoprune.packing.arrays import Array, bounds, cast, filled, namespace, norms, numbers, run_sums, tensor_of
from autoprune.packing.ids import Rows
from autoprune.packing.packed import BLOCK_ROWS

SOLVED_VALUES = 2**20
"""Values of the systems that are solved at a time and of their rows: 4 MB, which stay in the cache."""

STEP = 0.5
"""Size of a step along the slope of the softmax, see `studies/strangers`."""

COMPARED = 4096
"""At most so many items enter a slope, which bounds its cost for large catalogues."""


class Strangers:
    """Gives vectors to users without a row: strangers, and users that pruning removed.

    Of all items I, a user has seen the items H; item i has the row v_i. The vector u is fitted to one of two losses.
    The first is the training loss of the tables, a softmax over all items. u is one Newton step from the vector that
    scores all items alike, where m is the mean of all rows, C their covariance and s the mean of its diagonal:

        u = (C + ridge * s * 1)⁻¹ (mean of H - m)

    The same matrix serves all users. (If rows are normally distributed about the users' means, u is Fisher's linear
    discriminant (1936), shrunk towards the difference of the means.) If the temperature of the training is known,
    `steps` steps along the slope of the loss on the sphere follow, where r is the mean length of the rows:

        u / |u| + STEP * (mean of H - Σ_I softmax(u·v_i / (|u| r temperature)) v_i) / r

    The second, if `alpha` is given, is the loss of implicit-feedback ALS (Hu, Koren & Volinsky 2008), whose half-step
    for users is a ridge regression:

        argmin_u  Σ_H (1 - u·v_i)² + alpha Σ_I (u·v_i)² + ridge * s * |u|²,   s = mean diagonal of Σ_I v_i v_iᵀ

    Users without a history get the vector of the average user. If items have biases, or if the loss (the softmax) gives
    only directions, vectors get the average length of users' vectors.

    Args:
        items, users: the tables of the model.
        fold_in: as stored in an artifact: {ridge, temperature, steps}, or {ridge} if the temperature is not known, or
            {ridge, alpha}. Artifacts with a temperature but without steps are older and mean one step.
        biased: whether items have biases.
    """

    def __init__(
        self, items: PackedTable, users: PackedTable, *, fold_in: Mapping[str, float], biased: bool = False
    ) -> None:
        self._items = items
        self._squares = "alpha" in fold_in
        self._stretched = biased or not self._squares
        self._temperature = fold_in.get("temperature", 0.0)
        self._steps = int(fold_in.get("steps", 1)) if self._temperature else 0
        dim, lengths = items.dim, 0.0
        gram, total, mean = (filled(shape, 0, items.like) for shape in ((dim, dim), (dim,), (dim,)))
        for block in _blocks(users):
            total += block.sum(0)
            lengths += float(norms(block).sum())
        self._average, self._length = total / max(users.rows, 1), lengths / max(users.rows, 1)
        for block in _blocks(items):
            gram += block.T @ block
            mean += block.sum(0) / items.rows
        library = namespace(gram)
        if self._squares:
            moments, penalty = gram, fold_in["alpha"] * gram
        else:
            moments = penalty = gram / max(items.rows, 1) - mean[:, None] * mean
        ridge = fold_in["ridge"] * library.diagonal(moments).mean().clip(min=1e-12)
        self._penalty = penalty + ridge * library.eye(dim, dtype=library.float32, device=gram.device)
        # Without a ridge, or if all items are alike, there may be no inverse, hence pinv.
        self._mean, self._inverse = mean, library.linalg.pinv(self._penalty, rtol=1e-6)
        self._compared = gram[:0]
        if self._steps:
            rows = numbers(items.rows, items.like)
            self._compared = items.decode(rows[:: -(-items.rows // COMPARED)])
            self._compared_length = norms(self._compared).mean().clip(min=1e-12)

    def vectors(self, owner: Rows, rows: Rows, *, count: int) -> Array:
        """The vectors of `count` users, float32 [count, dim].

        Args:
            owner: who has seen a row, int64 [n], ascending.
            rows: rows of the item table, int64 [n].
        """
        dim = len(self._mean)
        vectors = namespace(self._mean).tile(self._average, (count, 1))
        counts = np.bincount(owner, minlength=count)
        starts, with_history = bounds(counts), np.flatnonzero(counts)
        block = ((counts[with_history] + dim) * dim).cumsum() // SOLVED_VALUES
        for users in np.split(with_history, np.flatnonzero(np.diff(block)) + 1) if len(with_history) else ():
            seen = self._items.decode(self._put(rows[starts[users[0]] : starts[users[-1] + 1]]))
            vectors[self._put(users)] = (self._of_squares if self._squares else self._of_softmax)(seen, counts[users])
        if self._stretched and len(with_history):
            places = self._put(with_history)
            vectors[places] = self._length * _directions(vectors[places])
        return vectors

    def _of_squares(self, seen: Array, counts: Rows) -> Array:
        """Vectors by ridge regression, [users, dim], from the rows that users have seen, `counts` each, end to end."""
        histories = [seen[first:last] for first, last in pairwise(bounds(counts))]
        library = namespace(seen)
        systems = library.stack([rows.T @ rows for rows in histories]) + self._penalty
        return library.linalg.solve(systems, run_sums(seen, counts)[:, :, None])[:, :, 0]

    def _of_softmax(self, seen: Array, counts: Rows) -> Array:
        """Vectors by the softmax, [users, dim], from the rows that users have seen, `counts` each, end to end."""
        means = run_sums(seen, counts) / cast(self._put(counts), "float32")[:, None]
        vectors = _directions((means - self._mean) @ self._inverse)
        for _ in range(self._steps):
            vectors = _directions(vectors + STEP * self._slope(vectors, means))
        return vectors

    def _slope(self, users: Array, means: Array) -> Array:
        """The direction in which the loss falls along the sphere, at users' unit vectors; float32 [users, dim]."""
        length = self._compared_length
        weights = (users / (length * self._temperature)) @ self._compared.T
        library = namespace(weights)
        weights -= library.amax(weights, 1)[:, None]
        library.exp(weights, out=weights)  # in place: so much new memory takes time
        slope = (means - weights @ self._compared / weights.sum(1)[:, None]) / length
        return slope - (slope * users).sum(1)[:, None] * users

    def _put(self, rows: Rows) -> Array:
        """A numpy array moved to the device of the tables."""
        return rows if isinstance(self._mean, np.ndarray) else tensor_of(rows, self._mean.device)


def _directions(vectors: Array) -> Array:
    return vectors / norms(vectors).clip(min=1e-12)[:, None]


def _blocks(table: PackedTable) -> Iterator[Array]:
    """The rows of a table, block by block."""
    rows = numbers(table.rows, table.like)
    return (table.decode(rows[start : start + BLOCK_ROWS]) for start in range(0, table.rows, BLOCK_ROWS))
