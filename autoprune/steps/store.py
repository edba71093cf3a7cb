"""Fewer bits for the vectors that a model gives, where whoever uses it stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import FLOAT_BITS
from autoprune.steps.step import Step


@dataclass(frozen=True, kw_only=True)
class Store(Step):
    """Stores the vectors of texts in fewer bits: the model stays as it is, what is built with it becomes smaller.

    Attributes:
        bits: of each dimension: 32 and 16 are floats, 8 whole numbers, 1 signs. Queries are not stored.
    """

    name: ClassVar[str] = "store"

    bits: int = 8

    def idle(self) -> bool:
        return self.bits == FLOAT_BITS

    def summary(self) -> str:
        return f"stored in {self.bits} bit{'s' * (self.bits != 1)}"

    def check(self, model: Model) -> None:
        reason = model.unstorable(self.bits)
        if reason:
            raise RecipeError(("bits",), reason)

    def convert(self, model: Model, context: Context) -> None:
        model.stored_bits = self.bits
