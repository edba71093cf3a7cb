"""Vectors and ids from parquet: a column of ids, and a column of vectors or a column for each dimension."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.extras import need
from autoprune.readers.files import IDS, check_room
from autoprune.readers.named import NamedRows, Vectors, as_float32, check_finite, named_rows

BIAS = "bias"
"""Name of the column of biases, in a file with a column of vectors."""

ROWS = 2**13
"""Rows that are read at a time, so that memory holds the whole table only once, as float32."""


def read_parquet(path: Path) -> NamedRows:
    """The vectors of a file, their ids, and their biases if there is a column `bias`.

    The ids are in the column with one of the names `IDS`, or else in the only column of neither vectors nor floats.

    Raises:
        AutopruneError: the columns are ambiguous, or the vectors have different lengths.
    """
    with _opened(path) as file:
        return _rows_of(file, path)


def read_parquet_ids(path: Path) -> list[str]:
    """The ids in a file's only column.

    Raises:
        AutopruneError: it has several columns, or a row without an id.
    """
    with _opened(path) as file:
        table = file.read()
        if table.num_columns != 1:
            raise AutopruneError(
                f"{path}: it must have one column, of ids, but it has: {', '.join(table.column_names)}."
            )
        return _texts(table[0], path)


def _rows_of(file: Any, path: Path) -> NamedRows:
    """`read_parquet` of an open file."""
    schema = file.schema_arrow
    kinds = {field.name: field.type for field in schema}
    vectors = [name for name, kind in kinds.items() if _is_list(kind)]
    biases = [name for name in kinds if vectors and name.lower() == BIAS]
    ids = [name for name in kinds if name.lower() in IDS and name not in vectors]
    others = [name for name in kinds if name not in (*vectors, *biases, *ids)]
    numbers = [name for name in others if _arrow().types.is_floating(kinds[name])]
    ids = ids or [name for name in others if name not in numbers]
    if max(len(vectors), len(biases), len(ids)) > 1 or not (vectors or numbers):
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise AutopruneError(
            f"{path}: it must have a column of ids and a column of vectors (lists of numbers), or a column of "
            f"floats for each dimension, but it has: {columns}. Name the column of ids id, or remove the other columns."
        )
    if vectors and numbers:
        raise AutopruneError(
            f"{path}: next to a column of vectors, the only column of floats must be {BIAS}, but there is: "
            f"{', '.join(numbers)}. Rename the column of biases, and remove the others."
        )
    array = _filled(file, vectors or numbers, path)
    side_columns = file.read(columns=[*ids, *biases])
    rows = named_rows(array, _texts(side_columns[ids[0]], path) if ids else None, where=str(path))
    if not biases:
        return rows
    where = f"{path}: {biases[0]}"
    bias = as_float32(_plain(side_columns[biases[0]], path), where)
    check_finite(bias, rows.ids, where=where)
    return dataclasses.replace(rows, bias=bias)


def _arrow() -> Any:
    import pyarrow
    import pyarrow.types

    return pyarrow


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open file; an error while it is read becomes an `AutopruneError`."""
    need("pyarrow", "parquet", f"{path}: parquet")
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path, pre_buffer=False)  # pre-buffering holds the whole file in memory
        groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
        check_room(str(path), sum(group.total_byte_size for group in groups))
        yield file
    except AutopruneError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise AutopruneError(f"{path}: it cannot be read as parquet: {str(error).splitlines()[0]}.") from error


def _filled(file: Any, columns: list[str], path: Path) -> Vectors:
    """The vectors of a column of lists, or of a column for each dimension, float32 [rows, dim]."""
    rows, start, vectors = file.metadata.num_rows, 0, np.empty((0, 0), dtype=np.float32)
    for batch in filter(len, file.iter_batches(columns=columns, batch_size=ROWS)):
        arrays = [batch.column(name) for name in columns]
        if _is_list(arrays[0].type):
            block = _lists(arrays[0], path, first=start, dim=vectors.shape[1])
        else:
            block = np.stack([_plain(array, path) for array in arrays], axis=1)
        values = as_float32(block, str(path))
        if not start:
            check_room(str(path), 4.0 * rows * values.shape[1])
            vectors = np.empty((rows, values.shape[1]), dtype=np.float32)
        vectors[start : start + len(values)] = values
        start += len(values)
    return vectors


def _is_list(kind: Any) -> bool:
    types = _arrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _lists(column: Any, path: Path, *, first: int, dim: int) -> Any:
    """Some rows of a column of lists of one length as an array, [rows, dim].

    Args:
        first: the number in the file of the first of these rows.
        dim: the length of the lists in earlier rows; ignored if `first` is 0.
    """
    import pyarrow.compute

    if column.null_count:
        row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise AutopruneError(f"{path}: row {row:,} has no vector; remove such rows.")
    lengths = pyarrow.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    length = dim if first else int(lengths[0])
    if (lengths != length).any():
        row = int(np.argmax(lengths != length))
        raise AutopruneError(
            f"{path}: all vectors must be of one length, but row 0 has {length} values and row {first + row:,} has "
            f"{lengths[row]}."
        )
    return _plain(column.flatten(), path).reshape(len(column), -1)


def _plain(column: Any, path: Path) -> Any:
    if column.null_count:
        raise AutopruneError(f"{path}: values are missing in a column of numbers; remove these rows.")
    return column.to_numpy() if isinstance(column, _arrow().ChunkedArray) else column.to_numpy(zero_copy_only=False)


def _texts(column: Any, path: Path) -> list[str]:
    """A column of ids as texts: bytes are decoded, and floats (pandas' integers with gaps) must be whole numbers."""
    if column.null_count:
        raise AutopruneError(f"{path}: {column.null_count:,} rows have no id; remove them.")
    values = column.to_pylist()
    if not _arrow().types.is_floating(column.type):
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    # from here on a float stands for several whole numbers
    ambiguous_from = 2 / float(np.finfo(column.type.to_pandas_dtype()).eps)
    wrong = next((value for value in values if not value.is_integer() or abs(value) >= ambiguous_from), None)
    if wrong is not None:
        raise AutopruneError(
            f"{path}: ids are whole numbers or texts, but {wrong!r} is a fraction, or a float too large to be "
            "exact; save the ids as integers or texts."
        )
    return [str(int(value)) for value in values]
