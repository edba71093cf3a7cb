"""Matches the rows of tables trained elsewhere to the users and items of the data by their ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autoprune.errors import AutopruneError
from autoprune.models.table import Table
from autoprune.packing.ids import Ids
from autoprune.readers.ids import whole_number
from autoprune.recommender.data.log import WHOLE, Log
from autoprune.recommender.pieces import SIDES
from autoprune.recommender.sides import Side, Trained

Numbers = npt.NDArray[np.int64]

PADDING = "[PAD]"
"""The id of the first row of every RecBole table, which is no user or item."""


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A trained model whose rows are matched to all users and items, those of the data and its own.

    Attributes:
        trained: the tables.
        rows: for every user and every item its row in the table, or -1 if it has none: int64 [n] each.
        notes: remarks on ids that only the tables or only the data have.
    """

    trained: Trained
    rows: Mapping[str, Numbers]
    notes: tuple[str, ...]

    @property
    def dim(self) -> int:
        """Width of the tables."""
        return self.trained.user.table.dim

    def table(self, side: str) -> Table:
        """The table of all users or items that have a row, in the order of the data's ids."""
        trained: Side = getattr(self.trained, side)
        (with_row,) = np.nonzero(self.rows[side] >= 0)
        rows = self.rows[side][with_row]
        table = Table(len(with_row), self.dim, bias=trained.bias is not None)
        table.original_rows, table.index = len(self.rows[side]), torch.from_numpy(with_row)
        table.weight.data.copy_(torch.from_numpy(trained.table.vectors[rows]))
        if table.bias is not None and trained.bias is not None:
            table.bias.data.copy_(torch.from_numpy(trained.bias[rows]))
        return table


def matched(trained: Trained, log: Log) -> tuple[Matched, Log]:
    """Gives a trained model and the interactions common positions for all users and items that either has.

    Raises:
        AutopruneError: a table and the data have no id in common, or the data's ids cannot be row numbers of a table
            without ids.
    """
    rows, notes, changed = {}, list[str](), dict[str, Any]()
    for side in SIDES:
        known: Ids = getattr(log, f"{side}s")
        values, row_of, said = _values(getattr(trained, side), known, side)
        everyone = _united(known, Ids(values))
        at = everyone.positions(Ids(values))
        rows[side] = np.full(len(everyone), -1)
        rows[side][at] = row_of
        place = everyone.positions(known)
        notes += [*said, *_one_sided(side, known=len(known), lacking=int((rows[side][place] < 0).sum()), table=len(at))]
        changed |= {f"{side}s": everyone, side: place[getattr(log, side)]}
    return Matched(trained=trained, rows=rows, notes=tuple(notes)), dataclasses.replace(log, **changed)


def _values(held: Side, known: Ids, side: str) -> tuple[npt.NDArray[Any], Numbers, list[str]]:
    """The ids of a table in the type of the data's ids, ascending; their rows; and notes."""
    where, rows = held.table.where, np.arange(len(held.table))
    if held.table.ids is None:
        _check_row_numbers(known, len(rows), where, side)
        return rows, rows, [f"rows of {side}s are numbered as the data's ids, for they have none of their own"]
    names, said = np.array(held.table.ids, dtype=object), list[str]()
    stays = ~((rows == 0) & (names == PADDING))
    if known.numeric:
        stays &= np.array([_number(name) is not None for name in names])
    if not stays.all():
        others = "row of padding" if (~stays).sum() == 1 and not stays[0] else f"of {len(rows):,} ids of {side}s"
        said.append(f"{int((~stays).sum()):,} {others} left out, such as {names[~stays][0]!r}")
    names, rows = names[stays], rows[stays]
    values = np.array([_number(name) for name in names], dtype=np.int64) if known.numeric else names
    if not known.numeric or len(values):
        unique, first, counts = np.unique(values, return_index=True, return_counts=True)
        if (counts > 1).any():
            raise AutopruneError(
                f"{where}: id {str(unique[counts > 1][0])!r} stands twice, written in two ways; keep one."
            )
        values, rows = unique, rows[first]
    if not len(values) or (known.positions(Ids(values)) < 0).all():
        raise AutopruneError(
            f"{where}: none of its {len(held.table):,} ids is one of the data's {len(known):,} {side}s: they are such "
            f"as {held.table.ids[0]!r}, and the data's such as {str(known[0])!r}. If these are row numbers, write a "
            f"file of the ids in the order of the rows and name it: task.model.{side}_ids=FILE"
        )
    return values, rows, said


def _number(name: str) -> int | None:
    """The whole number that an id spells; None if it spells none."""
    return whole_number(name.removesuffix(".0")) if WHOLE.fullmatch(name) else None


def _check_row_numbers(known: Ids, rows: int, where: str, side: str) -> None:
    """Raises if the data's ids cannot be row numbers of a table without ids."""
    if not known.numeric or int(known[0]) < 0 or int(known[len(known) - 1]) >= rows:
        raise AutopruneError(
            f"{where}: its {rows:,} rows have no ids, and the data's {len(known):,} {side}s, {known[0]!r} to "
            f"{known[len(known) - 1]!r}, are not their numbers, 0 to {rows - 1:,}. Put the ids beside it in the order "
            f"of the rows, a line each ({side}_ids.txt), or name them: task.model.{side}_ids=FILE"
        )


def _united(one: Ids, other: Ids) -> Ids:
    if one.numeric:
        return Ids(np.union1d(one.values, other.values))
    return Ids(np.array(sorted({*one.values.tolist(), *other.values.tolist()}), dtype=object))


def _one_sided(side: str, *, known: int, lacking: int, table: int) -> list[str]:
    fate = {
        "user": "are served from their history, as users whose rows are removed",
        "item": "are never recommended, and count as not found",
    }
    said = [f"{lacking:,} of the data's {known:,} {side}s are not in the table: they {fate[side]}"] if lacking else []
    alone = table - (known - lacking)
    if alone:
        said.append(
            f"{alone:,} of the table's {table:,} {side}s are not in the data: they stay, and nothing tests them"
        )
    return said
