"""What must hold: floors and ceilings on measurements, absolute or relative to the baseline.

quality:     {drop: 2%}      at most 2 % below the baseline
ndcg@20:     {min: 0.97x}    at least 0.97 of the baseline's; {min: 0.31} is absolute
latency_ms:  {max: 0.5x}     or {max: 4.0}
size_bytes:  {max: 10MB}
vector_bytes: {max: 0.25x}   of the vector that is stored of each text
recall@20:   {drop: 1%, confidence: 0.95}      the bound holds instead of the value: 95 % sure of at most 1 % below
prefer:      latency         which objective a pick maximises among what is feasible
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
"""Objectives of a search that is told none."""

COUNTED = ("size", "index")
"""Objectives that are counted: their values have no error."""

COSTS = ("size_bytes", "memory_bytes", "vector_bytes", "latency_ms")
"""Readings of which less is better, and so take ceilings; all others take floors."""

BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


LOWEST_FLOOR = 0.9
"""The ratio of quality below which nothing counts for the hypervolume, where no floor says otherwise."""


def is_cost(name: str) -> bool:
    """Whether less of a reading is better."""
    return name.split(".")[0] in COSTS


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One floor or ceiling.

    Attributes:
        reading: what is held to it.
        ceiling: whether the value must stay at or below the limit; a floor otherwise.
        limit: as a ratio to the baseline if `relative`, else in the unit of the reading; above 0.
        confidence: one-sided, with which the true value must hold; None: the measured value must.
    """

    reading: str
    ceiling: bool
    limit: float
    relative: bool
    confidence: float | None = None

    @property
    def text(self) -> str:
        """As people read it: `quality >= 0.99x (95 % sure)`."""
        return f"{self._limit} ({100 * self.confidence:.10g} % sure)" if self.confidence else self._limit

    @property
    def key(self) -> str:
        """As the journals of searches name it, old ones too."""
        return f"{self._limit} ({self.confidence:.10g})" if self.confidence else self._limit

    @property
    def _limit(self) -> str:
        return f"{self.reading} {'<=' if self.ceiling else '>='} {self.limit:.10g}{'x' if self.relative else ''}"

    def violation(self, reading: Reading) -> float:
        """How far beyond the limit, as a fraction of the limit; at most 0 if the requirement holds.

        What does not bind holds; what nobody knows (a bound without an error) does not.
        """
        if not reading.binds:
            return 0.0
        value = self.judged(reading)
        if math.isnan(value):
            return 1.0
        return (value - self.limit if self.ceiling else self.limit - value) / self.limit

    def doubted(self, reading: Reading) -> bool:
        """Whether it is missed for doubt alone: the bound is beyond the limit, the value is not."""
        return self.violation(reading) > 0 >= dataclasses.replace(self, confidence=None).violation(reading)

    def undecided(self, reading: Reading) -> bool:
        """Whether its value misses it, and by so little that as many other users or timings may find it met.

        That is so where the value's bound to the other side, with 95 % confidence, meets the limit.
        """
        missed = dataclasses.replace(self, confidence=None).violation(reading) > 0
        return missed and self._met(self._bound(reading, upper=not self.ceiling))

    def bound(self, reading: Reading) -> float:
        """What is true of the reading with 95 % confidence, in the unit of the limit; nan where nobody knows."""
        return self._bound(reading, upper=self.ceiling)

    def _bound(self, reading: Reading, *, upper: bool) -> float:
        if not reading.sure or not (self.relative or reading.ratio):
            return math.nan
        ratio = reading.bound(self.confidence or SURE, upper=upper)
        return ratio if self.relative else ratio * reading.value / reading.ratio

    def _met(self, value: float) -> bool:
        """By a value in the unit of the limit; never by nan."""
        return value <= self.limit if self.ceiling else value >= self.limit

    def sure(self, reading: Reading) -> bool | None:
        """Whether its bound holds, too; None where nobody knows the bound."""
        bound = self.bound(reading)
        return None if math.isnan(bound) else self._met(bound)

    def judged(self, reading: Reading) -> float:
        """What is compared with the limit: the value or the ratio, or the bound of the ratio."""
        if self.confidence is not None:
            return reading.bound(self.confidence, upper=self.ceiling)
        return reading.ratio if self.relative else reading.value


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """All requirements of a study or a pick, and which objective it prefers.

    Attributes:
        items: what must hold.
        prefer: what is picked.
        left_out: readings that were named with null: `quality` is not said of such a metric.
    """

    items: tuple[Requirement, ...]
    prefer: str = "size"
    left_out: tuple[str, ...] = ()

    def of_metrics(self, metrics: Sequence[str]) -> Requirements:
        """The same where `quality` is said of every main metric by its name, as far as no requirement names it itself.

        An absolute limit is in the unit of the first metric, and stays said of it alone.

        Args:
            metrics: the main ones; one alone stays `quality`.
        """
        named = {item.reading for item in self.items}.union(self.left_out)
        found: list[Requirement] = []
        for item in self.items:
            if item.reading == "quality" and item.relative:
                rest = [metric for metric in metrics if metric not in named]
                found += [dataclasses.replace(item, reading=metric) if len(metrics) > 1 else item for metric in rest]
            else:
                found.append(item)
        return dataclasses.replace(self, items=tuple(dict.fromkeys(found)))

    def floors(self, metric: str) -> list[float]:
        """The lowest ratios of quality that are allowed.

        Args:
            metric: that `quality` means.
        """
        return [item.limit for item in self.items if item.reading in ("quality", metric) and item.relative]

    def floor(self, metric: str) -> float:
        """The lowest ratio of quality that counts for a hypervolume: the highest floor, or `LOWEST_FLOOR`."""
        return max((limit for limit in self.floors(metric) if limit < 1), default=LOWEST_FLOOR)

    def violations(self, found: Mapping[str, Reading]) -> dict[str, float]:
        """By requirement text, in one order; what is not measured yet is left out."""
        return {item.text: item.violation(found[item.reading]) for item in self.items if item.reading in found}

    def unmeasured(self, found: Mapping[str, Reading]) -> list[str]:
        """The readings that are required, and not measured yet."""
        return list(dict.fromkeys(item.reading for item in self.items if item.reading not in found))

    def hold(self, found: Mapping[str, Reading]) -> bool:
        """Whether everything is measured and nothing is violated."""
        return all(item.reading in found and item.violation(found[item.reading]) <= 0 for item in self.items)


