"""Fewer bits: tables become row-wise codes, really packed when they ship."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autoprune.context import Context
from autoprune.errors import RecipeError
from autoprune.models.model import Model
from autoprune.packing import CLIP, quantize_rows
from autoprune.steps.step import Step

BITS = (32, 8, 4)


@dataclass(frozen=True, kw_only=True)
class Quantize(Step):
    """Post-training quantisation of every table, row by row (Guan et al. 2019).

    At 8 bits each row spans min … max; at 4 the range with the smallest squared error is searched. Pruned zeros
    stay exact zeros. The codes that quality is measured with are the codes that ship.

    Attributes:
        bits: 8 or 4; 32 keeps float32.
    """

    name: ClassVar[str] = "quantize"
    rank: ClassVar[int] = 2
    trainable: ClassVar[bool] = False

    bits: int = 8

    def idle(self) -> bool:
        return self.bits == 32

    def words(self) -> str:
        return f"{self.bits} bits"

    def check(self, model: Model) -> None:
        if type(self.bits) is not int or self.bits not in BITS:
            raise RecipeError(("bits",), f"one of {', '.join(map(str, BITS))} must be given, but got {self.bits!r}.")

    def convert(self, model: Model, context: Context) -> None:
        for table in model.tables.values():
            mask = None if bool(table.mask.all()) else table.mask
            clip = (1.0,) if self.bits == 8 else CLIP
            table.quantized = quantize_rows(table.values().detach(), self.bits, mask=mask, clip=clip)
