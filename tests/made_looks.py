"""Looks made up by formulas, for tests of the search: thousands of recipes, and learning curves that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import parse_requirements
from autoprune.recipes.recipe import Plan, plan
from autoprune.record.looks import Look, Looks
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Executor, Serial
from autoprune.study.sampling.lookout import Lookout

METRIC, BYTES, UNITS = "ndcg@20", 1_000_000, 200

CUTS: dict[str, Any] = {
    "prune": {"method": {"choose": {"none": {}, "dims": {"sparsity": {"float": [0.1, 0.9]}}}}},
    "encode": {"quantize": {"bits": {"any_of": [8, 4, 2]}}},
}
"""A space of which a look can tell all."""

TRAINED: dict[str, Any] = {**CUTS, "encode": {**CUTS["encode"], "epochs": {"any_of": [0, 4, 8]}}}
"""A space of which training is a part."""

LOST = {32: 0.0, 8: 0.002, 4: 0.03, 2: 0.3}
"""Share of quality by bits."""


def look_at(one: Asked, *, error: float = 0.002) -> Look:
    """What a recipe promises: two epochs bring back half of what is lost, two more a half of the rest."""
    made = planned(one.recipe)
    sparsity = one.recipe.get("prune", {}).get("method", {}).get("dims", {}).get("sparsity", 0.0)
    coded = one.recipe.get("encode", {})
    bits = coded.get("method", coded).get("quantize", {}).get("bits", 32)
    epochs = min(one.epochs, made.epochs)
    lost = (LOST[bits] + 0.3 * sparsity**2) * 0.5 ** (epochs / 2)
    share = (1 - sparsity) * bits / 32
    return made_look(
        one.number, 1 - lost, share, made=made, recipe=one.recipe, epochs=epochs, error=error if one.number else 0.0
    )


def made_look(
    number: int,
    quality: float,
    share: float,
    *,
    made: Plan | None = None,
    recipe: Mapping[str, Any] | None = None,
    epochs: int = 0,
    of_epochs: int = 0,
    error: float = 0.0,
    failed: str = "",
) -> Look:
    """A look at what has so much of the dense model's quality and size."""
    return Look(
        number=number,
        key=made.key if made else f"key{number}",
        recipe=dict(recipe or {}),
        summary=made.summary() if made else f"look {number}",
        epochs=epochs,
        of_epochs=made.epochs if made else of_epochs,
        units=0 if failed else UNITS,
        quality={} if failed else {METRIC: {"all": 0.4 * quality}},
        counts={METRIC: {"all": UNITS}} if not number else {},
        errors={} if failed else {METRIC: error},
        size_bytes=0 if failed else round(BYTES * share),
        products=0 if failed else round(BYTES * math.sqrt(share)),
        seconds=0.001,
        failed=failed,
    )


def planned(recipe: Mapping[str, Any]) -> Plan:
    return plan(recipe, base_defaults={"dim": 16})


def epochs_of(recipe: Mapping[str, Any]) -> int:
    return planned(recipe).epochs


class MadeUp:
    """Looks as an evaluator does, by a formula; counts what it was asked for."""

    def __init__(self, formula: Callable[[Asked], Look] = look_at) -> None:
        self.formula = formula
        self.asked: list[Asked] = []

    plan = staticmethod(planned)

    def looks(self, asked: Sequence[Asked]) -> list[Look]:
        self.asked += asked
        return [self.formula(one) for one in asked]


class Killed(BaseException):
    """Nothing that a search would catch."""


class Fading(MadeUp):
    """Is killed after so many looks."""

    def __init__(self, count: int, formula: Callable[[Asked], Look] = look_at) -> None:
        super().__init__(formula)
        self.count = count

    def looks(self, asked: Sequence[Asked]) -> list[Look]:
        if len(self.asked) + len(asked) > self.count:
            raise Killed
        return super().looks(asked)


class LastFirst(Executor):
    """Three calls in flight, of which the one asked for last is finished first."""

    slots = 3

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[Any], Any], Any]] = []
        self.most = 0

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        future = Lazy(self)
        self.waiting.append((future, function, argument))
        self.most = max(self.most, len(self.waiting))
        return future

    def close(self) -> None:
        assert not self.waiting, "whatever was asked for was waited for"

    def work(self) -> None:
        """Finishes a call."""
        future, function, argument = self.waiting.pop()
        try:
            future.set_result(function(argument))
        except AutopruneError as error:
            future.set_exception(error)


class Wide(LastFirst):
    """Thirteen calls in flight; the first or the last of them is finished first.

    Attributes:
        flying: calls in flight, whenever one is finished.
    """

    slots = 13

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.flying: list[int] = []

    def work(self) -> None:
        self.flying.append(len(self.waiting))
        if self.first:
            self.waiting.append(self.waiting.pop(0))
        super().work()


class Lazy(Future[Any]):
    """Is worked on when somebody waits."""

    def __init__(self, executor: LastFirst) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> Any:
        self._finish()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._finish()
        return super().exception(timeout)

    def _finish(self) -> None:
        while not self.done():
            self._executor.work()


def promises(
    requirements: Mapping[str, Any] | None = None, *, objectives: Sequence[str] = ("quality", "size")
) -> Promises:
    """Of a study on one metric; by default at most a tenth of quality may go."""
    dense = made_look(0, 1.0, 1.0, made=planned({}))
    return Promises(
        dense,
        baseline=dense.measurement(),
        metrics=[METRIC],
        requirements=parse_requirements({"quality": {"drop": "10%"}} if requirements is None else requirements),
        objectives=objectives,
    )


def lookout(
    path: Path,
    *,
    evaluator: MadeUp | None = None,
    executor: Executor | None = None,
    requirements: Mapping[str, Any] | None = None,
    objectives: Sequence[str] = ("quality", "size"),
    ready: Callable[[float], None] = lambda seconds: None,
) -> Lookout:
    """Over a file of looks, which may be there from before."""
    looks, promised = Looks(path), promises(requirements, objectives=objectives)
    if looks.dense is None:
        looks.add(promised.dense)
    return Lookout(evaluator or MadeUp(), executor or Serial(), looks, promised, ready=ready)  # type: ignore[arg-type]


def held(taken: Lookout) -> list[tuple[int, str, int]]:
    """What must repeat of a file of looks, as it lies on disk."""
    return [(look.number, look.key, look.epochs) for look in Looks(taken.looks.path).found.values()]
