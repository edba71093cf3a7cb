"""One training, from the start or from a checkpoint: updates, validation, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autoprune.deadline import OutOfTime, clock
from autoprune.errors import Diverged
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.pace import Pace, left
from autoprune.recipes.schedule import Schedule, one_shot
from autoprune.steps.step import Step
from autoprune.tasks.task import Learning, Training

SAVE_EVERY_S = 30.0
"""A killed training loses at most so many seconds."""

TELL_EVERY_S = 5.0
"""Seconds between progress messages within a long epoch."""

LITTLE = 0.01
"""The training of a dense model has become slow if `patience` validations in a row raised quality by less than this
share."""


class CutShort(Exception):
    """The training of a dense model was cut short although it still improved, see `Fit.run`.

    Attributes:
        epochs: after which it was cut short.
        gain: share by which the last `patience` validations raised quality.
        quality: the best on validation.
        checkpoint: from which a training of `epochs` makes the best model so far, and a longer one goes on.
    """

    def __init__(self, *, epochs: int, gain: float, quality: float, checkpoint: dict[str, Any]) -> None:
        super().__init__(f"cut short after {epochs} epochs")
        self.epochs, self.gain, self.quality, self.checkpoint = epochs, gain, quality, checkpoint


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained, and how far.

    Attributes:
        epochs: to train; with `validate`, at most.
        of: epochs of the full training that this run begins; learning rate and `schedule` follow them. None if nothing
            depends on that length. Unless `of` equals `epochs`, a longer training can continue from this one's end.
        steps: that act during training, following `schedule`.
        validate: whether to stop once validation quality stops rising, and keep the best state.
        checkpoint: to resume from; None: from the start.
        save: called with a checkpoint now and then, when the time is over, and at the end.
    """

    epochs: int
    of: int | None = None
    steps: Sequence[Step] = ()
    schedule: Schedule = one_shot
    validate: bool = False
    checkpoint: dict[str, Any] | None
    save: Callable[[dict[str, Any]], None]

    @property
    def goes_on(self) -> bool:
        """Whether a longer training can continue from the end of this one."""
        return not self.validate and self.of != self.epochs


