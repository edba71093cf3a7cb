"""The settings of the task around a user's own module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autoprune.tasks.task import LOOKED_AT, Training


@dataclass(kw_only=True)
class ModuleData:
    """Where the data is: `path`, a file or a folder, is passed to the task as `data=`, and hashed."""

    path: str | None = None


@dataclass(kw_only=True)
class ModuleConfig:
    """The config of `task=module`.

    Attributes:
        file: the Python file with the task.
        data: where its data is.
        options: further arguments of the class in the file.
        metric: the metric that `quality` means; None: the first one.
        training: how models are trained; 0 epochs: `load()` returns a trained module.
    """

    name: str = "module"
    file: str | None = None
    data: ModuleData = field(default_factory=ModuleData)
    options: dict[str, Any] = field(default_factory=dict)
    metric: str | None = None
    training: Training = field(default_factory=lambda: Training(learning_rate=0.001, epochs=0))

    def arguments(self) -> dict[str, Any]:
        """The arguments of the class in the file."""
        return self.options if self.data.path is None else {**self.options, "data": self.data.path}

    def idle(self) -> dict[str, str]:
        """Settings that have no effect given the others, as dotted paths, each with the reason."""
        why = "it ends the training of a dense model, and task.training.epochs=0 says that load() gives it trained"
        return {} if self.training.epochs else dict.fromkeys(LOOKED_AT, why)

    def check(self) -> None:
        """Refuses invalid settings.

        Raises:
            AutopruneError: with the path of the entry.
        """
        self.training.check()
