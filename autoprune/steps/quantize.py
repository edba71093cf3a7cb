"""Fewer bits: tables become row-wise codes, really packed when they ship."""

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
"""Whole bits; codes of more lose too little to be worth the seconds of fitting them."""

STEEPEST = 2
"""To what power frequency can weigh."""


@dataclass(frozen=True, kw_only=True)
class Quantize(Coded):
    """Row-wise codes of one width for each table.

    Attributes:
        bits: 8, 4, 3, 2 or 1 (the signs about each row's mean); of normal levels 1.6 too, three of them; 32 keeps
            float32. One width, or a mapping from table (of an encoder: `word`, and `body` for all the rest) to width;
            tables left out keep float32. A mean, such as 2.2, is shared out among linear maps by how far their codes
            move the vectors of calibration inputs (`autoprune.steps.sharing`).
        compensate: whether codes of linear maps are fitted to what the maps answer to calibration inputs, one map after
            the other, and not to their weights one by one (Frantar et al. 2022, "GPTQ"); and codes of a rate of what is
            looked up to how the vectors of these inputs feel their errors (`felt`). In haste none are.
        by_frequency: to what power of its lookups the error of a row weighs, from 0, all alike, to 2; one for all
            tables, or a mapping from table to power. It shares a rate out among the rows of a table with even levels
            (`autoprune.steps.frequency`), and says nothing of tables that have none.
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
        if self._fits:
            return 6 if mean else 4  # once effects were seen one by one, slopes of more inputs felt, looks fitted too
        return 8 if mean else 1  # once effects were seen one by one, lengths kept of no rows, then of all

    def idle(self) -> bool:
        return all(width == FLOAT_BITS for width in self._all_bits())

    def parameters(self) -> dict[str, Any]:
        found = super().parameters()
        if isinstance(self.bits, Mapping):
            found["bits"] = {name: width for name, width in self.bits.items() if width != FLOAT_BITS}
        if not self._fits:
            found.pop("compensate")
        powers = self._powers()
        found["by_frequency"] = powers if isinstance(self.by_frequency, Mapping) else self.by_frequency
        return found if powers else {name: held for name, held in found.items() if name != "by_frequency"}

    def summary(self) -> str:
        widths = self.parameters()["bits"]
        words = self._said_of_each(widths) if isinstance(widths, Mapping) else self._said(widths)
        return words + self.manner + ", by frequency" * bool(self._powers()) + ", compensated" * self._fits

    def _said_of_each(self, bits: Mapping[str, float]) -> str:
        """Widths by table in words, those of one kind together."""
        rates = ", ".join(f"{name} {width}" for name, width in bits.items() if self.is_rate(width))
        others = [f"{name} {self._said(width)}" for name, width in bits.items() if not self.is_rate(width)]
        return ", ".join([*others, *([f"{rates} bits in the mean"] if rates else [])])

    def check(self, model: Model) -> None:
        self.check_levels(model)
        if not isinstance(self.compensate, bool):
            raise RecipeError(("compensate",), f"true or false must be given, but got {self.compensate!r}.")
        if self.compensate and not model.has_maps:
            raise RecipeError(
                ("compensate",), "the model has no linear maps whose codes could be fitted; leave it out."
            )
        for power, path in by_name(self.by_frequency, model.groups, path=("by_frequency",)).values():
            if isinstance(power, bool) or not isinstance(power, int | float) or not 0 <= power <= STEEPEST:
                raise RecipeError(path, f"0 <= by_frequency <= {STEEPEST} must hold, but got {power!r}.")
        if self._powers():
            if model.one_width:
                raise RecipeError(("by_frequency",), "the kernels of this model take rows of one width; leave it out.")
            if self.levels == NORMAL:
                raise RecipeError(
                    ("by_frequency",),
                    "it shares out rates of even levels, but got levels=normal; leave one out.",
                )
        for name, (width, path) in by_name(self.bits, model.groups, path=("bits",)).items():
            self.check_width(width, path, FLOAT_BITS)
            if width == 1 and any(table.symmetric for table in model.groups[name].values()):
                raise RecipeError(path, f"the linear maps of {name} take 8, 4, 3 or 2 bits, but got 1.")

    def advance(self, model: Model, context: Context, reached: float) -> None:
        if self.levels == NORMAL:
            return
        for name, (_, power) in self._rated(model).items():
            if power:
                self._check_known(model, name, context)
        rates = [name for name, width in self._widths(model).items() if self.is_rate(width)]
        turned = spread(model, {name: width for name, width in self._widths(model).items() if name not in rates})
        concentrate(model, rates, context, but=turned)
        fitted = list[str]()
        for group, (width, path) in by_name(self.bits, model.groups, path=("bits",)).items():
            tables = model.groups[group]
            plain = {name: table for name, table in tables.items() if int(table.bits[0]) == FLOAT_BITS > width}
            maps = {name: table for name, table in plain.items() if isinstance(table, Linear)}
            if not self.is_rate(width):
                for table in plain.values():
                    table.choose_bits(torch.full_like(table.bits, width), search=not context.rehearsal)
                fitted += plain if width in FITTED else []
                continue
            for table in plain.values():  # what is looked up has eight bits until it is coded when the stage ends
                table.choose_bits(torch.full_like(table.bits, 8), search=False)
            self._choose_rates(model, maps, width, context, path)
            fitted += plain
        if self.compensate and fitted and not context.hasty:
            compensate(model, fitted, context)

    def _choose_rates(
        self, model: Model, maps: Mapping[str, Linear], mean: float, context: Context, path: tuple[str, ...]
    ) -> None:
        """Shares out a rate among linear maps."""
        if not maps:
            return
        with seen_from(path):
            rates = shared_rates(model, list(maps), mean, context)
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
                table.bits = torch.full_like(table.bits, FLOAT_BITS)  # no others are chosen
        super().convert(model, context)

    def code(self, model: Model, context: Context) -> None:
        widths = self._widths(model)
        spread(model, widths)
        for name, width in widths.items():
            for table in model.groups[name].values():
                if width < FLOAT_BITS:
                    table.code_by([self.learner(width)])

    def _rated(self, model: Model) -> dict[str, tuple[float, float]]:
        """The rate of each table that is looked up, if it has one, and to what power its frequency weighs."""
        powers = by_name(self.by_frequency, model.groups, path=("by_frequency",))
        return {
            name: (width, powers.get(group, (0.0, ()))[0])
            for group, width in self._widths(model).items()
            for name, table in model.groups[group].items()
            if self.is_rate(width) and not isinstance(table, Linear)
        }

    @property
    def _fits(self) -> bool:
        """Whether codes are fitted: of 8 bits none are, whatever is told."""
        return self.compensate and any(width in FITTED or self.is_rate(width) for width in self._all_bits())

    def _all_bits(self) -> list[float]:
        return list(self.bits.values()) if isinstance(self.bits, Mapping) else [self.bits]

    def _powers(self) -> dict[str, float]:
        """What `by_frequency` says of tables that have a rate, where it is not 0; of all tables by the name of ''."""
        named = self.by_frequency
        if not isinstance(named, Mapping):
            return {"": named} if named and any(map(self.is_rate, self._all_bits())) else {}
        bits = self.bits if isinstance(self.bits, Mapping) else dict.fromkeys(named, self.bits)
        return {name: power for name, power in named.items() if power and self.is_rate(bits.get(name))}

    def _check_known(self, model: Model, name: str, context: Context) -> None:
        try:
            row_frequency(model, name, context)
        except RecipeError as error:
            why = f"how often the rows of table {name!r} are looked up is not known; leave by_frequency out."
            raise RecipeError(("by_frequency",), why) from error

    def _widths(self, model: Model) -> dict[str, float]:
        """The bits of each group of tables."""
        return {name: width for name, (width, _) in by_name(self.bits, model.groups, path=("bits",)).items()}
