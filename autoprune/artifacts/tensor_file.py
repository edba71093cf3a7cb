"""Files of arrays in the safetensors format, written without a second copy in memory and read without any.

The safetensors library builds the whole file in memory before it writes. Here arrays are written directly from memory,
or block by block while they are computed. The resulting bytes are the same. A dtype that numpy lacks, such as
bfloat16, is a structure with one field of that name, as in `autoprune.packing.arrays.numpy_of`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import safetensors

if TYPE_CHECKING:
    from autoprune.artifacts.served import Tensors
    from autoprune.packing.blocks import StoredBlocks  # imports torch

TYPES: dict[str, np.dtype[Any]] = {
    "U64": np.dtype("u8"),
    "I64": np.dtype("i8"),
    "F64": np.dtype("f8"),
    "F32": np.dtype("f4"),
    "U32": np.dtype("u4"),
    "I32": np.dtype("i4"),
    "BF16": np.dtype([("bfloat16", "i2")]),
    "F16": np.dtype("f2"),
    "U16": np.dtype("u2"),
    "I16": np.dtype("i2"),
    "F8_E4M3": np.dtype([("float8_e4m3fn", "u1")]),
    "F8_E5M2": np.dtype([("float8_e5m2", "u1")]),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Dtypes by their safetensors names, in the order in which safetensors writes them."""

NAMES = {dtype: name for name, dtype in TYPES.items()}

ALIGNED = 8
"""A header is padded with spaces to a multiple of this many bytes."""

LARGE = 2**28
"""Files of this many bytes or more are memory-mapped instead of read."""

Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]


def write(path: Path, tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> None:
    """Writes arrays by name.

    Args:
        path: replaced if it exists.
        tensors: arrays in memory.
        blocks: tables that are computed while they are written, by the prefix of their arrays' names.
    """
    header, positions = _header(_layout(tensors, blocks))
    with path.open("wb") as file:
        file.write(header)
        for name, array in _in_memory(tensors, blocks).items():
            _put(file, positions[name], array)
        for table, stored in blocks.items():
            for block in stored.make():
                for name, array in block.items():
                    positions[f"{table}.{name}"] = _put(file, positions[f"{table}.{name}"], array)


def size_bytes(tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> int:
    """Bytes of the file that `write` would write; nothing is computed or written."""
    layout = _layout(tensors, blocks)
    return len(_header(layout)[0]) + sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout.values())


def parse(content: bytes) -> Tensors:
    """The arrays of a file in memory, as `read` returns them.

    Raises:
        ValueError, KeyError, safetensors.SafetensorError: it is not such a file.
    """
    # checks that the content matches its header
    safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    return _arrays(np.frombuffer(bytearray(content), np.uint8))


def read(path: Path) -> Tensors:
    """The arrays of a file by name. A large file is mapped, so that only what is used is read.

    A small file is read completely, so that later changes of the file have no effect. Writing into the arrays never
    changes the file.

    Raises:
        ValueError, KeyError, safetensors.SafetensorError: it is not such a file.
    """
    with safetensors.safe_open(path, framework="numpy"):  # checks that the file matches its header
        pass
    large = path.stat().st_size >= LARGE
    content = np.asarray(np.memmap(path, np.uint8, "c")) if large else np.fromfile(path, np.uint8)
    return _arrays(content)


def _arrays(content: np.ndarray[Any, Any]) -> Tensors:
    """The arrays in the bytes of a file, as views."""
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:begin].tobytes())
    header.pop("__metadata__", None)
    return {name: _view(content[begin:], entry) for name, entry in header.items()}


def _view(content: np.ndarray[Any, Any], entry: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """One array, as a view of the bytes after the header."""
    first, end = entry["data_offsets"]
    return content[first:end].view(TYPES[entry["dtype"]]).reshape(entry["shape"])


def _in_memory(tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> Tensors:
    stored = {f"{table}.{name}": array for table, block in blocks.items() for name, array in block.tensors.items()}
    return {**tensors, **stored}


def _layout(tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> Layout:
    """Dtype and shape of all arrays, in the order of the file."""
    layout: Layout = {name: (array.dtype, array.shape) for name, array in _in_memory(tensors, blocks).items()}
    layout |= {f"{table}.{name}": array for table, stored in blocks.items() for name, array in stored.layout.items()}
    order = list(NAMES)
    return dict(sorted(layout.items(), key=lambda entry: (order.index(entry[1][0]), entry[0])))


def _header(layout: Layout) -> tuple[bytes, dict[str, int]]:
    """The header of a file, and the position at which each array begins."""
    entries, starts, end = dict[str, object](), dict[str, int](), 0
    for name, (dtype, shape) in layout.items():
        starts[name], end = end, end + dtype.itemsize * math.prod(shape)
        entries[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
    written = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % ALIGNED)
    header = len(written).to_bytes(8, "little") + written
    return header, {name: len(header) + start for name, start in starts.items()}


def _put(file: IO[bytes], position: int, array: np.ndarray[Any, Any]) -> int:
    """Writes an array at a position in a file, and returns the position after it."""
    file.seek(position)
    return position + file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
