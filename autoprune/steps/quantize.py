"""Fewer bits: tables become row-wise codes, which artifacts store packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from autoprune.errors import RecipeError, seen_from
from autoprune.models.axis import by_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import FLOAT_BITS, Linear
from autoprune.packing.rated import RATES, Rated
from autoprune.steps.coded import EVEN, NORMAL, Coded
from autoprune.steps.compensation import compensate, felt
from autoprune.steps.frequency import code_weighed
from autoprune.steps.importance import row_frequency
from autoprune.steps.sharing import shared_rates
from autoprune.steps.turning import concentrate, spread

FITTED = (4, 3, 2)
"""Whole numbers of bits whose codes are fitted; codes of 8 bits lose too little to be worth the time."""

WORDS = "word"
"""An encoder's lookup table: its codes of whole bits are never fitted."""

STEEPEST = 2
"""The highest allowed power of the frequency."""


@dataclass(frozen=True, kw_only=True)
class Quantize(Coded):
    """Row-wise codes of one width for each table.

    Attributes:
        bits: 8, 4, 3, 2 or 1 (the signs about each row's mean); with normal levels also 1.6 (three levels); 32 keeps
            float32. One width, or a mapping from table (of an encoder: `word`, and `body` for all the rest) to width;
            tables left out keep float32. A rate, such as 2.2, is shared out among linear layers by how far their codes
            move the vectors of calibration inputs (`autoprune.steps.sharing`).
        compensate: whether codes of linear layers are fitted to the layers' outputs for calibration inputs, one layer
            after the other, instead of to each weight (Frantar et al. 2022, "GPTQ"); codes of lookup tables at a rate
            are then fitted to how far their errors move the vectors of these inputs (`felt`). In haste neither is done.
        by_frequency: the error of a row weighs its number of lookups to this power, from 0 (all rows weigh the same) to
            2; one power for all tables, or a mapping from table to power. It shares a rate out among the rows of a
            table with even levels (`autoprune.steps.frequency`), and has no effect on tables without a rate.
    """

    name: ClassVar[str] = "quantize"

    bits: float | Mapping[str, float] = 8
    compensate: bool = False
    by_frequency: float | Mapping[str, float] = 0.0

    @property
    def rates(self) -> tuple[float, float]:
        return super().rates or RATES

    def revision(self) -> int:
        mean = self.levels == EVEN and any(isinstance(width, float) for width in self._all_bits())
        if self._fits_by_key:
            return 6 if mean else 4  # raised for: single effects, slopes of more inputs, fitted looks
        return 8 if mean else 1  # raised for: single effects, lengths kept for no rows, then for all

    def idle(self) -> bool:
        return all(width == FLOAT_BITS for width in self._all_bits())

    def parameters(self) -> dict[str, Any]:
        parameters = super().parameters()
        if isinstance(self.bits, Mapping):
            parameters["bits"] = {name: width for name, width in self.bits.items() if width != FLOAT_BITS}
        if not self._fits_by_key:
            parameters.pop("compensate")
        powers = self._powers()
        parameters["by_frequency"] = powers if isinstance(self.by_frequency, Mapping) else self.by_frequency
        return parameters if powers else {name: value for name, value in parameters.items() if name != "by_frequency"}

    def summary(self) -> str:
        widths = self.parameters()["bits"]
        words = self._all_in_words(widths) if isinstance(widths, Mapping) else self._in_words(widths)
        return words + self.qualifiers + ", by frequency" * bool(self._powers()) + ", compensated" * self._compensates

    def _all_in_words(self, bits: Mapping[str, float]) -> str:
        """The widths of tables in words: whole bits first, then all rates together."""
        rates = ", ".join(f"{name} {width}" for name, width in bits.items() if self.is_rate(width))
        others = [f"{name} {self._in_words(width)}" for name, width in bits.items() if not self.is_rate(width)]
        return ", ".join([*others, *([f"{rates} bits in the mean"] if rates else [])])

    def check(self, model: Model) -> None:
        self.check_levels(model)
        if not isinstance(self.compensate, bool):
            raise RecipeError(("compensate",), f"true or false must be given, but got {self.compensate!r}.")
        if self.compensate and not model.has_maps:
            raise RecipeError(
                ("compensate",), "the model has no linear layers whose codes could be fitted; leave compensate out."
            )
        for power, path in by_name(self.by_frequency, model.groups, path=("by_frequency",)).values():
            if isinstance(power, bool) or not isinstance(power, int | float) or not 0 <= power <= STEEPEST:
                raise RecipeError(path, f"0 <= by_frequency <= {STEEPEST} must hold, but got {power!r}.")
        if self._powers():
            if model.one_width:
                raise RecipeError(
                    ("by_frequency",), "the kernels of this model need rows of one width; leave by_frequency out."
                )
            if self.levels == NORMAL:
                raise RecipeError(
                    ("by_frequency",),
                    "by_frequency needs even levels, but got levels=normal; leave one of them out.",
                )
        for name, (width, path) in by_name(self.bits, model.groups, path=("bits",)).items():
            self.check_width(width, path, FLOAT_BITS)
            if width == 1 and any(table.symmetric for table in model.groups[name].values()):
                raise RecipeError(path, f"the linear layers of {name} take 8, 4, 3 or 2 bits, but got 1.")

    def advance(self, model: Model, context: Context, reached: float) -> None:
        if self.levels == NORMAL:
            return
        for name, (_, power) in self._rated(model).items():
            if power:
                self._check_frequency(model, name, context)
        rates = [name for name, width in self._widths(model).items() if self.is_rate(width)]
        rotated = spread(model, {name: width for name, width in self._widths(model).items() if name not in rates})
        concentrate(model, rates, context, but=rotated)
        fitted = list[str]()
        for group, (width, path) in by_name(self.bits, model.groups, path=("bits",)).items():
            tables = model.groups[group]
            uncoded = {name: table for name, table in tables.items() if int(table.bits[0]) == FLOAT_BITS > width}
            maps = {name: table for name, table in uncoded.items() if isinstance(table, Linear)}
            if not self.is_rate(width):
                for table in uncoded.values():
                    table.choose_bits(torch.full_like(table.bits, width), search=not context.rehearsal)
                fitted += maps if width in FITTED else []
                continue
            for table in uncoded.values():  # lookup tables have eight bits until the stage ends, then get their codes
                table.choose_bits(torch.full_like(table.bits, 8), search=False)
            self._choose_rates(model, maps, width, context, path)
            fitted += uncoded
        if self.compensate and fitted and not context.hasty:
            compensate(model, fitted, context)

    def _choose_rates(
        self, model: Model, maps: Mapping[str, Linear], rate: float, context: Context, path: tuple[str, ...]
    ) -> None:
        """Shares out a rate among linear layers."""
        if not maps:
            return
        with seen_from(path):
            rates = shared_rates(model, list(maps), rate, context)
        for name, table in maps.items():
            table.choose_rate(rates[name])

    def convert(self, model: Model, context: Context) -> None:
        if self.levels == EVEN and not context.rehearsal:
            rates = self._rated(model)
            errors = felt(model, rates, context) if self.compensate and not context.hasty else {}
            for name, (rate, power) in rates.items():
                table = model.tables[name]
                if power:
                    code_weighed(model, name, rate, power, context)
                else:
                    table.code_by([Rated(rate=rate, felt=errors.get(name), lengths=not model.one_width)])
                table.bits = torch.full_like(table.bits, FLOAT_BITS)  # so that `super().convert` does not code it again
        super().convert(model, context)

    def code(self, model: Model, context: Context) -> None:
        widths = self._widths(model)
        spread(model, widths)
        for name, width in widths.items():
            for table in model.groups[name].values():
                if width < FLOAT_BITS:
                    table.code_by([self.learner(width)])

    def _rated(self, model: Model) -> dict[str, tuple[float, float]]:
        """The rate and the power of the frequency of each lookup table that has a rate."""
        powers = by_name(self.by_frequency, model.groups, path=("by_frequency",))
        return {
            name: (width, powers.get(group, (0.0, ()))[0])
            for group, width in self._widths(model).items()
            for name, table in model.groups[group].items()
            if self.is_rate(width) and not isinstance(table, Linear)
        }

    @property
    def _fits_by_key(self) -> bool:
        """Whether keys contain `compensate`: never for 8 bits; for fewer even if only `word` has them, as recorded."""
        return self.compensate and any(width in FITTED or self.is_rate(width) for width in self._all_bits())

    @property
    def _compensates(self) -> bool:
        """Whether any codes are fitted; those of whole bits in a lookup table never are."""
        bits = self.bits if isinstance(self.bits, Mapping) else {"": self.bits}
        fits = (self.is_rate(width) or (width in FITTED and name != WORDS) for name, width in bits.items())
        return self.compensate and any(fits)

    def _all_bits(self) -> list[float]:
        return list(self.bits.values()) if isinstance(self.bits, Mapping) else [self.bits]

    def _powers(self) -> dict[str, float]:
        """The powers above 0 of tables that have a rate; one power for all tables has the name ''."""
        by_frequency = self.by_frequency
        if not isinstance(by_frequency, Mapping):
            return {"": by_frequency} if by_frequency and any(map(self.is_rate, self._all_bits())) else {}
        bits = self.bits if isinstance(self.bits, Mapping) else dict.fromkeys(by_frequency, self.bits)
        return {name: power for name, power in by_frequency.items() if power and self.is_rate(bits.get(name))}

    def _check_frequency(self, model: Model, name: str, context: Context) -> None:
        try:
            row_frequency(model, name, context)
        except RecipeError as error:
            why = f"how often the rows of table {name!r} are looked up is unknown; leave by_frequency out."
            raise RecipeError(("by_frequency",), why) from error

    def _widths(self, model: Model) -> dict[str, float]:
        """The bits of each group of tables."""
        return {name: width for name, (width, _) in by_name(self.bits, model.groups, path=("bits",)).items()}
