"""What a study is told beside task, space, presets and requirements."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from autoprune.errors import AutopruneError, unknown
from autoprune.fronts.requirements import OBJECTIVES

SAMPLERS = ("auto", "random")


@dataclass(kw_only=True)
class StudyConfig:
    """The section `study` of a config; `conf/study/default.yaml` comments each entry."""

    name: str | None = None
    looks: int | None = None
    trials: int | None = None
    minutes: float | None = None
    seed: int = 0
    objectives: list[str] = field(default_factory=lambda: list(OBJECTIVES))
    sampler: str = "auto"
    workers: int | None = None
    latency_seconds: float = 0.4
    verify_rounds: int = 5
    device: str = "cpu"
    dir: str = "runs"

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        for name in ("seed", "verify_rounds", "looks", "trials", "workers"):
            value, least = getattr(self, name), int(name == "workers")
            if value is not None and value < least:
                way = ", or null" * (name in ("looks", "trials", "workers"))
                raise AutopruneError(f"study.{name}: a whole number >= {least} must be given{way}, but got {value}.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise AutopruneError(
                f"study.minutes: more than 0 must be given, or null for no limit, but got {self.minutes}."
            )
        if not 0 < self.latency_seconds < math.inf:
            raise AutopruneError(f"study.latency_seconds: more than 0 must be given, but got {self.latency_seconds}.")
        if self.sampler not in SAMPLERS:
            raise unknown("study.sampler", self.sampler, SAMPLERS)
        for objective in self.objectives:
            if objective not in OBJECTIVES:
                raise unknown("study.objectives: objective", objective, OBJECTIVES)
        if self.objectives[:1] != ["quality"] or not 2 <= len(set(self.objectives)) == len(self.objectives):
            raise AutopruneError(
                f"study.objectives: quality and one or two of size, latency must be given, but got {self.objectives}."
            )


def find_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        AutopruneError: there is none.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise unknown("study.device", name, ("cpu", "cuda"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"study.device: {name} was asked for, but torch sees no CUDA device here; use cpu.")
    return device
