"""The only training loop: the dense model and every fine-tuning stage run through `Trainer._fit`."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.schedule import Schedule, one_shot
from autoprune.recipes.store import Store
from autoprune.steps.step import Step
from autoprune.tasks.task import Task, Training

SAVE_EVERY_S = 30.0
"""A kill costs at most so many seconds of training, and what is left of an epoch then."""

TELL_EVERY_S = 5.0
"""Within a long epoch."""


class Trainer:
    """Trains models in place.

    Args:
        settings: how.
        report: called with a few words about the work in progress (`dense model: epoch 35, ndcg@20 0.1091`).
    """

    def __init__(self, settings: Training, *, report: Callable[[str], None] = lambda words: None) -> None:
        self.settings = settings
        self.report = report

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, for cache keys."""
        return dataclasses.asdict(self.settings)

    def train_dense(self, model: Model, task: Task, context: Context, *, key: str, store: Store | None) -> Model:
        """Trains until validation quality stops rising and returns the best state."""
        checkpoint = _restored(store, key)
        if checkpoint is None:
            task.initialize(model, seed=context.seed)
        self._fit(
            model,
            task,
            context,
            epochs=self.settings.epochs,
            checkpoint=checkpoint,
            save=lambda state: store.save(key, state) if store else None,
            validate=True,
        )
        return model

    def tune(
        self,
        model: Model,
        task: Task,
        context: Context,
        *,
        steps: Sequence[Step],
        schedule: Schedule,
        epochs: int,
        key: str,
        store: Store | None,
    ) -> None:
        """Trains for exactly `epochs`, with the steps acting."""
        self._fit(
            model,
            task,
            context,
            steps=steps,
            schedule=schedule,
            epochs=epochs,
            checkpoint=_restored(store, key),
            save=lambda state: store.save(key, state) if store else None,
        )

    def _fit(
        self,
        model: Model,
        task: Task,
        context: Context,
        *,
        epochs: int,
        checkpoint: dict[str, Any] | None,
        save: Callable[[dict[str, Any]], None],
        steps: Sequence[Step] = (),
        schedule: Schedule = one_shot,
        validate: bool = False,
    ) -> None:
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=self.settings.learning_rate, fused=True)
        # best: the state that `validate` liked most; its first look is at the model before any update
        best: dict[str, Any] = {"quality": -1.0, "epoch": 0, "model": {}}
        done, finished = 0, False
        if checkpoint is not None:
            model.load_state_dict(checkpoint["model"])
            done, finished, best = checkpoint["epochs"], checkpoint["finished"], checkpoint["best"]
            if not finished:
                optimizer.load_state_dict(checkpoint["optimizer"])
        with torch.random.fork_rng(devices=[]):
            look_every = -(-self.settings.evaluate_every // len(task.batches())) if validate else 0
        saved_at = time.monotonic()
        while not finished:
            if validate and done % look_every == 0:
                settled = copy.deepcopy(model)
                task.settle(settled)
                quality = task.validate(settled)
                if quality > best["quality"]:
                    best = {"quality": quality, "epoch": done, "model": copy.deepcopy(model.state_dict())}
                self.report(f"training the dense model: epoch {done}, best {task.metric} {best['quality']:.4f}")
                stalled = done - best["epoch"] >= self.settings.patience * look_every
            else:
                stalled = False
            finished = stalled or done >= epochs
            if not finished:
                self._epoch(model, task, context, optimizer, steps, schedule, epoch=done, epochs=epochs)
                done += 1
                if not validate:
                    self.report(f"fine-tuning: epoch {done} of {epochs}")
            if finished and validate:
                model.load_state_dict(best["model"])
            if finished or time.monotonic() - saved_at > SAVE_EVERY_S:
                state = {"model": model.state_dict(), "epochs": done, "finished": finished, "best": best}
                if finished:  # nobody goes on from here: the optimiser's two moments need not be kept
                    state["best"] = {**best, "model": {}}
                else:
                    state["optimizer"] = optimizer.state_dict()
                save(state)
                saved_at = time.monotonic()
        task.settle(model)
        model.eval()

    def _learning_rate(self, update: int, updates: int) -> float:
        rate, warmup = self.settings.learning_rate, self.settings.warmup
        left = (updates - update) / max(updates - warmup, 1) if self.settings.decay else 1.0
        return rate * min(1.0, (update + 1) / warmup, left)

    def _epoch(
        self,
        model: Model,
        task: Task,
        context: Context,
        optimizer: torch.optim.Optimizer,
        steps: Sequence[Step],
        schedule: Schedule,
        *,
        epoch: int,
        epochs: int,
    ) -> None:
        # Order and noise depend on (seed, epoch) alone, so a resumed run repeats the undisturbed one bit by bit.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed * 1_000_003 + epoch)
            batches, told_at = task.batches(), time.monotonic()
            for number, batch in enumerate(batches):
                if time.monotonic() - told_at > TELL_EVERY_S:
                    self.report(f"training: epoch {epoch + 1} of {epochs}, {number:,} of {len(batches):,} updates")
                    told_at = time.monotonic()
                progress = (epoch + number / len(batches)) / epochs
                for step in steps:
                    step.advance(model, context, schedule(progress))
                update = epoch * len(batches) + number
                for group in optimizer.param_groups:
                    group["lr"] = self._learning_rate(update, epochs * len(batches))
                loss = task.loss(model, batch)
                if not loss.isfinite():
                    raise AutopruneError(
                        f"training diverged: the loss was {loss.item()} in epoch {epoch + 1} of {epochs} at a learning "
                        f"rate of {self.settings.learning_rate}; lower task.training.learning_rate."
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimizer.step()
                for step in steps:
                    step.shrink(model, optimizer.param_groups[0]["lr"])


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
