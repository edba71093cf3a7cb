"""Fewer bits: tables become row-wise codes, really packed when they ship."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from autoprune.errors import RecipeError, seen_from
from autoprune.models.axis import Axis, by_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import FLOAT_BITS
from autoprune.steps.compensation import compensate
from autoprune.steps.importance import row_frequency
from autoprune.steps.sharing import check_mean, is_mean, shared_bits
from autoprune.steps.step import Step, check_lookups, removed

WIDTHS = (8, 4, 2, 1)

SPREAD_BITS = 4
"""Codes of so few bits are worth a turn of the axes."""


class Coded(Step):
    """What the steps to row-wise codes share: widths and ranges are chosen at the first update of a stage and hold.

    In a stage without updates this is post-training quantisation (Guan et al. 2019, "Post-Training 4-bit
    Quantization on Embedding Tables"). In one with updates it is quantisation-aware training (Jacob et al. 2018,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"): the loss sees
    the values that the codes would have, gradients go straight through to the weights, and the codes of the last
    update ship. Pruned zeros stay exact zeros.
    """

    rank: ClassVar[int] = 2
    plans: ClassVar[bool] = True
    trainable: ClassVar[bool] = False

    def convert(self, model: Model, context: Context) -> None:
        if context.rehearsal:  # codes change no shape, and take longer than all else
            return
        for table in model.tables.values():
            if int(table.bits[0]) < FLOAT_BITS:
                table.code()

    def aspects(self) -> frozenset[str]:
        return frozenset({self.name, "codes"})


@dataclass(frozen=True, kw_only=True)
class Quantize(Coded):
    """Row-wise codes of one width for each table.

    Attributes:
        bits: 8, 4, 2 or 1 (the signs about each row's mean); 32 keeps float32. One width, or a mapping from table
            (of an encoder: `word`, and `body` for all the rest) to width; tables left out keep float32. A number with
            a point, such as 5.0, is what a weight has in the mean over a group of tables: each table of it has 8, 4 or
            2 bits, shared out by how far they move the vectors of calibration inputs.
        compensate: whether codes of linear maps are fitted to what the maps answer to calibration inputs, one map after
            the other, and not to their weights one by one (Frantar et al. 2022, "GPTQ").
    """

    name: ClassVar[str] = "quantize"

    bits: int | float | Mapping[str, int | float] = 8
    compensate: bool = False

    def idle(self) -> bool:
        widths = self.bits.values() if isinstance(self.bits, Mapping) else (self.bits,)
        return all(width == FLOAT_BITS for width in widths)

    def parameters(self) -> dict[str, Any]:
        bits = self.bits
        if isinstance(bits, Mapping):
            bits = {name: width for name, width in bits.items() if width != FLOAT_BITS}
        return {"bits": bits, "compensate": True} if self.compensate else {"bits": bits}

    def summary(self) -> str:
        compensated = ", compensated" if self.compensate else ""
        if isinstance(self.bits, Mapping):
            widths = self.parameters()["bits"].items()
            return ", ".join(f"{name} {_bits(width)}" for name, width in widths) + compensated
        return _bits(self.bits) + compensated

    def check(self, model: Model) -> None:
        if not isinstance(self.compensate, bool):
            raise RecipeError(("compensate",), f"true or false must be given, but got {self.compensate!r}.")
        if self.compensate and len(model.lookups) == len(model.tables):
            raise RecipeError(
                ("compensate",), "the model has no linear maps whose codes could be fitted; leave it out."
            )
        for name, (width, path) in by_name(self.bits, model.groups, path=("bits",)).items():
            if is_mean(width):
                check_mean(width, path, tables=len(model.groups[name]))
                continue
            check_width(width, path, (FLOAT_BITS, *WIDTHS))
            if width == 1 and any(table.symmetric for table in model.groups[name].values()):
                raise RecipeError(path, f"the linear maps of {name} take 8, 4 or 2 bits, but got 1.")

    def advance(self, model: Model, context: Context, reached: float) -> None:
        asked = by_name(self.bits, model.groups, path=("bits",))
        spread(model, {group: width for group, (width, _) in asked.items()})
        widths = dict[str, int]()
        for group, (width, path) in asked.items():
            plain = [name for name, table in model.groups[group].items() if int(table.bits[0]) == FLOAT_BITS > width]
            with seen_from(path):
                widths |= shared_bits(model, plain, width, context) if is_mean(width) else dict.fromkeys(plain, width)
        for name, width in widths.items():
            table = model.tables[name]
            table.choose_bits(torch.full_like(table.bits, width), search=not context.rehearsal)
        if self.compensate and widths:
            compensate(model, widths, context)


@dataclass(frozen=True, kw_only=True)
class Mixed(Coded):
    """Row-wise codes of two widths: frequent rows get more bits than rare ones.

    Mixed precision by how often a row is looked up, as Ginart et al. 2021 ("Mixed Dimension Embeddings with
    Application to Memory-Efficient Recommendation Systems") do with dimensions.

    Attributes:
        head: fraction of the rows of each table that stand, the most frequent ones, that get `head_bits`.
        head_bits, tail_bits: 8, 4, 2 or 1.
    """

    name: ClassVar[str] = "mixed"

    head: float
    head_bits: int = 8
    tail_bits: int = 4

    def summary(self) -> str:
        return f"{100 * self.head:.4g}% of rows {_bits(self.head_bits)}, others {self.tail_bits}"

    def check(self, model: Model) -> None:
        check_lookups(model)
        for parameter, width in (("head_bits", self.head_bits), ("tail_bits", self.tail_bits)):
            check_width(width, (parameter,), WIDTHS)
        if isinstance(self.head, bool) or not isinstance(self.head, int | float) or not 0 <= self.head <= 1:
            raise RecipeError(("head",), f"0 <= head <= 1 must hold, but got {self.head!r}.")

    def advance(self, model: Model, context: Context, reached: float) -> None:
        spread(model, dict.fromkeys(model.groups, min(self.head_bits, self.tail_bits)))
        for name, table in model.tables.items():
            standing = table.row_mask.nonzero()[:, 0]
            order = row_frequency(model, name, context)[standing].argsort(descending=True, stable=True)
            bits = torch.full_like(table.bits, self.tail_bits)
            bits[standing[order[: removed(len(standing), self.head)]]] = self.head_bits
            if not torch.equal(bits, table.bits):
                table.choose_bits(bits, search=not context.rehearsal)


def spread(model: Model, bits: Mapping[str, int]) -> None:
    """Turns tables at random before they get few bits, so that each dimension carries about as much as the others.

    A row's levels divide its range, which one strong dimension stretches for all; and what is alike in a row's
    dimensions rounds alike (Ashkboos et al. 2024, "QuaRot"; Gao & Long 2024, "RaBitQ"). Tables are turned once, and
    only where it costs nothing when the model answers, and no zeros would be filled.

    Args:
        bits: of the codes that are chosen next, by group; more than `SPREAD_BITS` need no turn.
    """
    few = {table for name, width in bits.items() if width <= SPREAD_BITS for table in model.groups[name]}
    for axis in model.axes_of("dim").values():
        if few & {name for name, _ in axis.pairs} and model.turns_freely(axis) and _is_plain(model, axis):
            model.rotate(axis, random_rotation(model.size(axis)).to(model.device))


def _is_plain(model: Model, axis: Axis) -> bool:
    """Whether nothing along an axis is coded, pruned or hidden yet."""
    tables = [model.tables[name] for name, _ in axis.pairs]
    plain = all(int(table.bits[0]) == FLOAT_BITS and bool(table.mask.all()) for table in tables)
    return plain and len(model.standing(axis)) == model.size(axis)


def random_rotation(dim: int) -> Tensor:
    """An orthogonal matrix, float32 [dim, dim], the same one for every table of that width."""
    drawn = torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(drawn).Q.float()
    return rotation


def check_width(width: object, path: tuple[str, ...], widths: tuple[int, ...]) -> None:
    """Refuses a number of bits that is not among `widths`.

    Raises:
        RecipeError: with the path.
    """
    if type(width) is not int or width not in widths:
        raise RecipeError(path, f"one of {', '.join(map(str, widths))} must be given, but got {width!r}.")


def _bits(width: float) -> str:
    return f"{width} bits in the mean" if is_mean(width) else f"{width} bit{'s' * (width != 1)}"
