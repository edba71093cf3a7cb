"""Structured pruning of the width of layers: attention heads and feed-forward neurons go, each layer its own number."""

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
"""Inputs that importance is measured on, at most."""


@dataclass(frozen=True, kw_only=True)
class Width(Step):
    """Cuts the heads, or the neurons, of layers that matter least.

    Attributes:
        sparsity: fraction of them removed; one number, or under scope `layer` a mapping from layer to number. At least
            one of every layer stays.
        importance: `norm`, the length of the weights that lead to one and away from it (Li et al. 2017); `activation`,
            how strongly it answers to inputs, times the length of the weights that lead away from it (Hu et al. 2016);
            `taylor`, by how much the vectors of inputs would move, to first order, if it were gone (Molchanov et al.
            2019; Michel et al. 2019; of the vectors themselves, since the loss of a model against itself has no slope);
            `surgeon`, by how much the answers of the maps behind would move once those that stay make up for it
            (Hassibi & Stork 1993; Kurtic et al. 2023), see `autoprune.steps.surgeon`. It is for stages that train
            nothing and `refit`; where one trains, it is measured anew at each step of the schedule. Without inputs all
            three are `norm`.
        scope: `layer` takes the same share of every layer, `global` ranks those of all layers together.
        refit: whether the maps behind them are refit, by least squares, so that those that stay make up for those that
            go (He et al. 2017), see `autoprune.steps.refit`. Only where nothing is trained in the stage.
    """

    kind: ClassVar[str]

    sparsity: float | Mapping[str, float]
    importance: str = "taylor"
    scope: str = "layer"
    refit: bool = False

    def parameters(self) -> dict[str, Any]:
        found = super().parameters()
        return found if self.refit else {name: value for name, value in found.items() if name != "refit"}

    def summary(self) -> str:
        said = super().summary()
        return said.replace(self.name, f"{self.name} refit", 1) if self.refit else said

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

    def _importance(self, model: Model, context: Context) -> dict[str, Tensor]:
        axes = model.standing_axes(self.kind)
        if context.rehearsal:  # any will do
            return {name: torch.ones(model.size(axis)) for name, axis in axes.items()}
        if self.importance == "surgeon" and inputs_of(context):
            return self._missed(model, context)
        if self.importance in ("norm", "surgeon") or not context.calibration:
            found = {name: width_norm(model, axis) for name, axis in axes.items()}
        else:
            measure = width_activation if self.importance == "activation" else width_taylor
            known = _measured(measure, model, context.calibration, context)
            found = {name: known[axis.name] for name, axis in axes.items()}
            if self.importance == "taylor":
                return found
        # Lengths of different layers are no common measure: each layer's are taken as shares.
        return {name: values / values.sum().clamp_min(1e-30) * len(values) for name, values in found.items()}

    def _missed(self, model: Model, context: Context) -> dict[str, Tensor]:
        """What it costs that positions go while others make up for them: the same for every sparsity.

        Of the model that the stage began with where it trains nothing: what else it cuts then does not matter.
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
    """What is measured of heads and neurons, by axis: of both, for who cuts one will ask for the other as well."""
    inputs = inputs[:CALIBRATION]
    axes = {axis.name: axis for kind in KINDS for axis in model.standing_axes(kind).values()}
    key = (measure.__name__, context.content_of(model), tuple(inputs))
    return context.known.get(key, lambda: measure(model, axes, inputs, deadline=context.deadline))


def _rank_together(importance: Mapping[str, Tensor], gone: int) -> dict[str, Tensor]:
    """Positions that stay, by layer, when `gone` of all layers go; the best of every layer stays."""
    gone = min(gone, sum(map(len, importance.values())) - len(importance))
    ranked = {name: values.clone() for name, values in importance.items()}
    for values in ranked.values():
        values[values.argmax()] = torch.inf
    whole = torch.cat(list(ranked.values()))
    stays = torch.ones(len(whole), dtype=torch.bool, device=whole.device)
    stays[whole.argsort(stable=True)[:gone]] = False
    by_layer = torch.split(stays, [len(values) for values in ranked.values()])
    return {name: kept.nonzero()[:, 0] for name, kept in zip(ranked, by_layer, strict=True)}
