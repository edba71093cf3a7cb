"""Several kinds of codes in one table: the more often a row is looked up, the finer its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Learner
from autoprune.packing.product import ROUNDS, Codebooks
from autoprune.steps.coded import NORMAL, Coded
from autoprune.steps.frequency import code_shares
from autoprune.steps.product import MOST_ENTRIES, check_runs
from autoprune.steps.step import check_lookups
from autoprune.steps.turning import spread


@dataclass(frozen=True, kw_only=True)
class Tiers(Coded):
    """Row-wise codes of two widths for the most frequent rows, product codes for all others.

    Few rows are looked up often, so they can have many bits (Ginart et al. 2021, "Mixed Dimension Embeddings"). For all
    other rows one byte for several dimensions is enough (Jégou, Douze & Schmid 2011).

    Attributes:
        head, middle: fractions of the standing rows: the most frequent ones, and the next.
        head_bits, middle_bits: of their codes: 8, 4, 3, 2 or 1; with normal levels also 1.6 or a rate.
        width, entries: of the product codes, as of `product`; with normal levels these have lengths.
    """

    name: ClassVar[str] = "tiers"
    head: float
    middle: float = 0.0
    head_bits: float = 8
    middle_bits: float = 4
    width: int = 4
    entries: int = MOST_ENTRIES

    def summary(self) -> str:
        middle = f", {100 * self.middle:.4g}% {self.middle_bits}" * bool(self.middle)
        head = f"{100 * self.head:.4g}% of rows {self.head_bits} bits{middle}"
        return f"{head}, others product {self.width} dims{self.qualifiers}"

    def check(self, model: Model) -> None:
        check_lookups(model)
        self.check_levels(model)
        self.check_width(self.head_bits, ("head_bits",))
        self.check_width(self.middle_bits, ("middle_bits",))
        check_runs(self.width, self.entries)
        for name in ("head", "middle"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise RecipeError((name,), f"0 <= {name} <= 1 must hold, but got {share!r}.")
        if self.head + self.middle > 1:
            raise RecipeError(
                ("middle",), f"head + middle <= 1 must hold, but got {self.head} + {self.middle}; lower one."
            )

    def convert(self, model: Model, context: Context) -> None:
        model.entropy = model.entropy or self.entropy
        self.code(model, context)

    def code(self, model: Model, context: Context) -> None:
        spread(model, dict.fromkeys(model.groups, min(self.head_bits, self.middle_bits)))
        code_shares(model, context, [self.head, self.middle], self._learners(context))

    def _learners(self, context: Context) -> list[Learner]:
        """How each tier is coded."""
        rounds, search = 0 if context.rehearsal else ROUNDS, not context.rehearsal
        lengths = self.levels == NORMAL
        others = Codebooks(width=self.width, entries=self.entries, seed=context.seed, rounds=rounds, lengths=lengths)
        return [*(self.learner(bits, search=search) for bits in (self.head_bits, self.middle_bits)), others]
