"""A table whose cuts, turn and codes are planned, and made where rows are asked for: no second copy of a large one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.errors import AutopruneError
from autoprune.machine import memory
from autoprune.models.remembered import Remembered
from autoprune.models.table import FLOAT_BITS, Learner, Table
from autoprune.packing.arrays import Array, numpy_of, tensor_of
from autoprune.packing.blocks import Coding, MadeTable, StoredBlocks, blocks_of, store_blocks
from autoprune.packing.codes import Uniform
from autoprune.packing.packed import StoredTable
from autoprune.packing.writing import pack


class Planned(Table):
    """A table that shares the rows it was made from, whatever becomes of it.

    Without updates all that steps do to a row follows from the row and a few statistics. So a cut keeps row numbers, a
    turn keeps a matrix, and codes are made when somebody asks for rows, or block by block while they are written. It
    has no mask of single weights, and does not train; `settled` is a plain table for that.

    Attributes:
        weight: float32 [original rows, width], perhaps mapped from a file; nobody writes into it.
        turn: float32 [width, dim], what a row is multiplied by; None: nothing.
        coding: how rows are coded; None: not at all.

    Args:
        vectors: float32 [rows, width].
        known: what was computed of these vectors.
    """

    turn: Tensor | None

    def __init__(self, vectors: Tensor, *, known: Remembered | None = None) -> None:
        super().__init__(len(vectors), 0)
        self.weight = nn.Parameter(vectors)
        self.dim_mask = torch.ones(vectors.shape[1], dtype=torch.bool)
        self.bits, self.shares = self.bits[:1].expand(len(vectors)), self.shares[:1].expand(len(vectors))  # all alike
        self.register_buffer("turn", None)
        self.coding: Coding | None = None
        self._known = Remembered() if known is None else known
        self._searches = True

    @property
    def rows(self) -> int:
        return len(self.index)

    @property
    def dim(self) -> int:
        return len(self.dim_mask)

    @property
    def touched(self) -> bool:
        """Whether it differs from the rows that it was made from."""
        return self.coding is not None or self.turn is not None or self.rows < self.original_rows

    def settled(self) -> Table:
        """A plain table with a copy of these rows.

        Raises:
            AutopruneError: it needs more than all of the memory.
        """
        self._check_room("training or pruning single weights", copies=4)
        found = Table(self.rows, self.dim)
        found.weight = nn.Parameter(self.weights().detach().clone())
        found.original_rows = self.original_rows
        for name in ("index", "row_mask", "dim_mask", "bits"):
            setattr(found, name, getattr(self, name).clone())  # what is alike for all rows is one number here
        return found.to(self.weight.device)

    def values(self, rows: Tensor | None = None) -> Tensor:
        rows = torch.arange(self.rows, device=self.index.device) if rows is None else rows
        weights = self.weights(rows)
        return weights if self.coding is None else self.coding.values(weights.detach(), rows)

    def weights(self, rows: Tensor | None = None) -> Tensor:
        if rows is None:
            self._check_room("its rows at one time", copies=1)
            rows = torch.arange(self.rows, device=self.index.device)
        return self._hidden(self._turned(self.weight.index_select(0, self.index[rows])), rows)

    def lengths(self) -> Tensor:
        found = torch.empty(self.rows, device=self.weight.device)  # pieces of it would lie between what blocks leave
        turned = self.turn is not None and not (self.dim == len(self.turn) and self.dim_mask.all())
        for some in blocks_of(self.rows, self.weight.shape[1]):  # a turn that keeps all dimensions keeps lengths
            block = self._block(some) if turned else self._hidden(self._source(some), some)
            found[some] = torch.linalg.vector_norm(block, dim=1)
        return found

    def moment(self) -> Tensor:
        """The sum of the outer products of all rows that are not hidden with themselves: float64 [dim, dim]."""
        found = self._known.get(("moment", self._standing_rows()), self._moment)
        found = found.to(self.weight.device)  # recipes are checked on the CPU, whatever they are made on
        if self.turn is not None:
            found = self.turn.T.double() @ found @ self.turn.double()
        return found * self.dim_mask[:, None] * self.dim_mask

    def cut_rows(self, keep: Tensor) -> None:
        for name in ("index", "row_mask", "mask", "bits", "shares"):
            setattr(self, name, getattr(self, name)[keep])

    def cut_dims(self, keep: Tensor) -> None:
        turn = torch.eye(self.dim, device=self.weight.device) if self.turn is None else self.turn
        self.turn, self.dim_mask = turn[:, keep], self.dim_mask[keep]

    def rotate(self, rotation: Tensor) -> None:
        self.turn = rotation if self.turn is None else self.turn @ rotation

    def prune(self, mask: Tensor) -> None:
        raise AssertionError("a stage that prunes single weights settles the table first")

    def choose_bits(self, bits: Tensor, *, search: bool = True) -> None:
        self.bits, self._searches = bits, search

    def code(self) -> None:
        least, most = self.bits.aminmax()
        widths = least[None] if least == most else torch.unique(self.bits)
        part_of = None if len(widths) == 1 else torch.searchsorted(widths, self.bits).to(torch.uint8)
        self.code_by([Uniform(bits=int(width), search=self._searches) for width in widths], part_of=part_of)

    def code_by(self, learners: Sequence[Learner], *, part_of: Tensor | None = None) -> None:
        largest = self._largest()
        coders = [
            one.learn(self._drawn(one, None if part_of is None else part_of == number), largest=largest)
            for number, one in enumerate(learners)
        ]
        self.coding = Coding(coders=tuple(coders), part_of=part_of)

    def packed(self) -> StoredTable:
        """The table as it ships, where there is nothing to make; else `stored`."""
        assert not self.touched, "it is made while it is written"
        return pack(self.weight.detach())

    def stored(self) -> StoredBlocks:
        """The table as a file will hold it."""
        coding = self.coding or Coding(coders=(None,))
        bits = FLOAT_BITS if self.coding is None else 0
        table = MadeTable.of(self.rows, self.dim, bits=bits, make=self._made)
        return store_blocks(self.rows, self.dim, coding=coding, block=self._block, table=table)

    @torch.no_grad()
    def _made(self, rows: Array) -> Array:
        found = self.values(tensor_of(rows, self.index.device))
        return numpy_of(found) if isinstance(rows, np.ndarray) else found.to(rows.device)

    @torch.no_grad()
    def _block(self, some: slice) -> Tensor:
        return self._hidden(self._turned(self._source(some)), some)

    def _source(self, some: slice) -> Tensor:
        """Rows as they were before any turn."""
        source, whole = self.weight.detach(), self.rows == self.original_rows
        return source[some] if whole else source.index_select(0, self.index[some])  # twice as fast as source[index]

    def _turned(self, source: Tensor) -> Tensor:
        return source if self.turn is None else source @ self.turn

    def _hidden(self, weights: Tensor, rows: Tensor | slice) -> Tensor:
        stands = self.row_mask[rows]
        if stands.all() and self.dim_mask.all():
            return weights
        return weights * (stands[:, None] & self.dim_mask)

    def _largest(self) -> float:
        """No value is larger, whatever the turn: the length of the longest row."""
        source = self.weight.detach()

        def longest() -> float:
            return max(float(torch.linalg.vector_norm(source[some], dim=1).max()) for some in blocks_of(*source.shape))

        return self._known.get(("longest",), longest)

    def _standing_rows(self) -> bytes:
        """Names the rows that are not hidden; empty where these are all there ever were."""
        if self.rows == self.original_rows and bool(self.row_mask.all()):
            return b""
        return hashlib.sha256(self.index[self.row_mask].cpu().numpy().data).digest()

    def _moment(self) -> Tensor:
        """Of the rows that stand, as they were before any turn; where few do not, by what these take from the whole."""
        if not self._standing_rows():
            return self._moment_of(None)
        standing = self.index[self.row_mask]
        gone = torch.ones(self.original_rows, dtype=torch.bool, device=standing.device).index_fill_(0, standing, False)
        if 2 * len(standing) > len(gone):
            whole = self._known.get(("moment", b""), lambda: self._moment_of(None)).to(standing.device)
            left = whole - self._moment_of(gone.nonzero()[:, 0])
            if 2 * left.trace() > whole.trace():  # else rounding would count
                return left
        return self._moment_of(standing)

    def _moment_of(self, index: Tensor | None) -> Tensor:
        """Of some of the rows that it was made from, None for all."""
        source = self.weight.detach()
        found = torch.zeros(source.shape[1], source.shape[1], dtype=torch.float64, device=source.device)
        for some in blocks_of(len(source) if index is None else len(index), source.shape[1]):
            block = source[some] if index is None else source.index_select(0, index[some])
            found += block.T @ block
        return found

    def _drawn(self, learner: Learner, chosen: Tensor | None) -> Tensor:
        """Rows to learn from: all that are to be coded, or as many of them as are enough."""
        rows = torch.arange(self.rows) if chosen is None else chosen.nonzero()[:, 0].cpu()
        if len(rows) > learner.points:
            draw = np.random.default_rng(0).choice(len(rows), learner.points, replace=False)
            rows = rows[torch.from_numpy(np.sort(draw))]
        return self.weights(rows.to(self.index.device)).detach()

    def _check_room(self, what: str, *, copies: int) -> None:
        needed, there = copies * 4 * self.rows * self.dim, memory()
        if needed > there:
            raise AutopruneError(
                f"a table of {self.rows:,} x {self.dim} float32 ({4 * self.rows * self.dim / 1e9:.1f} GB) is too large "
                f"for {what}: that takes {needed / 1e9:.1f} GB, and this machine has {there / 1e9:.1f} GB. Leave out "
                "what needs it (epochs, magnitude, l1, dims.importance=activation), or cut rows first."
            )
