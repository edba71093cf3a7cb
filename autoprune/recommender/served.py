"""A recommender that serves from packed tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from autoprune.artifacts.exported import Exported, ExportedTable
from autoprune.artifacts.inside import FILE, table_inside
from autoprune.artifacts.served import Parts, Served
from autoprune.errors import AutopruneError
from autoprune.packing.arrays import Array, filled, numpy_of, tensor_of
from autoprune.packing.biased import Biased, asking
from autoprune.packing.ids import Id, Ids, Rows
from autoprune.packing.rows import widened
from autoprune.recommender.asked import how_many, item_positions, one_by_one, shown
from autoprune.recommender.beside import histories_of, history_bytes, titles_of
from autoprune.recommender.histories import Histories
from autoprune.recommender.strangers import Strangers
from autoprune.recommender.ties import Hidden
from autoprune.recommender.topk import Search

Numbers = np.ndarray[Any, np.dtype[np.float32]]


class Recommendation(NamedTuple):
    """One recommended item: its id, its title (its id as text if there are no titles) and its score."""

    item: Id
    title: str
    score: float


class Recommender(Served):
    """Recommends from the full catalogue by dot products of user and item rows, plus biases if the model has any.

    Users without a row get a vector from their history, see `autoprune.recommender.strangers`.

    Tables compute in numpy, on a GPU in torch; positions and row numbers are always numpy arrays.

    Attributes:
        items: ids of the whole catalogue, including removed items.
        users: ids of all known users, including those whose rows were removed.
    """

    def __init__(self, parts: Parts, *, device: str = "cpu", prefer: str | None = None) -> None:
        self.device = device
        tables = parts.tables()
        item_table = widened(tables["item"], prefer)
        self._user_table, self._item_table = (
            table if device == "cpu" else table.to(device) for table in (tables["user"], item_table)
        )
        self._entries, self._tensor_names = parts.manifest["tables"], list(parts.tensors)
        self._fold_in = dict(parts.manifest["fold_in"])
        self._user_rows, self._item_rows = (Ids.decode(parts.tensors[f"ids.{name}"]) for name in ("user", "item"))
        self.users = _all_ids(parts, "user", self._user_rows)
        self.items = _all_ids(parts, "item", self._item_rows)
        self._row_of_item = self._item_rows.positions(self.items)
        self._item_of_row = self.items.positions(self._item_rows)
        self._beside = parts.beside
        self._fold_in_solver: Strangers | None = None
        self._user_bias, item_bias = (parts.tensors.get(f"{name}.bias") for name in ("user", "item"))
        self._constant = float(parts.manifest.get("constant", 0.0))
        self._biased = item_bias is not None
        self._scored = self._item_table if item_bias is None else Biased.of(self._item_table, self._put(item_bias))
        kernels = prefer != "memory"  # they import torch, and keep their own copy of codes
        self._search = Search(self._scored, self._typical, draw=self._item_rows.draw, kernels=kernels)

    @property
    def memory_bytes(self) -> int:
        biases = 0 if self._user_bias is None else self._user_bias.nbytes
        tables = self._user_table.memory_bytes + self._scored.memory_bytes + self._search.memory_bytes + biases
        return tables + self._user_rows.memory_bytes + self._item_rows.memory_bytes

    @property
    def history_bytes(self) -> int:
        """Bytes of all stored histories if some known users have no row and so need theirs; 0 if all have one."""
        return history_bytes(self._beside) if len(self._user_rows) < len(self.users) else 0

    @property
    def example(self) -> str:
        first = self.users.values[:1].tolist()
        return f"model.recommend(user={first[0]!r}, k=10)" if first else "model.vector(item=...)"

    @property
    def inside(self) -> str:
        tables = "\n".join(table_inside(name, entry, self._tensor_names) for name, entry in self._entries.items())
        score = "u·v" + " + `user.bias`" * (self._user_bias is not None) + " + `item.bias`" * self._biased
        score += f" + {self._constant:.7g}" if self._constant else ""
        return (
            f"{FILE} holds\n\n{tables}\n- `ids.user`, `ids.item`: the ids of the rows; JSON compressed by zlib"
            f"\n\nThe score of an item with the row v for a user with the row u is {score}. A user without a row gets "
            "one from a history, which only autoprune can make. `autoprune pick … --format numpy`, `safetensors`, "
            "`parquet` and `faiss` write plain tables."
        )

    def recommend(
        self,
        user: Id | None = None,
        *,
        history: Sequence[Id] | None = None,
        hidden: Sequence[Id] | None = None,
        k: int = 10,
        include_seen: bool = False,
    ) -> list[Recommendation]:
        """The k best items, best first.

        Args:
            user: id of a known user; an integer id may be of any type, including those of numpy and torch.
            history: item ids that replace the user's stored history; without `user`, it serves a stranger.
            hidden: item ids not to recommend; by default what the user has seen.
            k: how many items, an integer of any type; fewer are returned if fewer are left.
            include_seen: whether items of the history may be recommended again.

        Raises:
            AutopruneError: the user is unknown and no history is given, or k is not positive.
        """
        count = how_many(k, "recommend")
        seen = self._seen(user, history)
        query = self._query(user, seen, fold=history is not None)
        excluded = seen[: 0 if include_seen else None] if hidden is None else self._positions(hidden, "hidden")
        rows = self._rows(excluded)
        items, scores = self._best(query, count, np.zeros_like(rows), rows)
        return self._recommendations(items[0], scores[0], self._offset(user, fold=history is not None))

    def recommend_batch(
        self,
        users: Sequence[Id] | None = None,
        *,
        histories: Sequence[Sequence[Id]] | None = None,
        hidden: Sequence[Sequence[Id]] | None = None,
        k: int = 10,
        include_seen: bool = False,
    ) -> list[list[Recommendation]]:
        """The results of `recommend` for many users, computed together.

        Args:
            users: ids of known users; or
            histories: item ids of each stranger.
            hidden: item ids not to recommend to each user; by default what the user has seen.
            k: how many items for each user.
            include_seen: whether items of a history may be recommended again.

        Raises:
            AutopruneError: as in `recommend`; or both or neither of `users` and `histories` are given, or `hidden`
                has another number of lists.
        """
        count = how_many(k, "recommend_batch")
        if (users is None) == (histories is None):
            raise AutopruneError("recommend_batch: exactly one of users=[…] and histories=[[…], …] must be given.")
        user_ids = None if users is None else one_by_one(users, "users", "ids of users")
        if user_ids is None:
            total, owner, seen = self._lists(histories, "histories")
            offsets = [self._offset(None, fold=True)] * total
        else:
            owner, seen = self._histories.take(self._user_positions(user_ids))
            total, offsets = len(user_ids), [self._offset(user, fold=False) for user in user_ids]
        if not total:
            return []
        owner, rows = self._kept_rows(owner, seen)
        vectors = (
            self._strangers.vectors(owner, rows, count=total)
            if user_ids is None
            else self._vectors(user_ids, owner, rows)
        )
        if hidden is not None:
            lists, *excluded = self._lists(hidden, "hidden")
            if lists != total:
                raise AutopruneError(
                    f"recommend_batch: hidden must have one list for each of the {total} users, but has {lists}."
                )
            owner, rows = self._kept_rows(*excluded)
        elif include_seen:
            owner, rows = owner[:0], rows[:0]
        best = zip(*self._best(vectors, count, owner, rows), offsets, strict=True)
        return [self._recommendations(items, scores, offset) for items, scores, offset in best]

    def scores(self, user: Id | None = None, *, history: Sequence[Id] | None = None) -> Numbers:
        """The score of every item of `items`, float32 [len(items)]; -inf for removed items."""
        query = self._query(user, self._seen(user, history), fold=history is not None)
        row_scores = self._scored.scores(self._as_queries(query))[0] + self._offset(user, fold=history is not None)
        scores = np.full(len(self.items), -np.inf, dtype=np.float32)
        scores[self._item_of_row] = numpy_of(row_scores)
        return scores

    def vector(self, *, user: Id | None = None, item: Id | None = None) -> Numbers:
        """The embedding of a user or of an item, float32 [dim].

        Raises:
            AutopruneError: both or neither are given, the id is unknown, or the item was removed.
        """
        if (user is None) == (item is None):
            raise AutopruneError("vector: exactly one of user=… and item=… must be given.")
        if item is None:
            return numpy_of(self._query(user, self._seen(user, None), fold=False)[0])
        row = self._item_rows.position(item)
        if row < 0:
            removed = self.items.position(item) >= 0
            why = "was removed by pruning." if removed else f"is unknown.{self.items.hint(item)}"
            raise AutopruneError(f"vector: item {shown(item)} {why}")
        return numpy_of(self._item_table.decode(self._put(np.array([row])))[0])

    def topk(
        self,
        users: Sequence[Id] | Ids | None,
        k: int,
        *,
        histories: Histories | None = None,
        hidden: Histories | None = None,
    ) -> Rows:
        """The k best unseen items of many users at once.

        Args:
            users: ids of known users, in any order; None: all are strangers, described by `histories` alone.
            histories: what each user has seen, as positions in `items`; by default the artifact's histories.
            hidden: items not to show to each user; by default what the user has seen.

        Returns:
            int64 [len(users), k], positions in `items`, best first; -1 where there is nothing left.
        """
        if histories is None:
            assert users is not None, "strangers need histories"
            user_ids = users.values.tolist() if isinstance(users, Ids) else users
            owner, seen = self._histories.take(self._user_positions(user_ids))
        else:
            owner, seen = histories.in_numpy().take(np.arange(len(histories)))
        owner, rows = self._kept_rows(owner, seen)
        vectors = (
            self._strangers.vectors(owner, rows, count=len(histories or ()))
            if users is None
            else self._vectors(users, owner, rows)
        )
        if hidden is not None and hidden is not histories:
            owner, rows = self._kept_rows(*hidden.in_numpy().take(np.arange(len(hidden))))
        items, scores = self._best(vectors, k, owner, rows)
        best = np.full((len(vectors), k), -1, dtype=np.int64)
        best[:, : items.shape[1]] = np.where(scores > -np.inf, items, -1)
        return best

    def exported(self) -> Exported:
        """Both tables; the user table has all known users, those without a row with the vectors of their histories."""
        rows = self._user_rows.positions(self.users)
        owner, seen = self._kept_rows(*self._histories.take(np.arange(len(self.users))))
        vectors, bias = numpy_of(self._vectors(self.users, owner, seen)), self._user_bias
        if bias is not None:
            bias = np.where(rows >= 0, bias[rows], bias.mean()).astype(np.float32)
        users = ExportedTable(ids=_texts(self.users), vectors=vectors, bias=bias, packed=self._user_table)
        item_bias = numpy_of(self._scored.tensors["bias"]) if self._biased else None
        items = ExportedTable(
            ids=_texts(self._item_rows),
            vectors=numpy_of(self._item_table.values()),
            bias=item_bias,
            packed=self._item_table,
        )
        losses = ["A user who is not in the table gets no vector: only autoprune can make one from a history."]
        if folded := int((rows < 0).sum()):
            losses.append(
                f"{folded:,} users without a row are written with the vectors that their histories give today."
            )
        losses.append("Titles and histories are not exported: what a user has seen is not hidden.")
        tables = {"user": users, "item": items}
        return Exported(tables=tables, searched="item", constant=self._constant, losses=tuple(losses))

    def _best(self, vectors: Array, k: int, owner: Rows, rows: Rows) -> tuple[Rows, Numbers]:
        """The best items of users without hidden ones: positions and scores, both [users, k or fewer].

        Args:
            vectors: of users, float32 [users, dim].
            owner, rows: hidden rows of the item table and the users they are hidden from, int64 [n]; `owner` ascends.
        """
        best = self._search.topk(self._as_queries(vectors), k, Hidden(self._put(owner), self._put(rows)))
        return self._item_of_row[numpy_of(best.rows)], numpy_of(best.scores)

    def _recommendations(self, positions: Rows, scores: Numbers, offset: float) -> list[Recommendation]:
        """Items at positions with ids and titles, without those scored -inf (hidden)."""
        ids, values = self.items.values[positions].tolist(), scores.tolist()
        titles = [self._titles[position] for position in positions.tolist()] if self._titles else map(str, ids)
        if offset:
            values = [value + offset for value in values]
        best = map(Recommendation, ids, titles, values)
        return [recommendation for recommendation in best if recommendation.score > float("-inf")]

    @cached_property
    def _titles(self) -> list[str] | None:
        """Titles of all items; None if the artifact has none."""
        return titles_of(self._beside)

    @cached_property
    def _histories(self) -> Histories:
        """Histories of all users; empty ones if the artifact has none."""
        return histories_of(self._beside, len(self.users))

    def _put(self, array: Array) -> Array:
        """A numpy array moved to the device of the tables."""
        return array if self.device == "cpu" else tensor_of(array, self.device)

    def _kept_rows(self, owner: Rows, seen: Rows) -> tuple[Rows, Rows]:
        """Owners and rows of the items `seen` (positions in `items`) that were not removed."""
        rows = self._row_of_item[seen]
        return owner[rows >= 0], rows[rows >= 0]

    def _user_position(self, user: Id) -> int:
        position = self.users.position(user)
        if position < 0:
            hint = self.users.hint(user)
            raise AutopruneError(f"user {shown(user)} is unknown.{hint} Give history=[item ids] to serve a stranger.")
        return position

    def _user_positions(self, users: Sequence[Id]) -> Rows:
        return np.array([self._user_position(user) for user in users], dtype=np.int64)

    def _seen(self, user: Id | None, history: Sequence[Id] | None) -> Rows:
        """Positions in `items` of what the user has seen, int64 [n]."""
        if history is None:
            if user is None:
                raise AutopruneError("one of user=… and history=[…] must be given.")
            history_of_user: Rows = self._histories.of(self._user_position(user))
            return history_of_user
        return self._positions(history, "history")

    def _positions(self, given: object, what: str) -> Rows:
        return item_positions(self.items, given, what)

    def _lists(self, given: object, what: str) -> tuple[int, Rows, Rows]:
        """Lists of item ids end to end: how many lists; and of each id its list and position in `items`, int64 [n]."""
        lists = [self._positions(ids, what) for ids in one_by_one(given, what, "lists of item ids", dims=2)]
        owner = np.repeat(np.arange(len(lists)), np.array([len(positions) for positions in lists], dtype=np.int64))
        return len(lists), owner, np.concatenate([*lists, np.empty(0, dtype=np.int64)])

    def _query(self, user: Id | None, seen: Rows, *, fold: bool) -> Array:
        """The vector of a user, float32 [1, dim]: the row, or made from `seen` (no row, or `fold`)."""
        row = -1 if fold or user is None else self._user_rows.position(user)
        if row >= 0:
            vector = self._user_table.decode(self._put(np.array([row])))
            if vector.any():
                return vector
        rows = self._rows(seen)  # no row, or a row of 0 that was never trained
        return self._strangers.vectors(np.zeros_like(rows), rows, count=1)

    def _as_queries(self, vectors: Array) -> Array:
        """Users' vectors, float32 [n, dim], as queries to the scored table, which may have biases."""
        return asking(vectors) if self._biased else vectors

    def _offset(self, user: Id | None, *, fold: bool) -> float:
        """What is added to all scores of a user; without a row, the bias is that of the average user."""
        if self._user_bias is None:
            return self._constant
        row = -1 if fold or user is None else self._user_rows.position(user)
        return self._constant + float(self._user_bias[row] if row >= 0 else self._user_bias.mean())

    def _vectors(self, users: Sequence[Id] | Ids, owner: Rows, rows: Rows) -> Array:
        """Vectors of known users, float32 [users, dim]; user `owner[i]` has seen row `rows[i]` of the item table."""
        user_rows = (
            self._user_rows.positions(users)
            if isinstance(users, Ids)
            else np.array([self._user_rows.position(user) for user in users], dtype=np.int64)
        )
        vectors = filled((len(users), self._user_table.dim), 0, self._user_table.like)
        vectors[self._put(user_rows >= 0)] = self._user_table.decode(self._put(user_rows[user_rows >= 0]))
        (strangers,) = np.nonzero(~numpy_of(vectors.any(1)))
        if len(strangers):
            place = np.full(len(users), -1)
            place[strangers] = np.arange(len(strangers))
            of_strangers = place[owner] >= 0
            vectors[self._put(strangers)] = self._strangers.vectors(
                place[owner[of_strangers]], rows[of_strangers], count=len(strangers)
            )
        return vectors

    def _typical(self, count: int) -> Array:
        """Queries to time searches with, made from users spread evenly over the table: float32 [count, dim or more]."""
        table = self._user_table if self._user_table.rows else self._item_table
        vectors = table.decode(self._put(np.linspace(0, table.rows - 1, count).astype(np.int64)))
        vectors[~vectors.any(1)] = 1.0
        return self._as_queries(vectors)

    def _rows(self, items: Rows) -> Rows:
        """The rows of `items` (positions, int64 [n]), without removed ones."""
        rows: Rows = self._row_of_item[items]
        return rows if len(self._item_rows) == len(self.items) else rows[rows >= 0]

    @property
    def _strangers(self) -> Strangers:
        """Created at the first use: most requests do not need it."""
        if self._fold_in_solver is None:
            self._fold_in_solver = Strangers(
                self._item_table, self._user_table, fold_in=self._fold_in, biased=self._biased
            )
        return self._fold_in_solver


def _all_ids(parts: Parts, name: str, rows: Ids) -> Ids:
    """The ids of all users or items; those of the rows if none was removed, or if the artifact has no others."""
    encoded = parts.beside.tensors.get(f"{name}s")
    return rows if encoded is None or np.array_equal(encoded, parts.tensors[f"ids.{name}"]) else Ids.decode(encoded)


def _texts(ids: Ids) -> list[str]:
    return [str(value) for value in ids.values.tolist()]
