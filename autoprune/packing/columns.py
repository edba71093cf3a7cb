"""Files of arrays whose codes are entropy-coded column by column: each by how often its own codes occur.

Along principal axes the columns of a table differ: the first are spread wide, the last hardly. Codes of one step for
all of them then have another entropy in each, and coded by itself a column takes no more than that. This is transform
coding (Goyal 2001, "Theoretical Foundations of Transform Coding"): bits go to columns as if they had been shared out
by variance, and nobody has to share them out.

The file is frames of Zstandard, one after the other:

    all but the tables of codes, as in the file of safetensors; for each column its least code and its bits, a byte each
    columns one after the other, each without its least code, in 0, 1, 2, 4 or 8 bits a code, from a whole byte on

Whoever widens one frame after the other has both parts. Tables of codes are the arrays of uint8 with two dimensions, in
the order in which they lie in the file. Columns share a frame until it has `FRAME` bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoprune.packing.squeezed import MANNERS, check_size, squeeze, undamaged, zstd

COLUMNS = ".columns.zst"
"""How the names of such files end."""

FRAME = 2**12
"""Bytes that a frame of columns has at least, before it is squeezed: each brings some fifty bytes of its own. Files
rest on it: another number is another format."""

WIDTHS = (0, 1, 2, 4, 8)
"""Bits that a code can have in its column."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class _Table:
    """Where a table of codes lies in the file, and its shape."""

    start: int
    rows: int
    columns: int

    @property
    def end(self) -> int:
        return self.start + self.rows * self.columns


def squeeze_columns(content: bytes) -> bytes:
    """A file of safetensors, its tables of codes by columns.

    Args:
        content: of the file.
    """
    whole, tables = np.frombuffer(content, np.uint8), _tables(content)
    turned = [np.ascontiguousarray(whole[one.start : one.end].reshape(one.rows, one.columns).T) for one in tables]
    least = [columns.min(axis=1) for columns in turned]
    widths = [_width(columns.max(axis=1) - low) for columns, low in zip(turned, least, strict=True)]
    edges = [0, *(edge for one in tables for edge in (one.start, one.end)), len(content)]
    rest = [content[start:end] for start, end in list(pairwise(edges))[::2]]
    told = [np.stack(both, axis=1).tobytes() for both in zip(least, widths, strict=True)]
    frames = [squeeze(b"".join([*rest, *told]))]
    for columns, low, bits in zip(turned, least, widths, strict=True):
        packed = [_pack(column - first, int(width)) for column, first, width in zip(columns, low, bits, strict=True)]
        frames += [
            zstd.compress(b"".join(packed[some]), options=MANNERS[1]) for some in _frames(bits, columns.shape[1])
        ]
    return b"".join(frames)


def widen_columns(path: Path) -> bytes:
    """The content of the file of safetensors that `squeeze_columns` was given.

    Raises:
        AutopruneError: it is damaged.
    """
    with undamaged(path, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return _widened(path)


def _widened(path: Path) -> bytes:
    view, begin = memoryview(path.read_bytes()), 0

    def frame(size: int | None = None) -> bytes:
        nonlocal begin
        told = zstd.get_frame_info(view[begin:]).decompressed_size
        check_size(path, told)
        if size is not None and told != size:
            raise ValueError(f"{size} bytes of columns are expected, but there are {told}")
        end = begin + zstd.get_frame_size(view[begin:])
        found: bytes = zstd.decompress(view[begin:end])
        begin = end
        return found

    first = frame()
    tables = _tables(first)
    for one in tables:
        check_size(path, one.rows * one.columns)
    size = len(first) + sum((one.rows - 2) * one.columns for one in tables)
    check_size(path, size)
    whole, place, read = np.empty(size, np.uint8), 0, 0
    for one in tables:
        whole[place : one.start] = np.frombuffer(first, np.uint8, one.start - place, read)
        read, place = read + one.start - place, one.end
    told = np.frombuffer(first, np.uint8)[read + size - place :]
    whole[place:] = np.frombuffer(first, np.uint8, size - place, read)
    for one in tables:
        least, bits = told[: 2 * one.columns].reshape(one.columns, 2).T
        if not np.isin(bits, WIDTHS).all():
            raise ValueError(f"columns have codes of {', '.join(map(str, WIDTHS))} bits")
        told = told[2 * one.columns :]
        codes = np.zeros((one.columns, one.rows), np.uint8)  # a column that is constant has no frame
        for some in _frames(bits, one.rows):
            sizes = [_bytes(one.rows, int(width)) for width in bits[some]]
            packed, at = np.frombuffer(frame(sum(sizes)), np.uint8), 0
            for column, width, taken in zip(codes[some], bits[some], sizes, strict=True):
                column[:] = _unpack(packed[at : at + taken], int(width), one.rows)
                at += taken
        codes += least[:, None]
        whole[one.start : one.end].reshape(one.rows, one.columns)[:] = codes.T
    if begin != len(view) or len(told):
        raise ValueError("there is more than its header says")
    return whole.tobytes()


def _tables(content: bytes) -> list[_Table]:
    """The tables of codes in a file of safetensors, in the order in which they lie; its header is enough."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    found = []
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "U8" and len(entry["shape"]) == 2 and math.prod(entry["shape"]):
            start, end = entry["data_offsets"]
            rows, columns = entry["shape"]
            if end - start != rows * columns or min(rows, columns) < 1:
                raise ValueError(f"{name} has no {rows} x {columns} bytes")
            found.append(_Table(begin + start, rows, columns))
    found.sort(key=lambda one: one.start)
    if any(one.end > other.start for one, other in pairwise([_Table(0, begin, 1), *found])):
        raise ValueError("tables lie over one another")
    return found


def _frames(bits: Bytes, rows: int) -> Iterator[slice]:
    """Which columns, of so many bits each, lie in a frame together."""
    start, held = 0, 0
    for at, width in enumerate(bits.tolist(), start=1):
        held += _bytes(rows, width)
        if held >= FRAME or (at == len(bits) and held):
            yield slice(start, at)
            start, held = at, 0


def _width(largest: Bytes) -> Bytes:
    """Bits that codes from 0 to these need: 0, 1, 2, 4 or 8; uint8 [columns]."""
    return np.array(WIDTHS, np.uint8)[np.searchsorted([0, 1, 3, 15], largest)]


def _bytes(rows: int, width: int) -> int:
    return -(-rows * width // 8)


def _pack(codes: Bytes, width: int) -> bytes:
    """Codes of 0, 1, 2, 4 or 8 bits next to each other in bytes, the first in the lowest bits."""
    if width in (0, 8):
        return codes.tobytes() if width else b""
    each = 8 // width
    beside = np.pad(codes, (0, -len(codes) % each)).reshape(-1, each)
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    packed: Bytes = np.bitwise_or.reduce(beside << shifts, axis=1)
    return packed.tobytes()


def _unpack(packed: Bytes, width: int, rows: int) -> Bytes:
    """What `_pack` was given, uint8 [rows]."""
    if width not in (1, 2, 4):
        return packed if width == 8 else np.zeros(rows, np.uint8)
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    return ((packed[:, None] >> shifts) & np.uint8(2**width - 1)).reshape(-1)[:rows]
