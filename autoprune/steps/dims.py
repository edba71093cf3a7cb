"""Structured pruning of vectors: removes embedding dimensions, from all coupled tables at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.axis import removes_nothing, sparsity_by_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.steps.importance import dim_activation, dim_norm
from autoprune.steps.step import Step, check_choice, removed

IMPORTANCES = ("norm", "activation", "pca", "prefix")


def principal_rotation(moments: list[Tensor]) -> Tensor:
    """The orthogonal matrix that rotates the coupled tables to their shared principal axes, strongest first.

    The tables share one rotation, which keeps every dot product between them. Rows are not centred: subtracting a mean
    would change the dot products (Hotelling 1933, about the origin).

    Args:
        moments: float64 [dim, dim] each, all of the same dim: vectors.T @ vectors, where vectors are the rows of a
            table, or an encoder's vectors of texts.

    Returns:
        float32 [dim, dim]; table @ rotation is the rotated table.
    """
    shared = torch.stack([moment / moment.trace().clamp_min(1e-30) for moment in moments]).sum(0)
    rotation: Tensor = torch.linalg.eigh(shared).eigenvectors.flip(1).float().contiguous()
    return rotation


@dataclass(frozen=True, kw_only=True)
class Dims(Step):
    """Cuts embedding dimensions.

    Attributes:
        sparsity: fraction of the dimensions removed (or a mapping from axis to fraction); at least one stays.
        importance: `norm` cuts the dimensions of smallest norm, `activation` those of smallest mean absolute value
            across inputs, `pca` rotates to principal axes and cuts the weakest, `prefix` keeps the first ones, for
            models that were trained for it (Kusupati et al. 2022, "Matryoshka Representation Learning").
    """

    name: ClassVar[str] = "dims"
    plans: ClassVar[bool] = True

    sparsity: float | Mapping[str, float]
    importance: str = "norm"

    def idle(self) -> bool:
        return removes_nothing(self.sparsity)

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        if not model.axes_of("dim"):
            raise RecipeError((), f"the model has no axis of dimensions. It has: {', '.join(model.axes) or 'none'}.")
        for name, sparsity in sparsity_by_name(self.sparsity, model.axes_of("dim"), path=("sparsity",)).items():
            size = model.size(model.axes_of("dim")[name])
            if removed(size, sparsity) >= size:
                raise RecipeError(
                    ("sparsity",), f"at least one dimension must stay, but {sparsity} of {size} leaves none; lower it."
                )

    def prepare(self, model: Model, context: Context) -> None:
        if self.importance == "pca":
            for axis in model.axes_of("dim").values():
                model.rotate(axis, principal_rotation(model.moments(axis, context)))

    def advance(self, model: Model, context: Context, reached: float) -> None:
        for name, sparsity in sparsity_by_name(self.sparsity, model.axes_of("dim"), path=("sparsity",)).items():
            axis = model.axes_of("dim")[name]
            size = model.size(axis)
            count = size - removed(size, sparsity * reached)
            if count == len(model.standing(axis)):
                continue  # the schedule has not reached its next whole dimension
            if self.importance == "activation":
                importance = dim_activation(model, axis, context)
            elif self.importance == "prefix":
                importance = -torch.arange(size, dtype=torch.float32, device=model.device)
            else:
                importance = dim_norm(model.squares(axis, context))
            model.hide(axis, importance.topk(count).indices.sort().values)

    def convert(self, model: Model, context: Context) -> None:
        for axis in model.axes_of("dim").values():
            if len(model.standing(axis)) < model.size(axis):
                model.cut(axis, model.standing(axis))

    def aspects(self) -> frozenset[str]:
        return frozenset({self.name, f"{self.name}.{self.importance}"})
