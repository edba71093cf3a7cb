"""Structured pruning of the width of layers: removes attention heads and feed-forward neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.axis import removes_nothing, sparsity_by_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.steps.fed import inputs_of
from autoprune.steps.importance import width_activation, width_norm, width_taylor
from autoprune.steps.refit import refit_behind
from autoprune.steps.step import Step, check_choice, removed
from autoprune.steps.surgeon import width_surgeon

IMPORTANCES = ("norm", "activation", "taylor", "surgeon")
KINDS = ("heads", "ffn")
SCOPES = ("layer", "global")
CALIBRATION = 256
"""The most inputs that importance is measured on."""


@dataclass(frozen=True, kw_only=True)
class Width(Step):
    """Cuts the least important heads, or neurons, of layers.

    Attributes:
        sparsity: fraction of them removed: one number, or with scope `layer` a mapping from layer to number. At least
            one per layer stays.
        importance: `norm`, the norm of a head's or neuron's incoming and outgoing weights (Li et al. 2017);
            `activation`, its activation over inputs times the norm of its outgoing weights (Hu et al. 2016); `taylor`,
            how far the vectors of inputs would move without it, to first order (Molchanov et al. 2019; Michel et al.
            2019; the vectors, because the loss of a model against itself has no slope); `surgeon`, how far the outputs
            of the linear layers behind it would move after these are refit (Hassibi & Stork 1993; Kurtic et al. 2023),
            see `autoprune.steps.surgeon`. `surgeon` is meant for stages that `refit` without training; in a stage that
            trains it is measured again at each step of the schedule. Without inputs the last three fall back to `norm`.
        scope: `layer` removes the same share of every layer, `global` ranks all layers together.
        refit: whether the linear layers behind are refit by least squares, so that what stays makes up for what goes
            (He et al. 2017), see `autoprune.steps.refit`. Only in stages that train nothing.
    """

    kind: ClassVar[str]

    sparsity: float | Mapping[str, float]
    importance: str = "taylor"
    scope: str = "layer"
    refit: bool = False

    def parameters(self) -> dict[str, Any]:
        parameters = super().parameters()
        return parameters if self.refit else {name: value for name, value in parameters.items() if name != "refit"}

    def summary(self) -> str:
        words = super().summary()
        return words.replace(self.name, f"{self.name} refit", 1) if self.refit else words

    def untrained(self) -> str:
        return "refit" if self.refit else ""

    def idle(self) -> bool:
        return removes_nothing(self.sparsity)

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        check_choice("scope", self.scope, SCOPES)
        if type(self.refit) is not bool:
            raise RecipeError(("refit",), f"true or false must be given, but got {self.refit!r}.")
        axes = model.axes_of(self.kind)
        if not axes:
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
        if self.scope == "global" and isinstance(self.sparsity, int | float):
            whole = sum(model.size(axis) for axis in axes.values())
            left = whole - removed(whole, self.sparsity)
            if left < len(axes):
                raise RecipeError(
                    ("sparsity",),
                    f"at least one of the {self.kind} of each of {len(axes)} layers must stay, but {self.sparsity} "
                    f"leaves {left} of {whole}.",
                )

    def advance(self, model: Model, context: Context, reached: float) -> None:
        axes = model.standing_axes(self.kind)
        sparsities = sparsity_by_name(self.sparsity, model.axes_of(self.kind), path=("sparsity",))
        if self.scope == "layer":
            goals = {
                name: removed(model.size(axes[name]), sparsities[name] * reached) for name in sparsities if name in axes
            }
            if all(model.size(axes[name]) - len(model.standing(axes[name])) >= gone for name, gone in goals.items()):
                return  # the schedule has not reached its next whole head or neuron
            importance = self._importance(model, context)
            keep = {
                name: importance[name].topk(model.size(axes[name]) - gone).indices.sort().values
                for name, gone in goals.items()
            }
        else:
            sizes = {name: model.size(axis) for name, axis in axes.items()}
            gone = removed(sum(sizes.values()), next(iter(sparsities.values())) * reached)
            if sum(sizes.values()) - sum(len(model.standing(axis)) for axis in axes.values()) >= gone:
                return
            keep = _rank_together(self._importance(model, context), gone)
        for name, positions in keep.items():
            model.hide(axes[name], positions)

    def _importance(self, model: Model, context: Context) -> dict[str, Tensor]:
        axes = model.standing_axes(self.kind)
        if context.rehearsal:  # any importance will do
            return {name: torch.ones(model.size(axis)) for name, axis in axes.items()}
        if self.importance == "surgeon" and inputs_of(context):
            return self._removal_costs(model, context)
        if self.importance in ("norm", "surgeon") or not context.calibration:
            importance = {name: width_norm(model, axis) for name, axis in axes.items()}
        else:
            measure = width_activation if self.importance == "activation" else width_taylor
            measured = _measured(measure, model, context.calibration, context)
            importance = {name: measured[axis.name] for name, axis in axes.items()}
            if self.importance == "taylor":
                return importance
        # Norms of different layers are not comparable: take them as shares of each layer's sum.
        return {name: values / values.sum().clamp_min(1e-30) * len(values) for name, values in importance.items()}

    def _removal_costs(self, model: Model, context: Context) -> dict[str, Tensor]:
        """The costs of removing positions when others make up for them; they are the same for every sparsity.

        If the stage trains nothing they are measured on the model it started with, so its other cuts have no influence.
        """
        start, whole = context.start if isinstance(context.start, Model) else model, inputs_of(context)
        felt = _measured(width_taylor, start, context.calibration or whole, context)
        key = ("surgeon", self.kind, context.content_of(start), tuple(context.calibration), tuple(whole))
        missed = context.known.get(
            key,
            lambda: {
                name: width_surgeon(start, axis, felt[axis.name], context)
                for name, axis in start.standing_axes(self.kind).items()
            },
        )
        return {name: missed[name] for name in model.standing_axes(self.kind)}

    def convert(self, model: Model, context: Context) -> None:
        axes = model.axes_of(self.kind).values()
        keeps = {axis.name: keep for axis in axes if len(keep := model.standing(axis)) < model.size(axis)}
        if self.refit and keeps:
            standing = {axis.name for axis in model.standing_axes(self.kind).values()}
            refit_behind(model, {name: keep for name, keep in keeps.items() if name in standing}, context)
        for name, keep in keeps.items():
            model.cut(model.axes[name], keep)


@dataclass(frozen=True, kw_only=True)
class Heads(Width):
    """Cuts attention heads (Michel et al. 2019); see `Width`."""

    name: ClassVar[str] = "heads"
    kind: ClassVar[str] = "heads"


@dataclass(frozen=True, kw_only=True)
class Ffn(Width):
    """Cuts feed-forward neurons; see `Width`."""

    name: ClassVar[str] = "ffn"
    kind: ClassVar[str] = "ffn"


def _measured(
    measure: Callable[..., dict[str, Tensor]],
    model: Model,
    inputs: Sequence[Any],
    context: Context,
) -> dict[str, Tensor]:
    """A measure of heads and neurons, by axis: of both at once, as recipes that cut one often cut the other."""
    inputs = inputs[:CALIBRATION]
    axes = {axis.name: axis for kind in KINDS for axis in model.standing_axes(kind).values()}
    key = (measure.__name__, context.content_of(model), tuple(inputs))
    return context.known.get(key, lambda: measure(model, axes, inputs, deadline=context.deadline))


def _rank_together(importance: Mapping[str, Tensor], gone: int) -> dict[str, Tensor]:
    """By layer, the positions that stay when `gone` of all layers go; the best of every layer stays."""
    gone = min(gone, sum(map(len, importance.values())) - len(importance))
    ranked = {name: values.clone() for name, values in importance.items()}
    for values in ranked.values():
        values[values.argmax()] = torch.inf
    pooled = torch.cat(list(ranked.values()))
    stays = torch.ones(len(pooled), dtype=torch.bool, device=pooled.device)
    stays[pooled.argsort(stable=True)[:gone]] = False
    by_layer = torch.split(stays, [len(values) for values in ranked.values()])
    return {name: kept.nonzero()[:, 0] for name, kept in zip(ranked, by_layer, strict=True)}
