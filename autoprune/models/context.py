"""What a step may know beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from autoprune.deadline import NEVER, Deadline
from autoprune.models.remembered import Remembered


class Content(Protocol):
    """What says what it holds, as `Model.content` does."""

    def content(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """Facts about the task and the run that importance may rest on.

    Attributes:
        seed: of everything random in the run.
        device: where the model trains.
        rehearsal: whether only shapes matter: what is learned may be made up.
        hasty: whether a step may leave out what takes it long and makes files hardly smaller: of many models some are
            chosen so, and then made without haste.
        frequency: by axis name, how often each original row occurs in the training data (int64 [original rows]).
        calibration: inputs from the training data, as `Model.calibrate` takes them; empty where importance rests on
            tables alone. Shortened, as many models read them.
        whole: the same, of all lengths that the model takes: for what is measured of one model, and not of many.
        deadline: when the run has to stop.
        start: the model that the stage under way began with; None where the stage trains it.
        known: what was computed of models under this context, and under others that were made from it.
    """

    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rehearsal: bool = False
    hasty: bool = False
    frequency: Mapping[str, Tensor] = field(default_factory=dict)
    calibration: Sequence[Any] = ()
    whole: Sequence[Any] = ()
    deadline: Deadline = NEVER
    start: Content | None = field(default=None, compare=False, repr=False)
    known: Remembered = field(default_factory=Remembered, compare=False, repr=False)
    _content: list[bytes] = field(default_factory=list, init=False, compare=False, repr=False)

    def content_of(self, model: Content) -> bytes:
        """What a model holds: of the one that the stage began with, which nobody changes, found out once."""
        if model is not self.start:
            return model.content()
        if not self._content:
            self._content.append(model.content())
        return self._content[0]
