"""Which of equally good rows comes first: one order, whatever kernel, batch or processor found them.

Float32 rounds sums by the order in which they are taken, and each kernel takes them in another: two rows of the same
content can get scores that differ in their last bit, by where they stand. So scores that are no further apart than
rounding can put them are taken again, exactly. Rows that are equal then come in an order that is drawn once for all
items: it says nothing of them, where the order of their positions, or of their ids, would favour the popular or the
old, and a model that scores everything alike would look better than chance.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from autoprune.packing import PackedTable
from autoprune.packing.arrays import Array, cast, gathered, namespace, norms, numbers, numpy_of, tensor_of, topk
from autoprune.packing.ids import Draw, Rows, scrambled

DEVIATIONS = 2
"""Standard deviations that rounding may reach: its errors add up like a random walk (Higham & Mary 2019, "A New
Approach to Probabilistic Rounding Error Analysis"). The worst case would be as many times longer as is the root of the
dimensions, and hardly any request would be answered without a second look."""

MEASURED_ROWS = 2**13
SETTLED_SCORES = 2**21
"""Scores that are looked through for ties at a time: in the worst case all are equal, and 100 MB are needed."""

EXACT_VALUES = 2**20
"""Values that are taken again at a time: 8 MB in float64."""

GROUPING, GROUPING_ONE, GROUPED = 2**13, 2**16, 16
"""Scores of a query from which on the best are found in two steps: of several queries, and of one, where the second
step takes longer than it spares; and how many scores share a group in the first."""


class Hidden(NamedTuple):
    """What must not be found: pairs of a query and a row, int64 [n] each."""

    query: Array
    row: Array


class Best(NamedTuple):
    """The best rows of each query, best first: scores float32 and rows int64, [queries, min(k, rows)].

    Hidden rows come last, with a score of -inf.
    """

    scores: Array
    rows: Array


def by_place(rows: Rows) -> Draw:
    """The draw of rows that have no ids, uint64 [n]."""
    return scrambled(rows.astype(np.uint64))


class Ordering:
    """Orders the rows of a table by their scores.

    Args:
        table: whose rows are scored.
        draw: gives rows (int64 [n]) the numbers (uint64 [n]) that those of equal scores are ordered by.
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
        # A code is scored apart from its row's offset, and both can be larger than what they add up to.
        reach = longest if table.bits == 32 else longest + largest * table.dim**0.5
        self._doubt = 2 * DEVIATIONS * (table.dim + 8) ** 0.5 * float(np.finfo(np.float32).eps) / 2 * reach

    def of(self, table: PackedTable) -> Ordering:
        """The same order of the same rows, held in another library."""
        twin = copy.copy(self)
        twin.table = table
        return twin

    def doubts(self, queries: Array) -> Array:
        """How far apart two scores can be rounded that are equal, float32 [n]."""
        return norms(queries) * self._doubt

    def best(self, queries: Array, scores: Array, k: int, *, rows: Array | None = None) -> Best:
        """The k best of what was scored.

        Args:
            queries: float32 [n, dim].
            scores: float32 [n, m], -inf for what must not be found.
            k: at most m.
            rows: that were scored, int64 [n, m]; None: all rows of the table.
        """
        found = largest(scores, min(k + 1, scores.shape[1]))
        best = Best(found.scores[:, :k], found.rows[:, :k])
        if len(queries) != 1 or self._close(queries, found.scores):
            doubts = self.doubts(queries)[:, None]
            with np.errstate(invalid="ignore"):  # of two hidden rows, which are no closer than anything
                near = (found.scores[:, :-1] - found.scores[:, 1:] <= doubts).any(1)
            (unsure,) = namespace(near).where(near)
            step = max(SETTLED_SCORES // scores.shape[1], 1)
            for start in range(0, len(unsure), step):
                some = unsure[start : start + step]
                self._again(best, queries, scores, some, best.scores[some, -1:] - doubts[some], rows)
        return best if rows is None else Best(best.scores, gathered(rows, best.rows))

    def _close(self, query: Array, scores: Array) -> bool:
        """Whether two neighbours among the sorted scores of one query may be equal.

        Plain numbers take half the time of arrays here, which is a tenth of a request. Of two hidden rows the
        difference is nan, which is no closer than anything.
        """
        (ordered,) = scores.tolist()
        closest = min(map(operator.sub, ordered, ordered[1:]), default=math.inf)
        return bool(closest <= self.doubts(query).item())

    def _again(
        self, best: Best, queries: Array, scores: Array, unsure: Array, threshold: Array, rows: Array | None
    ) -> None:
        """Corrects the answers to the queries at `unsure` by the exact scores of all that may be among the best."""
        theirs = scores[unsure]
        place, column = namespace(scores).where((theirs >= threshold) & (theirs > -math.inf))
        at = column if rows is None else rows[unsure[place], column]
        exact = numpy_of(self._exact(queries[unsure], place, at))
        at, place, column = numpy_of(at), numpy_of(place), numpy_of(column)
        order = np.lexsort((at, self._draw(at), -exact, place))
        place, column, exact = place[order], column[order], exact[order]
        first = np.searchsorted(place, np.arange(len(unsure)))
        nth = np.arange(len(place)) - first[place]
        kept = nth < best.scores.shape[1]
        query, nth = numpy_of(unsure)[place[kept]], nth[kept]
        found = [query, nth, exact[kept], column[kept]]
        if not isinstance(scores, np.ndarray):
            found = [tensor_of(array, scores.device) for array in found]
        best.scores[found[0], found[1]], best.rows[found[0], found[1]] = found[2:]

    def _exact(self, queries: Array, place: Array, rows: Array) -> Array:
        """The scores of rows for the queries at `place`, rounded once, float32 [n].

        Products of float32 are exact in float64, and what their sum is rounded by is lost in the last rounding.
        """
        step = max(EXACT_VALUES // self.table.dim, 1)
        found = [
            cast(
                (cast(self.table.decode(rows[some]), "float64") * cast(queries[place[some]], "float64")).sum(1),
                "float32",
            )
            for some in (slice(start, start + step) for start in range(0, max(len(rows), 1), step))
        ]
        return namespace(queries).concatenate(found)


def largest(scores: Array, k: int) -> Best:
    """The k largest of each row. Of many, in two steps: a group none of whose k betters is larger cannot hold one."""
    n, count = scores.shape
    if count < max(GROUPING if n > 1 else GROUPING_ONE, 4 * GROUPED * k):
        return Best(*topk(scores, k))
    library, stride = namespace(scores), count // GROUPED
    whole = stride * GROUPED
    groups = topk(library.amax(scores[:, :whole].reshape(n, GROUPED, stride), 1), k)[1]
    members = groups[:, :, None] + numbers(GROUPED, scores) * stride
    rest = numbers(count, scores)[whole:]
    candidates = library.concatenate([members.reshape(n, -1), library.broadcast_to(rest, (n, len(rest)))], axis=1)
    found, at = topk(gathered(scores, candidates), k)
    return Best(found, gathered(candidates, at))
