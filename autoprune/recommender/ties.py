"""Breaks ties between equally good rows in the same way for every kernel, batch and processor.

The rounding of a float32 sum depends on the order of summation, which differs between kernels: the scores of two equal
rows can differ in the last bit, depending on their positions. So scores that are closer than rounding errors are
computed again, exactly. Rows with equal scores are then put into a fixed random order. An order by position or id would
favour popular or old items, and a model that scores all items alike would look better than chance.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from autoprune.packing import PackedTable
from autoprune.packing.arrays import Array, cast, gathered, largest, namespace, norms, numbers, numpy_of, tensor_of
from autoprune.packing.ids import Draw, Rows, scrambled

DEVIATIONS = 2
"""Standard deviations of the rounding error to allow for: errors add up like a random walk (Higham & Mary 2019, "A New
Approach to Probabilistic Rounding Error Analysis"). The worst case is larger by the square root of the dimensions; with
it, almost every request would need exact scores."""

MEASURED_ROWS = 2**13
SETTLED_SCORES = 2**21
"""Scores to search for ties at a time; if all are equal, this needs 100 MB."""

EXACT_VALUES = 2**20
"""Values per block of exact scores: 8 MB in float64."""


class Hidden(NamedTuple):
    """Rows to exclude from the result: pairs of a query and a row, int64 [n] each."""

    query: Array
    row: Array

    def block(self, start: int, count: int) -> Hidden:
        """Those of so many queries from `start` on, which are numbered from 0 again."""
        inside = (self.query >= start) & (self.query < start + count)
        return Hidden(self.query[inside] - start, self.row[inside])


class Best(NamedTuple):
    """The best rows of each query, best first: scores float32 and rows int64, [queries, min(k, rows)].

    Hidden rows come last, with a score of -inf.
    """

    scores: Array
    rows: Array


def by_place(rows: Rows) -> Draw:
    """Random numbers of rows that have no ids, uint64 [n]."""
    return scrambled(rows.astype(np.uint64))


class Ordering:
    """Orders the rows of a table by their scores.

    Args:
        table: the table of the rows.
        draw: maps rows (int64 [n]) to numbers (uint64 [n]) that order rows with equal scores.
    """

    def __init__(self, table: PackedTable, draw: Callable[[Rows], Draw] = by_place) -> None:
        self.table = table
        self._draw = draw
        longest, largest = 0.0, 0.0
        rows = numbers(table.rows, table.like)
        for start in range(0, table.rows, MEASURED_ROWS):
            values = table.decode(rows[start : start + MEASURED_ROWS])
            longest = max(longest, float(norms(values).max()))
            largest = max(largest, float(values.max()), -float(values.min()))
        # Codes and the row's offset are scored separately, and both parts can be larger than their sum.
        reach = longest if table.bits == 32 else longest + largest * table.dim**0.5
        self._doubt = 2 * DEVIATIONS * (table.dim + 8) ** 0.5 * float(np.finfo(np.float32).eps) / 2 * reach

    def of(self, table: PackedTable) -> Ordering:
        """The same order for the same table in another array library."""
        ordering = copy.copy(self)
        ordering.table = table
        return ordering

    def doubts(self, queries: Array) -> Array:
        """How far rounding can move two equal scores apart, by query: float32 [n]."""
        return norms(queries) * self._doubt

    def best(self, queries: Array, scores: Array, k: int, *, rows: Array | None = None) -> Best:
        """The k best of the scored rows.

        Args:
            queries: float32 [n, dim].
            scores: float32 [n, m], -inf for excluded rows.
            k: at most m.
            rows: the scored rows, int64 [n, m]; None: all rows of the table.
        """
        top = Best(*largest(scores, min(k + 1, scores.shape[1])))
        best = Best(top.scores[:, :k], top.rows[:, :k])
        if k and (len(queries) != 1 or self._may_tie(queries, top.scores)):
            doubts = self.doubts(queries)[:, None]
            with np.errstate(invalid="ignore"):  # two hidden rows differ by nan, which counts as no tie
                may_tie = (top.scores[:, :-1] - top.scores[:, 1:] <= doubts).any(1)
            thresholds = best.scores[:, -1:] - doubts
            # The next best row is mostly too far behind to be one of the best: then these only change places.
            is_closed = top.scores[:, -1] < thresholds[:, 0]
            where = namespace(may_tie).where
            (closed,), (unsure,) = where(may_tie & is_closed), where(may_tie & ~is_closed)
            for block in _blocks(closed, max(SETTLED_SCORES // (k + 1), 1)):
                self._settle(best, queries, top.scores[block], top.rows[block], block, thresholds[block], rows)
            for block in _blocks(unsure, max(SETTLED_SCORES // scores.shape[1], 1)):
                self._settle(best, queries, scores[block], None, block, thresholds[block], rows)
        return best if rows is None else Best(best.scores, gathered(rows, best.rows))

    def _may_tie(self, query: Array, scores: Array) -> bool:
        """Whether two neighbours among the sorted scores of one query may be equal.

        Python floats take half the time of arrays here, which saves a tenth of a request. Two hidden rows differ by
        nan, which counts as no tie.
        """
        (ordered,) = scores.tolist()
        closest = min(map(operator.sub, ordered, ordered[1:]), default=math.inf)
        return bool(closest <= self.doubts(query).item())

    def _settle(
        self,
        best: Best,
        queries: Array,
        scores: Array,
        columns: Array | None,
        unsure: Array,
        threshold: Array,
        rows: Array | None,
    ) -> None:
        """Corrects `best` for the queries at `unsure`, by exact scores of all rows with scores >= `threshold`.

        Args:
            best: of all queries; changed in place.
            queries: all of them.
            scores: of the unsure queries, float32 [len(unsure), m].
            columns: which of the scored rows they belong to, int64 [len(unsure), m]; None: all, in order.
            unsure: positions among the queries, int64.
            threshold: float32 [len(unsure), 1].
            rows: as for `best`.
        """
        place, column = namespace(scores).where((scores >= threshold) & (scores > -math.inf))
        if columns is not None:
            column = columns[place, column]
        candidates = column if rows is None else rows[unsure[place], column]
        exact = numpy_of(self._exact(queries[unsure], place, candidates))
        candidates, place, column = numpy_of(candidates), numpy_of(place), numpy_of(column)
        order = np.lexsort((candidates, self._draw(candidates), -exact, place))
        place, column, exact = place[order], column[order], exact[order]
        first = np.searchsorted(place, np.arange(len(unsure)))
        nth = np.arange(len(place)) - first[place]
        kept = nth < best.scores.shape[1]
        query, nth = numpy_of(unsure)[place[kept]], nth[kept]
        arrays = [query, nth, exact[kept], column[kept]]
        if not isinstance(scores, np.ndarray):
            arrays = [tensor_of(array, scores.device) for array in arrays]
        query, nth = arrays[:2]
        best.scores[query, nth], best.rows[query, nth] = arrays[2:]

    def _exact(self, queries: Array, place: Array, rows: Array) -> Array:
        """The scores of rows for the queries at `place`, rounded once: float32 [n].

        Products of float32 values are exact in float64, and the rounding of their sum disappears in the last rounding.
        """
        step = max(EXACT_VALUES // self.table.dim, 1)
        blocks = [
            cast(
                (cast(self.table.decode(rows[block]), "float64") * cast(queries[place[block]], "float64")).sum(1),
                "float32",
            )
            for block in (slice(start, start + step) for start in range(0, max(len(rows), 1), step))
        ]
        return namespace(queries).concatenate(blocks)


def _blocks(positions: Array, step: int) -> Iterator[Array]:
    """Positions in blocks of at most `step`; none if there are none."""
    for start in range(0, len(positions), step):
        yield positions[start : start + step]
