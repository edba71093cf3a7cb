"""What all row-wise codes share: their levels, how many bits they may have, and when they are computed."""

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
"""The kinds of levels, and the numbers of bits that codes can have with each."""


@dataclass(frozen=True, kw_only=True)
class Coded(Step):
    """The base of the steps that compute row-wise codes: which levels codes have, and how many bits.

    Levels are even or normal. *Even* levels divide the best part of each row's range. It is chosen at the first update
    of a stage and then kept. In a stage without updates this is post-training quantisation (Guan et al. 2019,
    "Post-Training 4-bit Quantization on Embedding Tables"). In a stage with updates it is quantisation-aware training
    (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"):
    the loss sees the values that the codes would have, gradients go straight through to the weights, and the codes of
    the last update ship. Pruned zeros stay exact zeros.

    *Normal* levels are centred on zero and spaced for a normal distribution, which the values of randomly rotated rows
    follow (`autoprune.packing.normal`). One byte per row stores its length. These codes are computed when a stage ends,
    so training does not see them, and pruned zeros are approximated like other values.

    A number of bits with a decimal point, such as 2.5, is a rate: the average number of bits per code in an
    entropy-coded file. There are many levels, spaced so that the codes have that entropy (Gish & Pierce 1968,
    "Asymptotically Efficient Quantizing"). Lookup tables get their codes at a rate when a stage ends, too.

    Attributes:
        levels: `even` or `normal`; codes of 8 bits have even levels in any case.
        entropy: whether the files of the model are entropy-coded (`autoprune.packing.squeezed`), which changes no
            answer. It saves the more bytes, the more unequally frequent the codes are.
    """

    rank: ClassVar[int] = 2
    plans: ClassVar[bool] = True
    trainable: ClassVar[bool] = False

    levels: str = EVEN
    entropy: bool = False

    def parameters(self) -> dict[str, Any]:
        parameters = super().parameters()
        defaults = {"levels": EVEN, "entropy": False}  # older recipes, and their keys, lack these
        return {name: value for name, value in parameters.items() if value != defaults.get(name, ...)}

    def check_width(self, width: object, path: tuple[str, ...], *widths: float) -> None:
        """Refuses a number of bits that codes with these levels cannot have.

        Args:
            widths: further numbers that are allowed.

        Raises:
            RecipeError: with the path.
        """
        if self.rates and self.is_rate(width):
            if not self.entropy:
                raise RecipeError(path, f"a mean of {width!r} bits requires an entropy-coded file; set entropy=true.")
            least, most = self.rates
            if not least <= width <= most:
                raise RecipeError(
                    path,
                    f"a mean number of bits must be from {least} to {most}, but got {width!r}; "
                    "write a whole number of bits, such as 8, without a decimal point.",
                )
            return
        check_width(width, path, (*widths, *WIDTHS[self.levels]))

    def check_levels(self, model: Model) -> None:
        """Refuses levels that are unknown or that the model's kernels do not support, and a non-boolean `entropy`."""
        if not isinstance(self.entropy, bool):
            raise RecipeError(("entropy",), f"true or false must be given, but got {self.entropy!r}.")
        check_choice("levels", self.levels, WIDTHS)
        if self.levels == NORMAL and model.has_maps:
            raise RecipeError(
                ("levels",), f"the linear layers of this model need even levels, but got {self.levels!r}."
            )

    @property
    def rates(self) -> tuple[float, float] | None:
        """The lowest and the highest rate that is allowed; None: only whole bits are."""
        return NORMAL_RATES if self.levels == NORMAL else None

    def is_rate(self, width: object) -> TypeGuard[float]:
        """Whether a number of bits is a rate; with even, entropy-coded levels 1.6 is one too."""
        return is_rate(width) or (self.levels == EVEN and self.entropy and width == TERNARY)

    @property
    def qualifiers(self) -> str:
        """The levels and the entropy coding in words; empty for the defaults."""
        return f" {self.levels}" * (self.levels != EVEN) + ", entropy-coded" * self.entropy

    def _in_words(self, width: float) -> str:
        return f"{width} bits in the mean" if self.is_rate(width) else f"{width} bit{'s' * (width != 1)}"

    def learner(self, bits: float, *, search: bool = True) -> Learner:
        """What codes rows at the end of a stage."""
        if self.levels == NORMAL and bits <= SPREAD_BITS:
            return Normal(bits=bits, search=search)
        return Uniform(bits=int(bits), search=search)

    def convert(self, model: Model, context: Context) -> None:
        model.entropy = model.entropy or self.entropy
        if context.rehearsal:  # codes change no shape, and take longer than everything else
            return
        if self.levels == NORMAL:
            self.code(model, context)
            return
        for table in model.tables.values():
            if int(table.bits[0]) < FLOAT_BITS:
                table.code()

    @abstractmethod
    def code(self, model: Model, context: Context) -> None:
        """Codes the tables when a stage ends, with codes learned from the rows as they are then."""

    def aspects(self) -> frozenset[str]:
        return frozenset({self.name, "codes"})


def check_width(width: object, path: tuple[str, ...], widths: tuple[float, ...]) -> None:
    """Refuses a number of bits that is not among `widths`.

    Raises:
        RecipeError: with the path.
    """
    if width not in widths or type(width) is not type(widths[widths.index(width)]):
        hint = f"; {TERNARY} bits take levels=normal" * (width == TERNARY)
        raise RecipeError(path, f"one of {', '.join(map(str, widths))} must be given, but got {width!r}{hint}.")
