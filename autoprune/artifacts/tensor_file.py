"""Files of tensors in the format of safetensors: written without a second copy in memory, read without a first one.

The library writes what it has turned into bytes as a whole. Here tensors go to the file as they lie in memory, or
block by block while they are made. The bytes are the library's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import safetensors.torch
import torch
from torch import Tensor

from autoprune.packing.blocks import StoredBlocks

TYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What safetensors calls types, in the order in which it writes them."""

ALIGNED = 8
"""Bytes: a header is filled up with spaces to a multiple."""

LARGE = 2**28
"""Bytes from which on a file is mapped, and not read."""

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def write(path: Path, tensors: Mapping[str, Tensor], blocks: Mapping[str, StoredBlocks]) -> None:
    """Writes tensors by name.

    Args:
        path: replaced if it is there.
        tensors: at hand.
        blocks: tables that are made while they are written, by the name that their tensors begin with.
    """
    header, places = _header(_layout(tensors, blocks))
    with path.open("wb") as file:
        file.write(header)
        for name, tensor in _at_hand(tensors, blocks).items():
            _put(file, places[name], tensor)
        for table, stored in blocks.items():
            for block in stored.make():
                for name, tensor in block.items():
                    places[f"{table}.{name}"] = _put(file, places[f"{table}.{name}"], tensor)


def size_bytes(tensors: Mapping[str, Tensor], blocks: Mapping[str, StoredBlocks]) -> int:
    """Bytes of the file that `write` makes; nothing is made for that."""
    layout = _layout(tensors, blocks)
    return len(_header(layout)[0]) + sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout.values())


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; of a large one mapped: what is not asked for is not read.

    A small one is read at once: whatever happens to the file later does not matter.
    """
    small = path.stat().st_size < LARGE
    return safetensors.torch.load(path.read_bytes()) if small else safetensors.torch.load_file(path)


def _at_hand(tensors: Mapping[str, Tensor], blocks: Mapping[str, StoredBlocks]) -> dict[str, Tensor]:
    held = {f"{table}.{name}": tensor for table, stored in blocks.items() for name, tensor in stored.tensors.items()}
    return {**tensors, **held}


def _layout(tensors: Mapping[str, Tensor], blocks: Mapping[str, StoredBlocks]) -> Layout:
    """Type and shape of all tensors, in the order of the file."""
    found: Layout = {name: (one.dtype, tuple(one.shape)) for name, one in _at_hand(tensors, blocks).items()}
    found |= {f"{table}.{name}": one for table, stored in blocks.items() for name, one in stored.layout.items()}
    order = list(TYPES)
    return dict(sorted(found.items(), key=lambda entry: (order.index(entry[1][0]), entry[0])))


def _header(layout: Layout) -> tuple[bytes, dict[str, int]]:
    """How a file begins, and where each tensor begins in it."""
    entries, starts, end = dict[str, object](), dict[str, int](), 0
    for name, (dtype, shape) in layout.items():
        starts[name], end = end, end + dtype.itemsize * math.prod(shape)
        entries[name] = {"dtype": TYPES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
    written = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % ALIGNED)
    header = len(written).to_bytes(8, "little") + written
    return header, {name: len(header) + start for name, start in starts.items()}


def _put(file: IO[bytes], place: int, tensor: Tensor) -> int:
    """Writes a tensor at a place of a file, and tells where it ends there."""
    file.seek(place)
    return place + file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
