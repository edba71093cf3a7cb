"""Measurements of artifacts, as plain data."""

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
"""Why a measurement was taken: to guide the search, or to verify its result."""

BUSY = 0.1
"""A machine is busy if requests wait for a processor for a larger share of their time than this."""


RULES = 2
"""The number of the current rules for judging quality.

1. On test data, users without a row were served from training and validation data, but rows were trained on training
   data only. Equal scores were ranked in the order of ids.
2. Both kinds of users are served from the same data. Equal scores are ranked in an order without any meaning.
"""


def version_of(rules: int) -> str:
    """The version of autoprune that used other rules, in words."""
    return "an older version" if rules < RULES else "a newer version"


LATER: dict[str, Any] = {"asides": {}, "rules": 1, "folder_bytes": None, "history_bytes": None, "vector_bytes": None}
"""Fields that older archives lack → their values there. These values are not written, so that old lines stay as they
are."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one workload, timed in turns with the baseline.

    Attributes:
        median_ms, p95_ms: of single requests.
        ratio: median over pairs of (this / baseline); below 1 is faster. Over rounds, their geometric mean.
        ratio_low, ratio_high: 95 % interval of that median, within the processes that timed it.
        pairs: how many pairs were timed.
        rounds: the ratio of each process; timing within one process cannot show how much processes differ.
        load: the share of their time for which requests waited for a processor that something else used; over rounds,
            the mean. 0 if an older version timed it and did not record it.
        items: texts (users) per request; 0: unknown.
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
        """Plain values, without a load of 0 or unknown items."""
        return {name: value for name, value in vars(self).items() if name not in ("load", "items") or value}

    @property
    def busy(self) -> bool:
        """Whether the machine was busy with something else during the timing."""
        return self.load > BUSY

    def with_round(self, other: Latency) -> Latency:
        """Combines it with the latency that one more process measured."""
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
    """Latencies with the number of texts (users) per request, as far as a task states it."""
    return {name: dataclasses.replace(latency, items=items.get(name, 0)) for name, latency in timed.items()}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measurement of an artifact.

    Attributes:
        split: the data that quality was measured on: `validation` or `test`; None if nothing was scored.
        purpose: why it was taken: `search` or `verify`.
        machine: fingerprint of the machine; milliseconds of different machines are never compared.
        quality: by metric, then by slice (`all` is every row). For a rejected candidate, the values that it was
            rejected for, or nothing.
        units: how many users (pairs, queries) each quality rests on, by metric and slice.
        size_bytes: of the artifact's `model/` on disk.
        memory_bytes: that the loaded model holds.
        structure: what latency depends on (shapes and encodings); equal structures share one timing per machine.
        latency: by workload; `latency_ms` is that of the first.
        errors: standard error of the ratio to the baseline, by metric and slice as requirements name them, and of
            `worst_slice`; by a paired bootstrap over units (Efron & Tibshirani 1993), made cautious if few units
            differ (`autoprune.tasks.metric.cautious_error`). Without ratios whose error is unknown.
        draws: the bootstrap's ratios of the main metric; the same units are drawn for all verified artifacts. Empty
            for the search.
        asides: slices that show something other than how good the artifact is, and what each shows.
        rules: the rules that quality was judged by, see `RULES`; measurements by different rules are not compared.
        folder_bytes: of all files in `model/` and `beside/`; None if unknown.
        history_bytes: of the histories in `beside/`, if users without a row are served from them; else 0.
        vector_bytes: of the stored vector of each text; None if users store no vectors.
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
        """Whether it has the number of units of every value."""
        return all(set(slices) <= set(self.units.get(metric, ())) for metric, slices in self.quality.items())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        content = {**vars(self), "latency": {name: timed.to_json() for name, timed in self.latency.items()}}
        return {name: value for name, value in content.items() if LATER.get(name, ...) != value}

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
            units = dict.fromkeys(content["quality"], units)  # older versions counted units once for all metrics
        parsed = {"units": units, "latency": latency, "draws": tuple(content.get("draws", ()))}
        return Measurement(**{**content, **parsed})
