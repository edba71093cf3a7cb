"""Bits by frequency: rows of a table that are looked up often get more than the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.steps.coded import NORMAL, Coded
from autoprune.steps.frequency import code_shares
from autoprune.steps.importance import row_frequency
from autoprune.steps.step import check_lookups, removed
from autoprune.steps.turning import spread


@dataclass(frozen=True, kw_only=True)
class Mixed(Coded):
    """Row-wise codes of two widths: frequent rows get more bits than rare ones.

    Mixed precision by frequency. Ginart et al. 2021 ("Mixed Dimension Embeddings with Application to Memory-Efficient
    Recommendation Systems") do the same with dimensions.

    Attributes:
        head: fraction of the standing rows of each table that get `head_bits`: the most frequent ones.
        head_bits, tail_bits: 8, 4, 3, 2 or 1; with normal levels also 1.6 or a rate.
    """

    name: ClassVar[str] = "mixed"

    head: float
    head_bits: float = 8
    tail_bits: float = 4

    def summary(self) -> str:
        return (
            f"{100 * self.head:.4g}% of rows {self._in_words(self.head_bits)}, others {self.tail_bits}{self.qualifiers}"
        )

    def check(self, model: Model) -> None:
        check_lookups(model)
        self.check_levels(model)
        for parameter, width in (("head_bits", self.head_bits), ("tail_bits", self.tail_bits)):
            self.check_width(width, (parameter,))
        if isinstance(self.head, bool) or not isinstance(self.head, int | float) or not 0 <= self.head <= 1:
            raise RecipeError(("head",), f"0 <= head <= 1 must hold, but got {self.head!r}.")

    def advance(self, model: Model, context: Context, reached: float) -> None:
        if self.levels == NORMAL:
            return
        spread(model, dict.fromkeys(model.groups, min(self.head_bits, self.tail_bits)))
        for name, table in model.tables.items():
            standing = table.row_mask.nonzero()[:, 0]
            order = row_frequency(model, name, context)[standing].argsort(descending=True, stable=True)
            bits = torch.full_like(table.bits, self.tail_bits)
            bits[standing[order[: removed(len(standing), self.head)]]] = self.head_bits
            if not torch.equal(bits, table.bits):
                table.choose_bits(bits, search=not context.rehearsal)

    def code(self, model: Model, context: Context) -> None:
        spread(model, dict.fromkeys(model.groups, min(self.head_bits, self.tail_bits)))
        code_shares(model, context, [self.head], [self.learner(self.head_bits), self.learner(self.tail_bits)])
