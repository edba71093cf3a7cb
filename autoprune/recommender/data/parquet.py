"""Tables in parquet: a file, or a folder of files, perhaps with columns in the names of subfolders (`day=1/`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.extras import need

LOOKED_AT = 200
"""Number of first rows from which the roles of columns are guessed."""


def is_parquet(path: Path) -> bool:
    """Whether a file is parquet, by its name or content, or a folder has parquet files."""
    if path.is_dir():
        return path.suffix == ".parquet" or any(path.rglob("*.parquet"))
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


class ParquetTable:
    """A table in parquet, of which only the columns are read: metadata on indexes and types, as of pandas, is ignored.

    Raises:
        AutopruneError: pyarrow is not installed.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        need("pyarrow", "parquet", f"{path}: parquet")
        import pyarrow.dataset
        import pyarrow.parquet

        self._path = path
        # A single file is not read as a dataset, which rejects repeated names and takes the folders above for columns.
        self._table: Any = (
            pyarrow.dataset.dataset(path, format="parquet", partitioning="hive")
            if path.is_dir()
            else pyarrow.parquet.ParquetFile(path)
        )
        self.names: list[str] = list((self._table.schema if path.is_dir() else self._table.schema_arrow).names)
        if not self.names:
            raise AutopruneError(f"{path}: there are no columns in it; a folder must hold parquet files.")

    @property
    def rows(self) -> list[list[str]]:
        """The first rows as text."""
        head = next(self._batches(None, LOOKED_AT), None)
        series = [_series(column) for column in head.columns] if head is not None else []
        columns = [["" if gap else str(value) for value, gap in zip(each, each.isna(), strict=True)] for each in series]
        return [list(row) for row in zip(*columns, strict=True)]

    def frames(self, ids: list[int], others: list[int], *, chunk: int) -> Iterator[pd.DataFrame]:
        """The rows, `chunk` at a time; columns are named by their positions."""
        places = [*ids, *others]
        wanted = list(dict.fromkeys(self.names[place] for place in places))
        for name in wanted:
            if self.names.count(name) > 1:
                raise AutopruneError(f"{self._path} has {self.names.count(name)} columns {name!r}; rename them.")
        for batch in self._batches(wanted, chunk):
            yield pd.DataFrame({place: _series(batch.column(self.names[place])) for place in places})

    def _batches(self, columns: list[str] | None, size: int) -> Iterator[Any]:
        if self._path.is_dir():
            return iter(self._table.to_batches(columns=columns, batch_size=size, batch_readahead=2))
        return iter(self._table.iter_batches(columns=columns, batch_size=size))


def _series(column: Any) -> pd.Series[Any]:
    """A column as plain values: dictionaries, extension types and text in bytes are decoded."""
    import pyarrow

    if isinstance(column, pyarrow.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pyarrow.ExtensionArray):
        column = column if column.type.extension_name == "arrow.uuid" else column.storage
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_binary(column.type) or pyarrow.types.is_large_binary(column.type):
        column = column.cast(pyarrow.large_string())
    series: pd.Series[Any] = column.to_pandas(date_as_object=False, integer_object_nulls=True)
    return series.reset_index(drop=True)
