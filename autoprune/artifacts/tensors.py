"""Arrays as safetensors: by numpy, and by torch where a type is none of numpy's, such as bfloat16."""

from __future__ import annotations

import json

import safetensors
import safetensors.numpy

from autoprune.artifacts.served import Tensors
from autoprune.extras import need
from autoprune.packing.arrays import numpy_of, tensor_of

OURS = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}
"""Types that numpy has, as safetensors names them."""


def tensors_to_bytes(tensors: Tensors) -> bytes:
    """The content of a file that holds them."""
    if all(array.dtype.names is None for array in tensors.values()):
        written: bytes = safetensors.numpy.save({name: numpy_of(array) for name, array in tensors.items()})
        return written
    from safetensors import torch as by_torch  # here, because only who trained such a type has it

    return bytes(by_torch.save({name: tensor_of(array) for name, array in tensors.items()}))


def tensors_from_bytes(content: bytes) -> Tensors:
    """The arrays of a file; a type that numpy lacks becomes a structure of one field with its name.

    Raises:
        AutopruneError: a type needs torch, which is not installed.
        ValueError, safetensors.SafetensorError: it is no such file.
    """
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    strange = sorted({one["dtype"] for name, one in header.items() if name != "__metadata__"} - OURS)
    if not strange:
        found: Tensors = safetensors.numpy.load(content)
        return found
    need("torch", "search", f"what holds numbers of the type {strange[0]}")
    from safetensors import torch as by_torch  # as above

    return {name: numpy_of(tensor) for name, tensor in by_torch.load(content).items()}
