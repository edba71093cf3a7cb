"""One epoch of batches: drawn under a seed, and identified by a digest of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import length_hint
from typing import Any

import torch

from autoprune.tasks.content import digest_after


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The batches of an epoch: the first, their number, and the SHA-256 of all."""

    first: Any
    count: int
    digest: str


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's generator, and restores its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def read_epoch(batches: Iterable[Any], *, skip: bool = False) -> Epoch:
    """Reads an epoch batch by batch, and keeps only the first.

    Args:
        skip: as in `digest_of`.

    Raises:
        CannotTell: as in `digest_of`.
    """
    length = length_hint(batches, -1)  # the digest of a list begins with its length
    digest = hashlib.sha256(f"{length} ".encode() if length >= 0 else b"")
    first, count = None, 0
    for batch in batches:
        first, count = (batch if count == 0 else first), count + 1
        digest = digest_after(digest, batch, skip=skip)
    return Epoch(first=first, count=count, digest=digest.hexdigest())
