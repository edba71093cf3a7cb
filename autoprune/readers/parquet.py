"""Vectors and ids from parquet: a column of ids beside a column of vectors, or beside a column for each dimension."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.readers.files import IDS, check_room
from autoprune.readers.named import NamedRows, named_rows


def read_parquet(path: Path) -> NamedRows:
    """The vectors of a file; of the columns that hold neither vectors nor fractions, the only one or `id` has the ids.

    Raises:
        AutopruneError: its columns cannot be told apart, or rows are of different lengths.
    """
    table, types = _opened(path), _arrow().types
    vectors = [field.name for field in table.schema if _is_list(field.type)]
    numbers = [field.name for field in table.schema if types.is_floating(field.type)]
    others = [field.name for field in table.schema if field.name not in (*vectors, *numbers)]
    named = [name for name in others if name.lower() in IDS]
    others = named if len(named) == 1 else others
    if len(vectors) > 1 or not (vectors or numbers) or len(others) > 1:
        there = ", ".join(f"{one.name} ({one.type})" for one in table.schema)
        raise AutopruneError(
            f"{path}: a column of ids and a column of vectors (lists of numbers), or one of fractions for each "
            f"dimension, must stand there, but it has: {there}. Call the column of the ids id, or take the others out."
        )
    array = _lists(table[vectors[0]], path) if vectors else np.stack([_plain(table[one], path) for one in numbers], 1)
    return named_rows(array, _texts(table[others[0]], path) if others else None, where=str(path))


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
    if importlib.util.find_spec("pyarrow") is None:
        raise AutopruneError(f"{path}: parquet needs the package pyarrow: pip install 'autoprune[parquet]'.")
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
        raise AutopruneError(f"{path}: {column.null_count:,} values are missing in its vectors; take these rows out.")
    return column.to_numpy(zero_copy_only=False) if hasattr(column, "flatten") else column.to_numpy()


def _texts(column: Any, path: Path) -> list[str]:
    if column.null_count:
        raise AutopruneError(f"{path}: {column.null_count:,} rows have no id.")
    return [str(one) for one in column.to_pylist()]
