"""Files of arrays in the format of safetensors: written without a second copy in memory, read without a first one.

The library writes what it has turned into bytes as a whole. Here arrays go to the file as they lie in memory, or
block by block while they are made. The bytes are the library's. A type that numpy lacks, such as bfloat16, is a
structure of one field with its name, as `autoprune.packing.arrays.numpy_of` has it.
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
    from autoprune.packing.blocks import StoredBlocks  # which makes them, and so imports torch

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
"""Types by what safetensors calls them, in the order in which it writes them."""

NAMES = {dtype: name for name, dtype in TYPES.items()}

ALIGNED = 8
"""Bytes: a header is filled up with spaces to a multiple."""

LARGE = 2**28
"""Bytes from which on a file is mapped, and not read."""

Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]


def write(path: Path, tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> None:
    """Writes arrays by name.

    Args:
        path: replaced if it is there.
        tensors: at hand.
        blocks: tables that are made while they are written, by the name that their arrays begin with.
    """
    header, places = _header(_layout(tensors, blocks))
    with path.open("wb") as file:
        file.write(header)
        for name, array in _at_hand(tensors, blocks).items():
            _put(file, places[name], array)
        for table, stored in blocks.items():
            for block in stored.make():
                for name, array in block.items():
                    places[f"{table}.{name}"] = _put(file, places[f"{table}.{name}"], array)


def size_bytes(tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> int:
    """Bytes of the file that `write` makes; nothing is made for that."""
    layout = _layout(tensors, blocks)
    return len(_header(layout)[0]) + sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout.values())


def parse(content: bytes) -> Tensors:
    """The arrays of a file that is in memory, as `read` gives them.

    Raises:
        ValueError, KeyError, safetensors.SafetensorError: it is no such file.
    """
    # which checks that all of it is what its header says
    safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    return _arrays(np.frombuffer(bytearray(content), np.uint8))


def read(path: Path) -> Tensors:
    """The arrays of a file by name; of a large one mapped: what is not asked for is not read.

    A small one is read at once: whatever happens to the file later does not matter. Who writes into the arrays does not
    change the file.

    Raises:
        ValueError, KeyError, safetensors.SafetensorError: it is no such file.
    """
    with safetensors.safe_open(path, framework="numpy"):  # which checks that all of the file is what its header says
        pass
    large = path.stat().st_size >= LARGE
    content = np.asarray(np.memmap(path, np.uint8, "c")) if large else np.fromfile(path, np.uint8)
    return _arrays(content)


def _arrays(content: np.ndarray[Any, Any]) -> Tensors:
    """The arrays in the bytes of a file, where they lie."""
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:begin].tobytes())
    header.pop("__metadata__", None)
    return {name: _held(content[begin:], entry) for name, entry in header.items()}


def _held(content: np.ndarray[Any, Any], entry: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """An array where it lies in what follows the header."""
    first, end = entry["data_offsets"]
    return content[first:end].view(TYPES[entry["dtype"]]).reshape(entry["shape"])


def _at_hand(tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> Tensors:
    held = {f"{table}.{name}": array for table, stored in blocks.items() for name, array in stored.tensors.items()}
    return {**tensors, **held}


def _layout(tensors: Tensors, blocks: Mapping[str, StoredBlocks]) -> Layout:
    """Type and shape of all arrays, in the order of the file."""
    found: Layout = {name: (one.dtype, one.shape) for name, one in _at_hand(tensors, blocks).items()}
    found |= {f"{table}.{name}": one for table, stored in blocks.items() for name, one in stored.layout.items()}
    order = list(NAMES)
    return dict(sorted(found.items(), key=lambda entry: (order.index(entry[1][0]), entry[0])))


def _header(layout: Layout) -> tuple[bytes, dict[str, int]]:
    """How a file begins, and where each array begins in it."""
    entries, starts, end = dict[str, object](), dict[str, int](), 0
    for name, (dtype, shape) in layout.items():
        starts[name], end = end, end + dtype.itemsize * math.prod(shape)
        entries[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
    written = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % ALIGNED)
    header = len(written).to_bytes(8, "little") + written
    return header, {name: len(header) + start for name, start in starts.items()}


def _put(file: IO[bytes], place: int, array: np.ndarray[Any, Any]) -> int:
    """Writes an array at a place of a file, and tells where it ends there."""
    file.seek(place)
    return place + file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
