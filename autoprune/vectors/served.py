"""Vectors served from a packed table: lookup by id, and search."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from autoprune.artifacts.exported import Exported, ExportedTable
from autoprune.artifacts.inside import FILE, table_inside
from autoprune.artifacts.served import Parts, Served
from autoprune.errors import AutopruneError
from autoprune.packing.arrays import (
    Array,
    filled,
    gathered,
    largest,
    namespace,
    norms,
    numbers,
    numpy_of,
    tensor_of,
    topk,
)
from autoprune.packing.ids import Id, Ids, Packed, Rows, plain_id
from autoprune.packing.packed import BLOCK_ROWS
from autoprune.packing.rows import widened

Numbers = np.ndarray[Any, np.dtype[np.float32]]

TABLE = "vectors"
"""The name of the only table."""

SCORES = 2**24
"""Scores that are computed at a time for few queries: 64 MB."""

BLOCK_SCORES = 2**20
"""Scores that are computed at a time for many queries: 4 MB, still in cache when the best are chosen …"""

MOST_QUERIES = 512
"""… for at most this many queries."""


class Neighbour(NamedTuple):
    """A row found by a search: its id and its similarity."""

    id: Id
    score: float


class VectorIndex(Served):
    """Exact search among the rows of a table, and lookup of its rows.

    The table computes in numpy, or in torch on a GPU; row numbers and ids are always numpy's.

    Attributes:
        similarity: `cosine`, `dot` or `euclidean`; the last is a negated distance.
        width: dimensions of queries and of what `vector` returns, whatever the table holds.
        pointing: ids of removed rows for which the nearest remaining row answers.
        pointers: the row that answers for each of them: whole numbers of any type, [pointing].
        came_from: tokenizer and config of the folder of model2vec that the vectors came from; None: another source.
    """

    def __init__(self, parts: Parts, *, device: str = "cpu", prefer: str | None = None) -> None:
        self.device = device
        table = widened(parts.tables()[TABLE], prefer)
        self.table = table if device == "cpu" else table.to(device)
        self._entry, self._stored = parts.manifest["tables"][TABLE], list(parts.tensors)
        self.similarity = str(parts.manifest["similarity"])
        self.width = int(parts.manifest["width"])
        projection = parts.tensors.get("projection")
        self.projection = None if projection is None else self._put(np.asarray(projection, np.float32))
        self._packed_ids = parts.tensors["ids"]
        self._packed_catalogue = parts.beside.tensors.get("ids", self._packed_ids)
        self.came_from = parts.beside.values.get("model2vec")
        pointing, pointers = (parts.tensors.get(name) for name in ("pointing", "pointers"))
        self.pointing = Ids(np.empty(0, dtype=np.int64)) if pointing is None else Ids.decode(pointing)
        self.pointers = np.empty(0, dtype=np.uint8) if pointers is None else pointers
        self._order = parts.beside.tensors.get("order")

    @property
    def memory_bytes(self) -> int:
        lengths = 0 if self.similarity == "dot" else 4 * (self.table.rows + self.table.dim)  # and `_centre`
        projection = 0 if self.projection is None else self.projection.nbytes
        pointing = self.pointing.memory_bytes + self.pointers.nbytes
        return self.table.memory_bytes + self.ids.memory_bytes + lengths + projection + pointing

    @property
    def example(self) -> str:
        return f"model.most_similar({self.ids[int(self.ordered_rows[0])]!r}, k=5)"

    @property
    def inside(self) -> str:
        wide = " Queries are multiplied by `projection` first." if self.projection is not None else ""
        table = table_inside(TABLE, self._entry, self._stored)
        return (
            f"{FILE} holds\n\n{table}\n- `ids`: what the rows are called; JSON under zlib\n\n"
            f"Rows are compared by {self.similarity}, a vector has {self.width} numbers.{wide} `autoprune pick … "
            "--format numpy`, `safetensors`, `parquet`, `faiss` and others write plain tables."
        )

    @cached_property
    def ids(self) -> Ids:
        """The ids of the rows, ascending."""
        return _ids_in("model", self._packed_ids)

    @cached_property
    def catalogue(self) -> Ids:
        """The ids of all rows of the dense model."""
        return self.ids if self.whole else _ids_in("beside", self._packed_catalogue)

    @property
    def whole(self) -> bool:
        """Whether no row was removed."""
        return np.array_equal(self._packed_ids, self._packed_catalogue)

    @cached_property
    def row_of(self) -> Rows:
        """The row of each id of the catalogue, int64 [catalogue]; -1 if it was removed."""
        return np.arange(self.table.rows) if self.whole else self.ids.positions(self.catalogue)

    @cached_property
    def answer_of(self) -> Rows:
        """The row that answers for each id of the catalogue, int64 [catalogue]: its own, or the one it points to."""
        rows, places = self.row_of.copy(), self.catalogue.positions(self.pointing)
        present = places >= 0  # the catalogue of a bare artifact lacks removed ids
        rows[places[present]] = self.pointers[present]
        return rows

    @cached_property
    def place_of(self) -> Rows:
        """The position of each row in the catalogue, int64 [rows]."""
        return np.arange(self.table.rows) if self.whole else np.flatnonzero(self.row_of >= 0)

    @cached_property
    def order(self) -> Rows:
        """The catalogue in the order of the original file (the most frequent words first): int64 [catalogue]."""
        return np.arange(len(self.catalogue)) if self._order is None else self._order.astype(np.int64)

    @cached_property
    def ordered_rows(self) -> Rows:
        """The rows in the order of the original file: int64 [rows]."""
        rows: Rows = self.row_of[self.order]
        return rows[rows >= 0]

    def __len__(self) -> int:
        return self.table.rows

    def __contains__(self, wanted: object) -> bool:
        return self._answers(wanted) >= 0

    def vector(self, wanted: Id) -> Numbers:
        """The vector of an id, float32 [width]; if the id points to another row, the vector of that row.

        Raises:
            AutopruneError: the id is unknown, or its row was removed.
        """
        vector = self._decoded(self._row(wanted))[0]
        return numpy_of(vector if self.projection is None else self.projection @ vector)

    def similarity_of(self, one: Id, other: Id) -> float:
        """The similarity of the vectors of two ids.

        Raises:
            AutopruneError: as `vector`.
        """
        vectors = self._decoded(self._row(one), self._row(other))
        return float(self._scored(vectors[:1], vectors[1:])[0, 0])

    def search(self, vector: Any, k: int = 10) -> list[Neighbour]:
        """The k rows nearest to a vector, best first.

        Args:
            vector: `width` numbers in any form: a list, numpy, torch.
            k: how many; fewer come back when there are fewer rows.

        Raises:
            AutopruneError: the vector has another shape or is not finite, or k is not positive.
        """
        query = self._put(self._query(vector))
        scores, rows = self._nearest(self._projected(query), _count(k, "search"), dropped=self._dropped(query))
        return self._neighbours(scores[0], rows[0])

    def most_similar(self, wanted: Id, k: int = 10) -> list[Neighbour]:
        """The k rows nearest to the row of an id, without that row, best first.

        Raises:
            AutopruneError: the id is unknown, its row was removed, or k is not positive.
        """
        row, own, count = self._row(wanted), self.ids.position(wanted), _count(k, "most_similar")
        scores, rows = self._nearest(self._decoded(row), count + 1)
        other = rows[0] != own
        return self._neighbours(scores[0][other][:count], rows[0][other][:count])

    def search_batch(self, vectors: Any, k: int = 10) -> list[list[Neighbour]]:
        """The results of `search` for many vectors, computed at once.

        Args:
            vectors: [n, width], in any form.

        Raises:
            AutopruneError: as `search`.
        """
        if not isinstance(vectors, Iterable):
            raise AutopruneError(f"search_batch: a list of vectors must be given, but got {vectors!r}.")
        queries = [self._query(vector)[0] for vector in vectors]
        count = _count(k, "search_batch")
        if not queries:
            return []
        return [self._neighbours(*row) for row in zip(*self.topk(np.stack(queries), count), strict=True)]

    def topk(self, queries: Any, k: int) -> tuple[Numbers, Rows]:
        """The nearest rows of many vectors: scores, float32, and rows, int64, [n, min(k, rows)], best first.

        Args:
            queries: float32 [n, width], of numpy or torch.
        """
        vectors = self._put(_as_float32(queries))
        return self._nearest(self._projected(vectors), k, dropped=self._dropped(vectors))

    def rows(self, rows: Rows) -> Numbers:
        """The vectors of some rows as the table holds them, float32 [n, dim]."""
        return numpy_of(self.table.decode(self._put(rows)))

    def projected(self, queries: Numbers) -> Numbers:
        """Query vectors, float32 [n, width], as the table holds vectors, [n, dim]."""
        return numpy_of(self._projected(self._put(queries)))

    def exported(self) -> Exported:
        """The table in the order of the original file."""
        rows = self.ordered_rows
        ids = [str(name) for name in self.ids.values[rows].tolist()]
        table = ExportedTable(ids=ids, vectors=np.ascontiguousarray(self.rows(rows)), packed=self.table)
        count = len(self.pointing)
        loss = f"{count:,} removed ids that the nearest row answers for stay out."
        return Exported(
            tables={TABLE: table},
            searched=TABLE,
            similarity=self.similarity,
            projection=None if self.projection is None else numpy_of(self.projection),
            losses=(loss,) if count else (),
        )

    def _projected(self, vectors: Array) -> Array:
        return vectors if self.projection is None else vectors @ self.projection

    def _put(self, array: Array) -> Array:
        """A numpy array on the device of the table."""
        return array if self.device == "cpu" else tensor_of(array, self.device)

    def _decoded(self, *rows: int) -> Array:
        return self.table.decode(self._put(np.array(rows)))

    @cached_property
    def _centre(self) -> Array:
        """The origin for distances, float32 [dim]: the mean of some rows; zeros for other similarities.

        Any origin gives the same distances, but with one far from the rows, float32 loses their digits.
        """
        sample = numbers(self.table.rows, self.table.like)[:: max(1, self.table.rows // BLOCK_ROWS)]
        mean = self.table.decode(sample).sum(0) / max(1, len(sample))
        return mean if self.similarity == "euclidean" else 0 * mean

    @cached_property
    def _lengths(self) -> Array:
        """The distance of each row from `_centre`: float32 [rows]."""
        rows = numbers(self.table.rows, self.table.like)
        lengths = filled((len(rows),), 0, rows)  # allocated first: pieces would fragment the memory between blocks
        for start in range(0, len(rows), BLOCK_ROWS):
            lengths[start : start + BLOCK_ROWS] = norms(
                self.table.decode(rows[start : start + BLOCK_ROWS]) - self._centre
            )
        return lengths

    def _dropped(self, queries: Array) -> Array:
        """The squared length of what the projection drops from each query, float32 [n]."""
        if self.projection is None:
            return filled((len(queries),), 0, queries)
        return norms(queries - queries @ self.projection @ self.projection.T) ** 2

    def _nearest(self, queries: Array, k: int, *, dropped: Array | None = None) -> tuple[Numbers, Rows]:
        """`topk` of projected queries.

        Args:
            dropped: the squared length of what the projection dropped from each query.
        """
        dropped_squares = filled((len(queries),), 0, queries) if dropped is None else dropped
        if self.similarity == "euclidean":
            queries = queries - self._centre
        if len(queries) == 1 or len(queries) * self.table.rows <= SCORES:
            scores = self._similarities(queries, dropped_squares, self.table.scores(queries))
            best = largest(scores, min(k, self.table.rows))
            self.pause()
            return numpy_of(best[0]), numpy_of(best[1])
        parts = (slice(start, start + MOST_QUERIES) for start in range(0, len(queries), MOST_QUERIES))
        nearest = [self._nearest_by_blocks(queries[part], k, dropped_squares[part]) for part in parts]
        return np.concatenate([scores for scores, _ in nearest]), np.concatenate([rows for _, rows in nearest])

    def _nearest_by_blocks(self, queries: Array, k: int, dropped_squares: Array) -> tuple[Numbers, Rows]:
        """`_nearest` of many queries (for distances relative to `_centre`): each row is decoded only once."""
        library, k = namespace(queries), min(k, self.table.rows)
        scores = filled((len(queries), k), -np.inf, queries)
        rows = filled((len(queries), k), -1, queries, "int64")
        every, step = numbers(self.table.rows, queries), max(BLOCK_SCORES // len(queries), BLOCK_ROWS)
        for start in range(0, self.table.rows, step):
            block = every[start : start + step]
            products = queries @ self.table.decode(block).T
            block_scores = self._similarities(queries, dropped_squares, products, slice(start, start + step))
            # choosing is slow, and soon only a few queries improve
            improved = library.where(library.amax(block_scores, 1) > scores[:, -1])[0]
            candidates, columns = topk(block_scores[improved], min(k, len(block)))
            best, places = topk(library.concatenate([scores[improved], candidates], axis=1), k)
            rows[improved] = gathered(library.concatenate([rows[improved], block[columns]], axis=1), places)
            scores[improved] = best
            self.pause()
        return numpy_of(scores), numpy_of(rows)

    def _similarities(
        self, queries: Array, dropped_squares: Array, products: Array, rows: slice = slice(None)
    ) -> Array:
        """The similarities of queries and some rows, float32 [n, rows], computed in place of their products.

        Args:
            queries: for distances relative to `_centre`, as they were multiplied by the rows.
        """
        if self.similarity == "dot":
            return products
        squares = (norms(queries) ** 2 + dropped_squares)[:, None]
        if self.similarity == "cosine":
            products /= (squares**0.5).clip(min=1e-12)
            products /= self._lengths[rows].clip(min=1e-12)
            return products
        products *= -2.0
        products += squares + 2 * (queries @ self._centre)[:, None]
        products += self._lengths[rows] ** 2
        return -(products.clip(min=0) ** 0.5)

    def _scored(self, queries: Array, rows: Array) -> Array:
        """The similarities of decoded vectors, float32 [n, m]."""
        if self.similarity == "euclidean":
            return -(((queries[:, None] - rows) ** 2).sum(2) ** 0.5)
        products = queries @ rows.T
        if self.similarity == "dot":
            return products
        return products / (norms(queries)[:, None].clip(min=1e-12) * norms(rows).clip(min=1e-12))

    def _neighbours(self, scores: Numbers, rows: Rows) -> list[Neighbour]:
        return [Neighbour(self.ids[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]

    def _row(self, wanted: Id) -> int:
        row = self._answers(wanted)
        if row >= 0:
            return row
        if self.catalogue.position(wanted) >= 0:
            raise AutopruneError(f"{wanted!r} was removed by pruning.")
        lower = str(wanted).lower()
        hint = f" {lower!r} is known." if lower != wanted and lower in self else ""
        raise AutopruneError(f"{wanted!r} is unknown.{self.ids.hint(wanted)}{hint}")

    def _answers(self, wanted: object) -> int:
        """The row that answers for an id; -1 if none does."""
        row = self.ids.position(wanted)
        pointer = self.pointing.position(wanted) if row < 0 else -1
        return int(self.pointers[pointer]) if pointer >= 0 else row

    def _query(self, vector: Any) -> Numbers:
        try:
            query = _as_float32(vector)
        except (TypeError, ValueError):
            raise AutopruneError(f"search: a vector has {self.width} numbers, but got {vector!r}.") from None
        if query.shape != (self.width,):
            raise AutopruneError(f"search: a vector has {self.width} numbers, but got the shape {list(query.shape)}.")
        if not np.isfinite(query).all():
            raise AutopruneError("search: all numbers of a vector must be finite, but one is infinite or NaN.")
        return query[None]


def _as_float32(numbers: Any) -> Numbers:
    """Numbers in any form as float32; tensors may need gradients, lie on a GPU, and have a type that numpy lacks."""
    if hasattr(numbers, "detach"):
        numbers = numbers.detach().float().cpu()
    with np.errstate(over="ignore"):  # values that are too large become infinite, which is refused
        return np.asarray(numbers, dtype=np.float32)


def _ids_in(folder: str, packed: Packed) -> Ids:
    """Decoded ids; they may be damaged, since the hash of a large file is not checked."""
    try:
        return Ids.decode(packed)
    except (zlib.error, ValueError, LookupError) as error:
        raise AutopruneError(
            f"{folder}/tensors.safetensors: its ids cannot be read ({error}); copy the artifact again."
        ) from error


def _count(k: object, what: str) -> int:
    count = plain_id(k)
    if not isinstance(count, int) or count < 1:
        raise AutopruneError(f"{what}: a whole number k >= 1 must be given, but got {k!r}.")
    return count
