"""A table of vectors and the ids of its rows, from a file in any of the formats."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from autoprune.errors import AutopruneError, nearest
from autoprune.readers.arrays import ALONE, Array, check_opened, read_arrays, shape_of
from autoprune.readers.files import ARRAYS, IDS, PARQUET, TEXT, format_of
from autoprune.readers.ids import ids_beside, ids_of, read_ids
from autoprune.readers.model2vec import read_model2vec
from autoprune.readers.named import NamedRows, named_rows
from autoprune.readers.parquet import read_parquet
from autoprune.readers.words import read_text


def read_table(path: Path, *, name: str = "", ids: Path | None = None) -> NamedRows:
    """The table in a file.

    Args:
        path: `.npy`, `.npz`, safetensors, a checkpoint of PyTorch, parquet, word2vec's or GloVe's text, word2vec's
            binary format; or a folder of model2vec.
        name: of the array, if the file holds several.
        ids: a file of ids; by default the one next to the table (`items_ids.txt` or `items.ids.npy` of `items.npy`),
            or the ids in the table's own file (an array with one of the names `IDS`).

    Raises:
        AutopruneError: a file is missing, damaged, or holds no table.
    """
    if path.is_dir():
        if name or ids:
            raise AutopruneError(f"{path}: its tokens are the ids of its rows; leave out {name or ids}.")
        return read_model2vec(path).rows
    kind = format_of(path)
    if kind in ARRAYS:
        arrays = read_arrays(path)
        array, where = _named(arrays, name, path)
        ids_file = ids or ids_beside(path)
        if ids_file:
            return named_rows(array, read_ids(ids_file), where=where, ids_where=str(ids_file))
        own_ids = next((one for one in IDS if one in arrays), None)
        if own_ids is None:
            return named_rows(array, None, where=where)
        ids_where = f"{path}: {own_ids}"
        check_opened(arrays[own_ids], ids_where)
        return named_rows(array, ids_of(arrays[own_ids], ids_where), where=where, ids_where=ids_where)
    if kind not in (PARQUET, TEXT):
        raise AutopruneError(f"{path} holds {kind}, but vectors are needed.")
    table = read_parquet(path) if kind == PARQUET else read_text(path)
    if ids is None:
        return table
    if table.ids is not None:
        raise AutopruneError(f"{ids}: {path} holds ids already; leave this file out.")
    rows = named_rows(table.vectors, read_ids(ids), where=table.where, ids_where=str(ids))
    return dataclasses.replace(rows, bias=table.bias)


def _named(arrays: dict[str, Array], name: str, path: Path) -> tuple[Array, str]:
    """The array with a name, or the only table; and what to call it in messages."""
    tables = [entry for entry, array in arrays.items() if array.ndim == 2]
    chosen = name or (tables[0] if len(tables) == 1 else ALONE)
    if chosen not in arrays:
        shapes = ", ".join(f"{entry} {shape_of(array)}" for entry, array in arrays.items() if array.ndim)
        unnamed = "which of its tables is meant?" if tables else "there is no table of rows x dimensions in it."
        reason = f"there is no {name!r} in it. {nearest(name, arrays)}" if name else unnamed
        raise AutopruneError(f"{path}: {reason} It holds: {shapes or 'no arrays by name'}.")
    where = f"{path}: {chosen}" if chosen else str(path)
    check_opened(arrays[chosen], where)
    return arrays[chosen], where
