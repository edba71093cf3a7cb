"""Ids from a file beside a table: a line each, or an array, a list in JSON, a column in parquet."""

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
"""What the ids of `{stem}.npy` are called, whatever the ending."""


def ids_beside(path: Path) -> Path | None:
    """The file of ids that lies beside a table, by its name; None where there is none.

    Raises:
        AutopruneError: there are several.
    """
    names = {name.format(stem=path.stem) for name in BESIDE}
    found = [
        one
        for one in sorted(path.parent.iterdir())
        if one != path and (one.name in names or (one.stem in names and one.suffix.lower() in ENDINGS))
    ]
    if len(found) > 1:
        raise AutopruneError(
            f"{path}: its ids may stand in {' or '.join(one.name for one in found)}; keep one of them."
        )
    return found[0] if found else None


def read_ids(path: Path) -> list[str]:
    """The ids in a file, in its order.

    Raises:
        AutopruneError: the file cannot be read, or holds something else.
    """
    kind = format_of(path)
    if kind == NPY:
        return ids_of(next(iter(read_arrays(path).values())), str(path))
    if kind == PARQUET:
        return read_parquet_ids(path)
    if kind not in (JSON, TEXT):
        raise AutopruneError(
            f"{path} holds {kind}, where ids are needed: .txt with a line for each, .npy, .json, .parquet."
        )
    with open_bytes(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
        held = json.loads(text) if kind == JSON else text.removesuffix("\n").split("\n")
    except ValueError as error:
        raise AutopruneError(f"{path}: it cannot be read as {'JSON' if kind == JSON else 'UTF-8'}: {error}.") from error
    if not isinstance(held, list) or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in held):
        raise AutopruneError(f"{path}: a list of ids must stand there.")
    return [str(one).removesuffix("\r") for one in held]


def whole_number(written: str) -> int | None:
    """The whole number of 64 bits that a text writes; None where it writes none."""
    try:
        number = int(written)
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def ids_of(array: npt.NDArray[Any], where: str) -> list[str]:
    """The ids in an array of whole numbers or texts, [n].

    Raises:
        AutopruneError: it holds something else.
    """
    if array.ndim != 1 or array.dtype.kind not in "iuUST":
        raise AutopruneError(
            f"{where}: ids are whole numbers or texts, one for each row, but it holds {array.dtype} of shape "
            f"{list(array.shape)}; save them as such, e.g. np.save(path, ids.astype(str))."
        )
    held = np.asarray(array).tolist()
    if array.dtype.kind != "S":
        return [str(one) for one in held]
    found = list[str]()
    for row, one in enumerate(held):
        try:
            found.append(one.decode())
        except UnicodeDecodeError as error:
            raise AutopruneError(
                f"{where}: the id of row {row:,} ({one!r}) is not UTF-8; save the ids as texts, e.g. "
                "np.save(path, np.char.decode(ids, 'latin-1'))."
            ) from error
    return found
