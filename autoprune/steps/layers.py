"""Structured pruning of depth: whole layers go; while training they are bypassed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.steps.importance import layer_influence, most_faithful_layers
from autoprune.steps.step import Step, check_choice, removed

IMPORTANCES = ("even", "influence", "fidelity")
CALIBRATION = 128
"""Inputs that importance is measured on, at most."""


@dataclass(frozen=True, kw_only=True)
class Layers(Step):
    """Cuts whole layers: how many, and which.

    Attributes:
        sparsity: fraction of the layers removed, at least one stays; given unless `keep` is.
        importance: which ones go. `even` keeps the first and the last and spreads the others between them, leaning to
            the end (as DistilBERT takes every other one, Sanh et al. 2019); `influence` cuts those that turn what
            flows through them least (block influence, Men et al. 2024, "ShortGPT"); `fidelity` cuts one after the
            other the layer without which the vectors of texts stay nearest to what they are.
        keep: numbers of the layers that stay, in place of the other two.
    """

    name: ClassVar[str] = "layers"

    sparsity: float | None = None
    importance: str = "even"
    keep: Sequence[int] | None = None

    def idle(self) -> bool:
        return self.keep is None and self.sparsity == 0

    def parameters(self) -> dict[str, Any]:
        if self.keep is not None:
            return {"keep": list(self.keep) if isinstance(self.keep, Sequence) else self.keep}
        return {"sparsity": self.sparsity, "importance": self.importance}

    def summary(self) -> str:
        if self.keep is not None:
            return f"layers {' '.join(map(str, self.parameters()['keep']))}"
        way = "" if self.importance == "even" else f" {self.importance}"
        return f"layers{way} -{100 * (self.sparsity or 0):.3g}%"

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        if not model.axes_of("layers"):
            raise RecipeError((), f"the model has no layers. It has: {', '.join(model.axes) or 'none'}.")
        there = model.numbers(model.axes["layers"])
        if self.keep is not None:
            if self.sparsity is not None:
                raise RecipeError(("keep",), "either sparsity or keep says which layers go, but both are given.")
            if isinstance(self.keep, str) or not isinstance(self.keep, Sequence):
                raise RecipeError(("keep",), f"numbers such as [0, 2, 5] must be given, but got {self.keep!r}.")
            numbers = [layer for layer in self.keep if type(layer) is int]
            if not numbers or len(numbers) < len(self.keep) or sorted(set(numbers)) != numbers:
                raise RecipeError(("keep",), f"ascending numbers of layers must be given, but got {list(self.keep)!r}.")
            if not set(numbers) <= set(there):
                raise RecipeError(("keep",), f"the model has the layers {there}, but {list(self.keep)} are to stay.")
            return
        if isinstance(self.sparsity, bool) or not isinstance(self.sparsity, int | float) or not 0 <= self.sparsity < 1:
            raise RecipeError(("sparsity",), f"0 <= sparsity < 1 must hold, but got {self.sparsity!r}.")
        if removed(len(there), self.sparsity) >= len(there):
            raise RecipeError(
                ("sparsity",), f"at least one of {len(there)} layers must stay, but {self.sparsity} leaves none."
            )

    def advance(self, model: Model, context: Context, reached: float) -> None:
        axis = model.axes["layers"]
        size = model.size(axis)
        target = size - len(self.keep) if self.keep is not None else removed(size, self.sparsity or 0.0)
        stay = size - round(target * reached)
        if stay >= len(model.standing(axis)):
            return  # a schedule stands still between its stairs
        model.hide(axis, self._choose(model, stay, size - target, context))

    def _choose(self, model: Model, stay: int, finally_stay: int, context: Context) -> Tensor:
        axis, inputs = model.axes["layers"], context.calibration[:CALIBRATION]
        standing = model.standing(axis).tolist()
        if self.keep is not None or self.importance == "even" or context.rehearsal or not inputs:
            if self.keep is not None:
                wanted = [at for at, layer in enumerate(model.numbers(axis)) if layer in set(self.keep)]
            else:
                wanted = even(model.size(axis), finally_stay).tolist()
            # Those that will go go one after the other; none comes back.
            others = [at for at in standing if at not in wanted]
            return torch.tensor(sorted(wanted + others[: stay - len(wanted)]))
        if self.importance == "influence":
            influence = layer_influence(model, axis, inputs, deadline=context.deadline)
            order = sorted(standing, key=lambda at: -influence[at])
            return torch.tensor(sorted(order[:stay]))
        key = (self.importance, stay, model.content(), tuple(inputs))
        return context.known.get(
            key, lambda: most_faithful_layers(model, axis, stay, inputs, deadline=context.deadline)
        )

    def convert(self, model: Model, context: Context) -> None:
        axis = model.axes["layers"]
        if len(model.standing(axis)) < model.size(axis):
            model.cut(axis, model.standing(axis))


def even(size: int, stay: int) -> Tensor:
    """Positions of `stay` of `size` layers, the first and the last among them: int64, ascending.

    Places between whole numbers go up from a quarter on: later layers carry more of a sentence's meaning.
    """
    if stay == 1:
        return torch.tensor([size - 1])
    return torch.tensor([math.ceil(at * (size - 1) / (stay - 1) - 0.25) for at in range(stay)])
