"""A step: one compression idea with its parameters, acting at four moments of a stage."""

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
    """The four moments, each of which does nothing unless a step says otherwise.

    A stage copies the model, calls `prepare`, trains (calling `advance` before every update and once after the last,
    and `shrink` after every update), and calls `convert`. Without updates the same moments follow one another at
    once. What a step remembers (a mask, a width) it leaves in the model; the step itself is data. Only `shrink` may
    write into tensors: without updates the copy shares them with the model that the stage starts from.

    Class attributes declare what the step is, for plans and for the conformance suite:
        name: as in a recipe.
        version: raise it when the same parameters give another result, see `revision`.
        rank: of several steps in one stage the lower acts first: axes (0) before single weights (1) before bits (2).
        trainable: whether later stages may train or prune what the step leaves behind.
        plans: whether all that it does to a row follows from the row and a few statistics, so that it can be done where
            rows are asked for (`autoprune.models.planned`).
        only_trains: whether the step acts on updates alone, so that a stage without any can leave it out.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    rank: ClassVar[int] = 0
    trainable: ClassVar[bool] = True
    plans: ClassVar[bool] = False
    only_trains: ClassVar[bool] = False

    def revision(self) -> int:
        """Part of every cache key: the version, where it is not a matter of a few parameters."""
        return self.version

    def untrained(self) -> str:
        """The parameter that asks for a stage in which nothing is trained; empty if none does."""
        return ""

    def idle(self) -> bool:
        """Whether these parameters change nothing, so that a plan can leave the step out."""
        return False

    def check(self, model: Model) -> None:
        """Refuses a model that the step has no axis for, or values that cannot be.

        Called at the start of a study with a model that is not trained, for every corner of the space.

        Raises:
            RecipeError: with the path of the parameter below the step.
        """

    def prepare(self, model: Model, context: Context) -> None:
        """Before the first update."""

    def advance(self, model: Model, context: Context, reached: float) -> None:
        """Before every update and after the last; `reached` is the fraction of the target due by now."""

    def shrink(self, model: Model, learning_rate: float) -> None:
        """After every update: the proximal step of a penalty that the gradient did not see."""

    def convert(self, model: Model, context: Context) -> None:
        """At the end: what was masked becomes a cut."""

    def parameters(self) -> dict[str, Any]:
        """The step's parameters as plain values, in one form: of a mapping of sparsities only what is removed."""
        found = dataclasses.asdict(self)
        if isinstance(found.get("sparsity"), Mapping):
            found["sparsity"] = {name: share for name, share in found["sparsity"].items() if share}
        return found

    def summary(self) -> str:
        """The step in a few words: its name, what differs from the defaults, how much goes (`dims pca -50%`)."""
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
        """The names a rule about pairs of steps can use for it: its own, narrower ones (`dims.pca`), what it leaves."""
        return frozenset({self.name})


def check_choice(parameter: str, value: object, options: Collection[str]) -> None:
    """Refuses a value that is not among `options`.

    Raises:
        RecipeError: with the parameter's path and the nearest options.
    """
    if value not in options:
        raise RecipeError((parameter,), f"{value!r} is unknown. {nearest(value, options)}")


def check_lookups(model: Model) -> None:
    """Refuses a model that has linear maps.

    Raises:
        RecipeError: naming the way out.
    """
    if model.has_maps:
        raise RecipeError((), "the linear maps of this model take row-wise codes of one width only; name quantize.")


def removed(size: int, sparsity: float) -> int:
    """How many of `size` things a sparsity removes: the nearest whole number, ties to even, as torch.nn.utils.prune."""
    return round(sparsity * size)
