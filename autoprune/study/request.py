"""What is asked of an evaluator: plain values, which can be sent anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.measure.measurement import Latency
from autoprune.record.archive import Candidate


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an evaluator is asked for; plain values.

    Attributes:
        recipe: to be made and measured.
        name: `baseline`, the name of a preset, or `trial`; only trials can be rejected.
        number: that the candidate is to have.
        seed: of everything random in making it.
        baseline: what it is measured against; None for the baseline itself.
        timed: latencies known on the machine that asks, by structure; equal structures share one timing.
    """

    recipe: Mapping[str, Any]
    name: str
    number: int
    seed: int
    baseline: Candidate | None = None
    timed: Mapping[str, dict[str, Latency]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Retiming:
    """An archived candidate whose artifact is to be timed on this machine; plain values.

    Attributes:
        candidate: not rejected.
        baseline: timed on this machine before; None where the candidate is the baseline itself.
        timed: as in `Request`.
    """

    candidate: Candidate
    baseline: Candidate | None
    timed: Mapping[str, dict[str, Latency]]
