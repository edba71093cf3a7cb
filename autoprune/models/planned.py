"""A table whose cuts, rotation and codes are applied only when rows are read: no second copy of a large table."""

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
    """A table that always shares the rows it was made from.

    Without training, everything that steps do to a row follows from the row and a few statistics. So a cut keeps the
    numbers of rows, a rotation keeps a matrix, and codes are computed when rows are read, or block by block when they
    are written. A planned table has no mask of single weights and cannot be trained; `settled` gives a plain table for
    that.

    Attributes:
        weight: float32 [original rows, width], perhaps mapped from a file; it is never written to.
        turn: float32 [width, dim], by which rows are multiplied; None: not at all.
        coding: how rows are coded; None: not at all.

    Args:
        vectors: float32 [rows, width].
        known: earlier results for the same vectors.
    """

    turn: Tensor | None

    def __init__(self, vectors: Tensor, *, known: Remembered | None = None) -> None:
        super().__init__(len(vectors), 0)
        self.weight = nn.Parameter(vectors)
        self.dim_mask = torch.ones(vectors.shape[1], dtype=torch.bool)
        self.bits, self.shares = self.bits[:1].expand(len(vectors)), self.shares[:1].expand(len(vectors))  # all equal
        self.register_buffer("turn", None)
        self.coding: Coding | None = None
        self._results = Remembered() if known is None else known
        self._searches = True

    @property
    def rows(self) -> int:
        return len(self.index)

    @property
    def dim(self) -> int:
        return len(self.dim_mask)

    @property
    def touched(self) -> bool:
        """Whether it differs from the rows it was made from."""
        return self.coding is not None or self.turn is not None or self.rows < self.original_rows

    def settled(self) -> Table:
        """A plain table with a copy of these rows.

        Raises:
            AutopruneError: it needs more memory than the machine has.
        """
        self._check_room("training or pruning single weights", copies=4)
        plain = Table(self.rows, self.dim)
        plain.weight = nn.Parameter(self.weights().detach().clone())
        plain.original_rows = self.original_rows
        for name in ("index", "row_mask", "dim_mask", "bits"):
            setattr(plain, name, getattr(self, name).clone())  # clones, because expanded tensors share one number
        return plain.to(self.weight.device)

    def values(self, rows: Tensor | None = None) -> Tensor:
        rows = torch.arange(self.rows, device=self.index.device) if rows is None else rows
        weights = self.weights(rows)
        return weights if self.coding is None else self.coding.values(weights.detach(), rows)

    def weights(self, rows: Tensor | None = None) -> Tensor:
        if rows is None:
            self._check_room("reading all rows at once", copies=1)
            rows = torch.arange(self.rows, device=self.index.device)
        return self._zero_hidden(self._turned(self.weight.index_select(0, self.index[rows])), rows)

    def lengths(self) -> Tensor:
        lengths = torch.empty(self.rows, device=self.weight.device)  # at once, as pieces would fragment the memory
        # A rotation that keeps all dimensions keeps lengths, so it need not be applied.
        turned = self.turn is not None and not (self.dim == len(self.turn) and self.dim_mask.all())
        for rows in blocks_of(self.rows, self.weight.shape[1]):
            block = self._block(rows) if turned else self._zero_hidden(self._source(rows), rows)
            lengths[rows] = torch.linalg.vector_norm(block, dim=1)
        return lengths

    def moment(self) -> Tensor:
        """The sum of the outer products of all rows that are not hidden with themselves: float64 [dim, dim]."""
        moment = self._results.get(("moment", self._standing_rows()), self._moment)
        moment = moment.to(self.weight.device)  # recipes are checked on the CPU, wherever their models are built
        if self.turn is not None:
            moment = self.turn.T.double() @ moment @ self.turn.double()
        return moment * self.dim_mask[:, None] * self.dim_mask

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
            learner.learn(self._sample(learner, None if part_of is None else part_of == number), largest=largest)
            for number, learner in enumerate(learners)
        ]
        self.coding = Coding(coders=tuple(coders), part_of=part_of)

    def packed(self) -> StoredTable:
        """The table as it ships, if it is unchanged; otherwise use `stored`."""
        assert not self.touched, "a changed table is computed while it is written, see `stored`"
        return pack(self.weight.detach())

    def stored(self) -> StoredBlocks:
        """The table as it will be written to a file, block by block."""
        coding = self.coding or Coding(coders=(None,))
        bits = FLOAT_BITS if self.coding is None else 0
        table = MadeTable.of(self.rows, self.dim, bits=bits, make=self._made)
        return store_blocks(self.rows, self.dim, coding=coding, block=self._block, table=table)

    @torch.no_grad()
    def _made(self, rows: Array) -> Array:
        values = self.values(tensor_of(rows, self.index.device))
        return numpy_of(values) if isinstance(rows, np.ndarray) else values.to(rows.device)

    @torch.no_grad()
    def _block(self, rows: slice) -> Tensor:
        return self._zero_hidden(self._turned(self._source(rows)), rows)

    def _source(self, rows: slice) -> Tensor:
        """Rows before the rotation."""
        source, uncut = self.weight.detach(), self.rows == self.original_rows
        return source[rows] if uncut else source.index_select(0, self.index[rows])  # twice as fast as source[index]

    def _turned(self, source: Tensor) -> Tensor:
        return source if self.turn is None else source @ self.turn

    def _zero_hidden(self, weights: Tensor, rows: Tensor | slice) -> Tensor:
        """The weights of rows, with hidden rows and dimensions set to zero."""
        visible = self.row_mask[rows]
        if visible.all() and self.dim_mask.all():
            return weights
        return weights * (visible[:, None] & self.dim_mask)

    def _largest(self) -> float:
        """An upper limit of all values under any rotation: the length of the longest row."""
        source = self.weight.detach()

        def longest() -> float:
            return max(float(torch.linalg.vector_norm(source[rows], dim=1).max()) for rows in blocks_of(*source.shape))

        return self._results.get(("longest",), longest)

    def _standing_rows(self) -> bytes:
        """A key for the set of rows that are not hidden; empty if these are all original rows."""
        if self.rows == self.original_rows and bool(self.row_mask.all()):
            return b""
        return hashlib.sha256(self.index[self.row_mask].cpu().numpy().data).digest()

    def _moment(self) -> Tensor:
        """The moment of the rows that are not hidden, before the rotation; if few are gone, by subtracting these."""
        if not self._standing_rows():
            return self._moment_of(None)
        standing = self.index[self.row_mask]
        gone = torch.ones(self.original_rows, dtype=torch.bool, device=standing.device).index_fill_(0, standing, False)
        if 2 * len(standing) > len(gone):
            whole = self._results.get(("moment", b""), lambda: self._moment_of(None)).to(standing.device)
            rest = whole - self._moment_of(gone.nonzero()[:, 0])
            if 2 * rest.trace() > whole.trace():  # otherwise the difference loses too many digits
                return rest
        return self._moment_of(standing)

    def _moment_of(self, index: Tensor | None) -> Tensor:
        """The moment of some of the original rows; None: of all."""
        source = self.weight.detach()
        moment = torch.zeros(source.shape[1], source.shape[1], dtype=torch.float64, device=source.device)
        for rows in blocks_of(len(source) if index is None else len(index), source.shape[1]):
            block = source[rows] if index is None else source.index_select(0, index[rows])
            moment += block.T @ block
        return moment

    def _sample(self, learner: Learner, chosen: Tensor | None) -> Tensor:
        """Rows for a learner: all that are to be coded, or a sample of as many as it needs."""
        rows = torch.arange(self.rows) if chosen is None else chosen.nonzero()[:, 0].cpu()
        if len(rows) > learner.points:
            draw = np.random.default_rng(0).choice(len(rows), learner.points, replace=False)
            rows = rows[torch.from_numpy(np.sort(draw))]
        return self.weights(rows.to(self.index.device)).detach()

    def _check_room(self, what: str, *, copies: int) -> None:
        needed, available = copies * 4 * self.rows * self.dim, memory()
        if needed > available:
            raise AutopruneError(
                f"a table of {self.rows:,} x {self.dim} float32 ({4 * self.rows * self.dim / 1e9:.1f} GB) is too large "
                f"for {what}: that takes {needed / 1e9:.1f} GB, and this machine has {available / 1e9:.1f} GB. Leave "
                "out what needs it (epochs, magnitude, l1, dims.importance=activation), or cut rows first."
            )
