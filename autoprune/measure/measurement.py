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

BUSY = 0.1
"""A machine is busy if requests wait for a processor for a larger share of their time."""


RULES = 2
"""By which quality is judged now.

1. On test data users without a row were served from training and validation data, while rows know the training data
   alone; equal scores came in the order of ids.
2. Both sides know the same; equal scores come in an order that says nothing.
"""


def version_of(rules: int) -> str:
    """Which version judged by other rules than this one."""
    return "an older version" if rules < RULES else "a newer version"


LATER: dict[str, Any] = {"asides": {}, "rules": 1, "folder_bytes": None, "history_bytes": None, "vector_bytes": None}
"""What older archives do not hold, and what that means; it is not written either, so that their lines stay the same."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one workload, timed in turns with the baseline.

    Attributes:
        median_ms, p95_ms: of single requests.
        ratio: median over pairs of (this / baseline); below 1 is faster. Over rounds, their geometric mean.
        ratio_low, ratio_high: 95 % interval of that median, within the processes that timed it.
        pairs: how many pairs were timed.
        rounds: the ratio that each process found; what differs between them no timing within one can show.
        load: the share of their time for which requests waited for a processor that somebody else had; over rounds,
            its mean. Of what older versions timed it is not known, and 0.
        items: texts (users) that a request asks for; 0: it is not told.
    """

    median_ms: float
    p95_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    pairs: int
    rounds: tuple[float, ...] = ()
    load: float = 0.0
    items: int = 0

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Latency:
        """The inverse of `to_json`."""
        return Latency(**{**content, "rounds": tuple(content.get("rounds", ()))})

    def to_json(self) -> dict[str, Any]:
        """Plain values; a load of 0 is not written down, nor are items that are not told."""
        return {name: value for name, value in vars(self).items() if name not in ("load", "items") or value}

    @property
    def busy(self) -> bool:
        """Whether it was timed while the machine was busy with something else."""
        return self.load > BUSY

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
            load=round((1 - share) * self.load + share * other.load, 3),
            items=self.items,
        )


def with_items(timed: Mapping[str, Latency], items: Mapping[str, int]) -> dict[str, Latency]:
    """Latencies that say how many texts (users) a request asks for, as far as a task tells."""
    return {name: dataclasses.replace(latency, items=items.get(name, 0)) for name, latency in timed.items()}


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
        asides: slices that tell something else than how good the artifact is, and what they tell.
        rules: by which quality was judged, see `RULES`; what was judged by others is not compared.
        folder_bytes: of all that lies in `model/` and `beside/`; None where nobody wrote it down.
        history_bytes: of the histories in `beside/`, if users without a row are served from them; 0 if nobody is.
        vector_bytes: of the vector that is stored of each text, where users store any; None elsewhere.
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
    asides: dict[str, str] = field(default_factory=dict)
    rules: int = 1
    folder_bytes: int | None = None
    history_bytes: int | None = None
    vector_bytes: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it says for all that was scored on how much each value rests."""
        return all(set(slices) <= set(self.units.get(metric, ())) for metric, slices in self.quality.items())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        content = {**vars(self), "latency": {name: timed.to_json() for name, timed in self.latency.items()}}
        return {name: held for name, held in content.items() if LATER.get(name, ...) != held}

    @property
    def busy(self) -> bool:
        """Whether any of its latencies was timed while the machine was busy."""
        return any(timed.busy for timed in self.latency.values())

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Measurement:
        """The inverse of `to_json`."""
        latency = {name: Latency.from_json(entry) for name, entry in content["latency"].items()}
        units = content["units"]
        if not all(isinstance(counts, Mapping) for counts in units.values()):
            units = dict.fromkeys(content["quality"], units)  # they were once counted for all metrics together
        known = {"units": units, "latency": latency, "draws": tuple(content.get("draws", ()))}
        return Measurement(**{**content, **known})
