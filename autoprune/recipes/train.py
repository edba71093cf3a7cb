"""Training: the dense model and every fine-tuning stage, kept under a key and gone on with from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.fit import Fit, Run
from autoprune.recipes.schedule import Schedule
from autoprune.recipes.store import Store
from autoprune.steps.step import Step
from autoprune.tasks.task import Learning, Training


class Trainer:
    """Trains models in place.

    Args:
        settings: how.
        report: called with a message about the work in progress (`training the dense model: epoch 35 of at most 400`).
        note: called with what should be known early, such as that the time will not do.
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

    def train_dense(self, model: Model, task: Learning, context: Context, *, key: str, store: Store | None) -> Model:
        """Trains until validation quality stops rising and returns the best state."""
        checkpoint = _restored(store, key)
        if checkpoint is None:
            task.initialize(model, seed=context.seed)
        epochs, save = self.settings.epochs, _saving(store, key)
        self._fit(model, task, context, Run(epochs=epochs, validate=True, checkpoint=checkpoint, save=save))
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
        key: str,
        store: Store | None,
    ) -> None:
        """Trains for exactly `epochs`, with the steps acting."""
        checkpoint, save = _restored(store, key), _saving(store, key)
        run = Run(epochs=epochs, steps=steps, schedule=schedule, checkpoint=checkpoint, save=save)
        self._fit(model, task, context, run)

    def _fit(self, model: Model, task: Learning, context: Context, run: Run) -> None:
        Fit(model, task, context, run, settings=self.settings, report=self.report, note=self.note).run()


def _saving(store: Store | None, key: str) -> Callable[[dict[str, Any]], None]:
    return lambda checkpoint: store.save(key, checkpoint) if store else None


def _restored(store: Store | None, key: str) -> dict[str, Any] | None:
    """The checkpoint under a key, if there is one.

    Raises:
        AutopruneError: there is NaN in it, which every later stage would inherit.
    """
    checkpoint = store.load(key) if store else None
    if store is None or checkpoint is None:
        return None
    for name, tensor in checkpoint["model"].items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise AutopruneError(
                f"{store.path(key)}: the checkpoint holds NaN or infinite values in {name}; delete the file, and "
                "what it held is trained again."
            )
    return checkpoint
