"""Which parameters of a recipe mattered: the share of the variance that each explains by itself.

One-way analysis of variance over the sampler's recipes, one parameter at a time: its values are the groups, many
different numbers are put into bins, and "absent" is a group like any other. The share is epsilon squared (Kelley 1935):
eta squared, corrected for what groups explain by chance.

If a study has looks, the analysis uses its many looks at finished recipes: those without training, and those trained
to the end. For latency, which looks do not measure, it uses the candidates.

Limits: parameters that were chosen together share the credit (a sampler does not draw them independently), and
interactions are not seen, so the shares need not sum to one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from autoprune.fronts.requirements import OBJECTIVES, USUAL
from autoprune.measure.reading import Reading, readings
from autoprune.record.archive import TRIAL
from autoprune.record.record import Record

ABSENT = "absent"
"""The group of recipes without the parameter."""

BINS = 5
"""The number of bins, of about equal size, for a number with more distinct values than this."""

FEWEST = 12
"""With fewer candidates nothing can be said about parameters."""


def parameters(recipe: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A recipe's values by their paths.

    `{"encode": {"method": {"quantize": {"bits": 4}}}}` has the parameters `encode.method` = quantize and
    `encode.method.quantize.bits` = 4.
    """
    values: dict[str, Any] = {}
    for key, value in recipe.items():
        name = f"{path}.{key}" if path else str(key)
        if not isinstance(value, Mapping):
            values[name] = value
            continue
        if key == "method":
            values[name] = "+".join(map(str, value)) or "none"
        elif not value and not path.endswith("method"):  # the name of a method without parameters says enough
            values[name] = "default"
        values.update(parameters(value, name))
    return values


def epsilon_squared(groups: Sequence[Hashable], values: Sequence[float]) -> float:
    """The share of the variance of `values` between groups, corrected for chance; from 0 to 1.

    Args:
        groups: the group of each value.
        values: the values.

    Returns:
        nan if there is no variance, or no group has two values.
    """
    members: dict[Hashable, list[float]] = defaultdict(list)
    for group, value in zip(groups, values, strict=True):
        members[group].append(value)
    count, kinds = len(values), len(members)
    total = float(np.var(values) * count) if count else 0.0
    if count <= kinds or not total > 0:
        return math.nan
    within = sum(float(np.var(inside) * len(inside)) for inside in members.values())
    return max(0.0, (total - within - (kinds - 1) * within / (count - kinds)) / total)


def importance(record: Record) -> dict[str, dict[str, float]]:
    """The share of variance that each parameter explains, by objective and parameter, the largest first.

    Quality is the ratio to the baseline; size and latency are the logarithms of their ratios, which rejected candidates
    have too. Objectives with fewer than `FEWEST` values are left out, and so are parameters that never vary.
    """
    trials = [(point.candidate.recipe, point.found) for point in record.points if point.candidate.name == TRIAL]
    looks = _looks(record) or trials
    by_objective: dict[str, dict[str, float]] = {}
    for objective in dict.fromkeys([*USUAL, *record.objectives]):
        reading, larger = OBJECTIVES[objective]
        samples = trials if objective == "latency" else looks
        judged = [
            (recipe, by_name[reading].ratio)
            for recipe, by_name in samples
            if reading in by_name and by_name[reading].ratio > 0
        ]
        if len(judged) < FEWEST:
            continue
        ratios = [ratio for _, ratio in judged]
        values = ratios if larger else [math.log(ratio) for ratio in ratios]
        recipes = [parameters(recipe) for recipe, _ in judged]
        shares = {
            name: epsilon_squared(_groups([recipe.get(name, ABSENT) for recipe in recipes]), values)
            for name in dict.fromkeys(name for recipe in recipes for name in recipe)
            if len({repr(recipe.get(name, ABSENT)) for recipe in recipes}) > 1
        }
        known = {name: share for name, share in shares.items() if not math.isnan(share)}
        by_objective[objective] = dict(sorted(known.items(), key=lambda pair: -pair[1]))
    return by_objective


def _looks(record: Record) -> list[tuple[dict[str, Any], dict[str, Reading]]]:
    """Recipes that were looked at when finished, and the readings of these looks."""
    dense = record.looks.dense
    if dense is None:
        return []
    before = dense.measurement()
    return [
        (look.recipe, readings(look.measurement(), before, metrics=record.metrics))
        for look in record.looks.found.values()
        if look.number and look.done and not look.failed
    ]


def _groups(values: Sequence[Any]) -> list[str]:
    """The group of each value: the value itself, or its bin."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(set(numbers)) <= BINS:
        return [repr(value) for value in values]
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])
    are_numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    return [
        f"bin {int(np.searchsorted(edges, value, side='right'))}" if is_number else repr(value)
        for value, is_number in zip(values, are_numbers, strict=True)
    ]
