"""Named arrays from files that hold nothing else: `.npy`, `.npz`, safetensors, checkpoints of PyTorch.

No code in a file is ever run: pickles are never opened, except for the tensors of a checkpoint (`checkpoint.py`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.readers.checkpoint import read_checkpoint
from autoprune.readers.files import CHECKPOINT, NPY, NPZ, SAFETENSORS, check_room, format_of

Array = npt.NDArray[Any]
Listed = list[Any] | tuple[Any, ...]

ALONE = ""
"""The name given to the only array of a file that has no names."""

UNOPENED = np.empty(0, dtype=object)
"""Stands for an array of Python objects, which is never opened; `check_opened` refuses it if it is needed."""

WEIGHTS = ("state_dict", "model_state_dict", "model")
"""Keys under which training programs put the weights in a checkpoint; without any of them, all of it is weights."""


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file by name; the array of an `.npy` file is called `ALONE`, and mapped (copy-on-write).

    A list in a checkpoint counts as an array, since it may hold ids. An array of Python objects becomes `UNOPENED`.

    Raises:
        AutopruneError: the file is damaged, or holds no arrays.
    """
    kind = format_of(path)
    try:
        if kind == NPY:
            return {ALONE: np.load(path, mmap_mode="c", allow_pickle=False)}
        if kind == NPZ:
            with zipfile.ZipFile(path) as archive:
                check_room(str(path), sum(member.file_size for member in archive.infolist()))
            with np.load(path, allow_pickle=False) as opened:
                return {name: _plain(opened, name) for name in opened.files}
        if kind == SAFETENSORS:
            with safetensors.safe_open(path, framework="pt") as opened:
                return {name: _array(opened.get_tensor(name), path) for name in opened.keys()}  # noqa: SIM118  # no mapping
        if kind == CHECKPOINT:
            opened = read_checkpoint(path)
            return {name: _array(entry, path) for name, entry in (*_lists(opened), *_entries(_weights(opened)))}
    except AutopruneError:
        raise
    except Exception as error:  # a damaged file may raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if "allow_pickle" in reason or "Python objects" in reason:
            reason = "it holds Python objects, which could run code and are never opened; save an array of numbers"
        raise AutopruneError(f"{path}: it cannot be read as {kind}: {reason.rstrip('.')}.") from error
    raise AutopruneError(f"{path} holds {kind}, but arrays are needed: .npy, .npz, .safetensors, .pt.")


def check_opened(array: Array, where: str) -> None:
    """Refuses an array that was not read because it holds Python objects.

    Args:
        where: the array's file and name, for messages.

    Raises:
        AutopruneError: it is `UNOPENED`.
    """
    if array is UNOPENED:
        raise AutopruneError(
            f"{where} holds Python objects instead of numbers or texts; they could run code and are never opened. Save "
            "it as an array of one type, such as ids.astype(str), or write the ids to a text file, one a line."
        )


def shape_of(array: Array) -> str:
    """The shape of an array, for messages."""
    return "(Python objects)" if array is UNOPENED else str(list(array.shape))


def _plain(archive: Any, name: str) -> Array:
    """An array of an archive; `UNOPENED` if it holds Python objects, such as settings stored with the factors."""
    try:
        array: Array = archive[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            return UNOPENED
        raise
    return array


def _array(entry: Tensor | Listed, path: Path) -> Array:
    if not isinstance(entry, Tensor):
        return _listed(entry)
    tensor = entry.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # numpy lacks it
        check_room(str(path), 4.0 * tensor.numel())
        tensor = tensor.float()
    array: Array = tensor.numpy()
    return array


def _listed(entries: Listed) -> Array:
    """A list of texts or of whole numbers as an array, [n]; `UNOPENED` if it holds anything else."""
    if all(isinstance(entry, str) for entry in entries):
        return np.array(entries, dtype=np.dtypes.StringDType())
    return np.array(entries) if all(type(entry) is int for entry in entries) else UNOPENED


def _weights(checkpoint: Any) -> Any:
    if isinstance(checkpoint, Mapping):
        for name in WEIGHTS:
            if isinstance(checkpoint.get(name), Mapping):
                return checkpoint[name]
    return checkpoint


def _lists(checkpoint: Any) -> Iterator[tuple[str, Tensor | Listed]]:
    """The entries of a checkpoint that may be ids: lists, and one-dimensional tensors of whole numbers."""
    for name, entry in checkpoint.items() if isinstance(checkpoint, Mapping) else ():
        whole_numbers = isinstance(entry, Tensor) and entry.ndim == 1 and not entry.is_floating_point()
        if whole_numbers or (isinstance(entry, list | tuple) and entry):
            yield str(name), entry


def _entries(tree: Any, *outer: str) -> Iterator[tuple[str, Tensor | Listed]]:
    """The tensors and lists of nested mappings, their names joined by dots."""
    if isinstance(tree, Tensor) or (isinstance(tree, list | tuple) and tree):
        yield ".".join(outer), tree
    elif isinstance(tree, Mapping):
        for name, inner in tree.items():
            yield from _entries(inner, *outer, str(name))
