"""Requirements: floors and ceilings on measurements, absolute or relative to the baseline.

quality:     {drop: 2%}      at most 2 % below the baseline
ndcg@20:     {min: 0.97x}    at least 0.97 of the baseline's; {min: 0.31} is absolute
latency_ms:  {max: 0.5x}     or {max: 4.0}
size_bytes:  {max: 10MB}
vector_bytes: {max: 0.25x}   the stored vector of each text
recall@20:   {drop: 1%, confidence: 0.95}      the bound must hold, not only the value: 95 % sure of at most 1 % below
prefer:      latency         the objective in which a pick is the best of the feasible candidates
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.errors import AutopruneError, nearest, unknown
from autoprune.measure.reading import SURE, Reading

OBJECTIVES: dict[str, tuple[str, bool]] = {
    "quality": ("quality", True),
    "size": ("size_bytes", False),
    "latency": ("latency_ms", False),
    "index": ("vector_bytes", False),
}
"""Objective → (the reading it stands for, whether larger is better)."""

USUAL = ("quality", "size", "latency")
"""The default objectives of a search."""

COUNTED = ("size", "index")
"""Objectives that are counted: their values have no error."""

COSTS = ("size_bytes", "memory_bytes", "vector_bytes", "latency_ms")
"""Readings of which less is better; they take ceilings, all others floors."""

BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


DOUBT = " (only by its bound: the value holds)"
"""Follows a requirement that only the bound misses."""

UNDECIDED = " (too near to tell: with other test data it might be met)"
"""Follows a requirement that is missed by less than the uncertainty of the value."""

LOWEST_FLOOR = 0.9
"""Without a floor on quality, candidates below this ratio do not count for the hypervolume."""


def is_cost(name: str) -> bool:
    """Whether less is better for a reading."""
    return name.split(".")[0] in COSTS


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One floor or ceiling.

    Attributes:
        reading: the name of the reading that it limits.
        ceiling: whether the value must stay at or below the limit; a floor otherwise.
        limit: as a ratio to the baseline if `relative`, else in the unit of the reading; above 0.
        relative: whether the limit is a ratio.
        confidence: with which the true value must meet the limit, one-sided; None: the measured value must meet it.
    """

    reading: str
    ceiling: bool
    limit: float
    relative: bool
    confidence: float | None = None

    @property
    def text(self) -> str:
        """For people: `quality >= 0.99x (95 % sure)`."""
        return f"{self._limit} ({100 * self.confidence:.10g} % sure)" if self.confidence else self._limit

    @property
    def key(self) -> str:
        """For the journals of searches, which older versions wrote in the same way."""
        return f"{self._limit} ({self.confidence:.10g})" if self.confidence else self._limit

    @property
    def flag(self) -> str:
        """For the command line: `--floor quality=0.99x:0.95`."""
        sure = f":{self.confidence:.10g}" if self.confidence else ""
        kind, unit = "max" if self.ceiling else "floor", "x" if self.relative else ""
        return f"--{kind} {self.reading}={self.limit:.10g}{unit}{sure}"

    @property
    def _limit(self) -> str:
        return f"{self.reading} {'<=' if self.ceiling else '>='} {self.limit:.10g}{'x' if self.relative else ''}"

    def violation(self, reading: Reading) -> float:
        """How far a reading is beyond the limit, as a share of the limit; at most 0 if the requirement holds.

        A reading that does not bind meets every requirement. An unknown bound meets none.
        """
        if not reading.binds:
            return 0.0
        value = self.judged(reading)
        if math.isnan(value):
            return 1.0
        return (value - self.limit if self.ceiling else self.limit - value) / self.limit

    def doubted(self, reading: Reading) -> bool:
        """Whether only the bound of a reading misses it; the value does not."""
        return self.violation(reading) > 0 >= dataclasses.replace(self, confidence=None).violation(reading)

    def undecided(self, reading: Reading) -> bool:
        """Whether a reading's value misses it by so little that with other users or timings it might be met.

        That is so if the bound on the good side of the value, with 95 % confidence, meets the limit.
        """
        missed = dataclasses.replace(self, confidence=None).violation(reading) > 0
        return missed and self._met(self._bound(reading, upper=not self.ceiling))

    def bound(self, reading: Reading) -> float:
        """The bound of a reading, by the confidence or else 95 %, in the unit of the limit; nan if unknown."""
        return self._bound(reading, upper=self.ceiling)

    def _bound(self, reading: Reading, *, upper: bool) -> float:
        if not reading.sure or not (self.relative or reading.ratio):
            return math.nan
        ratio = reading.bound(self.confidence or SURE, upper=upper)
        return ratio if self.relative else ratio * reading.value / reading.ratio

    def _met(self, value: float) -> bool:
        """Whether a value in the unit of the limit meets it; nan does not."""
        return value <= self.limit if self.ceiling else value >= self.limit

    def sure(self, reading: Reading) -> bool | None:
        """Whether the bound of a reading meets it, too; None if the bound is unknown."""
        bound = self.bound(reading)
        return None if math.isnan(bound) else self._met(bound)

    def thinly(self, reading: Reading) -> bool:
        """Whether the bound that decides comes from too few processes to know what others would time.

        It is accepted all the same: a search times in one process, and could meet no such requirement otherwise.
        """
        return self.confidence is not None and not reading.sure

    def judged(self, reading: Reading) -> float:
        """The number that is compared with the limit: the value, the ratio, or the bound of the ratio, sure or not."""
        if self.confidence is not None:
            return reading.bound(self.confidence, upper=self.ceiling)
        return reading.ratio if self.relative else reading.value


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A requirement that is missed.

    Attributes:
        item: the requirement.
        by: how far it is missed, as a share of the limit.
        doubted, undecided: see the methods of `Requirement`.
    """

    item: Requirement
    by: float
    doubted: bool
    undecided: bool

    @property
    def text(self) -> str:
        """The requirement and the size of the miss, in words."""
        return f"{self.item.text} by {self.by:.1%} of the limit{DOUBT * self.doubted}{UNDECIDED * self.undecided}"


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """All requirements of a study or a pick, and which objective it prefers.

    Attributes:
        items: what must hold.
        prefer: the objective in which the pick is best.
        left_out: readings that null was given for; a limit on `quality` does not apply to such a metric.
    """

    items: tuple[Requirement, ...]
    prefer: str = "size"
    left_out: tuple[str, ...] = ()

    def of_metrics(self, metrics: Sequence[str]) -> Requirements:
        """The same requirements, but a relative limit on `quality` becomes one limit on each main metric.

        A metric that has a limit of its own keeps that one. An absolute limit on `quality` is in the unit of the first
        metric and remains as it is.

        Args:
            metrics: the main metrics; a single one remains `quality`.
        """
        named = {item.reading for item in self.items}.union(self.left_out)
        items: list[Requirement] = []
        for item in self.items:
            if item.reading == "quality" and item.relative:
                rest = [metric for metric in metrics if metric not in named]
                items += [dataclasses.replace(item, reading=metric) if len(metrics) > 1 else item for metric in rest]
            else:
                items.append(item)
        return dataclasses.replace(self, items=tuple(dict.fromkeys(items)))

    def floors(self, metric: str) -> list[float]:
        """The relative floors on quality.

        Args:
            metric: the metric that `quality` means.
        """
        return [item.limit for item in self.items if item.reading in ("quality", metric) and item.relative]

    def floor(self, metric: str) -> float:
        """The lowest ratio of quality that counts for a hypervolume: the highest floor, or `LOWEST_FLOOR`."""
        return max((limit for limit in self.floors(metric) if limit < 1), default=LOWEST_FLOOR)

    def violations(self, readings: Mapping[str, Reading]) -> dict[str, float]:
        """How far each requirement is missed, by its text, in a fixed order; without those not measured yet."""
        return {item.text: item.violation(readings[item.reading]) for item in self.items if item.reading in readings}

    def misses(self, readings: Mapping[str, Reading]) -> list[Miss]:
        """The requirements that are measured and missed, in a fixed order."""
        measured = [(item, readings[item.reading]) for item in self.items if item.reading in readings]
        return [
            Miss(item=item, by=by, doubted=item.doubted(reading), undecided=item.undecided(reading))
            for item, reading in measured
            if (by := item.violation(reading)) > 0
        ]

    def unmeasured(self, readings: Mapping[str, Reading]) -> list[str]:
        """The required readings that are not measured yet."""
        return list(dict.fromkeys(item.reading for item in self.items if item.reading not in readings))

    def hold(self, readings: Mapping[str, Reading]) -> bool:
        """Whether all required readings are measured and no requirement is missed."""
        return all(item.reading in readings and item.violation(readings[item.reading]) <= 0 for item in self.items)


def parse_requirements(
    content: Mapping[str, Any], names: Collection[str] | None = None, *, where: str = "requirements"
) -> Requirements:
    """Parses requirements as they are in YAML, see above.

    Args:
        content: of the YAML.
        names: the readings that exist; None leaves names unchecked.
        where: the beginning of paths in errors.

    Raises:
        AutopruneError: a name is unknown, a limit cannot be read, or a cost has a floor.
    """
    items: list[Requirement] = []
    prefer = content.get("prefer", "size")
    if not isinstance(prefer, str) or prefer not in OBJECTIVES:
        raise unknown(f"{where}.prefer", prefer, OBJECTIVES)
    for name, limits in content.items():
        if name == "prefer" or limits is None:  # null removes a requirement of a profile
            continue
        path = f"{where}.{name}"
        if not isinstance(limits, Mapping) or not limits:
            raise AutopruneError(
                f"{path}: a mapping such as {{drop: 2%}} or {{max: 0.5x}} must be given, but got {limits!r}."
            )
        confidence = _confidence(limits.get("confidence"), f"{path}.confidence")
        kinds = [kind for kind in limits if kind != "confidence"]
        if not kinds:
            raise AutopruneError(f"{path}: confidence needs a limit; add drop, min or max.")
        own = [_parse_one(str(name), str(kind), limits[kind], names, f"{path}.{kind}") for kind in kinds]
        sure = [item for item in own if item.relative] or own  # of both kinds, only the relative limit has a confidence
        items += [_with_confidence(item, confidence, f"{path}.confidence") if item in sure else item for item in own]
    left_out = tuple(str(name) for name, limits in content.items() if limits is None)
    return Requirements(items=tuple(dict.fromkeys(items)), prefer=prefer, left_out=left_out)


def parse_flag(flag: str, kind: str, names: Collection[str] | None) -> Requirement:
    """Parses a limit of the command line: `ndcg@20=0.97x`, or `ndcg@20=0.97x:0.95` with a confidence.

    Args:
        flag: the text.
        kind: `min` for --floor, `max` for --max.
        names: the readings that exist; None leaves names unchecked.

    Raises:
        AutopruneError: as `parse_requirements`.
    """
    name, equals, limit = flag.partition("=")
    if not equals:
        raise AutopruneError(f"{flag!r}: NAME=LIMIT must be given, such as ndcg@20=0.97x.")
    limit, colon, confidence = limit.partition(":")
    item = _parse_one(name, kind, limit, names, f"{name}.{kind}")
    sure = _confidence(confidence, f"{name}.confidence") if colon else None
    return _with_confidence(item, sure, f"{name}.confidence")


def _parse_one(name: str, kind: str, limit: Any, names: Collection[str] | None, path: str) -> Requirement:
    if names is not None and name not in names:
        raise AutopruneError(f"{path}: nothing called {name!r} is measured. {nearest(name, names)}")
    if kind not in ("drop", "min", "max"):
        raise AutopruneError(f"{path}: {nearest(kind, ('drop', 'min', 'max', 'confidence'))}")
    cost = is_cost(name)
    if cost != (kind == "max"):
        rule = "less is better, so it takes max" if cost else "more is better, so it takes drop or min"
        raise AutopruneError(f"{path}: {name} cannot have {kind!r}: {rule}.")
    value, relative = _quantity(limit, path, name=name)
    if kind == "drop":
        if not 0 <= value < 1 or str(limit).strip().lower().endswith("x"):
            raise AutopruneError(f"{path}: 0% <= drop < 100% must hold, but got {limit!r}.")
        return Requirement(reading=name, ceiling=False, limit=1 - value, relative=True)
    if name == "worst_slice":
        relative = True  # it is a ratio by itself
    if value <= 0:
        raise AutopruneError(f"{path}: a limit above 0 must be given, but got {limit!r}.")
    return Requirement(reading=name, ceiling=kind == "max", limit=value, relative=relative)


def _with_confidence(item: Requirement, confidence: float | None, path: str) -> Requirement:
    if confidence is not None and not item.relative:
        raise AutopruneError(
            f"{path}: only ratios to the baseline have a standard error, so confidence needs a relative limit, such as "
            "{drop: 1%} or {max: 0.5x}."
        )
    return dataclasses.replace(item, confidence=confidence)


def _confidence(given: Any, path: str) -> float | None:
    if given is None:
        return None
    try:
        confidence = float(given)
    except (TypeError, ValueError):
        confidence = math.nan
    if isinstance(given, bool) or not 0.5 <= confidence < 1:
        raise AutopruneError(f"{path}: 0.5 <= confidence < 1 must hold, such as 0.95, but got {given!r}.")
    return confidence


def _quantity(limit: Any, path: str, *, name: str) -> tuple[float, bool]:
    """A number and whether it is relative: 4.0, 2%, 0.5x, 10MB."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[-+]?\d+)?)\s*([%a-z]*)\s*", str(limit), flags=re.IGNORECASE)
    scales = {
        "": 1.0,
        "%": 0.01,
        "X": 1.0,
        **(BYTES if name.endswith("_bytes") else {"MS": 1.0} if name.startswith("latency_ms") else {}),
    }
    suffix = match[2].upper() if match else "?"
    try:
        number = float(match[1]) if match and not isinstance(limit, bool) else math.nan
    except ValueError:
        number = math.nan
    if suffix not in scales or not math.isfinite(number):
        example = "10MB or 0.5x" if name.endswith("_bytes") else "0.98x, 2% or a number"
        raise AutopruneError(f"{path}: a limit such as {example} must be given, but got {limit!r}.")
    return number * scales[suffix], suffix in ("X", "%")
