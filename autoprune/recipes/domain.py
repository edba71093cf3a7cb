"""The values that one parameter of a space may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.errors import AutopruneError


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The values that a parameter may take: `options` (a list), or numbers from `low` to `high`."""

    path: str
    kind: str
    options: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False

    def ends(self) -> tuple[Any, ...]:
        """The values that corners of the space have here: each option, or both ends of a range."""
        if self.kind in ("any_of", "choose"):
            return self.options
        return (self.low,) if self.low == self.high else (self.low, self.high)

    def listed(self) -> list[Any]:
        """Every value; empty if the values cannot be listed."""
        if self.options:
            return list(self.options)
        if self.low == self.high:
            return [self.low]
        step = self.step or (1 if self.kind == "int" else None)
        if step is None or self.log:
            return []
        values = [self.low + at * step for at in range(round((self.high - self.low) / step) + 1)]
        return [int(value) for value in values] if self.kind == "int" else [round(value, 10) for value in values]

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of the domain."""
        if self.kind in ("any_of", "choose"):
            return any(type(value) is type(option) and value == option for option in self.options)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.kind == "int" and value != int(value):
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-6)

    def toward(self, target: str) -> str | None:
        """The option of a `choose` that leads to the parameter at `target`, if one does."""
        if self.kind == "choose" and target.startswith(f"{self.path}.choose."):
            return target.removeprefix(f"{self.path}.choose.").split(".")[0]
        return None


def describe(domain: Domain) -> str:
    """A domain in a few words: `float [0.5, 0.9]`, `any_of [8, 4]`."""
    if domain.kind in ("any_of", "choose"):
        return f"{domain.kind} [{', '.join(map(str, domain.options))}]"
    return f"{domain.kind} [{domain.low:g}, {domain.high:g}]"


def listed_domain(values: Any, path: str) -> Domain:
    """The domain of `{any_of: values}`.

    Raises:
        AutopruneError: the list is empty, or holds duplicates or nested values.
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise AutopruneError(f"{path}.any_of: a list of at least one value must be given, but got {values!r}.")
    if any(isinstance(value, Mapping | list) for value in values):
        raise AutopruneError(f"{path}.any_of: the values must be plain; for alternatives with parameters use choose.")
    if len({(type(value), value) for value in values}) < len(values):
        raise AutopruneError(f"{path}.any_of: every value must be listed once, but got {list(values)}.")
    return Domain(path=path, kind="any_of", options=tuple(values))


def range_domain(node: Mapping[str, Any], kind: str, path: str) -> Domain:
    """The domain of `{float: [low, high], step: …, log: …}`, or of `int`.

    Raises:
        AutopruneError: the ends or the step are invalid.
    """
    ends, step, log = node[kind], node.get("step"), bool(node.get("log", False))
    number_type = int if kind == "int" else (int, float)
    is_pair = isinstance(ends, Sequence) and not isinstance(ends, str) and len(ends) == 2
    if not is_pair or not all(isinstance(end, number_type) and not isinstance(end, bool) for end in ends):
        raise AutopruneError(f"{path}.{kind}: two numbers [low, high] must be given, but got {ends!r}.")
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high)):
        raise AutopruneError(f"{path}.{kind}: both ends must be finite, but got [{low}, {high}].")
    if low > high:
        raise AutopruneError(f"{path}.{kind}: low <= high must hold, but got [{low}, {high}]; swap the two.")
    if step is not None and (not isinstance(step, number_type) or isinstance(step, bool) or not 0 < step < math.inf):
        raise AutopruneError(f"{path}.step: a step above 0 must be given, but got {step!r}.")
    if log and (low <= 0 or step is not None):
        raise AutopruneError(f"{path}.log: low > 0 and no step must hold with log, but got {dict(node)}.")
    if step is not None:  # the sampler only visits low + i * step, so the last of these is the high end
        high = low + math.floor((high - low) / step + 1e-9) * step
        high = int(high) if kind == "int" else round(high, 10)
    return Domain(path=path, kind=kind, low=low, high=high, step=step, log=log)
