"""Arrays by name from files that hold nothing else: `.npy`, `.npz`, safetensors, checkpoints of PyTorch.

Nothing in a file is ever run: pickles are never opened, but for the tensors of a checkpoint (`checkpoint.py`).
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

ALONE = ""
"""The name of the only array of a file that names none."""

WEIGHTS = ("state_dict", "model_state_dict", "model")
"""Where training programs put the weights in a checkpoint; without any of these all of it is weights."""


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file by name; of `.npy` under the name `ALONE`, mapped from its file (and never written to it).

    Raises:
        AutopruneError: the file is damaged, or holds something else.
    """
    kind = format_of(path)
    try:
        if kind == NPY:
            return {ALONE: np.load(path, mmap_mode="c", allow_pickle=False)}
        if kind == NPZ:
            with zipfile.ZipFile(path) as archive:
                check_room(str(path), sum(member.file_size for member in archive.infolist()))
            with np.load(path, allow_pickle=False) as held:
                return {name: array for name in held.files if (array := _plain(held, name)) is not None}
        if kind == SAFETENSORS:
            with safetensors.safe_open(path, framework="pt") as held:
                return {name: _array(held.get_tensor(name), path) for name in held.keys()}  # noqa: SIM118  # no mapping
        if kind == CHECKPOINT:
            return {name: _array(tensor, path) for name, tensor in _tensors(_weights(read_checkpoint(path)))}
    except AutopruneError:
        raise
    except Exception as error:  # whatever a damaged file does to its reader
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if "allow_pickle" in said or "Python objects" in said:
            said = "it holds Python objects, which could run code and are never opened; save an array of numbers"
        raise AutopruneError(f"{path}: it cannot be read as {kind}: {said.rstrip('.')}.") from error
    raise AutopruneError(f"{path} holds {kind}, where arrays are needed: .npy, .npz, .safetensors, .pt.")


def _plain(held: Any, name: str) -> Array | None:
    """An array of an archive; None where it is of Python objects, such as settings beside the factors."""
    try:
        array: Array = held[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            return None
        raise
    return array


def _array(tensor: Tensor, path: Path) -> Array:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # which numpy lacks
        check_room(str(path), 4.0 * tensor.numel())
        tensor = tensor.float()
    array: Array = tensor.numpy()
    return array


def _weights(held: Any) -> Any:
    if isinstance(held, Mapping):
        for name in WEIGHTS:
            if isinstance(held.get(name), Mapping):
                return held[name]
    return held


def _tensors(held: Any, *outer: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested mappings, with dots between the names."""
    if isinstance(held, Tensor):
        yield ".".join(outer), held
    elif isinstance(held, Mapping):
        for name, inner in held.items():
            yield from _tensors(inner, *outer, str(name))
