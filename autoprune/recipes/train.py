"""Trains the dense model and every fine-tuning stage, with checkpoints from which training resumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.fit import Fit, Run
from autoprune.recipes.schedule import Schedule
from autoprune.recipes.store import Checkpoints
from autoprune.steps.step import Step
from autoprune.tasks.task import Learning, Training


class Trainer:
    """Trains models in place.

    Args:
        settings: of every training.
        report: called with a message about the work in progress (`training the dense model: epoch 35 of at most 400`).
        note: called with messages that users should see early, such as that there is too little time.
    """

    def __init__(
        self,
        settings: Training,
        *,
        report: Callable[[str], None] = lambda message: None,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.settings = settings
        self.report = report
        self.note = note

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, for cache keys."""
        return dataclasses.asdict(self.settings)

    def train_dense(self, model: Model, task: Learning, context: Context, *, checkpoints: Checkpoints) -> Model:
        """Trains until validation quality stops rising and returns the model in its best state."""
        checkpoint = checkpoints.latest()
        if checkpoint is None:
            task.initialize(model, seed=context.seed)
        run = Run(epochs=self.settings.epochs, validate=True, checkpoint=checkpoint, save=checkpoints.save)
        self._fit(model, task, context, run)
        return model

    def tune(
        self,
        model: Model,
        task: Learning,
        context: Context,
        *,
        steps: Sequence[Step],
        schedule: Schedule,
        epochs: int,
        of: int | None,
        checkpoints: Checkpoints,
    ) -> None:
        """Trains for exactly `epochs`, with the steps acting.

        Args:
            of: epochs of the full training that these begin; None if nothing depends on its length.
        """
        checkpoint, save = checkpoints.latest(), checkpoints.save
        run = Run(epochs=epochs, of=of, steps=steps, schedule=schedule, checkpoint=checkpoint, save=save)
        self._fit(model, task, context, run)

    def _fit(self, model: Model, task: Learning, context: Context, run: Run) -> None:
        Fit(model, task, context, run, settings=self.settings, report=self.report, note=self.note).run()
