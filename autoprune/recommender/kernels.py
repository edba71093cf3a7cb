"""Kernels that find the best rows of a large table faster than scoring every row in float32.

They use torch, on a table that `PackedTable.to` has converted; serving with numpy alone never imports this module.

A kernel only proposes candidates: it returns rows, and a bound that no other row's score exceeds.
`autoprune.recommender.topk` scores the proposed rows exactly and checks the bound, so the result does not depend on the
kernel.
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
"""Rows that share one bound in a scan, so the best groups are selected from an eighth as many numbers. With 16, scoring
the rows of the best groups took longer than selecting from fewer groups saved."""

QUERIES_AT_ONCE = 128
BLOCK_ROWS, BLOCK_BOUNDS = 2**14, 2**18
"""At most so many rows, and rows times queries, are scanned at a time; the results fit into a core's L2 cache."""

BUILD_ROWS = 2**13

PLANE_BITS = (4, 2, 1)


class Proposal(NamedTuple):
    """Candidates for the best rows.

    rows: int64 [queries, candidates], distinct; -1 fills empty places. bound: float32 [queries]; every row that is
    neither proposed nor hidden scores at most this; -inf if no such row exists.
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
        """Bytes used in addition to the table."""

    @abstractmethod
    def propose(self, queries: Tensor, count: int, hidden: Hidden) -> Proposal:
        """At least the `count` best rows of each query according to this kernel's approximate scores.

        Args:
            queries: float32 [n, dim].
            count: how many rows to propose for each query.
            hidden: rows that need not be proposed, but may be.
        """


class IntegerScan(Kernel):
    """Bounds every score by an integer product, and proposes the groups of rows with the highest bounds.

    A row is v = a (c - middle) + b + error with 8-bit codes c, a query q = s z + rest with z in -127 … 127; so

        q·v <= a s (z·c - middle Σz) + b Σq + |rest| |a (c - middle)| + |q| |error|

    Only z·c is expensive, and it is computed exactly. The codes of a quantised table are read in place; for other
    tables, the kernel stores 8-bit codes, symmetric about zero.
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
        # the factors of |rest|, |q| and, for codes read in place, Σq and -middle Σz
        self._sides = torch.empty(table.rows, 4 if self._in_place else 2)
        for start in range(0, table.rows, BUILD_ROWS):
            self._build(slice(start, min(start + BUILD_ROWS, table.rows)))

    def _build(self, rows: slice) -> None:
        table, sides = self._table, self._sides[rows]
        values = table.decode(torch.arange(rows.start, rows.stop))
        if self._in_place:
            codes = torch.cat([plane.float() for plane in self._planes(rows)], dim=1)[:, : table.dim]
            step = table.tensors["scale"][rows, None]
            # 8-bit codes are read as signed integers, which are 128 less
            base = table.tensors["offset"][rows, None] + step * (self._middle if table.bits < 8 else 128.0)
            sides[:, 2:3], sides[:, 3:4] = base, step
        else:
            step = values.abs().amax(1, keepdim=True).clamp_min_(1e-30) / 127
            codes = (values / step).round_().clamp_(-127, 127)
            self._codes[rows] = codes.to(torch.int8)
            base = torch.zeros_like(step)
        self._step[rows] = step
        centred = (codes - self._middle) * step
        # Float32 sums round, here and in the exact scores: twice the worst case of a row.
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
        proposals = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            block = queries[start : start + QUERIES_AT_ONCE]
            proposals.append(self._propose(block, count, hidden.block(start, QUERIES_AT_ONCE)))
        return Proposal(
            torch.cat([proposal.rows for proposal in proposals]), torch.cat([proposal.bound for proposal in proposals])
        )

    def _propose(self, queries: Tensor, count: int, hidden: Hidden) -> Proposal:
        step = queries.abs().amax(1).clamp_min(1e-30) / 127
        whole = (queries / step[:, None]).round_().clamp_(-127, 127)
        rest = (queries - whole * step[:, None]).norm(dim=1)
        sides = torch.stack([rest, queries.norm(dim=1), queries.sum(1), -self._middle * whole.sum(1) * step]) / step
        best = self._best_bounds(whole.to(torch.int8), sides[: self._sides.shape[1]], hidden)
        width, (n, groups) = self._group_stride, best.shape
        # one group more than is proposed: its bound is the highest of all others
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

        Group g consists of rows g, g + stride, g + 2 * stride and so on: consecutive rows belong to consecutive groups,
        so the highest bounds are an elementwise maximum.
        """
        rows, stride, n = self._table.rows, self._group_stride, len(whole)
        best = torch.full((stride, n), -torch.inf)
        step = max(min(BLOCK_ROWS, BLOCK_BOUNDS // n), 1)
        # pieces as wide as a block; pieces of the same groups follow one another, while their maxima are cached
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
            maxima = best[group : group + stop - start]
            torch.maximum(maxima, bounds, out=maxima)
        return best.T.contiguous()

    def _products(self, planes: list[Tensor], rows: slice) -> Tensor:
        """Products of the codes and the integer queries: int32 [rows, queries]."""
        total: Tensor | None = None
        for codes, plane in zip(self._planes(rows), planes, strict=True):
            product = torch._int_mm(codes[:, : len(plane)], plane)
            total = product if total is None else total.add_(product)
        assert total is not None, "a table has at least one dimension"
        return total

    def _planes(self, rows: slice) -> list[Tensor]:
        """The codes of some rows as int8 [rows, width], one tensor for each plane."""
        if not self._in_place:
            return [self._codes[rows]]
        packed, bits = self._table.tensors["codes"][rows], self._table.bits
        if bits == 8:
            return [(packed ^ 128).view(torch.int8)]
        planes = range(-(-self._table.dim // packed.shape[1]))
        return [plane_of(packed, bits, number).view(torch.int8) for number in planes]


class HalfPrecision(Kernel):
    """faiss' exact search over float16 values (`IndexScalarQuantizer`, Douze et al. 2024, "The Faiss Library").

    It searches query by query; for many queries, one matrix product is faster.
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
        count += most_hidden  # faiss gets no mask here, so hidden rows are proposed too and dropped later
        load_faiss().omp_set_num_threads(torch.get_num_threads())
        scores, rows = self._index.search(queries.numpy(), min(count, self._index.ntotal))
        bound = torch.from_numpy(scores[:, -1]) + queries.norm(dim=1) * self._error
        if count >= self._index.ntotal:
            bound.fill_(-torch.inf)
        return Proposal(torch.from_numpy(rows), bound)


