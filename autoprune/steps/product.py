"""Product quantisation: rows become codebook entries, far below one bit per weight in large tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.packing.product import ROUNDS, Codebooks
from autoprune.steps.step import Step, check_lookups

MOST_ENTRIES = 256


@dataclass(frozen=True, kw_only=True)
class Product(Step):
    """Product quantisation of every table (Jégou, Douze & Schmid 2011): log2(entries) bits for each run of dimensions.

    The codebooks are learned from the standing rows when the stage ends; a table with fewer rows than entries keeps one
    entry per row. Pruned single weights are approximated like any other value: they no longer are exact zeros.

    Attributes:
        width: dimensions in a run; a table with fewer is one run.
        entries: size of each run's codebook, 2 to 256; with up to 16 a code takes four bits.
        lengths: whether decoded rows have the original length, for one byte per row.
    """

    name: ClassVar[str] = "product"
    plans: ClassVar[bool] = True
    version: ClassVar[int] = 2
    rank: ClassVar[int] = 2
    trainable: ClassVar[bool] = False

    width: int = 4
    entries: int = MOST_ENTRIES
    lengths: bool = False

    def parameters(self) -> dict[str, Any]:
        parameters = super().parameters()
        if not self.lengths:  # older recipes, and their keys, lack it
            parameters.pop("lengths")
        return parameters

    def summary(self) -> str:
        return f"product {self.width} dims in {self.entries} entries" + " with lengths" * self.lengths

    def check(self, model: Model) -> None:
        if not isinstance(self.lengths, bool):
            raise RecipeError(("lengths",), f"true or false must be given, but got {self.lengths!r}.")
        check_runs(self.width, self.entries)
        check_lookups(model)
        for name, table in model.tables.items():
            if self.entries > table.original_rows:
                raise RecipeError(
                    ("entries",),
                    f"a codebook of {self.entries} entries is larger than table {name!r}, which has "
                    f"{table.original_rows} rows; lower entries.",
                )

    def convert(self, model: Model, context: Context) -> None:
        for table in model.tables.values():
            rounds = 0 if context.rehearsal else ROUNDS
            books = Codebooks(
                width=self.width, entries=self.entries, seed=context.seed, rounds=rounds, lengths=self.lengths
            )
            table.code_by([books])

    def aspects(self) -> frozenset[str]:
        return frozenset({self.name, "codes"})


def check_runs(width: object, entries: object) -> None:
    """Refuses runs without dimensions, and codebooks with more entries than a byte can number.

    Raises:
        RecipeError: with the parameter's path.
    """
    if type(width) is not int or width < 1:
        raise RecipeError(("width",), f"a whole number >= 1 must be given, but got {width!r}.")
    if type(entries) is not int or not 2 <= entries <= MOST_ENTRIES:
        raise RecipeError(("entries",), f"a whole number from 2 to {MOST_ENTRIES} must be given, but got {entries!r}.")
