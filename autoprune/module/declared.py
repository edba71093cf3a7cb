"""Checks what a user's task declares and the rows it returns, before anything uses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from autoprune.errors import AutopruneError, Diverged, Failed
from autoprune.metrics import Function
from autoprune.module.own import ModuleTask
from autoprune.tasks.metric import Metric

WHOLE = "all"
"""The name of the slice of all rows; no other slice may have it."""


def declared(own: ModuleTask, file: str) -> tuple[dict[str, Metric], Mapping[str, tuple[str, ...]], tuple[str, ...]]:
    """The metrics, slices and workloads that a task declares; a plain function of rows is a metric too.

    Raises:
        AutopruneError: one is missing, or has a name that no requirement can use.
    """
    metrics: Any = getattr(own, "metrics", None)
    if not isinstance(metrics, Mapping) or not metrics:
        raise AutopruneError(f"{file}: metrics must be a mapping from names to metrics, but got {metrics!r}.")
    if isinstance(own.workload_names, str) or not own.workload_names:
        raise AutopruneError(
            f'{file}: workload_names must be a tuple of names, such as ("single",), but got {own.workload_names!r}.'
        )
    slices = {column: (names,) if isinstance(names, str) else tuple(names) for column, names in own.slices.items()}
    if isinstance(own.perturbations, str):
        raise AutopruneError(
            f'{file}: perturbations must be a tuple of names, such as ("typos",), but got {own.perturbations!r}.'
        )
    if own.perturbations and type(own).perturb is ModuleTask.perturb:
        raise AutopruneError(f"{file}: perturbations are named, but perturb(module, split, perturbation) is missing.")
    all_names = [WHOLE, *(name for names in slices.values() for name in names), *own.perturbations]
    label = "slices or perturbations"
    for what, names in (("metrics", metrics), (label, all_names), ("workload_names", own.workload_names)):
        for name in names:
            if not isinstance(name, str):
                way_out = f"write {str(name)!r}" + (", in the column too" if names is all_names else "")
                raise AutopruneError(f"{file}: {what}: names must be texts, but got {name!r}; {way_out}.")
            if not re.fullmatch(r"\w+(@\w+)?", name):
                raise AutopruneError(
                    f"{file}: {what}: names must consist of letters, digits and underscores, but got {name!r}."
                )
    duplicates = sorted({name for name in all_names if all_names.count(name) > 1})
    if duplicates:
        raise AutopruneError(
            f"{file}: {label}: {duplicates[0]!r} is used twice, or is reserved for all rows; choose another name."
        )
    checked = {}
    for name, metric in metrics.items():
        if not isinstance(metric, Metric) and not callable(metric):
            raise AutopruneError(f"{file}: metrics: {name} must be a Metric or a function of rows, but got {metric!r}.")
        checked[name] = metric if isinstance(metric, Metric) else Function(metric)
    return checked, slices, tuple(own.workload_names)


def check_rows(rows: pd.DataFrame, slices: Mapping[str, tuple[str, ...]], where: str) -> None:
    """Refuses rows that no metric or slice can be computed from.

    Args:
        where: begins the message: the file, and the call that returned the rows.

    Raises:
        Failed: a column is missing, or contains a value that `slices` does not name.
        Diverged: a column contains NaN.
    """
    for column, names in slices.items():
        if column not in rows.columns:
            present = ", ".join(map(str, rows.columns))
            raise Failed(f"{where} has no column {column!r}, which slices names. It has: {present}.")
        undeclared = sorted(map(str, set(rows[column].unique()) - set(names)))
        if undeclared:
            raise Failed(f"{where}: slices[{column!r}] does not name {undeclared[0]!r}.")
    for column in rows.columns:
        missing = int(rows[column].isna().sum())
        if missing:
            raise Diverged(f"{where}: {missing:,} of {len(rows):,} rows have NaN in column {column!r}")
