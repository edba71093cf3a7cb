"""Structured pruning of layers from inside: attention heads and feed-forward neurons go, each layer its own number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.encoder.model import Encoder
from autoprune.errors import RecipeError
from autoprune.models.axis import Axis, removes_nothing, sparsity_by_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.steps.step import Step, check_choice, removed

IMPORTANCES = ("norm", "activation", "taylor")
SCOPES = ("layer", "global")
CALIBRATION_TEXTS = 256


@dataclass(frozen=True, kw_only=True)
class Units(Step):
    """Cuts the units of layers that matter least.

    Attributes:
        sparsity: fraction of the units removed; one number, or under scope `layer` a mapping from layer to number.
            At least one unit of every layer stays.
        importance: `norm`, the length of the weights that lead to a unit and away from it (Li et al. 2017);
            `activation`, how strongly a unit answers to texts, times the length of the weights that lead away from it
            (Hu et al. 2016); `taylor`, by how much the vectors of texts would move, to first order, if the unit were
            gone (Molchanov et al. 2019; Michel et al. 2019; of the vectors themselves, since the loss of a model
            against itself has no slope).
        scope: `layer` takes the same share of every layer, `global` ranks the units of all layers together.
    """

    kind: ClassVar[str]

    sparsity: float | Mapping[str, float]
    importance: str = "taylor"
    scope: str = "layer"

    def idle(self) -> bool:
        return removes_nothing(self.sparsity)

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        check_choice("scope", self.scope, SCOPES)
        axes = model.axes_of(self.kind)
        if not isinstance(model, Encoder) or not axes:
            raise RecipeError((), f"the model has no {self.kind}. It has: {', '.join(model.axes) or 'none'}.")
        if self.scope == "global" and isinstance(self.sparsity, Mapping):
            raise RecipeError(("sparsity",), "scope global takes one number; to name layers, set scope: layer.")
        for name, sparsity in sparsity_by_name(self.sparsity, axes, path=("sparsity",)).items():
            size = model.size(axes[name])
            if removed(size, sparsity) >= size:
                raise RecipeError(
                    ("sparsity",),
                    f"at least one of {size} {self.kind} of a layer must stay, but {sparsity} leaves none.",
                )

    def advance(self, model: Model, context: Context, reached: float) -> None:
        assert isinstance(model, Encoder), "check refuses other models"
        axes = self._standing(model)
        asked = sparsity_by_name(self.sparsity, model.axes_of(self.kind), path=("sparsity",))
        if self.scope == "layer":
            goals = {name: removed(model.size(axes[name]), asked[name] * reached) for name in asked if name in axes}
            if all(model.size(axes[name]) - len(model.standing(axes[name])) >= gone for name, gone in goals.items()):
                return  # a schedule stands still between its stairs
            found = self._importance(model, context)
            keep = {
                name: found[name].topk(model.size(axes[name]) - gone).indices.sort().values
                for name, gone in goals.items()
            }
        else:
            sizes = {name: model.size(axis) for name, axis in axes.items()}
            gone = removed(sum(sizes.values()), next(iter(asked.values())) * reached)
            if sum(sizes.values()) - sum(len(model.standing(axis)) for axis in axes.values()) >= gone:
                return
            keep = _rank_together(self._importance(model, context), gone)
        for name, positions in keep.items():
            model.hide(axes[name], positions)

    def _standing(self, model: Encoder) -> dict[str, Axis]:
        """The axes of layers that stand: what is hidden will be cut, so it neither counts nor takes part."""
        layers = {str(model.layers[at]) for at in model.standing(model.axes["layers"]).tolist()}
        return {name: axis for name, axis in model.axes_of(self.kind).items() if name in layers}

    def _importance(self, model: Encoder, context: Context) -> dict[str, Tensor]:
        axes = self._standing(model)
        texts = context.calibration[:CALIBRATION_TEXTS]
        if self.importance == "norm" or context.rehearsal or not texts:
            found = {name: _length(model, axis) for name, axis in axes.items()}
        elif self.importance == "activation":
            found = _activation(model, axes, texts)
        else:
            return _taylor(model, axes, texts)
        # Lengths of different layers are no common measure: each layer's are taken as shares.
        return {name: values / values.sum().clamp_min(1e-30) * len(values) for name, values in found.items()}

    def convert(self, model: Model, context: Context) -> None:
        for axis in model.axes_of(self.kind).values():
            if len(model.standing(axis)) < model.size(axis):
                model.cut(axis, model.standing(axis))


@dataclass(frozen=True, kw_only=True)
class Heads(Units):
    """Cuts attention heads (Michel et al. 2019); see `Units`."""

    name: ClassVar[str] = "heads"
    kind: ClassVar[str] = "heads"


@dataclass(frozen=True, kw_only=True)
class Ffn(Units):
    """Cuts feed-forward neurons; see `Units`."""

    name: ClassVar[str] = "ffn"
    kind: ClassVar[str] = "ffn"


def _rank_together(importance: Mapping[str, Tensor], gone: int) -> dict[str, Tensor]:
    """Positions that stay, by layer, when `gone` units of all layers go; the best of every layer stays."""
    values = {name: part.clone() for name, part in importance.items()}
    for part in values.values():
        part[part.argmax()] = torch.inf
    whole = torch.cat(list(values.values()))
    stays = torch.ones(len(whole), dtype=torch.bool, device=whole.device)
    stays[whole.argsort(stable=True)[:gone]] = False
    parts = torch.split(stays, [len(part) for part in values.values()])
    return {name: part.nonzero()[:, 0] for name, part in zip(values, parts, strict=True)}


def _length(model: Encoder, axis: Axis, *, away_only: bool = False) -> Tensor:
    """The length of the weights of each unit, float32 [size]."""
    squares = torch.zeros(model.size(axis), device=model.layer_mask.device)
    for name, dimension in axis.parts[-1:] if away_only else axis.parts:
        weights = model.tables[name].weights().detach().square().sum(1 - dimension)
        squares += weights.view(-1, axis.width).sum(1)
    return squares.sqrt()


def _activation(model: Encoder, axes: Mapping[str, Axis], texts: Sequence[str]) -> dict[str, Tensor]:
    sums = {axis.name: torch.zeros(model.size(axis), device=model.layer_mask.device) for axis in axes.values()}

    def watch(name: str, values: Tensor) -> Tensor:
        if name in sums:
            sums[name] += values.abs().sum((0, 1)) if values.dim() == 3 else values.norm(dim=3).sum((0, 2))
        return values

    with torch.no_grad():
        model.calibrate(texts, watch)
    return {name: sums[axis.name] * _length(model, axis, away_only=True) for name, axis in axes.items()}


def _taylor(model: Encoder, axes: Mapping[str, Axis], texts: Sequence[str]) -> dict[str, Tensor]:
    """The squared change of the vectors to first order, by unit, mean over texts.

    A gate on each unit of each text; the squared slopes of the vectors by the gates are estimated along random
    directions, whose expectation is the whole.
    """
    gates: dict[str, Tensor] = {}
    found = {axis.name: torch.zeros(model.size(axis), device=model.layer_mask.device) for axis in axes.values()}
    draw = torch.Generator().manual_seed(0)

    def watch(name: str, values: Tensor) -> Tensor:
        if name not in found:
            return values
        heads = values.dim() == 4
        gates[name] = torch.ones(len(values), values.shape[1 if heads else 2], device=values.device, requires_grad=True)
        return values * (gates[name][:, :, None, None] if heads else gates[name][:, None, :])

    with torch.enable_grad():
        for start in range(0, len(texts), 32):
            vectors = model.calibrate(texts[start : start + 32], watch)
            directions = torch.randn(vectors.shape, generator=draw).to(vectors.device)
            slopes = torch.autograd.grad((vectors * directions).sum(), list(gates.values()))
            for name, slope in zip(gates, slopes, strict=True):
                found[name] += slope.square().sum(0)
    return {name: found[axis.name] for name, axis in axes.items()}
