"""One table of vectors with names for its rows, whatever format it is in."""

from __future__ import annotations

from pathlib import Path

from autoprune.errors import AutopruneError, nearest
from autoprune.readers.arrays import ALONE, Array, read_arrays
from autoprune.readers.files import ARRAYS, PARQUET, TEXT, format_of
from autoprune.readers.ids import ids_beside, read_ids
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
            the ids in the table's file.

    Raises:
        AutopruneError: a file is missing or damaged, or does not hold a table; with the place.
    """
    if path.is_dir():
        if name or ids:
            raise AutopruneError(f"{path}: the tokens of a folder name its rows; give it alone, without {name or ids}.")
        return read_model2vec(path).rows
    kind = format_of(path)
    if kind in ARRAYS:
        array, where = _named(read_arrays(path), name, path)
        beside = ids or ids_beside(path)
        return named_rows(array, read_ids(beside) if beside else None, where=where, ids_where=str(beside or ""))
    if kind not in (PARQUET, TEXT):
        raise AutopruneError(f"{path} holds {kind}, where vectors are needed.")
    table = read_parquet(path) if kind == PARQUET else read_text(path)
    if ids is None:
        return table
    if table.ids is not None:
        raise AutopruneError(f"{ids}: the ids stand in {path} already; name no other file.")
    return named_rows(table.vectors, read_ids(ids), where=table.where, ids_where=str(ids))


def _named(arrays: dict[str, Array], name: str, path: Path) -> tuple[Array, str]:
    """The array of a name, or the only table; and what to call it."""
    tables = [one for one, array in arrays.items() if array.ndim == 2]
    found = name or (tables[0] if len(tables) == 1 else ALONE)
    if found not in arrays:
        shapes = ", ".join(f"{one} {list(array.shape)}" for one, array in arrays.items() if array.ndim) or "nothing"
        said = f"there is no {name!r} in it. {nearest(name, arrays)}" if name else "which of its tables is meant?"
        raise AutopruneError(f"{path}: {said} It holds: {shapes}.")
    return arrays[found], f"{path}: {found}" if found else str(path)
