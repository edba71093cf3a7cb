"""Which parameters of a recipe mattered: the share of the variance that each explains by itself.

One-way analysis of variance over the recipes that the sampler asked for, a parameter at a time: its values are the
groups, numbers of many values are put into bins, and "absent" is a group like any other. The share is epsilon squared
(Kelley 1935), which takes from eta squared what groups explain by chance alone.

Of a study with looks these are its looks, which are many, at recipes as they stand: untrained ones that ask for no
training, and such as were trained to the end. Of latency, which looks do not tell, they are the candidates.

Limits: parameters that were chosen together share the credit (a sampler does not draw them independently), what only
two of them do together is seen in neither, and so the shares need not sum to one.
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
"""The group of the recipes that do not have a parameter."""

BINS = 5
"""Into how many groups, of about equally many candidates, numbers of more distinct values are put."""

FEWEST = 12
"""Fewer candidates than this say nothing about parameters."""


def parameters(recipe: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A recipe's values by their paths.

    `{"encode": {"method": {"quantize": {"bits": 4}}}}` has the parameters `encode.method` = quantize and
    `encode.method.quantize.bits` = 4.
    """
    found: dict[str, Any] = {}
    for key, value in recipe.items():
        name = f"{path}.{key}" if path else str(key)
        if not isinstance(value, Mapping):
            found[name] = value
            continue
        if key == "method":
            found[name] = "+".join(map(str, value)) or "none"
        elif not value and not path.endswith("method"):  # a method without parameters is told by its name
            found[name] = "default"
        found.update(parameters(value, name))
    return found


def epsilon_squared(groups: Sequence[Hashable], values: Sequence[float]) -> float:
    """The share of the variance of `values` between groups, less what chance puts there; from 0 to 1.

    Args:
        groups: of each value.
        values: as many.

    Returns:
        nan where there is no variance, or no group has two values.
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
    """By objective, then by parameter: the share of variance that it explains, the largest first.

    Quality is judged by its ratio to the baseline, over what has one; size and latency by the logarithm of theirs, over
    rejected candidates too. Objectives of which fewer than `FEWEST` are known are left out, and parameters that never
    vary.
    """
    trials = [(point.candidate.recipe, point.found) for point in record.points if point.candidate.name == TRIAL]
    looks = _looks(record) or trials
    found: dict[str, dict[str, float]] = {}
    for objective in dict.fromkeys([*USUAL, *record.objectives]):
        reading, larger = OBJECTIVES[objective]
        asked = trials if objective == "latency" else looks
        judged = [
            (recipe, read[reading].ratio) for recipe, read in asked if reading in read and read[reading].ratio > 0
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
        found[objective] = dict(sorted(known.items(), key=lambda pair: -pair[1]))
    return found


def _looks(record: Record) -> list[tuple[dict[str, Any], dict[str, Reading]]]:
    """Recipes that were looked at as they stand, and what the looks read."""
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
    """The group of each value: the value itself, or the bin that it is in."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(set(numbers)) <= BINS:
        return [repr(value) for value in values]
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])
    are_numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    return [
        f"bin {int(np.searchsorted(edges, value, side='right'))}" if is_number else repr(value)
        for value, is_number in zip(values, are_numbers, strict=True)
    ]
