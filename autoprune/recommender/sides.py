"""Both tables of a model trained elsewhere, with their biases, which may be folded into the rows."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoprune.readers.named import BLOCK_VALUES, NamedRows
from autoprune.recommender.pieces import SIDES

Numbers = npt.NDArray[np.float32]

LOOKED_AT = 1024
"""Rows that are checked first to find columns of ones."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The table of users or of items.

    Attributes:
        table: its rows; the vectors must not be modified.
        bias: of each row, float32 [rows], or None.
    """

    table: NamedRows
    bias: Numbers | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model whose score is u·v, plus biases if there are any.

    Attributes:
        user, item: tables of the same width.
        constant: added to every score.
        notes: remarks on biases in the rows and tables found by shape.
    """

    user: Side
    item: Side
    constant: float
    notes: tuple[str, ...]

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of tables, ids and biases."""
        state = hashlib.sha256(repr(self.constant).encode())
        for side in (self.user, self.item):
            vectors = side.table.vectors
            state.update(repr((vectors.shape, side.table.ids, side.bias is not None)).encode())
            step = max(BLOCK_VALUES // vectors.shape[1], 1)
            for start in range(0, len(vectors), step):
                state.update(vectors[start : start + step].tobytes())
            state.update(b"" if side.bias is None else side.bias.tobytes())
        return state.hexdigest()[:12]


def of_length_one(side: Side) -> Side:
    """The rows scaled to length 1, except rows of zeros."""
    vectors = side.table.vectors
    lengths = np.asarray(np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
    divided = np.asarray(vectors / np.where(lengths > 0, lengths, np.float32(1)), dtype=np.float32)
    return dataclasses.replace(side, table=dataclasses.replace(side.table, vectors=divided))


def unfolded(sides: dict[str, Side]) -> tuple[dict[str, Side], list[str]]:
    """Extracts biases stored as a column whose counterpart in the other table is all ones, as `implicit` does."""
    found, notes = dict(sides), list[str]()
    for ones, biased in (SIDES, SIDES[::-1]):
        column = _column_of_ones(found[ones].table.vectors)
        if column is None or found[biased].bias is not None or found[ones].table.dim < 2:
            continue
        bias = np.array(found[biased].table.vectors[:, column])
        for name in SIDES:
            table = found[name].table
            narrow = dataclasses.replace(table, vectors=np.delete(table.vectors, column, axis=1))
            found[name] = dataclasses.replace(found[name], table=narrow)
        found[biased] = dataclasses.replace(found[biased], bias=bias)
        notes.append(
            f"dimension {column} of the {ones}s is 1 throughout, so that of the {biased}s is taken as their bias"
        )
    return found, notes


def _column_of_ones(vectors: Numbers) -> int | None:
    """The column that is 1 in every row except rows of zeros; None if there is none or more than one."""
    first = vectors[:LOOKED_AT]
    likely = np.flatnonzero(((first == 1) | ~first.any(1, keepdims=True)).all(0) & (first == 1).any(0))
    found = [
        int(column) for column in likely if not (others := vectors[vectors[:, column] != 1]).size or not others.any()
    ]
    return found[0] if len(found) == 1 else None
