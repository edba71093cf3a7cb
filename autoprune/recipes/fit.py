"""One training, from its beginning or from where it was left: updates, looks at validation data, checkpoints."""

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
"""A kill costs at most so many seconds of training."""

TELL_EVERY_S = 5.0
"""Within a long epoch."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained, and how far.

    Attributes:
        epochs: how many; with `validate` at most.
        of: epochs of the whole that these begin, along which the learning rate and `schedule` run; None where nothing
            depends on its length. Unless it is `epochs`, a longer training can go on from the end of this one.
        steps: that act meanwhile, along `schedule`.
        validate: whether it ends once validation quality stops rising, with the best state.
        checkpoint: where it was left; None: at its beginning.
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
        """Whether a longer training can go on from its end."""
        return not self.validate and self.of != self.epochs


class Fit:
    """A training of a model in place.

    Order and noise depend on seed and epoch, and within an epoch on the generator's state, which a checkpoint holds: a
    resumed training repeats the undisturbed one bit by bit.

    Args:
        settings: how.
        report: called with a message about the work in progress.
        note: called with what should be known early.
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
        self._rate, self._named = settings.learning_rate, "learning_rate"
        if settings.tuning_rate is not None and not run.validate:
            self._rate, self._named = settings.tuning_rate, "tuning_rate"
        self._optimizer = torch.optim.Adam(model.parameters(), lr=self._rate, fused=True)
        # best: the state that `validate` liked most; its first look is at the model before any update
        self._best: dict[str, Any] = {"quality": -math.inf, "epoch": 0, "model": {}}
        self._epochs, self._updates, self._finished = 0, 0, False
        self._random: list[torch.Tensor] = []  # state of the generators within the epoch
        self._loss, self._pace, self._noted = math.nan, Pace(), False
        self._began = self._saved_at = self._told_at = time.monotonic()
        self._spent = 0.0  # seconds, in runs that this one goes on from
        self._length = self._look_every = 1  # updates of an epoch; epochs between two looks

    def run(self) -> None:
        """Trains to the end.

        Raises:
            OutOfTime: the context's time is over; a checkpoint is saved, if anything saves.
            Diverged: the loss is not finite, or validation quality never was.
        """
        self._model.train()
        self._restore()
        if self._run.validate and not self._finished:
            with torch.random.fork_rng(devices=[]):
                self._length = len(self._task.batches())
            self._look_every = -(-self._settings.evaluate_every // self._length)
        while not self._finished:
            if self._run.validate and not self._updates and self._epochs % self._look_every == 0:
                self._look()
            stalled = self._run.validate and not self._fewest_epochs
            self._finished = stalled or self._epochs >= self._run.epochs
            if not self._finished:
                self._epoch()
                self._epochs, self._updates = self._epochs + 1, 0
                self._tell(always=not self._run.validate)
            if self._finished and self._run.validate:
                if not self._best["model"]:
                    raise Diverged(
                        f"training the dense model: {self._task.metric} on validation was no number at any look, in "
                        f"{self._epochs} epochs; look at what the metric is computed from."
                    )
                self._model.load_state_dict(self._best["model"])
            self._keep(always=self._finished)
        self._task.settle(self._model)
        self._model.eval()

    def _look(self) -> None:
        """Takes the best state by now."""
        settled = copy.deepcopy(self._model)
        self._task.settle(settled)
        try:
            with self._pace.looking():
                quality = self._task.validate(settled)
        except OutOfTime as stopped:
            self._keep(always=True)
            raise OutOfTime(self._message()) from stopped
        if quality > self._best["quality"]:
            state = copy.deepcopy(self._model.state_dict())
            self._best = {"quality": quality, "epoch": self._epochs, "model": state}
        self._tell(always=True)

    def _epoch(self) -> None:
        """What is left of an epoch."""
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
                self._tell()
                self._keep()

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
                f"learning rate of {self._rate}; lower task.training.{self._named}."
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
        """Goes back to the checkpoint; those of older versions were taken between epochs."""
        checkpoint = self._run.checkpoint
        if checkpoint is None:
            return
        self._model.load_state_dict(checkpoint["model"])
        self._epochs, self._finished, self._best = (checkpoint[name] for name in ("epochs", "finished", "best"))
        self._spent = checkpoint.get("seconds", 0.0)
        if not self._run.validate:
            self._finished = self._epochs >= self._run.epochs  # a shorter training may have ended here
        if not self._finished:
            self._optimizer.load_state_dict(checkpoint["optimizer"])
            self._updates, self._random = checkpoint.get("updates", 0), checkpoint.get("random", [])

    def _keep(self, *, always: bool = False) -> None:
        """Saves a checkpoint if it is time to, and stops if the time is over; called between updates."""
        over = not self._finished and self._context.deadline.left <= 0
        if always or over or time.monotonic() - self._saved_at > SAVE_EVERY_S:
            state = {"model": self._model.state_dict(), "epochs": self._epochs, "finished": self._finished}
            state["seconds"] = self._spent + time.monotonic() - self._began
            if self._finished and not self._run.goes_on:  # the optimiser's two moments need not be kept
                state["best"] = {**self._best, "model": {}}
            else:
                state |= {"best": self._best, "optimizer": self._optimizer.state_dict(), "updates": self._updates}
                state["random"] = _random(self._context.device) if self._updates else []
            self._run.save(state)
            self._saved_at = time.monotonic()
        if over:
            raise OutOfTime(self._message())

    @property
    def _fewest_epochs(self) -> int:
        """After which it can end: once as many looks in a row as its patience found nothing better."""
        if not self._run.validate:
            return self._run.epochs - self._epochs
        stale = self._epochs - int(self._best["epoch"])
        return max(0, min(self._settings.patience * self._look_every - stale, self._run.epochs - self._epochs))

    def _bounds(self) -> tuple[float | None, float | None]:
        """Seconds that it takes at least, and at most."""
        done = self._updates / self._length
        bounds = []
        for epochs in (self._fewest_epochs, self._run.epochs - self._epochs):
            looks = epochs / self._look_every if self._run.validate else 0.0
            bounds.append(self._pace.seconds(max(0.0, epochs - done) * self._length, looks))
        return bounds[0], bounds[1]

    def _message(self) -> str:
        """What is being trained, how far it is and how good."""
        epoch, most = self._epochs + bool(self._updates), self._run.epochs
        within = f", {self._updates:,} of {self._length:,} updates" if self._updates else ""
        loss = "" if math.isnan(self._loss) else f", loss {self._loss:.4f}"
        if not self._run.validate:
            return f"fine-tuning: epoch {epoch} of {most}{within}{loss}{left(*self._bounds())}"
        best = f", best {self._task.metric} {self._best['quality']:.4f}" if self._best["model"] else ""
        name = "training the dense model"
        return f"{name}: epoch {epoch} of at most {most}{within}{left(*self._bounds())}{loss}{best}"

    def _tell(self, *, always: bool = False) -> None:
        """Says how far the training is, now and then; and once if the dense model will not be finished in time."""
        if not always and time.monotonic() - self._told_at <= TELL_EVERY_S:
            return
        self._told_at = time.monotonic()
        fewest, most = self._bounds()
        if self._run.validate and not self._noted and fewest is not None and most is not None:
            time_left = self._context.deadline.left
            if fewest > time_left:
                self._noted = True
                self._note(
                    f"The dense model alone takes about {clock(fewest)} to {clock(most)} more, and study.minutes "
                    f"leaves {clock(time_left)}: it is kept as it is then, and the same command goes on from there."
                )
        self._report(self._message())


def _random(device: torch.device) -> list[torch.Tensor]:
    """The states of torch's generators."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random(states: Sequence[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)
