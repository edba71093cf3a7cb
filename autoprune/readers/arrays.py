"""Arrays by name from files that hold nothing else: `.npy`, `.npz`, safetensors, checkpoints of PyTorch.

Nothing in a file is ever run. Of a checkpoint, which is a pickle, tensors alone are read, by torch's own reader of
weights; a file that asks for more is refused. RecBole's checkpoints keep their config beside the weights as objects of
RecBole's: these are read as empty shells.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.readers.files import CHECKPOINT, NPY, NPZ, SAFETENSORS, format_of

Array = npt.NDArray[Any]

ALONE = ""
"""The name of the only array of a file that names none."""

WEIGHTS = ("state_dict", "model_state_dict", "model")
"""Where training programs put the weights in a checkpoint; without any of these all of it is weights."""

OLD_PICKLES = 5
"""How many pickles a checkpoint begins with that torch wrote before version 1.6."""

SHELLS = ("recbole.",)
"""Packages whose objects in a checkpoint are read as empty shells."""


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
            with np.load(path, allow_pickle=False) as held:
                return {name: array for name in held.files if (array := _plain(held, name)) is not None}
        if kind == SAFETENSORS:
            with safetensors.safe_open(path, framework="pt") as held:
                return {name: _array(held.get_tensor(name)) for name in held.keys()}  # noqa: SIM118  # no mapping
        if kind == CHECKPOINT:
            return {name: _array(tensor) for name, tensor in _tensors(_weights(_checkpoint(path)))}
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


def _array(tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    array: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _checkpoint(path: Path) -> Any:
    """What a checkpoint holds, without running anything.

    Raises:
        AutopruneError: it asks for what is no tensor, number or text.
    """
    asked = _asked(path)
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([_shell(name) for name in asked if name.startswith(SHELLS)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write: they are read or refused
            return torch.load(path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path))
    except Exception as error:
        foreign = [name for name in asked if not name.startswith((*SHELLS, "torch.", "collections."))]
        if not foreign and not isinstance(error, pickle.UnpicklingError):
            raise
        gensim = next((name for name in foreign if name.startswith("gensim.")), None)
        way_out = (
            'vectors.save_word2vec_format("my.vec") writes what is read (model.wv holds the vectors of a model).'
            if gensim
            else "Save the tensors alone: torch.save(model.state_dict(), path), or as safetensors."
        )
        asked_for = gensim or ", ".join(foreign[:3]) or "or it is damaged"
        raise AutopruneError(
            f"{path}: it is a pickle that asks for more than tensors ({asked_for}); that could run code and is never "
            f"opened. {way_out}"
        ) from error
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _asked(path: Path) -> list[str]:
    """The names of functions and classes that a checkpoint asks for; found without loading it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickled: list[IO[bytes]] = [
                io.BytesIO(archive.read(name)) for name in archive.namelist() if name.endswith("data.pkl")
            ]
    else:  # torch's old format: a few pickles one after another, then the numbers
        pickled = [io.BytesIO(path.read_bytes())] * OLD_PICKLES
    found, texts = set(), list[str]()
    for file in pickled:
        with contextlib.suppress(ValueError):  # it is damaged from here on
            for code, argument, _ in pickletools.genops(file):
                if code.name == "GLOBAL":
                    found.add(str(argument).replace(" ", "."))
                elif code.name == "STACK_GLOBAL":
                    found.add(".".join(texts[-2:]))
                elif isinstance(argument, str):
                    texts.append(argument)
    return sorted(found)


def _shell(name: str) -> Any:
    """A class of a name that takes everything and does nothing."""
    module, _, own = name.rpartition(".")
    return type(own, (_Shell,), {"__module__": module})


class _Shell:
    """Takes everything, keeps nothing and does nothing."""

    def __new__(cls, *_: object) -> _Shell:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


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
