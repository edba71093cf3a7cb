"""Ids from a file of their own: text with one id a line, an array, a JSON list, or a parquet column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoprune.errors import AutopruneError
from autoprune.readers.arrays import read_arrays
from autoprune.readers.files import ENDINGS, JSON, NPY, PARQUET, TEXT, format_of, open_bytes
from autoprune.readers.parquet import read_parquet_ids

BESIDE = ("{stem}_ids", "{stem}.ids")
"""Names of the file with the ids of `{stem}.npy`, without its ending."""


def ids_beside(path: Path) -> Path | None:
    """The file of ids next to a table, found by its name; None if there is none.

    Raises:
        AutopruneError: there are several.
    """
    names = {name.format(stem=path.stem) for name in BESIDE}
    matches = [
        file
        for file in sorted(path.parent.iterdir())
        if file != path and (file.name in names or (file.stem in names and file.suffix.lower() in ENDINGS))
    ]
    if len(matches) > 1:
        raise AutopruneError(
            f"{path}: its ids may be in {' or '.join(file.name for file in matches)}; keep only one of them."
        )
    return matches[0] if matches else None


def read_ids(path: Path) -> list[str]:
    """The ids in a file, in its order.

    Raises:
        AutopruneError: the file cannot be read, or holds no ids.
    """
    kind = format_of(path)
    if kind == NPY:
        return ids_of(next(iter(read_arrays(path).values())), str(path))
    if kind == PARQUET:
        return read_parquet_ids(path)
    if kind not in (JSON, TEXT):
        raise AutopruneError(
            f"{path} holds {kind}, but ids are needed: .txt with one id a line, .npy, .json or .parquet."
        )
    with open_bytes(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
        ids = json.loads(text) if kind == JSON else text.removesuffix("\n").split("\n")
    except ValueError as error:
        raise AutopruneError(f"{path}: it cannot be read as {'JSON' if kind == JSON else 'UTF-8'}: {error}.") from error
    if not isinstance(ids, list) or not all(
        isinstance(value, str | int) and not isinstance(value, bool) for value in ids
    ):
        raise AutopruneError(f"{path}: it must hold a list of ids, texts or whole numbers.")
    return [str(value).removesuffix("\r") for value in ids]


def whole_number(written: str) -> int | None:
    """A text as a whole number of 64 bits; None if it is not one."""
    try:
        number = int(written)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def ids_of(array: npt.NDArray[Any], where: str) -> list[str]:
    """The ids in an array of whole numbers or texts, [n].

    Raises:
        AutopruneError: it holds neither.
    """
    if array.ndim != 1 or array.dtype.kind not in "iuUST":
        raise AutopruneError(
            f"{where}: ids must be whole numbers or texts, one for each row, but it holds {array.dtype} of shape "
            f"{list(array.shape)}; save the ids as texts, e.g. np.save(path, ids.astype(str))."
        )
    values = np.asarray(array).tolist()
    if array.dtype.kind != "S":
        return [str(value) for value in values]
    ids = list[str]()
    for row, value in enumerate(values):
        try:
            ids.append(value.decode())
        except UnicodeDecodeError as error:
            raise AutopruneError(
                f"{where}: the id of row {row:,} ({value!r}) is not UTF-8; save the ids as texts, e.g. "
                "np.save(path, np.char.decode(ids, 'latin-1'))."
            ) from error
    return ids
