"""What a user's task says of itself, and the rows that it gives, looked at before anything rests on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from autoprune.errors import AutopruneError, Diverged
from autoprune.metrics import Function
from autoprune.module.own import ModuleTask
from autoprune.tasks.metric import Metric

WHOLE = "all"
"""What the slice of all rows is called; no other may be."""


def declared(own: ModuleTask, file: str) -> tuple[dict[str, Metric], Mapping[str, tuple[str, ...]], tuple[str, ...]]:
    """The metrics, slices and workloads that a task names; a plain function of rows is a metric too.

    Raises:
        AutopruneError: one is missing, or has a name that no requirement could use.
    """
    metrics: Any = getattr(own, "metrics", None)
    if not isinstance(metrics, Mapping) or not metrics:
        raise AutopruneError(f"{file}: metrics: a mapping from names to metrics must be given, but got {metrics!r}.")
    if isinstance(own.workload_names, str) or not own.workload_names:
        raise AutopruneError(f'{file}: workload_names: several names, ("single",), but got {own.workload_names!r}.')
    slices = {column: (names,) if isinstance(names, str) else tuple(names) for column, names in own.slices.items()}
    if isinstance(own.perturbations, str):
        raise AutopruneError(f'{file}: perturbations: several names, ("typos",), but got {own.perturbations!r}.')
    if own.perturbations and type(own).perturb is ModuleTask.perturb:
        raise AutopruneError(f"{file}: perturbations are named, but perturb(module, split, perturbation) is missing.")
    named = [WHOLE, *(name for names in slices.values() for name in names), *own.perturbations]
    parts = "slices or perturbations"
    for what, names in (("metrics", metrics), (parts, named), ("workload_names", own.workload_names)):
        for name in names:
            if not isinstance(name, str):
                way_out = f"write {str(name)!r}" + (", in the column too" if names is named else "")
                raise AutopruneError(f"{file}: {what}: names are texts, but got {name!r}; {way_out}.")
            if not re.fullmatch(r"\w+(@\w+)?", name):
                raise AutopruneError(f"{file}: {what}: letters, digits and underscores make a name, but got {name!r}.")
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise AutopruneError(f"{file}: {parts}: {twice[0]!r} is there twice, or is the name of all rows; take another.")
    found = {}
    for name, metric in metrics.items():
        if not isinstance(metric, Metric) and not callable(metric):
            raise AutopruneError(f"{file}: metrics: {name} must be a function of rows, but got {metric!r}.")
        found[name] = metric if isinstance(metric, Metric) else Function(metric)
    return found, slices, tuple(own.workload_names)


def check_rows(rows: pd.DataFrame, slices: Mapping[str, tuple[str, ...]], where: str) -> None:
    """Refuses rows that no metric or slice can be computed from.

    Args:
        where: begins the message: the file, and what gave the rows.

    Raises:
        AutopruneError: a column is missing, or holds what `slices` does not name.
        Diverged: there is NaN in them.
    """
    for column, names in slices.items():
        if column not in rows.columns:
            there = ", ".join(map(str, rows.columns))
            raise AutopruneError(f"{where} has no column {column!r}, which slices names. It has: {there}.")
        strange = sorted(map(str, set(rows[column].unique()) - set(names)))
        if strange:
            raise AutopruneError(f"{where}: slices[{column!r}] does not name {strange[0]!r}.")
    for column in rows.columns:
        missing = int(rows[column].isna().sum())
        if missing:
            raise Diverged(f"{where}: {missing:,} of {len(rows):,} rows have NaN in column {column!r}")
