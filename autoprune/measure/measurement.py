"""What an artifact scored: plain data, and how it is read against the baseline."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WHOLE = "all"
"""The slice that every row belongs to."""

SEARCH, VERIFY = "search", "verify"
"""Why a measurement was taken: for the search to steer by, or to judge what the search found."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one workload, timed in turns with the baseline.

    Attributes:
        median_ms, p95_ms: of single requests.
        ratio: median over pairs of (this / baseline); below 1 is faster. Over rounds, their geometric mean.
        ratio_low, ratio_high: 95 % interval of that median, within the processes that timed it.
        pairs: how many pairs were timed.
        rounds: the ratio that each process found; what differs between them no timing within one can show.
    """

    median_ms: float
    p95_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    pairs: int
    rounds: tuple[float, ...] = ()

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Latency:
        """The inverse of `dataclasses.asdict`."""
        return Latency(**{**content, "rounds": tuple(content.get("rounds", ()))})

    def with_round(self, other: Latency) -> Latency:
        """What this and one more process found, together."""
        rounds = (*(self.rounds or (self.ratio,)), other.ratio)
        share = 1 / len(rounds)

        def mean(ours: float, theirs: float) -> float:
            return math.exp((1 - share) * math.log(ours) + share * math.log(theirs))

        return Latency(
            median_ms=mean(self.median_ms, other.median_ms),
            p95_ms=mean(self.p95_ms, other.p95_ms),
            ratio=statistics.geometric_mean(rounds),
            ratio_low=mean(self.ratio_low, other.ratio_low),
            ratio_high=mean(self.ratio_high, other.ratio_high),
            pairs=self.pairs + other.pairs,
            rounds=rounds,
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one look at an artifact gave.

    Attributes:
        split: the data quality was measured on: `validation` or `test`; None where nothing was scored.
        purpose: why it was taken: `search` or `verify`.
        machine: fingerprint of the machine; milliseconds of different machines are never compared.
        quality: by metric, then by slice (`all` is every row). Of a rejected candidate, what
            it was rejected for, or nothing.
        units: how many users (pairs, queries) each quality rests on, by metric and slice like these.
        size_bytes: of the artifact's `model/` on disk.
        memory_bytes: that the loaded model holds.
        structure: what latency depends on (shapes and encodings); equal structures share one timing a machine.
        latency: by workload; the first is the one that `latency_ms` means.
        errors: standard error of the ratio to the baseline, by metric and slice as requirements name them, and of
            `worst_slice`; by a paired bootstrap over units (Efron & Tibshirani 1993), made cautious where few units
            differ (`autoprune.tasks.metric.cautious_error`). What has none is not there.
        draws: the bootstrap's ratios of the main metric, the same units drawn for all that are verified; empty for
            the search.
    """

    split: str | None
    purpose: str
    machine: str
    quality: dict[str, dict[str, float]]
    units: dict[str, dict[str, int]]
    size_bytes: int
    memory_bytes: int
    structure: str
    latency: dict[str, Latency]
    errors: dict[str, float] = field(default_factory=dict)
    draws: tuple[float, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it says for all that was scored on how much each value rests."""
        return all(set(slices) <= set(self.units.get(metric, ())) for metric, slices in self.quality.items())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Measurement:
        """The inverse of `to_json`."""
        latency = {name: Latency.from_json(entry) for name, entry in content["latency"].items()}
        units = content["units"]
        if not all(isinstance(counts, Mapping) for counts in units.values()):
            units = dict.fromkeys(content["quality"], units)  # they were once counted for all metrics together
        known = {"units": units, "latency": latency, "draws": tuple(content.get("draws", ()))}
        return Measurement(**{**content, **known})
