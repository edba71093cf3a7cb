"""Vectors that answer from a packed table: by id, and by what is near."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autoprune.artifacts.served import Parts, Served
from autoprune.errors import AutopruneError
from autoprune.packing.ids import Id, Ids, plain_id
from autoprune.packing.packed import BLOCK_ROWS

TABLE = "vectors"
"""The name of the one table."""

SCORES = 2**24
"""Scores that are taken at a time: 64 MB."""


class Neighbour(NamedTuple):
    """A row that is near: its id and how alike it is."""

    id: Id
    score: float


class VectorIndex(Served):
    """Exact search among the rows of a table, and the rows themselves.

    Attributes:
        similarity: `cosine`, `dot` or `euclidean`; the last is told as a distance with a minus before it.
        width: of the vectors that are searched for, and that `vector` gives, whatever the table holds.
        pointing: ids of removed rows that are answered by the nearest that stays.
        pointers: its row, of each of them: any kind of whole number, [pointing].
        came_from: tokenizer and config of the folder of model2vec that it was made from; None: it came from elsewhere.
    """

    def __init__(self, parts: Parts, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.table = parts.tables()[TABLE].to(self.device)
        self.similarity = str(parts.manifest["similarity"])
        self.width = int(parts.manifest["width"])
        held = parts.tensors.get("projection")
        self.projection = None if held is None else held.to(self.device)
        self._packed_ids = parts.tensors["ids"]
        self._packed_catalogue = parts.beside.tensors.get("ids", self._packed_ids)
        self.came_from = parts.beside.values.get("model2vec")
        pointing, pointers = (parts.tensors.get(name) for name in ("pointing", "pointers"))
        self.pointing = Ids(np.empty(0, dtype=np.int64)) if pointing is None else Ids.decode(pointing)
        self.pointers = torch.empty(0, dtype=torch.uint8) if pointers is None else pointers
        self._order = parts.beside.tensors.get("order")

    @property
    def memory_bytes(self) -> int:
        lengths = 0 if self.similarity == "dot" else 4 * self.table.rows
        projection = 0 if self.projection is None else self.projection.nbytes
        pointing = self.pointing.memory_bytes + self.pointers.nbytes
        return self.table.memory_bytes + self.ids.memory_bytes + lengths + projection + pointing

    @property
    def example(self) -> str:
        return f"model.most_similar({self.ids[int(self.ordered_rows[0])]!r}, k=5)"

    @cached_property
    def ids(self) -> Ids:
        """Of the rows, ascending."""
        return Ids.decode(self._packed_ids)

    @cached_property
    def catalogue(self) -> Ids:
        """Of all rows there ever were."""
        return self.ids if self.whole else Ids.decode(self._packed_catalogue)

    @property
    def whole(self) -> bool:
        """Whether no row was removed."""
        return torch.equal(self._packed_ids, self._packed_catalogue)

    @cached_property
    def row_of(self) -> Tensor:
        """The row of each id of the catalogue, int64 [catalogue]; -1 where it was removed."""
        return torch.arange(self.table.rows) if self.whole else self.ids.positions(self.catalogue)

    @cached_property
    def answer_of(self) -> Tensor:
        """The row that answers for each id of the catalogue, int64 [catalogue]: its own, or the one it points to."""
        found = self.row_of.clone()
        found[self.catalogue.positions(self.pointing)] = self.pointers.long()
        return found

    @cached_property
    def place_of(self) -> Tensor:
        """Where each row stands in the catalogue, int64 [rows]."""
        return torch.arange(self.table.rows) if self.whole else (self.row_of >= 0).nonzero()[:, 0]

    @cached_property
    def order(self) -> Tensor:
        """The catalogue as its file had it, the most frequent words first: int64 [catalogue]."""
        return torch.arange(len(self.catalogue)) if self._order is None else self._order.long()

    @cached_property
    def ordered_rows(self) -> Tensor:
        """The rows in the order of the original file: int64 [rows]."""
        rows = self.row_of[self.order]
        return rows[rows >= 0]

    def __len__(self) -> int:
        return self.table.rows

    def __contains__(self, wanted: object) -> bool:
        return self._answers(wanted) >= 0

    def vector(self, wanted: Id) -> Tensor:
        """The vector of an id, float32 [width]; of one that points to another row that row's.

        Raises:
            AutopruneError: the id is unknown, or its row was removed.
        """
        found = self.table.decode(torch.tensor([self._row(wanted)], device=self.device))[0]
        return found if self.projection is None else self.projection @ found

    def similarity_of(self, one: Id, other: Id) -> float:
        """How alike the vectors of two ids are.

        Raises:
            AutopruneError: as `vector`.
        """
        vectors = self.table.decode(torch.tensor([self._row(one), self._row(other)], device=self.device))
        return float(self._scored(vectors[:1], vectors[1:])[0, 0])

    def search(self, vector: Any, k: int = 10) -> list[Neighbour]:
        """The k rows nearest to a vector, best first.

        Args:
            vector: `width` numbers in any form: a list, numpy, torch.
            k: how many; fewer come back when there are fewer rows.

        Raises:
            AutopruneError: it is no such vector, or k is not positive.
        """
        scores, rows = self.topk(self._query(vector), _count(k, "search"))
        return self._neighbours(scores[0], rows[0])

    def most_similar(self, wanted: Id, k: int = 10) -> list[Neighbour]:
        """The k rows nearest to that of an id, without its own, best first.

        Raises:
            AutopruneError: the id is unknown, its row was removed, or k is not positive.
        """
        row, own, count = self._row(wanted), self.ids.position(wanted), _count(k, "most_similar")
        scores, rows = self._nearest(self.table.decode(torch.tensor([row], device=self.device)), count + 1)
        other = rows[0] != own
        return self._neighbours(scores[0][other][:count], rows[0][other][:count])

    def topk(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The nearest rows of many vectors: scores, float32, and rows, int64, [n, min(k, rows)], best first.

        Args:
            queries: float32 [n, width].
        """
        return self._nearest(self.projected(queries), k, longer=self._beside(queries))

    def projected(self, vectors: Tensor) -> Tensor:
        """Vectors of the width that is asked with, as the table holds vectors: float32 [n, dim]."""
        vectors = vectors.to(self.device)
        return vectors if self.projection is None else vectors @ self.projection

    @cached_property
    def _squares(self) -> Tensor:
        """The squared length of each row, float32 [rows]."""
        blocks = torch.split(torch.arange(self.table.rows, device=self.device), BLOCK_ROWS)
        return torch.cat([self.table.decode(rows).square().sum(1) for rows in blocks])

    def _beside(self, queries: Tensor) -> Tensor:
        """The squared length of what a projection leaves out of each query, float32 [n]."""
        if self.projection is None:
            return torch.zeros(len(queries), device=self.device)
        asked = queries.to(self.device)
        return (asked.square().sum(1) - (asked @ self.projection).square().sum(1)).clamp_min(0.0)

    def _nearest(self, queries: Tensor, k: int, *, longer: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `topk`, of queries as the table holds vectors.

        Args:
            longer: the squared length of what each query lost on the way there.
        """
        scores, rows = list[Tensor](), list[Tensor]()
        for asked in torch.split(torch.arange(len(queries)), max(SCORES // self.table.rows, 1)):
            some = queries[asked]
            found = self._similarities(some, None if longer is None else longer[asked])
            best = found.topk(min(k, self.table.rows), dim=1)
            scores.append(best.values)
            rows.append(best.indices)
            self.pause()
        return torch.cat(scores), torch.cat(rows)

    def _similarities(self, queries: Tensor, longer: Tensor | None) -> Tensor:
        """Of queries and all rows, float32 [n, rows]."""
        products = self.table.scores(queries)
        if self.similarity == "dot":
            return products
        lost = 0.0 if longer is None else longer[:, None]
        squares = queries.square().sum(1, keepdim=True) + lost
        if self.similarity == "cosine":
            return products.div_(squares.sqrt().clamp_min(1e-12)).div_(self._squares.sqrt().clamp_min(1e-12))
        return -(products.mul_(-2.0).add_(squares).add_(self._squares)).clamp_min_(0.0).sqrt_()

    def _scored(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Of vectors as the table holds them with one another, float32 [n, m]."""
        if self.similarity == "euclidean":
            found: Tensor = -torch.cdist(queries, rows, compute_mode="donot_use_mm_for_euclid_dist")
            return found
        products: Tensor = queries @ rows.T
        if self.similarity == "dot":
            return products
        lengths = queries.norm(dim=1, keepdim=True).clamp_min(1e-12) * rows.norm(dim=1).clamp_min(1e-12)
        return products.div_(lengths)

    def _neighbours(self, scores: Tensor, rows: Tensor) -> list[Neighbour]:
        return [Neighbour(self.ids[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]

    def _row(self, wanted: Id) -> int:
        row = self._answers(wanted)
        if row >= 0:
            return row
        if self.catalogue.position(wanted) >= 0:
            raise AutopruneError(f"{wanted!r} was removed by pruning.")
        lower = str(wanted).lower()
        near = f" {lower!r} is there." if lower != wanted and lower in self else ""
        raise AutopruneError(f"{wanted!r} is unknown.{self.ids.hint(wanted)}{near}")

    def _answers(self, wanted: object) -> int:
        """The row that answers for an id; -1 where none does."""
        row = self.ids.position(wanted)
        at = self.pointing.position(wanted) if row < 0 else -1
        return int(self.pointers[at]) if at >= 0 else row

    def _query(self, vector: Any) -> Tensor:
        try:
            found = torch.as_tensor(np.asarray(vector, dtype=np.float32))
        except (TypeError, ValueError):
            raise AutopruneError(f"search: {self.width} numbers make a vector, but got {vector!r}.") from None
        if found.shape != (self.width,):
            raise AutopruneError(f"search: {self.width} numbers make a vector, but got the shape {list(found.shape)}.")
        if not found.isfinite().all():
            raise AutopruneError("search: a vector of finite numbers must be given, but one is infinite or NaN.")
        return found[None]


def _count(k: object, what: str) -> int:
    count = plain_id(k)
    if not isinstance(count, int) or count < 1:
        raise AutopruneError(f"{what}: a whole number k >= 1 must be given, but got {k!r}.")
    return count
