"""An epoch of batches, whatever they are: drawn under a seed, and told from others by their content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


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


def digest_of(value: Any) -> str:
    """SHA-256 of batches: tensors and arrays by their content, within lists, mappings and dataclasses."""
    found = hashlib.sha256()
    _digest_into(found, value)
    return found.hexdigest()


def _digest_into(found: Any, value: Any) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for name, held in value.items():
            found.update(f"{name} ".encode())
            _digest_into(found, held)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        found.update(f"{len(value)} ".encode())
        for held in value:
            _digest_into(found, held)
    elif isinstance(value, str | bytes | int | float | bool | None):
        found.update(f"{value!r} ".encode())
