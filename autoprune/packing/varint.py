"""Variable-length integers (LEB128): seven bits per byte, lowest first; the bit 128 says that more bytes follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LONGEST = 9
"""The most bytes of a number below 2**63."""


def to_varints(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Non-negative numbers, int64 [n], as bytes, uint8 [m]."""
    sizes = np.ones(len(numbers), dtype=np.int64)
    for more in range(1, LONGEST):
        sizes += numbers >= 1 << 7 * more
    ends = sizes.cumsum()
    starts = ends - sizes
    out = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    for place in range(int(sizes.max(initial=0))):
        long = sizes > place
        low_bits = numbers[long] >> 7 * place & 127
        out[starts[long] + place] = low_bits + 128 * (sizes[long] > place + 1)
    return out


def from_varints(stream: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The inverse of `to_varints`.

    Raises:
        ValueError: the last number has no end, or a number has too many bytes.
    """
    ends = np.flatnonzero(stream < 128)
    if len(stream) and (not len(ends) or ends[-1] != len(stream) - 1):
        raise ValueError("the last number has no end")
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    sizes = ends - starts + 1
    if sizes.max(initial=0) > LONGEST:
        raise ValueError("a number has too many bytes")
    numbers: npt.NDArray[Any] = np.zeros(len(ends), dtype=np.int64)
    for place in range(int(sizes.max(initial=0))):
        long = sizes > place
        numbers[long] |= (stream[starts[long] + place].astype(np.int64) & 127) << 7 * place
    return numbers
