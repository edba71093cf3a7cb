"""An epoch of batches, whatever they are: drawn under a seed, and told from others by their content."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
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
"""What is told by how it is written."""

INSTEAD = (
    "Give tensors, arrays, frames, lists or mappings of them, or define fingerprint(), a text that changes with the "
    "training data."
)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch's batches: the first, how many, and SHA-256 of all."""

    first: Any
    count: int
    digest: str


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generator under a seed; as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def digest_of(value: Any, *, skip: bool = False) -> str:
    """SHA-256 of batches: tensors, arrays and frames by their content, within lists, mappings and objects.

    Args:
        skip: of what cannot be told takes the type alone, and does not refuse it.

    Raises:
        AutopruneError: there is something in them whose content cannot be told.
    """
    found = hashlib.sha256()
    try:
        _digest_into(found, value, skip)
    except RecursionError as error:
        if skip:
            return hashlib.sha256(type(value).__qualname__.encode()).hexdigest()
        raise AutopruneError(f"{type(value).__name__} holds itself. {INSTEAD}") from error
    return found.hexdigest()


def _digest_into(found: Any, value: Any, skip: bool) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "__dict__"):
        value = vars(value)
    if isinstance(value, Tensor) and value.layout is not torch.strided:
        found.update(f"{value.layout} {list(value.shape)} ".encode())
        inside = _inside(value)
        value = value if inside is None else inside
    elif isinstance(value, Tensor):
        with contextlib.suppress(KeyError, RuntimeError, TypeError):  # of types that have no bits of their own
            value = numpy_of(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        found.update(f"{value.dtype} {value.shape} ".encode())
        _digest_into(found, value.tolist(), skip)
    elif isinstance(value, np.ndarray):
        found.update(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for name, held in value.items():
            found.update(f"{name} ".encode())
            _digest_into(found, held, skip)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        found.update(f"{len(value)} ".encode())
        for held in value:
            _digest_into(found, held, skip)
    elif isinstance(value, PLAIN) or value is None or value is pd.NA:
        found.update(f"{value!r} ".encode())
    else:
        found.update(f"{type(value).__qualname__} ".encode())
        inside = _inside(value)
        if inside is not None:
            _digest_into(found, inside, skip)
        elif not skip:
            raise AutopruneError(f"the content of {type(value).__name__} cannot be told. {INSTEAD}")


def _inside(value: Any) -> list[Any] | None:
    """What tells an object from others of its type; None where that is not known."""
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
            whole = value.coalesce()
            return [whole.indices(), whole.values()]
        if value.layout in (torch.sparse_csr, torch.sparse_bsr):
            return [value.crow_indices(), value.col_indices(), value.values()]
        if value.layout in (torch.sparse_csc, torch.sparse_bsc):
            return [value.ccol_indices(), value.row_indices(), value.values()]
        return None
    held = getattr(value, "__dict__", None)
    return [held] if held is not None and not isinstance(value, type | FunctionType) else None
