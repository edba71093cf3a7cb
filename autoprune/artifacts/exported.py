"""What a model exports for other libraries: tables in float32, and how their rows are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.packing import PackedTable

Numbers = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True)
class ExportedTable:
    """A table and the ids of its rows.

    Attributes:
        ids: of the rows.
        vectors: float32 [rows, dim].
        bias: added to the scores of each row, float32 [rows]; None: nothing.
        packed: the table as the artifact stores it.
    """

    ids: list[str]
    vectors: Numbers
    bias: Numbers | None = None
    packed: PackedTable

    @property
    def coded(self) -> bool:
        """Whether the artifact stores low-bit codes, or leaves out zeros."""
        return self.packed.pattern != "full" or self.packed.bits != 32


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Tables to write.

    Attributes:
        tables: by name; their file names begin with it.
        searched: the name of the table whose rows are searched.
        similarity: how its rows are compared with queries: `dot`, `cosine` or `euclidean`.
        projection: the matrix that queries are multiplied by first, float32 [width, dim]; None: queries are as wide as
            the rows.
        constant: added to all scores.
        losses: what the artifact can do but exported tables cannot, one sentence each.
    """

    tables: Mapping[str, ExportedTable]
    searched: str
    similarity: str = "dot"
    projection: Numbers | None = None
    constant: float = 0.0
    losses: tuple[str, ...] = ()

    @property
    def asking(self) -> Mapping[str, ExportedTable]:
        """The tables whose rows serve as queries."""
        return {name: table for name, table in self.tables.items() if name != self.searched}
