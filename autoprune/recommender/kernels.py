"""Kernels that find the best rows of a large table faster than scoring every row in float32.

They work in torch, on the table as `PackedTable.to` gives it, and none is imported where numpy answers.

A kernel only proposes: it names rows and promises that no other row scores above a bound. `autoprune.recommender.topk`
scores the proposed rows exactly and checks the promise, so that no answer depends on which kernel gave it.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from autoprune.extras import has
from autoprune.packing import PackedTable
from autoprune.packing.bits import packed_width
from autoprune.packing.bits import plane as plane_of
from autoprune.packing.product import load_faiss
from autoprune.recommender.ties import Hidden

GROUPED = 8
"""Rows that share one bound in a scan: the best groups are found among an eighth of the numbers. Of 16, all the rows
of the best groups took longer to score than the search among fewer groups saved."""

QUERIES_AT_ONCE = 128
BLOCK_ROWS, BLOCK_BOUNDS = 2**14, 2**18
"""Rows, and rows times queries, that a scan works on at a time: what it writes stays inside a core's second cache."""

BUILD_ROWS = 2**13

PLANE_BITS = (4, 2, 1)


class Proposal(NamedTuple):
    """Rows that include all that matter.

    rows: int64 [queries, candidates], distinct, -1 where there is none. bound: float32 [queries]: a row of the table
    that is neither here nor hidden scores no higher, -inf where none is left.
    """

    rows: Tensor
    bound: Tensor


