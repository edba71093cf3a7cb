"""Structured pruning of depth: removes whole layers, which training bypasses."""

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
"""The most inputs that importance is measured on."""


@dataclass(frozen=True, kw_only=True)
class Layers(Step):
    """Cuts whole layers.

    Attributes:
        sparsity: fraction of the layers removed; at least one stays. Required unless `keep` is given.
        importance: which layers go. `even` keeps the first, the last, and evenly spaced ones between them, with a
            slight preference for later ones (DistilBERT takes every other layer, Sanh et al. 2019); `influence` cuts
            those that change the direction of their input least (block influence, Men et al. 2024, "ShortGPT");
            `fidelity` repeatedly cuts the layer whose removal moves the vectors of texts least.
        keep: numbers of the layers that stay, instead of the other two.
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
        importance = "" if self.importance == "even" else f" {self.importance}"
        return f"layers{importance} -{100 * (self.sparsity or 0):.3g}%"

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        if not model.axes_of("layers"):
            raise RecipeError((), f"the model has no layers. It has: {', '.join(model.axes) or 'none'}.")
        present = model.numbers(model.axes["layers"])
        if self.keep is not None:
            if self.sparsity is not None:
                raise RecipeError(("keep",), "either sparsity or keep must be given, but got both; leave one out.")
            if isinstance(self.keep, str) or not isinstance(self.keep, Sequence):
                raise RecipeError(("keep",), f"numbers such as [0, 2, 5] must be given, but got {self.keep!r}.")
            numbers = [layer for layer in self.keep if type(layer) is int]
            if not numbers or len(numbers) < len(self.keep) or sorted(set(numbers)) != numbers:
                raise RecipeError(("keep",), f"ascending numbers of layers must be given, but got {list(self.keep)!r}.")
            if not set(numbers) <= set(present):
                raise RecipeError(("keep",), f"the model has the layers {present}, but {list(self.keep)} are to stay.")
            return
        if isinstance(self.sparsity, bool) or not isinstance(self.sparsity, int | float) or not 0 <= self.sparsity < 1:
            raise RecipeError(("sparsity",), f"0 <= sparsity < 1 must hold, but got {self.sparsity!r}.")
        if removed(len(present), self.sparsity) >= len(present):
            raise RecipeError(
                ("sparsity",), f"at least one of {len(present)} layers must stay, but {self.sparsity} leaves none."
            )

    def advance(self, model: Model, context: Context, reached: float) -> None:
        axis = model.axes["layers"]
        size = model.size(axis)
        target = size - len(self.keep) if self.keep is not None else removed(size, self.sparsity or 0.0)
        stay = size - round(target * reached)
        if stay >= len(model.standing(axis)):
            return  # the schedule has not reached its next whole layer
        model.hide(axis, self._choose(model, stay, size - target, context))

    def _choose(self, model: Model, stay: int, stay_at_last: int, context: Context) -> Tensor:
        axis, inputs = model.axes["layers"], context.calibration[:CALIBRATION]
        standing = model.standing(axis).tolist()
        if self.keep is not None or self.importance == "even" or context.rehearsal or not inputs:
            if self.keep is not None:
                chosen = [position for position, layer in enumerate(model.numbers(axis)) if layer in set(self.keep)]
            else:
                chosen = even(model.size(axis), stay_at_last).tolist()
            # Layers that do not stay in the end go one by one; none comes back.
            others = [position for position in standing if position not in chosen]
            return torch.tensor(sorted(chosen + others[: stay - len(chosen)]))
        if self.importance == "influence":
            influence = layer_influence(model, axis, inputs, deadline=context.deadline)
            order = sorted(standing, key=lambda position: -influence[position])
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
    """Positions of `stay` evenly spaced layers out of `size`, including the first and the last: int64, ascending.

    Fractions above a quarter round up: later layers carry more of a sentence's meaning.
    """
    if stay == 1:
        return torch.tensor([size - 1])
    return torch.tensor([math.ceil(number * (size - 1) / (stay - 1) - 0.25) for number in range(stay)])
