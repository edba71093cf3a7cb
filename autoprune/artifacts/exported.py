"""What a model hands over to be written for other libraries: tables in float32, and how their rows are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.packing import PackedTable

Numbers = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True)
class ExportedTable:
    """A table and what its rows are called.

    Attributes:
        ids: of the rows.
        vectors: float32 [rows, dim].
        bias: added to the scores of each row, float32 [rows]; None: nothing.
        packed: how the artifact holds it.
    """

    ids: list[str]
    vectors: Numbers
    bias: Numbers | None = None
    packed: PackedTable

    @property
    def coded(self) -> bool:
        """Whether the artifact holds codes of few bits, or leaves zeros out."""
        return self.packed.pattern != "full" or self.packed.bits != 32


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Tables to write.

    Attributes:
        tables: by name, which files begin with.
        searched: the name of the one whose rows are asked for.
        similarity: how its rows are compared: `dot`, `cosine` or `euclidean`.
        projection: what queries are multiplied by first, float32 [width, dim]; None: they are as wide as the rows.
        constant: added to all scores.
        losses: what the artifact can do and tables cannot, a sentence each.
    """

    tables: Mapping[str, ExportedTable]
    searched: str
    similarity: str = "dot"
    projection: Numbers | None = None
    constant: float = 0.0
    losses: tuple[str, ...] = ()

    @property
    def asking(self) -> Mapping[str, ExportedTable]:
        """The tables whose rows are asked with."""
        return {name: table for name, table in self.tables.items() if name != self.searched}