class Fit:
    """Trains a model in place.

    Order and noise depend on the seed and the epoch, and within an epoch on the generator's state, which checkpoints
    hold. So a resumed training repeats an undisturbed one bit by bit.

    Args:
        settings: of the training.
        report: called with a message about the work in progress.
        note: called with messages that users should see early.
    """

    def __init__(
        self,
        model: Model,
        task: Learning,
        context: Context,
        run: Run,
        *,
        settings: Training,
        report: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self._model, self._task, self._context, self._run = model, task, context, run
        self._settings, self._report, self._note = settings, report, note
        self._rate, self._rate_name = settings.learning_rate, "learning_rate"
        if settings.tuning_rate is not None and not run.validate:
            self._rate, self._rate_name = settings.tuning_rate, "tuning_rate"
        self._optimizer = torch.optim.Adam(model.parameters(), lr=self._rate, fused=True)
        # best: the state with the best validation quality so far, the initial one included
        self._best: dict[str, Any] = {"quality": -math.inf, "epoch": 0, "model": {}}
        self._best_by_epoch: dict[int, float] = {}  # the best quality after each validation
        self._epochs, self._updates, self._finished = 0, 0, False
        self._random: list[torch.Tensor] = []  # state of the generators within the epoch
        self._loss, self._pace, self._has_warned = math.nan, Pace(), False
        self._began = self._saved_at = self._reported_at = time.monotonic()
        self._seconds_before = 0.0  # spent in earlier runs of this training
        self._length = self._validate_every = 1  # updates per epoch; epochs between two validations

    def run(self) -> None:
        """Trains to the end.

        Raises:
            OutOfTime: the context's time is over; a checkpoint was saved, if the run keeps any.
            CutShort: the run validates, has taken as long as it should (`Context.training_until`) and has become slow;
                a checkpoint was saved.
            Diverged: the loss is not finite, or validation quality never was.
        """
        self._model.train()
        self._restore()
        if self._run.validate and not self._finished:
            with torch.random.fork_rng(devices=[]):
                self._length = len(self._task.batches())
            self._validate_every = -(-self._settings.evaluate_every // self._length)
        while not self._finished:
            if self._run.validate and not self._updates and self._epochs % self._validate_every == 0:
                self._validate()
                self._cut_short_if_slow()
            stalled = self._run.validate and not self._fewest_epochs
            self._finished = stalled or self._epochs >= self._run.epochs
            if not self._finished:
                self._train_epoch()
                self._epochs, self._updates = self._epochs + 1, 0
                self._report_progress(always=not self._run.validate)
            if self._finished and self._run.validate:
                if not self._best["model"]:
                    raise Diverged(
                        f"training the dense model: {self._task.metric} on validation was never a number in "
                        f"{self._epochs} epochs; check what the metric is computed from."
                    )
                self._model.load_state_dict(self._best["model"])
            self._save_if_due(always=self._finished)
        self._task.settle(self._model)
        self._model.eval()

    def _validate(self) -> None:
        """Validates the model and keeps its state if it is the best so far."""
        settled = copy.deepcopy(self._model)
        self._task.settle(settled)
        try:
            with self._pace.validating():
                quality = self._task.validate(settled)
        except OutOfTime as stopped:
            self._save_if_due(always=True)
            raise OutOfTime(self._message()) from stopped
        if quality > self._best["quality"]:
            state = copy.deepcopy(self._model.state_dict())
            self._best = {"quality": quality, "epoch": self._epochs, "model": state}
        self._best_by_epoch[self._epochs] = self._best["quality"]
        self._report_progress(always=True)

    def _cut_short_if_slow(self) -> None:
        """Cuts a training short that has taken as long as it should, if the last validations brought little.

        With `decay` it goes on: its rate still falls, and it would not be the training of as many epochs.
        """
        best, back = list(self._best_by_epoch.values()), self._settings.patience + 1
        ends_anyway = not self._fewest_epochs
        if ends_anyway or self._settings.decay or self._context.training_until.left > 0 or len(best) < back:
            return
        if best[-1] < (1 + LITTLE) * best[-back]:
            self._save_if_due(always=True)
            gain = best[-1] / best[-back] - 1
            raise CutShort(epochs=self._epochs, gain=gain, quality=best[-1], checkpoint=self._state())

    def _train_epoch(self) -> None:
        """Trains the rest of an epoch."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._context.seed * 1_000_003 + self._epochs)
            batches = self._task.batches()
            if self._random:
                _set_random(self._random, self._context.device)
                self._random = []
            self._length = len(batches)
            for number in range(self._updates, self._length):
                start = time.monotonic()
                self._update(batches[number], number)
                self._updates = number + 1
                self._pace.add(time.monotonic() - start)
                if self._updates == self._length:
                    return
                self._report_progress()
                self._save_if_due()

    def _update(self, batch: Any, number: int) -> None:
        epochs, update = self._run.of or self._run.epochs, self._epochs * self._length + number
        reached = self._run.schedule((self._epochs + number / self._length) / epochs)
        for step in self._run.steps:
            step.advance(self._model, self._context, reached)
        rate = self._learning_rate(update, epochs * self._length)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._task.loss(self._model, batch)
        self._loss = loss.item()
        if not math.isfinite(self._loss):
            raise Diverged(
                f"training diverged: the loss was {self._loss} in epoch {self._epochs + 1} of {epochs} at a "
                f"learning rate of {self._rate}; lower task.training.{self._rate_name}."
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimizer.step()
        for step in self._run.steps:
            step.shrink(self._model, rate)

    def _learning_rate(self, update: int, updates: int) -> float:
        rate, warmup = self._rate, self._settings.warmup
        share = (updates - update) / max(updates - warmup, 1) if self._settings.decay else 1.0
        return rate * min(1.0, (update + 1) / warmup, share)

    def _restore(self) -> None:
        """Restores the checkpoint; older versions saved them only between epochs."""
        checkpoint = self._run.checkpoint
        if checkpoint is None:
            return
        self._model.load_state_dict(checkpoint["model"])
        self._epochs, self._finished, self._best = (checkpoint[name] for name in ("epochs", "finished", "best"))
        self._seconds_before = checkpoint.get("seconds", 0.0)
        self._best_by_epoch = dict(checkpoint.get("best_by_epoch", {}))  # older versions did not keep it
        if not self._run.validate:
            self._finished = self._epochs >= self._run.epochs  # a shorter training may have ended here
        if not self._finished:
            self._optimizer.load_state_dict(checkpoint["optimizer"])
            self._updates, self._random = checkpoint.get("updates", 0), checkpoint.get("random", [])

    def _save_if_due(self, *, always: bool = False) -> None:
        """Saves a checkpoint if one is due, and stops if the time is over; called between updates."""
        over = not self._finished and self._context.deadline.left <= 0
        if always or over or time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._run.save(self._state())
            self._saved_at = time.monotonic()
        if over:
            raise OutOfTime(self._message())

    def _state(self) -> dict[str, Any]:
        """The checkpoint of this moment; it refers to the weights."""
        state = {"model": self._model.state_dict(), "epochs": self._epochs, "finished": self._finished}
        state["seconds"] = self._seconds_before + time.monotonic() - self._began
        if self._finished and not self._run.goes_on:  # the optimizer's state is not needed any more
            return {**state, "best": {**self._best, "model": {}}}
        state |= {"best": self._best, "optimizer": self._optimizer.state_dict(), "updates": self._updates}
        state["best_by_epoch"] = self._best_by_epoch
        state["random"] = _random(self._context.device) if self._updates else []
        return state

    @property
    def _fewest_epochs(self) -> int:
        """The fewest epochs still to come: training stops when `patience` validations in a row found nothing better."""
        if not self._run.validate:
            return self._run.epochs - self._epochs
        stale = self._epochs - int(self._best["epoch"])
        return max(0, min(self._settings.patience * self._validate_every - stale, self._run.epochs - self._epochs))

    def _bounds(self) -> tuple[float | None, float | None]:
        """The least and the most seconds that the rest takes; None if unknown."""
        done = self._updates / self._length
        bounds = []
        for epochs in (self._fewest_epochs, self._run.epochs - self._epochs):
            validations = epochs / self._validate_every if self._run.validate else 0.0
            bounds.append(self._pace.seconds(max(0.0, epochs - done) * self._length, validations))
        return bounds[0], bounds[1]

    def _message(self) -> str:
        """What is being trained, how far it is, and its quality."""
        epoch, most = self._epochs + bool(self._updates), self._run.epochs
        within = f", {self._updates:,} of {self._length:,} updates" if self._updates else ""
        loss = "" if math.isnan(self._loss) else f", loss {self._loss:.4f}"
        if not self._run.validate:
            return f"fine-tuning: epoch {epoch} of {most}{within}{loss}{left(*self._bounds())}"
        best = f", best {self._task.metric} {self._best['quality']:.4f}" if self._best["model"] else ""
        name = "training the dense model"
        return f"{name}: epoch {epoch} of at most {most}{within}{left(*self._bounds())}{loss}{best}"

    def _report_progress(self, *, always: bool = False) -> None:
        """Reports progress now and then, and warns once if the dense model will not be finished in time."""
        if not always and time.monotonic() - self._reported_at <= TELL_EVERY_S:
            return
        self._reported_at = time.monotonic()
        fewest, most = self._bounds()
        if self._run.validate and not self._has_warned and fewest is not None and most is not None:
            time_left = self._context.deadline.left
            if fewest > time_left:
                self._has_warned = True
                self._note(
                    f"Training the dense model takes about {clock(fewest)} to {clock(most)} more, but study.minutes "
                    f"leaves only {clock(time_left)}. It is saved then, and the same command goes on from there."
                )
        self._report(self._message())


def _random(device: torch.device) -> list[torch.Tensor]:
    """The states of torch's generators."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random(states: Sequence[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)
