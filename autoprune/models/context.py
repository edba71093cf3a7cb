"""What a step may use besides the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from autoprune.deadline import NEVER, Deadline
from autoprune.models.remembered import Remembered


class Content(Protocol):
    """An object with a digest of its content, such as `Model`."""

    def content(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """Facts about the task and the run that steps may use.

    Attributes:
        seed: of everything random in the run.
        device: where the model trains.
        rehearsal: whether only shapes matter, so that learned values may be arbitrary.
        hasty: whether a step may skip work that takes long and improves files little. It is set to choose among many
            models; the chosen ones are then built without haste.
        frequency: by axis name, how often each original row occurs in the training data (int64 [original rows]).
        calibration: inputs from the training data for `Model.calibrate`, shortened, because many models read them;
            empty if importance depends on tables only.
        whole: the same inputs in full length, to measure a single model.
        deadline: when the run must stop.
        training_until: from then on, the training of a dense model is cut short once it has become slow.
        start: the model at the beginning of the current stage; None if the stage trains it.
        known: results that were computed of models under this context, or under one derived from it.
    """

    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rehearsal: bool = False
    hasty: bool = False
    frequency: Mapping[str, Tensor] = field(default_factory=dict)
    calibration: Sequence[Any] = ()
    whole: Sequence[Any] = ()
    deadline: Deadline = NEVER
    training_until: Deadline = NEVER
    start: Content | None = field(default=None, compare=False, repr=False)
    known: Remembered = field(default_factory=Remembered, compare=False, repr=False)
    _content: list[bytes] = field(default_factory=list, init=False, compare=False, repr=False)

    def content_of(self, model: Content) -> bytes:
        """The digest of a model; that of `start`, which does not change, is computed once."""
        if model is not self.start:
            return model.content()
        if not self._content:
            self._content.append(model.content())
        return self._content[0]
