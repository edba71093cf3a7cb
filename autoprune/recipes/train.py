"""The only training loop: the dense model and every fine-tuning stage run through `Trainer._fit`."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.schedule import Schedule, one_shot
from autoprune.recipes.store import Store
from autoprune.steps.step import Step
from autoprune.tasks.task import Learning, Training

SAVE_EVERY_S = 30.0
"""A kill costs at most so many seconds of training, and what is left of an epoch then."""

TELL_EVERY_S = 5.0
"""Within a long epoch."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One training, from its beginning or from where it was left.

    Attributes:
        epochs: how many; with `validate` at most.
        steps: that act meanwhile, along `schedule`.
        validate: whether it ends once validation quality stops rising, with the best state.
        checkpoint: where it was left; None: at its beginning.
        save: called with a checkpoint now and then, and at the end.
    """

    epochs: int
    steps: Sequence[Step] = ()
    schedule: Schedule = one_shot
    validate: bool = False
    checkpoint: dict[str, Any] | None
    save: Callable[[dict[str, Any]], None]


class Trainer:
    """Trains models in place.

    Args:
        settings: how.
        report: called with a message about the work in progress (`dense model: epoch 35, ndcg@20 0.1091`).
    """

    def __init__(self, settings: Training, *, report: Callable[[str], None] = lambda message: None) -> None:
        self.settings = settings
        self.report = report

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, for cache keys."""
        return dataclasses.asdict(self.settings)

    def train_dense(self, model: Model, task: Learning, context: Context, *, key: str, store: Store | None) -> Model:
        """Trains until validation quality stops rising and returns the best state."""
        checkpoint = _restored(store, key)
        if checkpoint is None:
            task.initialize(model, seed=context.seed)
        epochs, save = self.settings.epochs, _saving(store, key)
        self._fit(model, task, context, _Run(epochs=epochs, validate=True, checkpoint=checkpoint, save=save))
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
        run = _Run(epochs=epochs, steps=steps, schedule=schedule, checkpoint=checkpoint, save=save)
        self._fit(model, task, context, run)

    def _fit(self, model: Model, task: Learning, context: Context, run: _Run) -> None:
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=self.settings.learning_rate, fused=True)
        # best: the state that `validate` liked most; its first look is at the model before any update
        best: dict[str, Any] = {"quality": -1.0, "epoch": 0, "model": {}}
        done, finished = 0, False
        if run.checkpoint is not None:
            model.load_state_dict(run.checkpoint["model"])
            done, finished, best = (run.checkpoint[name] for name in ("epochs", "finished", "best"))
            if not finished:
                optimizer.load_state_dict(run.checkpoint["optimizer"])
        with torch.random.fork_rng(devices=[]):
            look_every = -(-self.settings.evaluate_every // len(task.batches())) if run.validate else 0
        saved_at = time.monotonic()
        while not finished:
            stalled = False
            if run.validate and done % look_every == 0:
                best = self._look(model, task, best, epoch=done)
                stalled = done - best["epoch"] >= self.settings.patience * look_every
            finished = stalled or done >= run.epochs
            if not finished:
                self._epoch(model, task, context, optimizer, run, epoch=done)
                done += 1
                if not run.validate:
                    self.report(f"fine-tuning: epoch {done} of {run.epochs}")
            if finished and run.validate:
                model.load_state_dict(best["model"])
            if finished or time.monotonic() - saved_at > SAVE_EVERY_S:
                state = {"model": model.state_dict(), "epochs": done, "finished": finished, "best": best}
                if finished:  # nobody goes on from here: the optimiser's two moments need not be kept
                    state["best"] = {**best, "model": {}}
                else:
                    state["optimizer"] = optimizer.state_dict()
                run.save(state)
                saved_at = time.monotonic()
        task.settle(model)
        model.eval()

    def _look(self, model: Model, task: Learning, best: dict[str, Any], *, epoch: int) -> dict[str, Any]:
        """The best state by now."""
        settled = copy.deepcopy(model)
        task.settle(settled)
        quality = task.validate(settled)
        if quality > best["quality"]:
            best = {"quality": quality, "epoch": epoch, "model": copy.deepcopy(model.state_dict())}
        self.report(f"training the dense model: epoch {epoch}, best {task.metric} {best['quality']:.4f}")
        return best

    def _epoch(
        self,
        model: Model,
        task: Learning,
        context: Context,
        optimizer: torch.optim.Optimizer,
        run: _Run,
        *,
        epoch: int,
    ) -> None:
        # Order and noise depend on (seed, epoch) alone, so a resumed run repeats the undisturbed one bit by bit.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed * 1_000_003 + epoch)
            batches, told_at = task.batches(), time.monotonic()
            for number, batch in enumerate(batches):
                if time.monotonic() - told_at > TELL_EVERY_S:
                    self.report(f"training: epoch {epoch + 1} of {run.epochs}, {number:,} of {len(batches):,} updates")
                    told_at = time.monotonic()
                progress = (epoch + number / len(batches)) / run.epochs
                for step in run.steps:
                    step.advance(model, context, run.schedule(progress))
                update = epoch * len(batches) + number
                for group in optimizer.param_groups:
                    group["lr"] = self._learning_rate(update, run.epochs * len(batches))
                loss = task.loss(model, batch)
                if not loss.isfinite():
                    raise AutopruneError(
                        f"training diverged: the loss was {loss.item()} in epoch {epoch + 1} of {run.epochs} at a "
                        f"learning rate of {self.settings.learning_rate}; lower task.training.learning_rate."
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimizer.step()
                for step in run.steps:
                    step.shrink(model, optimizer.param_groups[0]["lr"])

    def _learning_rate(self, update: int, updates: int) -> float:
        rate, warmup = self.settings.learning_rate, self.settings.warmup
        left = (updates - update) / max(updates - warmup, 1) if self.settings.decay else 1.0
        return rate * min(1.0, (update + 1) / warmup, left)


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
