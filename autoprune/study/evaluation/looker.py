"""Looks at recipes: models made in memory, asked for the main metrics on a part of validation."""

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

Before = dict[str, tuple[float, "pd.Series[float]"]]
"""The dense model's values and influences, by metric."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A recipe that is to be looked at; plain values.

    Attributes:
        number: that the look is to have; 0 is the dense model's.
        recipe: as nested plain values.
        epochs: that it is trained for, at most; 0 leaves it untrained.
        closer: whether more of validation is asked.
        seconds: that it may take, from when it is begun.
    """

    number: int
    recipe: Mapping[str, Any]
    epochs: int = 0
    closer: bool = False
    seconds: float = math.inf

    def look(self, made: Plan) -> Look:
        """The look before anything is seen.

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
    """Looks at recipes of a study, one thread each, so that a look is the same wherever it is taken."""

    def prepare(self, argument: None) -> None:
        """Reads what looks need, and takes the one that all others are read against."""
        with on_threads(THREADS):
            self._before(closer=False)

    def ready(self, seconds: float) -> None:
        """Has the task compute what every training reads, with all cores.

        Raises:
            OutOfTime: so many seconds are over; what was computed is kept.
        """
        self._deadline = Deadline.after(seconds)
        self.task.ready()

    def looks(self, asked: Sequence[Asked]) -> list[Look]:
        """Looks at some recipes one after the other, within the least time that any of them may take.

        A recipe of which nothing comes (a step refuses or breaks, a score is NaN, a training diverges, memory does not
        do) has a look that says so.

        Raises:
            AutopruneError: something that the recipe is not to blame for, such as a damaged file of the store.
        """
        deadline = Deadline.after(min((one.seconds for one in asked), default=math.inf))
        found = []
        for one in asked:
            if deadline.left <= 0:
                break
            try:
                found.append(self.look(dataclasses.replace(one, seconds=deadline.left)))
            except OutOfTime:
                break
        return found

    def look(self, asked: Asked) -> Look:
        """Looks at a recipe.

        Raises:
            OutOfTime: its seconds are over; what was trained is kept.
            AutopruneError: something that the recipe is not to blame for.
        """
        self._deadline = Deadline.after(asked.seconds)
        start, made = time.monotonic(), self.plan(asked.recipe)
        look = asked.look(made)
        try:
            with on_threads(THREADS), of_recipe() if look.number else nullcontext():
                look = self._looked(look, made, closer=asked.closer)
        except Failed as error:
            look = dataclasses.replace(look, failed=str(error))
        if made.epochs:
            give_back_memory()
        return dataclasses.replace(look, seconds=round(time.monotonic() - start, 4))

    def _looked(self, look: Look, made: Plan, *, closer: bool) -> Look:
        model = self._model(made, epochs=look.epochs, closer=closer)
        parts = self.task.parts(model, made.runtime)
        served = serve(parts, device=self.device)
        rows = self._rows(served, closer=closer)
        values, counts = quality(self.task, rows, of=self._metrics)
        before = self._before(closer=closer) if look.number else None
        self._refuse(values, before)
        return dataclasses.replace(
            look,
            # Six digits are beyond what a look can tell, and who reads it from the file decides the same.
            quality={
                metric: {of: float(f"{value:.6g}") for of, value in slices.items() if math.isfinite(value)}
                for metric, slices in values.items()
            },
            counts={} if look.number else counts,
            near={name: float(f"{value:.6g}") for name, value in self.task.near(rows[WHOLE]).items()},
            errors=dict.fromkeys(values, 0.0) if before is None else self._errors(rows, values, before),
            size_bytes=artifact.weighed(parts),
            vector_bytes=served.vector_bytes,
            products=model.products,
            units=counts[self.task.metric][WHOLE],
        )

    def _refuse(self, values: Mapping[str, Mapping[str, float]], before: Before | None) -> None:
        """Refuses a model that has no score, and a dense model of which nothing can be a share."""
        if before is not None:
            nothing = [name for name in before if not math.isfinite(values[name][WHOLE])]
            if nothing:
                raise Diverged(f"{nothing[0]} is {values[nothing[0]][WHOLE]}")
        elif not 0 < (value := values[self.task.metric][WHOLE]) < math.inf:
            raise Diverged(
                f"{self.task.metric} is {value:.4g} on the part of validation that looks ask, and of what is not above "
                "0 no share can be kept; judge by another task.metric, or search without looks: study.looks=0 "
                "study.trials=0"
            )

    def _model(self, made: Plan, *, epochs: int, closer: bool) -> Model:
        hasty = self.task.looks_in_haste and not closer
        context = dataclasses.replace(self.context, deadline=self._deadline, hasty=hasty)
        return run(
            made, self.task, context, trainer=self.trainer, store=self.store, epochs=epochs, prefixes=self._prefixes
        )

    def _rows(self, served: Served, *, closer: bool) -> dict[str, pd.DataFrame]:
        """What the model answers: all rows, and those of slices where something is required of one."""
        served.pause = self._pause
        whole = self.task.look(served, closer=closer)
        rows = {WHOLE: whole}
        if self._sliced:
            for column, names in self.task.slices.items():
                rows |= {name: whole[whole[column] == name] for name in names}
        return rows

    def _errors(
        self, rows: Mapping[str, pd.DataFrame], values: Mapping[str, Mapping[str, float]], before: Before
    ) -> dict[str, float]:
        """Standard error of each metric's ratio to the dense model's on all rows, both asked the same."""
        found = {}
        for metric, (value, influence) in before.items():
            moved = self.task.metrics[metric].influence(rows[WHOLE]) - values[metric][WHOLE] / value * influence
            found[metric] = float(np.sqrt(np.square(moved).sum()) / value)
        return found

    def _before(self, *, closer: bool) -> Before:
        """What the dense model scores; looked at in this process, whoever else has."""
        if closer not in self._befores:
            dense = self.task.parts(self._model(self.plan({}), epochs=0, closer=closer))
            rows = self._rows(serve(dense, device=self.device), closer=closer)[WHOLE]
            metrics = {name: self.task.metrics[name] for name in self._metrics}
            values = {name: metric(rows) for name, metric in metrics.items()}
            found = {name: (value, metrics[name].influence(rows)) for name, value in values.items() if value > 0}
            self._befores[closer] = found
        return self._befores[closer]

    @cached_property
    def _befores(self) -> dict[bool, Before]:
        """What the dense model scores in looks, and in closer ones."""
        return {}

    @cached_property
    def _prefixes(self) -> Prefixes:
        return Prefixes()

    @cached_property
    def _metrics(self) -> list[str]:
        """What is looked for: the task's choice, and those of which something is required."""
        required = {item.reading.split(".")[0] for item in self.requirements.items}
        return [name for name in self.task.metrics if name in {*self.task.looked_at, *required}]

    @cached_property
    def _sliced(self) -> bool:
        """Whether something is required of a slice."""
        floors = [item.reading for item in self.requirements.items if not item.ceiling]
        return any(name == "worst_slice" or "." in name for name in floors)