def has_plain_codes(table: PackedTable) -> bool:
    """Whether codes can be read in place: every value is a code, stored in bytes or planes, with one scale per row."""
    tensors = table.tensors
    return (
        table.pattern == "full"
        and table.bits in (8, *PLANE_BITS)
        and set(tensors) == {"codes", "scale", "offset"}
        and tensors["codes"].shape == (table.rows, packed_width(table.dim, table.bits))
    )


@functools.cache
def multiplies_exactly() -> bool:
    """Whether this machine computes products of 8-bit integers exactly, even of extreme values.

    Processors without the instructions for it may saturate sums of pairs at 16 bits, as the manual of oneDNN warns.
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
    except (RuntimeError, AttributeError, NotImplementedError):  # this build of torch lacks `_int_mm`
        return False
    return True


def makers(table: PackedTable) -> dict[str, Callable[[PackedTable], Kernel]]:
    """Constructors of the kernels that may serve a table, by name.

    No kernel may need more memory than the table itself: a table was made small to save memory, not only for speed.
    """
    values = table.rows * table.dim
    kernels: dict[str, Callable[[PackedTable], Kernel]] = {}
    integer_scan_bytes = 20 * table.rows if has_plain_codes(table) else values + 12 * table.rows
    if multiplies_exactly() and integer_scan_bytes <= table.memory_bytes:
        kernels["integer_scan"] = IntegerScan
    if has("faiss") and 2 * values <= table.memory_bytes:
        kernels["half_precision"] = HalfPrecision
    return kernels
