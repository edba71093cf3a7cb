"""Checkpoints of PyTorch, which are pickles: only tensors are read, and no code in a file is ever run.

Most files are read by torch's own reader of weights. It does not read RecBole's checkpoints: these are pickles of a
later protocol, and hold a config and enums as objects of RecBole's. Our reader replaces such objects with empty shells,
and builds the tensors from their bytes. Everything else is refused.
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
"""Prefixes of the names that become empty shells: RecBole's objects, its config reader, enums, a best score."""

OLD_PICKLES = 5
"""How many pickles a checkpoint in the format of torch before 1.6 begins with."""

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
"""Storage class in a checkpoint → type of its numbers."""


def read_checkpoint(path: Path) -> Any:
    """The content of a checkpoint.

    Raises:
        AutopruneError: it needs more than tensors, numbers and texts.
        Exception: the file is damaged; the error is torch's.
    """
    zipped = zipfile.is_zipfile(path)
    if not zipped:  # an archive is mapped, the old format is read into memory
        check_room(str(path), path.stat().st_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch did not write: we read or refuse them
            return torch.load(path, weights_only=True, map_location="cpu", mmap=zipped)
    except Exception as error:
        refused = error
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                return _Archive(archive, path).load()
        with path.open("rb") as file:
            for _ in range(OLD_PICKLES):
                _Probe(file).load()
    except _Foreign as foreign:
        raise _more_than_tensors(path, str(foreign)) from refused
    except Exception:  # the file is damaged; torch's own error says more
        pass
    if isinstance(refused, pickle.UnpicklingError):
        raise _more_than_tensors(path, "or it is damaged") from refused
    raise refused


class _Foreign(Exception):
    """A pickle asks for a function or a class that it may not use."""


def _more_than_tensors(path: Path, requested: str) -> AutopruneError:
    way_out = (
        'vectors.save_word2vec_format("my.vec") writes what is read (model.wv holds the vectors of a model).'
        if requested.startswith("gensim.")
        else "Save the tensors alone: torch.save(model.state_dict(), path), or as safetensors."
    )
    return AutopruneError(
        f"{path}: it is a pickle that asks for more than tensors ({requested}); that could run code and is never "
        f"opened. {way_out}"
    )


class _Tensors(pickle.Unpickler):
    """Reads plain values, tensors and empty shells. A pickle can call only what `find_class` returns."""

    def find_class(self, module: str, name: str, /) -> Any:
        requested = f"{module}.{name}"
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if requested in _MADE:
            function = _MADE[requested]
            return lambda *arguments: function(*arguments)  # a new function: a pickle may set attributes on it
        if requested.startswith(SHELLS):
            return type(name, (_Shell,), {})
        raise _Foreign(requested)


class _Shell:
    """Accepts any arguments and ignores them."""

    def __new__(cls, *_: object) -> _Shell:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _rebuilt(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)  # it refuses to look beyond the storage


_MADE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.device": lambda *_: None,
    "torch.Size": tuple,
}
"""Everything a pickle may call."""


class _Probe(_Tensors):
    """Reads a pickle of the old format without its tensors, to find out what else it asks for."""

    def find_class(self, module: str, name: str, /) -> Any:
        allowed = super().find_class(module, name)
        return _Shell if module == "torch._utils" else allowed

    def persistent_load(self, pid: Any) -> None:
        """Nothing, in place of the numbers of a tensor."""


class _Archive(_Tensors):
    """Reads the archive that torch writes: a pickle, and the numbers of each tensor, mapped from the file."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._bytes = archive, np.memmap(path, dtype=np.uint8, mode="c")
        name = next(member for member in archive.namelist() if member.rpartition("/")[2] == "data.pkl")
        self._folder = name.removesuffix("data.pkl")
        super().__init__(archive.open(name))

    def persistent_load(self, pid: Any) -> Tensor:
        """The numbers of a tensor, [count], given ("storage", type, name, device, count)."""
        _, kind, name, _, count = pid
        member = self._archive.getinfo(f"{self._folder}data/{name}")
        header = self._bytes[member.header_offset :][
            :30
        ].tobytes()  # it ends with the lengths of the name and the extra field
        begin = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
        content = self._bytes[begin : begin + count * kind.itemsize]
        if member.compress_type != zipfile.ZIP_STORED or len(content) < count * kind.itemsize:
            raise pickle.UnpicklingError("its numbers are not where torch writes them")
        return torch.from_numpy(content).view(kind)
