"""Looks at recipes: makes their models in memory and measures the main metrics on a part of validation."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served, serve
from autoprune.deadline import Deadline, OutOfTime
from autoprune.errors import Diverged, Failed, of_recipe
from autoprune.machine import THREADS, give_back_memory
from autoprune.measure.judge import quality
from autoprune.measure.measurement import WHOLE
from autoprune.measure.timing import on_threads
from autoprune.models.model import Model
from autoprune.recipes.prefixes import Prefixes
from autoprune.recipes.recipe import Plan
from autoprune.recipes.stages import run
from autoprune.record.looks import Look
from autoprune.study.evaluation.maker import Maker

DenseScores = dict[str, tuple[float, "pd.Series[float]"]]
"""The dense model's values and influence functions, by metric."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request to look at a recipe, as plain values.

    Attributes:
        number: of the look; 0 is the dense model's.
        recipe: as nested plain values.
        epochs: that it is trained for, at most; 0 leaves it untrained.
        closer: whether to use more of validation.
        seconds: that it may take from its start.
    """

    number: int
    recipe: Mapping[str, Any]
    epochs: int = 0
    closer: bool = False
    seconds: float = math.inf

    def look(self, made: Plan) -> Look:
        """The look without its results.

        Args:
            made: the plan of the recipe.
        """
        return Look(
            number=self.number,
            key=made.key,
            recipe=dict(self.recipe),
            summary=made.summary(),
            epochs=min(self.epochs, made.epochs),
            of_epochs=made.epochs,
        )


class Looker(Maker):
    """Looks at recipes of a study, on one thread each, so that a look is the same wherever it is taken."""

    def prepare(self, argument: None) -> None:
        """Reads what looks need, and scores the dense model, to which all looks are compared."""
        with on_threads(THREADS):
            self._dense_scores(closer=False)

    def ready(self, seconds: float) -> None:
        """Has the task compute, on all cores, what every training reads.

        Raises:
            OutOfTime: `seconds` have passed; what was computed is kept.
        """
        self._deadline = Deadline.after(seconds)
        self.task.ready()

    def looks(self, asked: Sequence[Asked]) -> list[Look]:
        """Looks at recipes one after another, all within the shortest time limit among them.

        A recipe that fails (a step refuses or breaks, a score is NaN, a training diverges, memory runs out) gets a look
        that says so.

        Raises:
            AutopruneError: an error that is not the fault of the recipe, such as a damaged file in the store.
        """
        deadline = Deadline.after(min((request.seconds for request in asked), default=math.inf))
        looks = []
        for request in asked:
            if deadline.left <= 0:
                break
            try:
                looks.append(self.look(dataclasses.replace(request, seconds=deadline.left)))
            except OutOfTime:
                break
        return looks

    def look(self, asked: Asked) -> Look:
        """Looks at a recipe.

        Raises:
            OutOfTime: its seconds are over; what was trained is kept.
            AutopruneError: an error that is not the fault of the recipe.
        """
        self._deadline = Deadline.after(asked.seconds)
        start, plan = time.monotonic(), self.plan(asked.recipe)
        look = asked.look(plan)
        try:
            with on_threads(THREADS), of_recipe() if look.number else nullcontext():
                look = self._take_look(look, plan, closer=asked.closer)
        except Failed as error:
            look = dataclasses.replace(look, failed=str(error))
        if plan.epochs:
            give_back_memory()
        return dataclasses.replace(look, seconds=round(time.monotonic() - start, 4))

    def _take_look(self, look: Look, plan: Plan, *, closer: bool) -> Look:
        model = self._model(plan, epochs=look.epochs, closer=closer)
        parts = self.task.parts(model, plan.runtime)
        served = serve(parts, device=self.device)
        rows = self._rows(served, closer=closer)
        values, counts = quality(self.task, rows, of=self._metric_names)
        dense = self._dense_scores(closer=closer) if look.number else None
        self._refuse_bad_score(values, dense)
        return dataclasses.replace(
            look,
            # Six digits are more than a look can tell, and a look read from the file leads to the same decisions.
            quality={
                metric: {of: float(f"{value:.6g}") for of, value in slices.items() if math.isfinite(value)}
                for metric, slices in values.items()
            },
            counts={} if look.number else counts,
            near={name: float(f"{value:.6g}") for name, value in self.task.near(rows[WHOLE]).items()},
            errors=dict.fromkeys(values, 0.0) if dense is None else self._errors(rows, values, dense),
            size_bytes=artifact.weighed(parts),
            vector_bytes=served.vector_bytes,
            products=model.products,
            units=counts[self.task.metric][WHOLE],
        )

    def _refuse_bad_score(self, values: Mapping[str, Mapping[str, float]], dense: DenseScores | None) -> None:
        """Refuses a model without a score, and a dense model whose score is not above 0."""
        if dense is not None:
            scoreless = [name for name in dense if not math.isfinite(values[name][WHOLE])]
            if scoreless:
                raise Diverged(f"{scoreless[0]} is {values[scoreless[0]][WHOLE]}")
        elif not 0 < (value := values[self.task.metric][WHOLE]) < math.inf:
            raise Diverged(
                f"{self.task.metric} is {value:.4g} on the part of validation that looks use. Requirements are shares "
                "of the dense model's score, so it must be above 0; choose another task.metric, or search without looks"
                " (study.looks=0 study.trials=0)"
            )

    def _model(self, plan: Plan, *, epochs: int, closer: bool) -> Model:
        hasty = self.task.looks_in_haste and not closer
        context = dataclasses.replace(self.context, deadline=self._deadline, hasty=hasty)
        return run(
            plan, self.task, context, trainer=self.trainer, store=self.store, epochs=epochs, prefixes=self._prefixes
        )

    def _rows(self, served: Served, *, closer: bool) -> dict[str, pd.DataFrame]:
        """The model's answers: all rows and, if a slice has a requirement, those of each slice."""
        served.pause = self._pause
        whole = self.task.look(served, closer=closer)
        rows = {WHOLE: whole}
        if self._sliced:
            for column, names in self.task.slices.items():
                rows |= {name: whole[whole[column] == name] for name in names}
        return rows

    def _errors(
        self, rows: Mapping[str, pd.DataFrame], values: Mapping[str, Mapping[str, float]], dense: DenseScores
    ) -> dict[str, float]:
        """Standard error of each metric's ratio to the dense model's, on the same requests."""
        errors = {}
        for metric, (dense_value, dense_influence) in dense.items():
            ratio = values[metric][WHOLE] / dense_value
            moved = self.task.metrics[metric].influence(rows[WHOLE]) - ratio * dense_influence
            errors[metric] = float(np.sqrt(np.square(moved).sum()) / dense_value)
        return errors

    def _dense_scores(self, *, closer: bool) -> DenseScores:
        """The dense model's scores, computed in this process even if other processes have them."""
        if closer not in self._dense_cache:
            parts = self.task.parts(self._model(self.plan({}), epochs=0, closer=closer))
            rows = self._rows(serve(parts, device=self.device), closer=closer)[WHOLE]
            metrics = {name: self.task.metrics[name] for name in self._metric_names}
            values = {name: metric(rows) for name, metric in metrics.items()}
            scores = {name: (value, metrics[name].influence(rows)) for name, value in values.items() if value > 0}
            self._dense_cache[closer] = scores
        return self._dense_cache[closer]

    @cached_property
    def _dense_cache(self) -> dict[bool, DenseScores]:
        """The dense model's scores, by whether the look is a closer one."""
        return {}

    @cached_property
    def _prefixes(self) -> Prefixes:
        return Prefixes()

    @cached_property
    def _metric_names(self) -> list[str]:
        """The metrics that looks measure: those that the task chose, and those with a requirement."""
        required = {item.reading.split(".")[0] for item in self.requirements.items}
        return [name for name in self.task.metrics if name in {*self.task.looked_at, *required}]

    @cached_property
    def _sliced(self) -> bool:
        """Whether a slice has a requirement."""
        floors = [item.reading for item in self.requirements.items if not item.ceiling]
        return any(name == "worst_slice" or "." in name for name in floors)
