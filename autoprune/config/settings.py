"""The sections `study` and `executor` of a config."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoprune.errors import AutopruneError, unknown
from autoprune.fronts.requirements import OBJECTIVES, USUAL
from autoprune.record.storage import check_address

SAMPLERS = ("auto", "random")


@dataclass(kw_only=True)
class StudyConfig:
    """The section `study` of a config; `conf/study/default.yaml` explains each entry."""

    name: str | None = None
    looks: int | None = None
    trials: int | None = None
    minutes: float | None = None
    seed: int = 0
    objectives: list[str] = field(default_factory=lambda: list(USUAL))
    sampler: str = "auto"
    workers: int | None = None
    latency_seconds: float = 0.4
    verify_rounds: int = 5
    device: str = "cpu"
    dir: str = "runs"
    storage: str | None = None
    artifacts_gb: float | None = None

    def check(self) -> None:
        """Validates the section.

        Raises:
            AutopruneError: an entry is invalid; the message gives its path.
        """
        for name in ("seed", "verify_rounds", "looks", "trials", "workers"):
            value, least = getattr(self, name), int(name == "workers")
            if value is not None and value < least:
                or_null = ", or null" * (name in ("looks", "trials", "workers"))
                raise AutopruneError(
                    f"study.{name}: a whole number >= {least} must be given{or_null}, but got {value}."
                )
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise AutopruneError(
                f"study.minutes: more than 0 must be given, or null for no limit, but got {self.minutes}."
            )
        if not 0 < self.latency_seconds < math.inf:
            raise AutopruneError(f"study.latency_seconds: more than 0 must be given, but got {self.latency_seconds}.")
        if self.artifacts_gb is not None and not 0 <= self.artifacts_gb < math.inf:
            raise AutopruneError(
                f"study.artifacts_gb: 0 or more must be given, or null for no limit, but got {self.artifacts_gb}."
            )
        if self.storage is not None:
            check_address(self.storage)
        if self.sampler not in SAMPLERS:
            raise unknown("study.sampler", self.sampler, SAMPLERS)
        for objective in self.objectives:
            if objective not in OBJECTIVES:
                raise unknown("study.objectives: objective", objective, OBJECTIVES)
        if self.objectives[:1] != ["quality"] or not 2 <= len(set(self.objectives)) == len(self.objectives):
            raise AutopruneError(
                f"study.objectives: quality and some of size, latency, index must be given, but got {self.objectives}."
            )


EXECUTORS = ("local", "serial", "ray")


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """The section `executor` of a config: who runs looks, trainings and measurements of quality.

    Attributes:
        name: `local`, processes of this machine; `serial`, this process alone; or `ray`, a cluster. The other
            entries are for `ray` only.
        address: as for `ray.init`; None: a cluster is started on this machine.
        cpus, gpus: that one call takes.
        retries: of a call whose process or node was lost.
    """

    name: str = "local"
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3

    def check(self) -> None:
        """Validates the section.

        Raises:
            AutopruneError: an entry is invalid; the message gives its path.
        """
        if self.name not in EXECUTORS:
            raise unknown("executor.name", self.name, EXECUTORS)
        if self.name != "ray" and self != ExecutorConfig(name=self.name):
            raise AutopruneError(f"executor={self.name}: address, cpus, gpus and retries need executor=ray.")
        for name in ("cpus", "gpus", "retries"):
            if not 0 <= getattr(self, name) < math.inf:
                raise AutopruneError(f"executor.{name}: 0 or more must be given, but got {getattr(self, name)}.")
        if not self.cpus and not self.gpus:
            raise AutopruneError("executor: a call takes CPUs or GPUs; executor.cpus and executor.gpus are both 0.")
