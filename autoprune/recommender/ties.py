"""Which of equally good rows comes first: one order, whatever kernel, batch or processor found them.

Float32 rounds sums by the order in which they are taken, and each kernel takes them in another: two rows of the same
content can get scores that differ in their last bit, by where they stand. So scores that are no further apart than
rounding can put them are taken again, exactly. Rows that are equal then come in an order that is drawn once for all
items: it says nothing of them, where the order of their positions, or of their ids, would favour the popular or the
old, and a model that scores everything alike would look better than chance.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autoprune.packing import PackedTable
from autoprune.packing.ids import Draw, scrambled

DEVIATIONS = 2
"""Standard deviations that rounding may reach: its errors add up like a random walk (Higham & Mary 2019, "A New
Approach to Probabilistic Rounding Error Analysis"). The worst case would be as many times longer as is the root of the
dimensions, and hardly any request would be answered without a second look."""

MEASURED_ROWS = 2**13
SETTLED_SCORES = 2**21
"""Scores that are looked through for ties at a time: in the worst case all are equal, and 100 MB are needed."""

EXACT_VALUES = 2**20
"""Values that are taken again at a time: 8 MB in float64."""

GROUPING, GROUPED = 2**16, 64
"""Scores from which on the best are found in two steps, and how many share a group in the first."""


class Best(NamedTuple):
    """The best rows of each query, best first: scores float32 and rows int64, [queries, min(k, rows)].

    Hidden rows come last, with a score of -inf.
    """

    scores: Tensor
    rows: Tensor


def by_place(rows: Tensor) -> Draw:
    """The draw of rows that have no ids, uint64 [n]."""
    return scrambled(rows.numpy().astype(np.uint64))


class Ordering:
    """Orders the rows of a table by their scores.

    Args:
        table: whose rows are scored.
        draw: gives rows (int64 [n]) the numbers (uint64 [n]) that those of equal scores are ordered by.
    """

    def __init__(self, table: PackedTable, draw: Callable[[Tensor], Draw] = by_place) -> None:
        self.table = table
        self._draw = draw
        longest, largest = 0.0, 0.0
        device = next(iter(table.tensors.values())).device
        for rows in torch.split(torch.arange(table.rows, device=device), MEASURED_ROWS):
            values = table.decode(rows)
            longest = max(longest, float(values.norm(dim=1).max()))
            largest = max(largest, float(values.abs().max()))
        # A code is scored apart from its row's offset, and both can be larger than what they add up to.
        reach = longest if table.bits == 32 else longest + largest * table.dim**0.5
        self._doubt = 2 * DEVIATIONS * (table.dim + 8) ** 0.5 * torch.finfo(torch.float32).eps / 2 * reach

    def doubts(self, queries: Tensor) -> Tensor:
        """How far apart two scores can be rounded that are equal, float32 [n]."""
        lengths: Tensor = torch.linalg.vector_norm(queries, dim=1)
        return lengths.mul_(self._doubt)

    def best(self, queries: Tensor, scores: Tensor, k: int, *, rows: Tensor | None = None) -> Best:
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
            (unsure,) = torch.where((found.scores[:, :-1] - found.scores[:, 1:] <= doubts).any(1))
            step = max(SETTLED_SCORES // scores.shape[1], 1)
            for some in torch.split(unsure, step) if len(unsure) else ():
                self._again(best, queries, scores, some, best.scores[some, -1:] - doubts[some], rows)
        return best if rows is None else Best(best.scores, rows.gather(1, best.rows))

    def _close(self, query: Tensor, scores: Tensor) -> bool:
        """Whether two neighbours among the sorted scores of one query may be equal.

        Plain numbers take half the time of tensors here, which is a tenth of a request. Of two hidden rows the
        difference is nan, which is no closer than anything.
        """
        (ordered,) = scores.tolist()
        closest = min(map(operator.sub, ordered, ordered[1:]), default=math.inf)
        return bool(closest <= self._doubt * torch.linalg.vector_norm(query).item())

    def _again(
        self, best: Best, queries: Tensor, scores: Tensor, unsure: Tensor, threshold: Tensor, rows: Tensor | None
    ) -> None:
        """Corrects the answers to the queries at `unsure` by the exact scores of all that may be among the best."""
        theirs = scores[unsure]
        place, column = torch.where((theirs >= threshold) & (theirs > -torch.inf))
        at = column if rows is None else rows[unsure[place], column]
        exact = self._exact(queries[unsure], place, at)
        keys = (at.cpu().numpy(), self._draw(at.cpu()), -exact.cpu().numpy(), place.cpu().numpy())
        order = torch.from_numpy(np.lexsort(keys)).to(place.device)
        place, column, exact = place[order], column[order], exact[order]
        first = torch.searchsorted(place, torch.arange(len(unsure), device=place.device))
        nth = torch.arange(len(place), device=place.device) - first[place]
        kept = nth < best.scores.shape[1]
        query, nth = unsure[place[kept]], nth[kept]
        best.scores[query, nth], best.rows[query, nth] = exact[kept], column[kept]

    def _exact(self, queries: Tensor, place: Tensor, rows: Tensor) -> Tensor:
        """The scores of rows for the queries at `place`, rounded once, float32 [n].

        Products of float32 are exact in float64, and what their sum is rounded by is lost in the last rounding.
        """
        found = [
            (self.table.decode(some).double() * queries[query].double()).sum(1).float()
            for some, query in zip(
                torch.split(rows, max(EXACT_VALUES // self.table.dim, 1)),
                torch.split(place, max(EXACT_VALUES // self.table.dim, 1)),
                strict=True,
            )
        ]
        return torch.cat(found)


def largest(scores: Tensor, k: int) -> Best:
    """The k largest of each row. Of many, in two steps: a group none of whose k betters is larger cannot hold one."""
    n, count = scores.shape
    if count < max(GROUPING, GROUPED * k):
        return Best(*scores.topk(k, dim=1))
    stride = count // GROUPED
    whole = stride * GROUPED
    groups = scores[:, :whole].view(n, GROUPED, stride).amax(1).topk(k, dim=1).indices
    members = groups[:, :, None] + torch.arange(0, whole, stride, device=scores.device)
    rest = torch.arange(whole, count, device=scores.device).expand(n, -1)
    candidates = torch.cat([members.reshape(n, -1), rest], dim=1)
    best = scores.gather(1, candidates).topk(k, dim=1)
    return Best(best.values, candidates.gather(1, best.indices))
