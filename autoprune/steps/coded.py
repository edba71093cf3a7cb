"""What is common to codes of few bits: their levels, how many bits they may have, and when they are made."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import FLOAT_BITS, Learner
from autoprune.packing.bits import TERNARY, is_rate
from autoprune.packing.codes import Uniform
from autoprune.packing.normal import RATES as NORMAL_RATES
from autoprune.packing.normal import Normal
from autoprune.steps.step import Step, check_choice
from autoprune.steps.turning import SPREAD_BITS

EVEN, NORMAL = "even", "normal"

WIDTHS: dict[str, tuple[float, ...]] = {EVEN: (8, 4, 3, 2, 1), NORMAL: (8, 4, 3, 2, TERNARY, 1)}
"""Where the levels of codes may lie, and how many bits codes can have then."""


@dataclass(frozen=True, kw_only=True)
class Coded(Step):
    """What the steps to row-wise codes share: which levels codes may have, and how many bits.

    Levels are even or normal. *Even* ones divide the best part of each row's range, which is chosen at the first update
    of a stage and holds. In a stage without updates this is
    post-training quantisation (Guan et al. 2019, "Post-Training 4-bit Quantization on Embedding Tables"). In one with
    updates it is quantisation-aware training (Jacob et al. 2018, "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference"): the loss sees the values that the codes would have, gradients go
    straight through to the weights, and the codes of the last update ship. Pruned zeros stay exact zeros.

    *Normal* ones lie about zero, as far apart as suits a normal distribution, which is what the values of rows have
    that were turned at random (`autoprune.packing.normal`). One byte a row gives rows their length. They are found when
    a stage ends, so training does not see them, and pruned zeros are approximated like other values.

    A number of bits with a point, such as 2.5, is what a code takes in the mean in an entropy-coded file: levels are
    many, and as far apart as gives their codes that entropy (Gish & Pierce 1968, "Asymptotically Efficient
    Quantizing"). Tables that are looked up get such codes when a stage ends too.

    Attributes:
        levels: `even` or `normal`; codes of 8 bits have even levels in any case.
        entropy: whether the files of the model are entropy-coded (`autoprune.packing.squeezed`), which changes no
            answer: fewer bytes the less alike codes are in how frequent they are.
    """

    rank: ClassVar[int] = 2
    plans: ClassVar[bool] = True
    trainable: ClassVar[bool] = False

    levels: str = EVEN
    entropy: bool = False

    def parameters(self) -> dict[str, Any]:
        found = super().parameters()
        former = {"levels": EVEN, "entropy": False}  # recipes that were written before do not say them
        return {name: value for name, value in found.items() if value != former.get(name, ...)}

    def check_width(self, width: object, path: tuple[str, ...], *widths: float) -> None:
        """Refuses a number of bits that codes of these levels cannot have.

        Args:
            widths: what else can be given.

        Raises:
            RecipeError: with the path.
        """
        if self.rates and self.is_rate(width):
            if not self.entropy:
                raise RecipeError(path, f"{width!r} bits in the mean take an entropy-coded file: entropy=true.")
            least, most = self.rates
            if not least <= width <= most:
                raise RecipeError(
                    path,
                    f"bits in the mean are from {least} to {most}, but got {width!r}; "
                    "whole bits, such as 8, have no point.",
                )
            return
        check_width(width, path, (*widths, *WIDTHS[self.levels]))

    def check_levels(self, model: Model) -> None:
        """Refuses levels that are unknown, or that a model's kernels cannot take, and what entropy cannot be."""
        if not isinstance(self.entropy, bool):
            raise RecipeError(("entropy",), f"true or false must be given, but got {self.entropy!r}.")
        check_choice("levels", self.levels, WIDTHS)
        if self.levels == NORMAL and model.has_maps:
            raise RecipeError(("levels",), f"the linear maps of this model take even levels, but got {self.levels!r}.")

    @property
    def rates(self) -> tuple[float, float] | None:
        """Bits in the mean that can be asked for, from and to; None: whole bits alone."""
        return NORMAL_RATES if self.levels == NORMAL else None

    def is_rate(self, width: object) -> TypeGuard[float]:
        """Whether bits are what a code takes in the mean; of even levels 1.6 may be too."""
        return is_rate(width) or (self.levels == EVEN and self.entropy and width == TERNARY)

    @property
    def manner(self) -> str:
        """How codes are made, in words, where it is not the usual way."""
        return f" {self.levels}" * (self.levels != EVEN) + ", entropy-coded" * self.entropy

    def _said(self, width: float) -> str:
        return f"{width} bits in the mean" if self.is_rate(width) else f"{width} bit{'s' * (width != 1)}"

    def learner(self, bits: float, *, search: bool = True) -> Learner:
        """How rows are coded, where they are when a stage ends."""
        if self.levels == NORMAL and bits <= SPREAD_BITS:
            return Normal(bits=bits, search=search)
        return Uniform(bits=int(bits), search=search)

    def convert(self, model: Model, context: Context) -> None:
        model.entropy = model.entropy or self.entropy
        if context.rehearsal:  # codes change no shape, and take longer than all else
            return
        if self.levels == NORMAL:
            self.code(model, context)
            return
        for table in model.tables.values():
            if int(table.bits[0]) < FLOAT_BITS:
                table.code()

    @abstractmethod
    def code(self, model: Model, context: Context) -> None:
        """Codes tables when a stage ends, with codes that are learned from what the rows are then."""

    def aspects(self) -> frozenset[str]:
        return frozenset({self.name, "codes"})


def check_width(width: object, path: tuple[str, ...], widths: tuple[float, ...]) -> None:
    """Refuses a number of bits that is not among `widths`.

    Raises:
        RecipeError: with the path.
    """
    if width not in widths or type(width) is not type(widths[widths.index(width)]):
        way = f"; {TERNARY} bits take levels=normal" * (width == TERNARY)
        raise RecipeError(path, f"one of {', '.join(map(str, widths))} must be given, but got {width!r}{way}.")
