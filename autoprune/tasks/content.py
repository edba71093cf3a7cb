"""Digests of the content of batches, whatever type they are."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import hashlib
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from types import FunctionType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.packing.arrays import numpy_of

PLAIN = (
    *(str, bytes, int, float, bool, complex, np.generic, enum.Enum, PurePath, slice, decimal.Decimal),
    *(datetime.date, datetime.time, datetime.timedelta, torch.dtype, torch.device),
)
"""Types whose `repr` shows their content."""

INSTEAD = (
    "Give tensors, arrays, frames, or lists or mappings of them, or define fingerprint(), a text that changes with the "
    "training data."
)


class CannotTell(AutopruneError):
    """A batch has content that cannot be digested."""


def digest_of(value: Any, *, skip: bool = False) -> str:
    """SHA-256 of the content of batches: tensors, arrays and frames, also in lists, mappings and objects.

    Args:
        value: the batches.
        skip: whether content that cannot be digested is replaced by its type, instead of an error.

    Raises:
        CannotTell: some content cannot be digested.
    """
    return str(digest_after(hashlib.sha256(), value, skip=skip).hexdigest())


def digest_after(before: Any, value: Any, *, skip: bool = False) -> Any:
    """A copy of a hashlib digest, updated with a value; otherwise like `digest_of`."""
    digest = before.copy()
    try:
        _digest_into(digest, value, skip)
    except RecursionError as error:
        if not skip:
            raise CannotTell(f"{type(value).__name__} contains itself. {INSTEAD}") from error
        before.update(type(value).__qualname__.encode())
        return before
    return digest


def _digest_into(digest: Any, value: Any, skip: bool) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__"):
        value = vars(value)
    if isinstance(value, Tensor) and value.layout is not torch.strided:
        digest.update(f"{value.layout} {list(value.shape)} ".encode())
        inside = _inside(value)
        value = value if inside is None else inside
    elif isinstance(value, Tensor):
        with contextlib.suppress(KeyError, RuntimeError, TypeError):  # of types that have no bits of their own
            value = numpy_of(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        digest.update(f"{value.dtype} {value.shape} ".encode())
        _digest_into(digest, value.tolist(), skip)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            digest.update(f"{name} ".encode())
            _digest_into(digest, entry, skip)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        digest.update(f"{len(value)} ".encode())
        for entry in value:
            _digest_into(digest, entry, skip)
    elif isinstance(value, PLAIN) or value is None or value is pd.NA:
        digest.update(f"{value!r} ".encode())
    else:
        digest.update(f"{type(value).__qualname__} ".encode())
        inside = _inside(value)
        if inside is not None:
            _digest_into(digest, inside, skip)
        elif not skip:
            raise CannotTell(f"the content of {type(value).__name__} cannot be digested. {INSTEAD}")


def _inside(value: Any) -> list[Any] | None:
    """The parts that make up the content of an object; None if they are not known."""
    if isinstance(value, pd.DataFrame):
        return [[name, _inside(column)] for name, column in value.items()]
    if isinstance(value, pd.Series):
        return [value.index.to_numpy(), value.to_numpy()]
    if isinstance(value, pd.Index | pd.api.extensions.ExtensionArray):
        return [np.asarray(value)]
    if isinstance(value, Set):
        return [sorted(value, key=repr)]
    if isinstance(value, Tensor):
        if value.layout is torch.sparse_coo:
            coalesced = value.coalesce()
            return [coalesced.indices(), coalesced.values()]
        if value.layout in (torch.sparse_csr, torch.sparse_bsr):
            return [value.crow_indices(), value.col_indices(), value.values()]
        if value.layout in (torch.sparse_csc, torch.sparse_bsc):
            return [value.ccol_indices(), value.row_indices(), value.values()]
        return None
    attributes = getattr(value, "__dict__", None)
    return [attributes] if attributes is not None and not isinstance(value, type | FunctionType) else None
