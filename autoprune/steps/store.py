"""Fewer bits for the vectors that users of a model store, for example in an index."""

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
    """Stores the vectors of texts in fewer bits: the model stays the same, indexes built with it become smaller.

    Attributes:
        bits: per dimension: 32 and 16 are floats, 8 integers, 1 signs. Queries are not stored.
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