def parse_requirements(
    content: Mapping[str, Any], names: Collection[str] | None = None, *, where: str = "requirements"
) -> Requirements:
    """Parses the mapping above.

    Args:
        content: as it stands in YAML.
        names: the readings there are; None leaves names unchecked.
        where: what paths in errors begin with.

    Raises:
        AutopruneError: a name is unknown, a limit cannot be read, or a floor is put on a cost.
    """
    found: list[Requirement] = []
    prefer = content.get("prefer", "size")
    if not isinstance(prefer, str) or prefer not in OBJECTIVES:
        raise unknown(f"{where}.prefer", prefer, OBJECTIVES)
    for name, limits in content.items():
        if name == "prefer" or limits is None:  # null takes a profile's requirement out
            continue
        path = f"{where}.{name}"
        if not isinstance(limits, Mapping) or not limits:
            raise AutopruneError(
                f"{path}: a mapping such as {{drop: 2%}} or {{max: 0.5x}} must be given, but got {limits!r}."
            )
        confidence = _confidence(limits.get("confidence"), f"{path}.confidence")
        kinds = [kind for kind in limits if kind != "confidence"]
        if not kinds:
            raise AutopruneError(f"{path}: confidence belongs to a limit; give drop, min or max beside it.")
        items = [_parse_one(str(name), str(kind), limits[kind], names, f"{path}.{kind}") for kind in kinds]
        sure = [item for item in items if item.relative] or items  # beside a relative limit, an absolute one has none
        found += [_with_confidence(item, confidence, f"{path}.confidence") if item in sure else item for item in items]
    left_out = tuple(str(name) for name, limits in content.items() if limits is None)
    return Requirements(items=tuple(dict.fromkeys(found)), prefer=prefer, left_out=left_out)


def parse_flag(flag: str, kind: str, names: Collection[str] | None) -> Requirement:
    """A requirement from the command line, `ndcg@20=0.97x`, or `ndcg@20=0.97x:0.95` with a confidence.

    Args:
        kind: `min` for --floor, `max` for a ceiling.

    Raises:
        AutopruneError: as `parse_requirements`.
    """
    name, equals, limit = flag.partition("=")
    if not equals:
        raise AutopruneError(f"{flag!r}: NAME=LIMIT must be given, such as ndcg@20=0.97x.")
    limit, colon, confidence = limit.partition(":")
    one = _parse_one(name, kind, limit, names, f"{name}.{kind}")
    sure = _confidence(confidence, f"{name}.confidence") if colon else None
    return _with_confidence(one, sure, f"{name}.confidence")


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
            f"{path}: errors are known of ratios to the baseline, so confidence takes a relative limit, such as "
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
