"""One table of vectors with names for its rows, whatever format it is in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from autoprune.errors import AutopruneError, nearest
from autoprune.readers.arrays import ALONE, Array, read_arrays
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
        name: of the array, where the file holds several.
        ids: a file of ids; by default the one beside the table (`items_ids.txt`, `items.ids.npy` of `items.npy`), or
            the ids in the table's file, among arrays one of the names `IDS`.

    Raises:
        AutopruneError: a file is missing or damaged, or does not hold a table; with the place.
    """
    if path.is_dir():
        if name or ids:
            raise AutopruneError(f"{path}: the tokens of a folder name its rows; give it alone, without {name or ids}.")
        return read_model2vec(path).rows
    kind = format_of(path)
    if kind in ARRAYS:
        arrays = read_arrays(path)
        array, where = _named(arrays, name, path)
        beside = ids or ids_beside(path)
        if beside:
            return named_rows(array, read_ids(beside), where=where, ids_where=str(beside))
        own = next((one for one in IDS if one in arrays), None)
        ids_where = f"{path}: {own}"
        names = ids_of(arrays[own], ids_where) if own else None
        return named_rows(array, names, where=where, ids_where=ids_where)
    if kind not in (PARQUET, TEXT):
        raise AutopruneError(f"{path} holds {kind}, where vectors are needed.")
    table = read_parquet(path) if kind == PARQUET else read_text(path)
    if ids is None:
        return table
    if table.ids is not None:
        raise AutopruneError(f"{ids}: the ids stand in {path} already; name no other file.")
    found = named_rows(table.vectors, read_ids(ids), where=table.where, ids_where=str(ids))
    return dataclasses.replace(found, bias=table.bias)


def _named(arrays: dict[str, Array], name: str, path: Path) -> tuple[Array, str]:
    """The array of a name, or the only table; and what to call it."""
    tables = [one for one, array in arrays.items() if array.ndim == 2]
    found = name or (tables[0] if len(tables) == 1 else ALONE)
    if found not in arrays:
        shapes = ", ".join(f"{one} {list(array.shape)}" for one, array in arrays.items() if array.ndim)
        which = "which of its tables is meant?" if tables else "there is no table of rows x dimensions in it."
        said = f"there is no {name!r} in it. {nearest(name, arrays)}" if name else which
        raise AutopruneError(f"{path}: {said} It holds: {shapes or 'no arrays by name'}.")
    return arrays[found], f"{path}: {found}" if found else str(path)