class Kernel(ABC):
    """Proposes the rows that may be among the best.

    Attributes:
        for_many: whether it is worth measuring for many queries at once.
    """

    for_many: bool

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes held beside the table."""

    @abstractmethod
    def propose(self, queries: Tensor, count: int, hidden: Hidden) -> Proposal:
        """At least the `count` best rows of each query by this kernel's approximation.

        Args:
            queries: float32 [n, dim].
            hidden: rows that need not be proposed; they may be.
        """


class IntegerScan(Kernel):
    """Bounds every score by a product of whole numbers, and proposes the groups of rows with the highest bounds.

    A row is v = a (c - middle) + b + error with codes c of 8 bits, a query q = s z + rest with z in -127 … 127; so

        q·v <= a s (z·c - middle Σz) + b Σq + |rest| |a (c - middle)| + |q| |error|

    Only z·c costs work, and it is exact. Codes of a quantised table are read where they lie; other tables get codes
    of 8 bits, symmetric about zero, beside them.
    """

    for_many = True

    def __init__(self, table: PackedTable) -> None:
        self._table = table
        self._in_place = has_plain_codes(table)
        planes = int(8 / table.bits) if self._in_place else 1
        self._plane_width = -(-table.dim // planes)
        self._middle = (2**table.bits - 1) / 2 if self._in_place and table.bits < 8 else 0.0
        self._codes = torch.empty(0 if self._in_place else table.rows, table.dim, dtype=torch.int8)
        self._step = torch.empty(table.rows, 1)
        # what multiplies |rest|, |q| and, in place, Σq and -middle Σz
        self._sides = torch.empty(table.rows, 4 if self._in_place else 2)
        for start in range(0, table.rows, BUILD_ROWS):
            self._build(slice(start, min(start + BUILD_ROWS, table.rows)))

    def _build(self, rows: slice) -> None:
        table, sides = self._table, self._sides[rows]
        values = table.decode(torch.arange(rows.start, rows.stop))
        if self._in_place:
            codes = torch.cat([plane.float() for plane in self._planes(rows)], dim=1)[:, : table.dim]
            step = table.tensors["scale"][rows, None]
            # the codes of 8 bits are read as signed: 128 less
            base = table.tensors["offset"][rows, None] + step * (self._middle if table.bits < 8 else 128.0)
            sides[:, 2:3], sides[:, 3:4] = base, step
        else:
            step = values.abs().amax(1, keepdim=True).clamp_min_(1e-30) / 127
            codes = (values / step).round_().clamp_(-127, 127)
            self._codes[rows] = codes.to(torch.int8)
            base = torch.zeros_like(step)
        self._step[rows] = step
        centred = (codes - self._middle) * step
        # Float32 rounds every sum on the way, here and where rows are scored exactly; twice the worst case of a row.
        rounding = 2 * (table.dim + 8) * torch.finfo(torch.float32).eps
        reach = torch.maximum(centred.norm(dim=1) + base[:, 0].abs() * table.dim**0.5, values.norm(dim=1))
        sides[:, 0] = centred.norm(dim=1)
        sides[:, 1] = (values - centred - base).norm(dim=1) + rounding * reach

    @property
    def memory_bytes(self) -> int:
        return self._codes.nbytes + self._step.nbytes + self._sides.nbytes

    def propose(self, queries: Tensor, count: int, hidden: Hidden) -> Proposal:
        if len(queries) <= QUERIES_AT_ONCE:
            return self._propose(queries, count, hidden)
        found = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            own = (hidden.query >= start) & (hidden.query < start + QUERIES_AT_ONCE)
            theirs = Hidden(hidden.query[own] - start, hidden.row[own])
            found.append(self._propose(queries[start : start + QUERIES_AT_ONCE], count, theirs))
        return Proposal(torch.cat([one.rows for one in found]), torch.cat([one.bound for one in found]))

    def _propose(self, queries: Tensor, count: int, hidden: Hidden) -> Proposal:
        step = queries.abs().amax(1).clamp_min(1e-30) / 127
        whole = (queries / step[:, None]).round_().clamp_(-127, 127)
        rest = (queries - whole * step[:, None]).norm(dim=1)
        sides = torch.stack([rest, queries.norm(dim=1), queries.sum(1), -self._middle * whole.sum(1) * step]) / step
        best = self._best_bounds(whole.to(torch.int8), sides[: self._sides.shape[1]], hidden)
        width, (n, groups) = self._group_stride, best.shape
        # one more than is proposed: the best of what is not
        chosen = best.topk(min(count + 1, groups), dim=1)
        if count < groups:
            bound, picked = chosen.values[:, -1] * step, chosen.indices[:, :-1]
        else:
            bound, picked = torch.full((n,), -torch.inf), chosen.indices
        rows = (picked[:, :, None] + torch.arange(GROUPED) * width).reshape(n, -1)
        return Proposal(torch.where(rows < self._table.rows, rows, -1), bound)

    @property
    def _group_stride(self) -> int:
        return -(-self._table.rows // GROUPED)

    def _best_bounds(self, whole: Tensor, sides: Tensor, hidden: Hidden) -> Tensor:
        """The highest bound of each group, in steps of the query: float32 [queries, groups].

        Group g holds rows g, g + stride, g + 2 * stride and so on: consecutive rows meet consecutive groups, and the
        highest bound is an elementwise maximum.
        """
        rows, stride, n = self._table.rows, self._group_stride, len(whole)
        best = torch.full((stride, n), -torch.inf)
        step = max(min(BLOCK_ROWS, BLOCK_BOUNDS // n), 1)
        # pieces of a block's width: those of one range of groups follow one another while its maxima are cached
        pieces = [
            (group, start, min(start + step, start - group + stride, rows))
            for group in range(0, stride, step)
            for start in range(group, rows, stride)
        ]
        order = hidden.row.argsort()
        query, row = hidden.query[order], hidden.row[order]
        ends = torch.tensor([piece[1:] for piece in pieces]).reshape(-1, 2)
        cuts = torch.searchsorted(row, ends).tolist() if len(row) else [(0, 0)] * len(pieces)
        planes = [plane.T for plane in torch.split(whole, self._plane_width, dim=1)]
        for (group, start, stop), (first, last) in zip(pieces, cuts, strict=True):
            piece = slice(start, stop)
            bounds = self._products(planes, piece).mul(self._step[piece]).addmm_(self._sides[piece], sides)
            if last > first:
                bounds[row[first:last] - start, query[first:last]] = -torch.inf
            into = best[group : group + stop - start]
            torch.maximum(into, bounds, out=into)
        return best.T.contiguous()

    def _products(self, planes: list[Tensor], rows: slice) -> Tensor:
        """Codes times whole queries: int32 [rows, queries]."""
        total: Tensor | None = None
        for codes, plane in zip(self._planes(rows), planes, strict=True):
            product = torch._int_mm(codes[:, : len(plane)], plane)
            total = product if total is None else total.add_(product)
        assert total is not None, "a table has at least one dimension"
        return total

    def _planes(self, rows: slice) -> list[Tensor]:
        """The codes of some rows as int8 [rows, width], side by side."""
        if not self._in_place:
            return [self._codes[rows]]
        packed, bits = self._table.tensors["codes"][rows], self._table.bits
        if bits == 8:
            return [(packed ^ 128).view(torch.int8)]
        planes = range(-(-self._table.dim // packed.shape[1]))
        return [plane_of(packed, bits, number).view(torch.int8) for number in planes]


class HalfPrecision(Kernel):
    """faiss' exact search over float16 values (`IndexScalarQuantizer`, Douze et al. 2024, "The Faiss Library").

    It answers query by query: for many at once, one product of matrices is faster.
    """

    for_many = False

    def __init__(self, table: PackedTable) -> None:
        faiss = load_faiss()
        kind = faiss.ScalarQuantizer.QT_fp16
        self._index = faiss.IndexScalarQuantizer(table.dim, kind, faiss.METRIC_INNER_PRODUCT)
        self._error, rounding = 0.0, 2 * (table.dim + 8) * torch.finfo(torch.float32).eps
        for rows in torch.split(torch.arange(table.rows), BUILD_ROWS):
            values = table.decode(rows)
            self._index.add(values.numpy())
            error = (values - values.half().float()).norm(dim=1) + rounding * values.norm(dim=1)
            self._error = max(self._error, float(error.max()))

    @property
    def memory_bytes(self) -> int:
        return int(self._index.code_size * self._index.ntotal)

    def propose(self, queries: Tensor, count: int, hidden: Hidden) -> Proposal:
        most_hidden = int(torch.bincount(hidden.query).max()) if len(hidden.query) else 0
        count += most_hidden  # it knows no mask: as many more as are dropped later
        load_faiss().omp_set_num_threads(torch.get_num_threads())
        scores, rows = self._index.search(queries.numpy(), min(count, self._index.ntotal))
        bound = torch.from_numpy(scores[:, -1]) + queries.norm(dim=1) * self._error
        if count >= self._index.ntotal:
            bound.fill_(-torch.inf)
        return Proposal(torch.from_numpy(rows), bound)


def has_plain_codes(table: PackedTable) -> bool:
    """Whether rows of codes can be read where they lie: every value a code, in bytes or planes, scaled by the row."""
    held = table.tensors
    return (
        table.pattern == "full"
        and table.bits in (8, *PLANE_BITS)
        and set(held) == {"codes", "scale", "offset"}
        and held["codes"].shape == (table.rows, packed_width(table.dim, table.bits))
    )


@functools.cache
def multiplies_exactly() -> bool:
    """Whether products of 8-bit integers are right here, at their extremes.

    Processors without the instructions for it may saturate sums of pairs at 16 bits, as oneDNN warns of.
    """
    codes = torch.tensor([-128, -127, 127, 0], dtype=torch.int8).repeat(64, 32)[:, :128].contiguous()
    codes[::2] = -127
    codes[::3] = 127
    try:
        for n in (1, 8, 32):
            queries = torch.full((128, n), 127, dtype=torch.int8)
            queries[::7] = -127
            if not torch.equal(torch._int_mm(codes, queries).long(), codes.long() @ queries.long()):
                return False
    except (RuntimeError, AttributeError, NotImplementedError):  # this build of torch does not have it
        return False
    return True


def makers(table: PackedTable) -> dict[str, Callable[[PackedTable], Kernel]]:
    """Kernels that may serve a table, by name.

    None may hold more than the table itself: who asked for a small table has not asked for speed at any price.
    """
    values = table.rows * table.dim
    found: dict[str, Callable[[PackedTable], Kernel]] = {}
    beside = 20 * table.rows if has_plain_codes(table) else values + 12 * table.rows
    if multiplies_exactly() and beside <= table.memory_bytes:
        found["integer_scan"] = IntegerScan
    if has("faiss") and 2 * values <= table.memory_bytes:
        found["half_precision"] = HalfPrecision
    return found
