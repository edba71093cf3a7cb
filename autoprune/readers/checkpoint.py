"""Checkpoints of PyTorch, which are pickles: tensors alone are read, and nothing in a file is ever run.

What torch's own reader of weights takes is read by it. RecBole's checkpoints are pickles of a later protocol, which it
does not read, and keep a config and enums beside the weights as objects of RecBole's: a reader of ours takes these as
empty shells, and makes tensors of bytes itself. All else is refused.
"""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.readers.files import check_room

SHELLS = (
    "recbole.",
    "yaml.",
    "builtins.getattr",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
"""How names begin of what is read as an empty shell: RecBole's objects, its reader of configs, enums, a best score."""

OLD_PICKLES = 5
"""How many pickles a checkpoint begins with that torch wrote before version 1.6."""

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""What the numbers of tensors are called in a checkpoint → their type."""


def read_checkpoint(path: Path) -> Any:
    """What a checkpoint holds.

    Raises:
        AutopruneError: it asks for what is no tensor, number or text.
        Exception: whatever a damaged file does to its reader.
    """
    zipped = zipfile.is_zipfile(path)
    if not zipped:  # the numbers of an archive are mapped, those of the old format are read
        check_room(str(path), path.stat().st_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write: they are read or refused
            return torch.load(path, weights_only=True, map_location="cpu", mmap=zipped)
    except Exception as error:
        refused = error
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                return _Archive(archive, path).load()
        with path.open("rb") as file:
            for _ in range(OLD_PICKLES):
                _Asking(file).load()
    except _Foreign as foreign:
        raise _more_than_tensors(path, str(foreign)) from refused
    except Exception:  # it is damaged, of which torch says more
        pass
    if isinstance(refused, pickle.UnpicklingError):
        raise _more_than_tensors(path, "or it is damaged") from refused
    raise refused


class _Foreign(Exception):
    """A pickle asks for a function or a class that it is not given."""


def _more_than_tensors(path: Path, asked: str) -> AutopruneError:
    way_out = (
        'vectors.save_word2vec_format("my.vec") writes what is read (model.wv holds the vectors of a model).'
        if asked.startswith("gensim.")
        else "Save the tensors alone: torch.save(model.state_dict(), path), or as safetensors."
    )
    return AutopruneError(
        f"{path}: it is a pickle that asks for more than tensors ({asked}); that could run code and is never opened. "
        f"{way_out}"
    )


class _Tensors(pickle.Unpickler):
    """Reads plain values, tensors and empty shells. A pickle can call what `find_class` gives it, and nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        asked = f"{module}.{name}"
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if asked in _MADE:
            made = _MADE[asked]
            return lambda *arguments: made(*arguments)  # a new one: what a pickle does to it is gone with it
        if asked.startswith(SHELLS):
            return type(name, (_Shell,), {})
        raise _Foreign(asked)


class _Shell:
    """Takes everything, keeps nothing and does nothing."""

    def __new__(cls, *_: object) -> _Shell:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _rebuilt(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)  # which refuses to look beyond the storage


_MADE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.device": lambda *_: None,
    "torch.Size": tuple,
}
"""What a pickle may call."""


class _Asking(_Tensors):
    """Goes through a pickle of the old format without its tensors, so that it is known what else it asks for."""

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        return _Shell if module == "torch._utils" else found

    def persistent_load(self, told: Any) -> None:
        """The numbers of a tensor."""


class _Archive(_Tensors):
    """Reads the archive that torch writes: a pickle, and beside it the numbers of each tensor, mapped from the file."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._bytes = archive, np.memmap(path, dtype=np.uint8, mode="c")
        name = next(one for one in archive.namelist() if one.rpartition("/")[2] == "data.pkl")
        self._folder = name.removesuffix("data.pkl")
        super().__init__(archive.open(name))

    def persistent_load(self, told: Any) -> Tensor:
        """The numbers that are told as ("storage", type, name, device, count): [count]."""
        _, kind, name, _, count = told
        member = self._archive.getinfo(f"{self._folder}data/{name}")
        head = self._bytes[member.header_offset :][:30].tobytes()  # it ends with the lengths of a name and of an extra
        begin = member.header_offset + 30 + sum(struct.unpack("<HH", head[26:]))
        held = self._bytes[begin : begin + count * kind.itemsize]
        if member.compress_type != zipfile.ZIP_STORED or len(held) < count * kind.itemsize:
            raise pickle.UnpicklingError("its numbers are not where torch writes them")
        return torch.from_numpy(held).view(kind)
