"""Vectors and ids from parquet: a column of ids beside a column of vectors, or beside a column for each dimension."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.extras import need
from autoprune.readers.files import IDS, check_room
from autoprune.readers.named import NamedRows, as_float32, check_finite, named_rows

BIAS = "bias"
"""What biases are called that lie beside a column of vectors."""


def read_parquet(path: Path) -> NamedRows:
    """The vectors of a file, their ids, and their biases where a column beside them is called `bias`.

    The ids are in the column that is called so, or else in the only one that holds neither vectors nor fractions.

    Raises:
        AutopruneError: its columns cannot be told apart, or rows are of different lengths.
    """
    table = _opened(path)
    kinds = {field.name: field.type for field in table.schema}
    vectors = [name for name, kind in kinds.items() if _is_list(kind)]
    biases = [name for name in kinds if vectors and name.lower() == BIAS]
    ids = [name for name in kinds if name.lower() in IDS and name not in vectors]
    others = [name for name in kinds if name not in (*vectors, *biases, *ids)]
    numbers = [name for name in others if _arrow().types.is_floating(kinds[name])]
    ids = ids or [name for name in others if name not in numbers]
    if max(len(vectors), len(biases), len(ids)) > 1 or not (vectors or numbers):
        there = ", ".join(f"{one.name} ({one.type})" for one in table.schema)
        raise AutopruneError(
            f"{path}: a column of ids and a column of vectors (lists of numbers), or one of fractions for each "
            f"dimension, must stand there, but it has: {there}. Call the column of the ids id, or take the others out."
        )
    if vectors and numbers:
        raise AutopruneError(
            f"{path}: beside a column of vectors one of fractions is called {BIAS}, but there is: "
            f"{', '.join(numbers)}. Call the biases of the rows so, and take out what is none."
        )
    array = _lists(table[vectors[0]], path) if vectors else np.stack([_plain(table[one], path) for one in numbers], 1)
    found = named_rows(array, _texts(table[ids[0]], path) if ids else None, where=str(path))
    if not biases:
        return found
    where = f"{path}: {biases[0]}"
    bias = as_float32(_plain(table[biases[0]], path), where)
    check_finite(bias, found.ids, where=where)
    return dataclasses.replace(found, bias=bias)


def read_parquet_ids(path: Path) -> list[str]:
    """The ids in a file's only column.

    Raises:
        AutopruneError: it has several, or none in some row.
    """
    table = _opened(path)
    if table.num_columns != 1:
        raise AutopruneError(
            f"{path}: one column of ids must stand there, but it has: {', '.join(table.column_names)}."
        )
    return _texts(table[0], path)


def _arrow() -> Any:
    import pyarrow
    import pyarrow.types

    return pyarrow


def _opened(path: Path) -> Any:
    need("pyarrow", "parquet", f"{path}: parquet")
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
        check_room(str(path), sum(group.total_byte_size for group in groups))
        return file.read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise AutopruneError(f"{path}: it cannot be read as parquet: {str(error).splitlines()[0]}.") from error


def _is_list(kind: Any) -> bool:
    types = _arrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _lists(column: Any, path: Path) -> Any:
    """A column of lists of one length as an array, [rows, dim]."""
    column = column.combine_chunks()
    if column.null_count:
        raise AutopruneError(f"{path}: {column.null_count:,} of {len(column):,} rows have no vector; take them out.")
    lengths = np.array([len(one) for one in column]) if len(column) else np.zeros(0, dtype=int)
    if len(lengths) and (lengths != lengths[0]).any():
        row = int(np.argmax(lengths != lengths[0]))
        raise AutopruneError(
            f"{path}: all vectors must be of one length, but row 0 has {lengths[0]} values and row {row:,} has "
            f"{lengths[row]}."
        )
    return _plain(column.flatten(), path).reshape(len(column), -1)


def _plain(column: Any, path: Path) -> Any:
    if column.null_count:
        raise AutopruneError(
            f"{path}: {column.null_count:,} values are missing in a column of numbers; take these rows out."
        )
    return column.to_numpy(zero_copy_only=False) if hasattr(column, "flatten") else column.to_numpy()


def _texts(column: Any, path: Path) -> list[str]:
    """A column of ids; those that are floats stand for whole numbers, as pandas has them once some were missing."""
    if column.null_count:
        raise AutopruneError(f"{path}: {column.null_count:,} rows have no id.")
    held = column.to_pylist()
    if not _arrow().types.is_floating(column.type):
        return [str(one) for one in held]
    apart = 2 / float(np.finfo(column.type.to_pandas_dtype()).eps)  # from here on a float stands for several numbers
    wrong = next((one for one in held if not one.is_integer() or abs(one) >= apart), None)
    if wrong is not None:
        raise AutopruneError(
            f"{path}: ids are whole numbers or texts, but {wrong!r} is a fraction, or a float that stands for several "
            "whole numbers; save the ids as such."
        )
    return [str(int(one)) for one in held]
