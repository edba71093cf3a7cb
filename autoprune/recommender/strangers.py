"""Users without a row: their vectors, from the items that they have seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from autoprune.packing import PackedTable
from autoprune.packing.arrays import Array, bounds, cast, filled, namespace, norms, numbers, run_sums, tensor_of
from autoprune.packing.ids import Rows
from autoprune.packing.packed import BLOCK_ROWS

SOLVED_VALUES = 2**20
"""Values of the systems that are solved at a time, and of the rows they are made of: 4 MB, which stay cached."""

STEP = 0.5
"""How far a user goes along the slope of the softmax at a time, see `studies/strangers`."""

COMPARED = 4096
"""Items that a slope is taken against, at most, so that large catalogues cost no more."""


class Strangers:
    """Gives vectors to users without a row: strangers, and users that pruning removed.

    With rows v_i of the items that a user has seen (H) out of all items (I), the vector u comes of one of two losses.
    The first is a softmax over all items, which the tables are trained with. One Newton step from the vector that tells
    no items apart, where m is the mean of all rows, C their covariance and s its mean diagonal:

        u = (C + ridge * s * 1)⁻¹ (mean of H - m)

    One matrix serves all users. (Where rows lie in normal clouds about the users' means, it is Fisher's linear
    discriminant (1936), drawn towards the difference of the means.) Where the temperature of the training is known,
    `steps` along the slope of the loss follow, on the sphere, where r is the mean length of the rows:

        u / |u| + STEP * (mean of H - Σ_I softmax(u·v_i / (|u| r temperature)) v_i) / r

    The second, where an `alpha` is given, is that of implicit-feedback ALS (Hu, Koren & Volinsky 2008), whose half-step
    for users is a ridge regression:

        argmin_u  Σ_H (1 - u·v_i)² + alpha Σ_I (u·v_i)² + ridge * s * |u|²,   s = mean diagonal of Σ_I v_i v_iᵀ

    Of whom nothing is known has the vector of the average user. Where items have biases, and where the loss tells
    directions alone (the softmax), vectors are as long as those of users are on average.

    Args:
        items, users: the tables of the model.
        fold_in: as an artifact says it: {ridge, temperature, steps}, without the latter two if the temperature is not
            known, or {ridge, alpha}. An artifact that says no steps was made when there was one.
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
        # Without a ridge, or of items that are all alike, there may be no inverse.
        self._mean, self._inverse = mean, library.linalg.pinv(self._penalty, rtol=1e-6)
        self._compared = gram[:0]
        if self._steps:
            some = numbers(items.rows, items.like)
            self._compared = items.decode(some[:: -(-items.rows // COMPARED)])

    def vectors(self, owner: Rows, rows: Rows, *, count: int) -> Array:
        """The vectors of `count` users, float32 [count, dim].

        Args:
            owner: who has seen a row, int64 [n], ascending.
            rows: rows of the item table, int64 [n].
        """
        dim = len(self._mean)
        found = namespace(self._mean).tile(self._average, (count, 1))
        seen = np.bincount(owner, minlength=count)
        starts, there = bounds(seen), np.flatnonzero(seen)
        values = ((seen[there] + dim) * dim).cumsum() // SOLVED_VALUES
        for users in np.split(there, np.flatnonzero(np.diff(values)) + 1) if len(there) else ():
            theirs = self._items.decode(self._put(rows[starts[users[0]] : starts[users[-1] + 1]]))
            found[self._put(users)] = (self._of_squares if self._squares else self._of_softmax)(theirs, seen[users])
        if self._stretched and len(there):
            some = self._put(there)
            found[some] = self._length * _directions(found[some])
        return found

    def _of_squares(self, seen: Array, counts: Rows) -> Array:
        """The vectors of users, [users, dim], by the rows that each has seen, one user's after another's."""
        histories = [seen[first:last] for first, last in pairwise(bounds(counts))]
        library = namespace(seen)
        systems = library.stack([rows.T @ rows for rows in histories]) + self._penalty
        return library.linalg.solve(systems, run_sums(seen, counts)[:, :, None])[:, :, 0]

    def _of_softmax(self, seen: Array, counts: Rows) -> Array:
        """The vectors of users, [users, dim], by the rows that each has seen, one user's after another's."""
        means = run_sums(seen, counts) / cast(self._put(counts), "float32")[:, None]
        found = _directions((means - self._mean) @ self._inverse)
        for _ in range(self._steps):
            found = _directions(found + STEP * self._slope(found, means))
        return found

    def _slope(self, users: Array, means: Array) -> Array:
        """Where the loss falls from users' vectors of length 1, along the sphere; both float32 [users, dim]."""
        length = norms(self._compared).mean().clip(min=1e-12)
        scores = users @ self._compared.T / (length * self._temperature)
        library = namespace(scores)
        liked = library.exp(scores - library.amax(scores, 1)[:, None])
        slope = (means - liked @ self._compared / liked.sum(1)[:, None]) / length
        return slope - (slope * users).sum(1)[:, None] * users

    def _put(self, numbers_of: Rows) -> Array:
        """Whole numbers where the tables are."""
        return numbers_of if isinstance(self._mean, np.ndarray) else tensor_of(numbers_of, self._mean.device)


def _directions(vectors: Array) -> Array:
    return vectors / norms(vectors).clip(min=1e-12)[:, None]


def _blocks(table: PackedTable) -> Iterator[Array]:
    """The rows of a table, some at a time."""
    rows = numbers(table.rows, table.like)
    return (table.decode(rows[start : start + BLOCK_ROWS]) for start in range(0, table.rows, BLOCK_ROWS))
