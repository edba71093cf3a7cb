"""Structured pruning of depth: whole layers go; while training they are bypassed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from autoprune.encoder.model import Encoder
from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.steps.step import Step, check_choice, removed

IMPORTANCES = ("even", "influence", "fidelity")
CALIBRATION_TEXTS = 128


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
            return {"keep": list(self.keep)}
        return {"sparsity": self.sparsity, "importance": self.importance}

    def words(self) -> str:
        if self.keep is not None:
            return f"layers {' '.join(map(str, self.keep))}"
        way = "" if self.importance == "even" else f" {self.importance}"
        return f"layers{way} -{100 * (self.sparsity or 0):.3g}%"

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        if not isinstance(model, Encoder):
            raise RecipeError((), f"the model has no layers. It has: {', '.join(model.axes) or 'none'}.")
        there = model.layers
        if self.keep is not None:
            if self.sparsity is not None:
                raise RecipeError(("keep",), "either sparsity or keep says which layers go, but both are given.")
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
        assert isinstance(model, Encoder), "check refuses other models"
        axis = model.axes["layers"]
        size = model.size(axis)
        target = size - len(self.keep) if self.keep is not None else removed(size, self.sparsity or 0.0)
        stay = size - round(target * reached)
        if stay >= len(model.standing(axis)):
            return  # a schedule stands still between its stairs
        model.hide(axis, self._choose(model, stay, size - target, context))

    def _choose(self, model: Encoder, stay: int, finally_stay: int, context: Context) -> Tensor:
        standing = model.standing(model.axes["layers"])
        texts = context.calibration[:CALIBRATION_TEXTS]
        if self.keep is not None or self.importance == "even" or context.rehearsal or not texts:
            if self.keep is not None:
                wanted = [at for at, layer in enumerate(model.layers) if layer in set(self.keep)]
            else:
                wanted = even(len(model.layers), finally_stay).tolist()
            # Those that will go go one after the other; none comes back.
            others = [at for at in standing.tolist() if at not in wanted]
            return torch.tensor(sorted(wanted + others[: stay - len(wanted)]))
        if self.importance == "influence":
            influence = block_influence(model, texts)
            order = sorted(standing.tolist(), key=lambda at: -influence[at])
            return torch.tensor(sorted(order[:stay]))
        return _most_faithful(model, stay, texts)

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


def block_influence(model: Encoder, texts: Sequence[str]) -> list[float]:
    """By how much each standing layer turns what flows through it: 1 - cosine of what comes out with what goes in."""
    seen: list[Tensor] = []
    turned = torch.zeros(len(model.layers) + 1, device=model.layer_mask.device)
    standing = model.standing(model.axes["layers"]).tolist()

    def watch(name: str, values: Tensor) -> Tensor:
        if name.startswith("layers."):
            if seen:
                text = values.any(dim=-1)  # all of padding is zero
                turned[len(seen) - 1] += (1 - cosine_similarity(seen[-1], values, dim=-1))[text].sum()
            seen.append(values)
            if name == "layers.end":
                seen.clear()
        return values

    with torch.no_grad():
        model.calibrate(texts, watch)
    found = [0.0] * len(model.layers)
    for place, at in enumerate(standing):
        found[at] = float(turned[place])
    return found


def _most_faithful(model: Encoder, stay: int, texts: Sequence[str]) -> Tensor:
    axis, before = model.axes["layers"], model.layer_mask.clone()
    standing = model.standing(axis).tolist()
    with torch.no_grad():
        whole = model.calibrate(texts)
        while len(standing) > stay:
            agreement = {}
            for at in standing:
                model.hide(axis, torch.tensor([other for other in standing if other != at]))
                agreement[at] = float(cosine_similarity(model.calibrate(texts), whole).mean())
            standing.remove(max(agreement, key=lambda at: agreement[at]))
    model.layer_mask = before
    return torch.tensor(standing)
