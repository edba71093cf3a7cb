"""Reads weights from a model's files: safetensors, or pickles of tensors only, whole or in shards."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from autoprune.encoder.source import check_file, read_object
from autoprune.errors import AutopruneError

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files of weights; the first that exists counts, as in `transformers`."""

COUNTS = ("position_ids", "token_type_ids")
"""Endings of the names of buffers that old versions of transformers stored with the weights."""

OTHERS = {".gguf": "GGUF", ".onnx": "ONNX", ".h5": "TensorFlow", ".msgpack": "Flax", ".ot": "Rust", ".xml": "OpenVINO"}
"""Suffixes of weights of other libraries → the library or format."""


def read_checkpoint(
    folder: Path, names: tuple[str, ...] = WEIGHTS, *, needed: Callable[[str], bool] = lambda _: True
) -> dict[str, Tensor]:
    """The float tensors in a folder, as float32, by their names there.

    Args:
        folder: the folder of the model, or of a module.
        names: names of the files, like `WEIGHTS`.
        needed: whether vectors depend on the tensor of this name. Values that are not finite are refused in any tensor,
            but the error names another way out.

    Raises:
        AutopruneError: there are no weights, a file is damaged, or a tensor is not of floats or not finite.
    """
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise AutopruneError(_nothing(folder, names))
    tensors = _read_shards(path) if path.suffix == ".json" else _read(path)
    return {
        name: _float32(tensor, name, path, needed=needed(name))
        for name, tensor in tensors.items()
        if not name.endswith(COUNTS)
    }


def check_finite(weight: Tensor, name: str, where: Path | str, *, needed: bool = True) -> None:
    """Refuses values that are not finite.

    Raises:
        AutopruneError: there is such a value; the error gives the name and the row.
    """
    wrong = ~torch.isfinite(weight)
    if bool(wrong.any()):
        first = wrong.nonzero()[0].tolist()
        place = f"row {first[0]}" if weight.dim() > 1 else f"position {first[0]}" if first else "its only place"
        raise AutopruneError(
            f"{where}: {name} holds what is no number ({int(wrong.sum()):,} of {weight.numel():,} values), the first "
            f"({float(weight[tuple(first)])}) in {place}; "
            + (
                "such a model cannot be compressed."
                if needed
                else "no vector rests on this tensor, so the model can be saved without it: read the file with "
                f"safetensors.torch.load_file (torch.load), take {name!r} out, and write it with save_file."
            )
        )


def _nothing(folder: Path, names: tuple[str, ...]) -> str:
    wanted = " nor ".join(name for name in names if not name.endswith(".json"))
    said = f"{folder}: the weights are missing: neither {wanted} is there"
    other = sorted(path.name for path in folder.rglob("*") if path.suffix in OTHERS)
    if other:
        kinds = " and ".join(sorted({OTHERS[Path(name).suffix] for name in other}))
        return f"{said}, only {kinds} ({other[0]}); save the model with save_pretrained of transformers."
    named = sorted(path.name for path in folder.glob("*") if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    return f"{said}, only {', '.join(named[:3])}; call it {names[0]} if it is the model." if named else said + "."


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names."""
    check_file(index)
    places = read_object(index).get("weight_map")
    if not places or not isinstance(places, Mapping) or not all(isinstance(place, str) for place in places.values()):
        raise AutopruneError(f"{index}: weight_map must name the file of every tensor, but it does not.")
    held: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        path = index.parent / name
        if Path(name).name != name or not path.is_file():
            raise AutopruneError(f"{index}: it names {name}, which is not there.")
        held |= _read(path)
    lacking = sorted(set(places) - set(held))
    if lacking:
        raise AutopruneError(f"{index}: it names {lacking[0]} in {places[lacking[0]]}, which does not hold it.")
    return held


def _read(path: Path) -> dict[str, Tensor]:
    check_file(path)
    try:
        held: Any = (
            safetensors.torch.load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, weights_only=True, map_location="cpu")
        )
    except (pickle.UnpicklingError, ModuleNotFoundError, AttributeError) as error:
        raise AutopruneError(
            f"{path}: the weights cannot be read: it is a pickle that holds more than tensors, which could run code "
            "and is never opened, or it is damaged. Save the model as safetensors."
        ) from error
    except Exception as error:  # a damaged file may raise anything
        raise AutopruneError(
            f"{path}: the weights cannot be read, the file is damaged or cut short ({_first_line(error)})."
        ) from error
    if not isinstance(held, Mapping) or not all(isinstance(tensor, Tensor) for tensor in held.values()):
        raise AutopruneError(f"{path}: tensors by name must stand there, but it holds something else.")
    return dict(held)


def _float32(tensor: Tensor, name: str, where: Path, *, needed: bool) -> Tensor:
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise AutopruneError(
            f"{where}: {name} is {kind}, which is a code of some quantisation; give the model in float32, float16 or "
            "bfloat16."
        )
    check_finite(tensor, name, where, needed=needed)
    wide = tensor.float()
    if tensor.dtype == torch.float64:
        check_finite(wide, f"{name} (as float32)", where, needed=needed)
    return wide


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
