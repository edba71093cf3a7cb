"""A step: one compression method with its parameters, which acts at four moments of a stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from autoprune.errors import RecipeError, nearest
from autoprune.models.context import Context
from autoprune.models.model import Model


@dataclass(frozen=True, kw_only=True)
class Step:
    """The base of all steps. At each of the four moments it does nothing; steps override the methods they need.

    A stage copies the model, calls `prepare`, trains (calling `advance` before every update and once after the last,
    and `shrink` after every update), and calls `convert`. A stage without updates calls the same methods in the same
    order. State of a step (a mask, a width) is stored in the model; the step itself is data. Only `shrink` may write
    into tensors: without updates the copy shares them with the model that the stage starts from.

    Class attributes describe the step to plans and to the conformance suite:
        name: as in a recipe.
        version: raise it when the same parameters give a different result, see `revision`.
        rank: within a stage, steps of lower rank act first: axes (0) before single weights (1) before bits (2).
        trainable: whether later stages may train or prune what the step leaves behind.
        plans: whether its effect on a row depends only on the row and a few statistics, so that it can be computed when
            rows are read (`autoprune.models.planned`).
        only_trains: whether the step acts only on updates, so that a stage without updates can leave it out.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    rank: ClassVar[int] = 0
    trainable: ClassVar[bool] = True
    plans: ClassVar[bool] = False
    only_trains: ClassVar[bool] = False

    def revision(self) -> int:
        """Part of every cache key: the version, unless it depends on the parameters."""
        return self.version

    def untrained(self) -> str:
        """The parameter that requires a stage without training; empty if none does."""
        return ""

    def idle(self) -> bool:
        """Whether these parameters change nothing, so that a plan can leave the step out."""
        return False

    def check(self, model: Model) -> None:
        """Refuses a model without the axis that the step needs, and invalid values.

        Called at the start of a study with an untrained model, for every corner of the space.

        Raises:
            RecipeError: with the path of the parameter below the step.
        """

    def prepare(self, model: Model, context: Context) -> None:
        """Before the first update."""

    def advance(self, model: Model, context: Context, reached: float) -> None:
        """Before every update and after the last; `reached` is the fraction of the target that is due."""

    def shrink(self, model: Model, learning_rate: float) -> None:
        """After every update: the proximal step of a penalty that is not part of the loss."""

    def convert(self, model: Model, context: Context) -> None:
        """At the end: masks become cuts."""

    def parameters(self) -> dict[str, Any]:
        """The parameters as plain values in canonical form: mappings of sparsities without zeros."""
        parameters = dataclasses.asdict(self)
        if isinstance(parameters.get("sparsity"), Mapping):
            parameters["sparsity"] = {name: share for name, share in parameters["sparsity"].items() if share}
        return parameters

    def summary(self) -> str:
        """The step in a few words: its name, non-default choices, and how much it removes (`dims pca -50%`)."""
        words, amount = [self.name], ""
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if entry.name == "sparsity":
                shares = value.items() if isinstance(value, Mapping) else [("", value)]
                amount = " ".join(f"{name} -{100 * share:.4g}%".strip() for name, share in shares if share)
            elif isinstance(value, str) and value != entry.default:
                words.append(value)
        return " ".join([*words, amount]).strip()

    def aspects(self) -> frozenset[str]:
        """The names for it in rules about pairs of steps: its own, narrower ones (`dims.pca`), and what it leaves."""
        return frozenset({self.name})


def check_choice(parameter: str, value: object, options: Collection[str]) -> None:
    """Refuses a value that is not among `options`.

    Raises:
        RecipeError: with the parameter's path and the nearest options.
    """
    if value not in options:
        raise RecipeError((parameter,), f"{value!r} is unknown. {nearest(value, options)}")


def check_lookups(model: Model) -> None:
    """Refuses a model that has linear layers.

    Raises:
        RecipeError: it has, and what to use instead.
    """
    if model.has_maps:
        raise RecipeError((), "the linear layers of this model take only row-wise codes of one width; use quantize.")


def removed(size: int, sparsity: float) -> int:
    """How many of `size` elements a sparsity removes: rounded, ties to even, as in torch.nn.utils.prune."""
    return round(sparsity * size)
