"""Functions that numpy and torch spell differently.

Tables answer in numpy, or in torch on a GPU and where torch is faster. The same code decodes and scores in both: what
numpy and torch name alike it calls directly, and everything else through the functions here.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

Array = Any
"""A numpy array or a torch tensor; arrays that are combined belong to one library and lie on one device."""

GROUPING, GROUPING_ONE, GROUPED = 2**13, 2**16, 16
"""`largest` works in two steps on rows with at least this many values: several rows, and a single row, where the second
step costs relatively more. The third number is how many values form a group in the first step."""


def namespace(array: Array) -> Any:
    """The module whose functions take the array: numpy, or torch (already imported if the array is a tensor)."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def cast(array: Array, kind: str) -> Array:
    """The array converted to a type, such as `float32`; the same array if it has that type already."""
    if isinstance(array, np.ndarray):
        return array.astype(kind, copy=False)
    return array.to(getattr(namespace(array), kind))


def filled(shape: tuple[int, ...], value: float, like: Array, kind: str = "float32") -> Array:
    """An array filled with one value, in the library and on the device of the array `like`."""
    library = namespace(like)
    if value == 0:  # numpy allocates pages of zeros only when they are written
        return library.zeros(shape, dtype=getattr(library, kind), device=like.device)
    return library.full(shape, value, dtype=getattr(library, kind), device=like.device)


def numbers(count: int, like: Array) -> Array:
    """0 … count - 1, int64 [count], in the library and on the device of the array `like`."""
    library = namespace(like)
    return library.arange(count, dtype=library.int64, device=like.device)


def bounds(counts: Array) -> Array:
    """The start of each run, and the end of the last, from the lengths of the runs: int64 [n + 1] of [n]."""
    sums = cast(counts, "int64").cumsum(0)
    return namespace(counts).concatenate([filled((1,), 0, counts, "int64"), sums])


def repeat(array: Array, counts: Array) -> Array:
    """Each entry repeated as often as its count says."""
    return np.repeat(array, counts) if isinstance(array, np.ndarray) else array.repeat_interleave(counts)


def run_sums(rows: Array, counts: np.ndarray[Any, Any]) -> Array:
    """The sums of runs of rows, [n, dim] of [m, dim]; each run has at least one row.

    Args:
        counts: the number of rows in each run, int64 [n].
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
    """The k largest values of each row of [n, m], largest first, and their positions, both [n, k]."""
    if not isinstance(values, np.ndarray):
        best = values.topk(k, dim=1)
        return best.values, best.indices
    count = values.shape[1]
    if k < count:
        positions = np.argpartition(values, count - k, axis=1)[:, count - k :]
    else:
        positions = np.broadcast_to(np.arange(count), values.shape)
    values_at_positions = np.take_along_axis(values, positions, axis=1)
    order = np.argsort(values_at_positions, axis=1)[:, ::-1]
    return np.take_along_axis(values_at_positions, order, axis=1), np.take_along_axis(positions, order, axis=1)


def largest(values: Array, k: int) -> tuple[Array, Array]:
    """Like `topk`, in two steps for long rows: a group holds none of the k if k other groups have a larger maximum."""
    n, count = values.shape
    if count < max(GROUPING if n > 1 else GROUPING_ONE, 4 * GROUPED * k):
        return topk(values, k)
    library, stride = namespace(values), count // GROUPED
    whole = stride * GROUPED
    groups = topk(library.amax(values[:, :whole].reshape(n, GROUPED, stride), 1), k)[1]
    members = groups[:, :, None] + numbers(GROUPED, values) * stride
    rest = numbers(count, values)[whole:]
    candidates = library.concatenate([members.reshape(n, -1), library.broadcast_to(rest, (n, len(rest)))], axis=1)
    top, positions = topk(gathered(values, candidates), k)
    return top, gathered(candidates, positions)


def taken(array: Array, index: Array) -> Array:
    """The entries at some positions of the last axis, [..., m]; the positions are whole numbers, [m]."""
    return array.take(index, axis=-1) if isinstance(array, np.ndarray) else array[..., cast(index, "int64")]


def gathered(values: Array, at: Array) -> Array:
    """The values at some positions of each row, [n, m]; the positions are int64 [n, m]."""
    return np.take_along_axis(values, at, axis=1) if isinstance(values, np.ndarray) else values.gather(1, at)


def numpy_of(array: Array) -> np.ndarray[Any, Any]:
    """The same numbers as a contiguous numpy array, which shares the memory of a tensor on the CPU.

    A type that numpy lacks, such as bfloat16, becomes a structured type whose only field has the name of the type.
    """
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(array).reshape(array.shape)
    tensor, torch = array.detach().cpu().contiguous(), namespace(array)
    try:
        converted: np.ndarray[Any, Any] = tensor.numpy()
    except TypeError:
        integers = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
        type_name = str(tensor.dtype).removeprefix("torch.")
        raw = tensor.view(integers).numpy()
        converted = raw.view(np.dtype([(type_name, raw.dtype)]))
    return converted


def tensor_of(array: Array, device: Any = "cpu") -> Array:
    """The same numbers as a tensor on a device: the inverse of `numpy_of`."""
    import torch  # here, because tables that answer on the CPU do not need it

    if not isinstance(array, np.ndarray):
        return array.to(device)
    writeable = array if array.flags.writeable else array.copy()  # torch warns about read-only arrays
    if writeable.dtype.names is None:
        return torch.from_numpy(writeable).to(device)
    (name,) = writeable.dtype.names
    return torch.from_numpy(writeable[name]).view(getattr(torch, name)).to(device)
