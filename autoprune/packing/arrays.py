"""What numpy and torch spell differently.

Tables answer in numpy; in torch where a GPU is asked for, or where torch is faster. The code that decodes and scores is
the same: it takes arrays of either, says what both call alike, and the rest by the functions here.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

Array = Any
"""An array of numpy or a tensor of torch; all that is computed with one another is of one of them, on one device."""


def namespace(array: Array) -> Any:
    """The module whose functions take an array: numpy, or torch, which is imported where one of its tensors is."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def cast(array: Array, kind: str) -> Array:
    """The array in a type, such as `float32`; itself where it is of that type."""
    if isinstance(array, np.ndarray):
        return array.astype(kind, copy=False)
    return array.to(getattr(namespace(array), kind))


def filled(shape: tuple[int, ...], value: float, like: Array, kind: str = "float32") -> Array:
    """An array of one value, of the library and on the device of another."""
    library = namespace(like)
    if value == 0:  # numpy leaves zeros to the system until they are written to
        return library.zeros(shape, dtype=getattr(library, kind), device=like.device)
    return library.full(shape, value, dtype=getattr(library, kind), device=like.device)


def numbers(count: int, like: Array) -> Array:
    """0 … count - 1, int64 [count], of the library and on the device of another array."""
    library = namespace(like)
    return library.arange(count, dtype=library.int64, device=like.device)


def bounds(counts: Array) -> Array:
    """Where runs of some lengths begin, and where the last one ends: int64 [n + 1] of [n]."""
    sums = cast(counts, "int64").cumsum(0)
    return namespace(counts).concatenate([filled((1,), 0, counts, "int64"), sums])


def repeat(array: Array, counts: Array) -> Array:
    """Each entry as often as its count says."""
    return np.repeat(array, counts) if isinstance(array, np.ndarray) else array.repeat_interleave(counts)


def run_sums(rows: Array, counts: np.ndarray[Any, Any]) -> Array:
    """The sums of runs of rows, [n, dim] of [m, dim]; each run has one row at least.

    Args:
        counts: how many rows each run has, int64 [n].
    """
    if isinstance(rows, np.ndarray):
        return np.add.reduceat(rows, bounds(counts)[:-1], axis=0)
    return namespace(rows).segment_reduce(rows, "sum", lengths=tensor_of(counts, rows.device), axis=0)


def norms(rows: Array) -> Array:
    """The length of each row, [n] of [n, dim]."""
    if isinstance(rows, np.ndarray):
        return np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return namespace(rows).linalg.vector_norm(rows, dim=1)


def topk(values: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row, largest first: values and positions, [n, k] each of [n, m]."""
    if not isinstance(values, np.ndarray):
        best = values.topk(k, dim=1)
        return best.values, best.indices
    count = values.shape[1]
    if k < count:
        at = np.argpartition(values, count - k, axis=1)[:, count - k :]
    else:
        at = np.broadcast_to(np.arange(count), values.shape)
    found = np.take_along_axis(values, at, axis=1)
    order = np.argsort(found, axis=1)[:, ::-1]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(at, order, axis=1)


def taken(array: Array, index: Array) -> Array:
    """What stands at some places of the last axis: [..., m] of whole numbers [m]."""
    return array.take(index, axis=-1) if isinstance(array, np.ndarray) else array[..., cast(index, "int64")]


def gathered(values: Array, at: Array) -> Array:
    """Of each row those at some positions, [n, m] of int64 [n, m]."""
    return np.take_along_axis(values, at, axis=1) if isinstance(values, np.ndarray) else values.gather(1, at)


def numpy_of(array: Array) -> np.ndarray[Any, Any]:
    """The same numbers in numpy, in memory that is in one piece; shared with a tensor that is on the CPU.

    A type that numpy lacks, such as bfloat16, becomes a structure of one field with its name.
    """
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(array).reshape(array.shape)
    tensor, torch = array.detach().cpu().contiguous(), namespace(array)
    try:
        found: np.ndarray[Any, Any] = tensor.numpy()
    except TypeError:
        words = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
        name = str(tensor.dtype).removeprefix("torch.")
        plain = tensor.view(words).numpy()
        found = plain.view(np.dtype([(name, plain.dtype)]))
    return found


def tensor_of(array: Array, device: Any = "cpu") -> Array:
    """The same numbers as a tensor on a device; torch is imported. The inverse of `numpy_of`."""
    import torch  # here, because what answers on the CPU does without

    if not isinstance(array, np.ndarray):
        return array.to(device)
    kept = array if array.flags.writeable else array.copy()  # torch wants to be sure that it may write
    if kept.dtype.names is None:
        return torch.from_numpy(kept).to(device)
    (name,) = kept.dtype.names
    return torch.from_numpy(kept[name]).view(getattr(torch, name)).to(device)
