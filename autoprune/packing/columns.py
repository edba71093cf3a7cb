"""Files of arrays whose codes are entropy-coded column by column, each with the frequencies of its own codes.

Along principal axes the columns of a table differ: the first have a large variance, the last a small one. So codes with
one step for all columns have a different entropy in each, and a column that is coded separately takes no more than its
own. This is transform coding (Goyal 2001, "Theoretical Foundations of Transform Coding"): columns get bits as if these
had been shared out by variance.

The file is a sequence of Zstandard frames. The content of the first, and then of the others:

    all but the tables of codes, as in the safetensors file; for each column its least code and its bits, a byte each
    the columns in order, minus their least code, in 0, 1, 2, 4 or 8 bits per code; each starts at a whole byte

Tables of codes are the two-dimensional uint8 arrays, in the order of the file. Columns share a frame until it has
`FRAME` bytes.
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
"""The suffix of such files."""

FRAME = 2**12
"""The least bytes of a frame of columns before compression, as each frame adds about fifty bytes. It is part of the
format: files written with another number cannot be read."""

WIDTHS = (0, 1, 2, 4, 8)
"""The possible numbers of bits of the codes of a column."""

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
    """Compresses a safetensors file, its tables of codes column by column.

    Args:
        content: of the file.
    """
    whole, tables = np.frombuffer(content, np.uint8), _tables(content)
    transposed = [
        np.ascontiguousarray(whole[table.start : table.end].reshape(table.rows, table.columns).T) for table in tables
    ]
    least = [columns.min(axis=1) for columns in transposed]
    widths = [_width(columns.max(axis=1) - low) for columns, low in zip(transposed, least, strict=True)]
    edges = [0, *(edge for table in tables for edge in (table.start, table.end)), len(content)]
    rest = [content[start:end] for start, end in list(pairwise(edges))[::2]]
    descriptions = [np.stack(both, axis=1).tobytes() for both in zip(least, widths, strict=True)]
    frames = [squeeze(b"".join([*rest, *descriptions]))]
    for columns, low, bits in zip(transposed, least, widths, strict=True):
        for group in _frames(bits, columns.shape[1]):
            packed = _pack(columns[group] - low[group, None], bits[group])
            frames.append(zstd.compress(b"".join(packed), options=MANNERS[1]))
    return b"".join(frames)


def widen_columns(path: Path) -> bytes:
    """The content of the safetensors file that `squeeze_columns` was given.

    Raises:
        AutopruneError: the file is damaged.
    """
    with undamaged(path, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return _widened(path)


def _widened(path: Path) -> bytes:
    view, begin = memoryview(path.read_bytes()), 0

    def frame(size: int | None = None) -> bytes:
        nonlocal begin
        stated = zstd.get_frame_info(view[begin:]).decompressed_size
        check_size(path, stated)
        if size is not None and stated != size:
            raise ValueError(f"{size} bytes of columns are expected, but there are {stated}")
        end = begin + zstd.get_frame_size(view[begin:])
        frame_content: bytes = zstd.decompress(view[begin:end])
        begin = end
        return frame_content

    first = frame()
    tables = _tables(first)
    for table in tables:
        check_size(path, table.rows * table.columns)
    size = len(first) + sum((table.rows - 2) * table.columns for table in tables)
    check_size(path, size)
    whole, written, read = np.empty(size, np.uint8), 0, 0
    for table in tables:
        whole[written : table.start] = np.frombuffer(first, np.uint8, table.start - written, read)
        read, written = read + table.start - written, table.end
    descriptions = np.frombuffer(first, np.uint8)[read + size - written :]
    whole[written:] = np.frombuffer(first, np.uint8, size - written, read)
    for table in tables:
        least, bits = descriptions[: 2 * table.columns].reshape(table.columns, 2).T
        if not np.isin(bits, WIDTHS).all():
            raise ValueError(f"columns have codes of {', '.join(map(str, WIDTHS))} bits")
        descriptions = descriptions[2 * table.columns :]
        codes = np.zeros((table.columns, table.rows), np.uint8)  # a constant column has no frame
        for group in _frames(bits, table.rows):
            sizes = [_bytes(table.rows, int(width)) for width in bits[group]]
            packed, offset = np.frombuffer(frame(sum(sizes)), np.uint8), 0
            for column, width, taken in zip(codes[group], bits[group], sizes, strict=True):
                column[:] = _unpack(packed[offset : offset + taken], int(width), table.rows)
                offset += taken
        codes += least[:, None]
        whole[table.start : table.end].reshape(table.rows, table.columns)[:] = codes.T
    if begin != len(view) or len(descriptions):
        raise ValueError("the file has more bytes than its header says")
    return whole.tobytes()


def _tables(content: bytes) -> list[_Table]:
    """The tables of codes in a safetensors file, in its order; the header is enough."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    tables = []
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "U8" and len(entry["shape"]) == 2 and math.prod(entry["shape"]):
            start, end = entry["data_offsets"]
            rows, columns = entry["shape"]
            if end - start != rows * columns or min(rows, columns) < 1:
                raise ValueError(f"{name} does not have {rows} x {columns} bytes")
            tables.append(_Table(begin + start, rows, columns))
    tables.sort(key=lambda table: table.start)
    if any(table.end > following.start for table, following in pairwise([_Table(0, begin, 1), *tables])):
        raise ValueError("tables overlap")
    return tables


def _frames(bits: Bytes, rows: int) -> Iterator[slice]:
    """Groups columns, by the bits of their codes, into frames."""
    start, size = 0, 0
    for end, width in enumerate(bits.tolist(), start=1):
        size += _bytes(rows, width)
        if size >= FRAME or (end == len(bits) and size):
            yield slice(start, end)
            start, size = end, 0


def _width(largest: Bytes) -> Bytes:
    """The bits of codes from 0 to `largest`: 0, 1, 2, 4 or 8; uint8 [columns]."""
    return np.array(WIDTHS, np.uint8)[np.searchsorted([0, 1, 3, 15], largest)]


def _bytes(rows: int, width: int) -> int:
    return -(-rows * width // 8)


def _pack(columns: Bytes, bits: Bytes) -> list[bytes]:
    """Packs the codes of each column, 0, 1, 2, 4 or 8 bits each, into bytes, the first in the lowest bits.

    Args:
        columns: codes, uint8 [columns, rows].
        bits: of the codes of each column, uint8 [columns].
    """
    packed, rows = [b""] * len(columns), columns.shape[1]
    for width in WIDTHS[1:]:
        numbers = np.flatnonzero(bits == width)
        per_byte = 8 // width
        padded = np.zeros((len(numbers), -(-rows // per_byte) * per_byte), np.uint8)
        padded[:, :rows] = columns[numbers]
        by_byte = padded[:, ::per_byte].copy()
        for place in range(1, per_byte):
            by_byte |= padded[:, place::per_byte] << np.uint8(place * width)
        for number, row in zip(numbers.tolist(), by_byte, strict=True):
            packed[number] = row.tobytes()
    return packed


def _unpack(packed: Bytes, width: int, rows: int) -> Bytes:
    """The inverse of `_pack`: uint8 [rows]."""
    if width not in (1, 2, 4):
        return packed if width == 8 else np.zeros(rows, np.uint8)
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    return ((packed[:, None] >> shifts) & np.uint8(2**width - 1)).reshape(-1)[:rows]
