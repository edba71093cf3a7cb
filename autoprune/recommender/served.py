"""A recommender that answers from packed tables."""

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
    """One recommended item: its id, its title (the id again where no titles are known) and its score."""

    item: Id
    title: str
    score: float


class Recommender(Served):
    """Full-catalogue recommendations by dot products of user and item rows, plus biases where the model has any.

    Users without a row get a vector from their history, see `autoprune.recommender.strangers`.

    Tables answer in numpy, on a GPU in torch; all that names rows and items is numpy's.

    Attributes:
        items: ids of the whole catalogue, those of removed items included.
        users: ids of all known users, those of removed rows included.
    """

    def __init__(self, parts: Parts, *, device: str = "cpu", prefer: str | None = None) -> None:
        self.device = device
        tables = parts.tables()
        item_table = widened(tables["item"], prefer)
        self._user_table, self._item_table = (
            table if device == "cpu" else table.to(device) for table in (tables["user"], item_table)
        )
        self._entries, self._stored = parts.manifest["tables"], list(parts.tensors)
        self._fold_in = dict(parts.manifest["fold_in"])
        self._user_rows, self._item_rows = (Ids.decode(parts.tensors[f"ids.{name}"]) for name in ("user", "item"))
        self.users = _whole(parts, "user", self._user_rows)
        self.items = _whole(parts, "item", self._item_rows)
        self._row_of_item = self._item_rows.positions(self.items)
        self._item_of_row = self.items.positions(self._item_rows)
        self._beside = parts.beside
        self._folding: Strangers | None = None
        self._user_bias, item_bias = (parts.tensors.get(f"{name}.bias") for name in ("user", "item"))
        self._constant = float(parts.manifest.get("constant", 0.0))
        self._biased = item_bias is not None
        self._scored = self._item_table if item_bias is None else Biased.of(self._item_table, self._put(item_bias))
        kernels = prefer != "memory"  # they import torch, and hold codes of their own
        self._search = Search(self._scored, self._typical, draw=self._item_rows.draw, kernels=kernels)

    @property
    def memory_bytes(self) -> int:
        biases = 0 if self._user_bias is None else self._user_bias.nbytes
        held = self._user_table.memory_bytes + self._scored.memory_bytes + self._search.memory_bytes + biases
        return held + self._user_rows.memory_bytes + self._item_rows.memory_bytes

    @property
    def history_bytes(self) -> int:
        """Bytes of all histories as stored, if a known user without a row is served from theirs; 0 if all have one."""
        return history_bytes(self._beside) if len(self._user_rows) < len(self.users) else 0

    @property
    def example(self) -> str:
        user = self.users.values[:1].tolist()
        return f"model.recommend(user={user[0]!r}, k=10)" if user else "model.vector(item=...)"

    @property
    def inside(self) -> str:
        tables = "\n".join(table_inside(name, entry, self._stored) for name, entry in self._entries.items())
        score = "u·v" + " + `user.bias`" * (self._user_bias is not None) + " + `item.bias`" * self._biased
        score += f" + {self._constant:.7g}" if self._constant else ""
        return (
            f"{FILE} holds\n\n{tables}\n- `ids.user`, `ids.item`: what the rows are called; JSON "
            f"under zlib\n\nThe score of an item with the row v for a user with the row u is {score}. Whoever has no "
            "row, or is unknown, is given one from a history, which takes autoprune. `autoprune pick … --format "
            "numpy`, `safetensors`, `parquet` and `faiss` write plain tables."
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
            user: a known user; a whole number in any type of numbers, of numpy or torch too.
            history: item ids instead of (or in place of) what is known of the user; alone, it serves a stranger.
            hidden: item ids that are not recommended, in place of what the user has seen.
            k: how many, in any type of numbers likewise; fewer come back when fewer items are left.
            include_seen: whether items of the history may be recommended again.

        Raises:
            AutopruneError: the user is unknown and no history is given, or k is not positive.
        """
        count = how_many(k, "recommend")
        seen = self._seen(user, history)
        query = self._query(user, seen, fold=history is not None)
        unwanted = seen[: 0 if include_seen else None] if hidden is None else self._positions(hidden, "hidden")
        rows = self._rows(unwanted)
        items, scores = self._best(query, count, np.zeros_like(rows), rows)
        return self._told(items[0], scores[0], self._offset(user, fold=history is not None))

    def recommend_batch(
        self,
        users: Sequence[Id] | None = None,
        *,
        histories: Sequence[Sequence[Id]] | None = None,
        hidden: Sequence[Sequence[Id]] | None = None,
        k: int = 10,
        include_seen: bool = False,
    ) -> list[list[Recommendation]]:
        """What `recommend` gives to each of many, all computed at once.

        Args:
            users: known ones; or
            histories: of strangers, item ids.
            hidden: of each, item ids that are not recommended, in place of what was seen.
            k: how many each.
            include_seen: whether items of a history may be recommended again.

        Raises:
            AutopruneError: as `recommend`; not just one of both is given, or `hidden` is not as many lists.
        """
        count = how_many(k, "recommend_batch")
        if (users is None) == (histories is None):
            raise AutopruneError("recommend_batch: exactly one of users=[…] and histories=[[…], …] must be given.")
        asked = None if users is None else one_by_one(users, "users", "ids of users")
        if asked is None:
            total, owner, seen = self._lists(histories, "histories")
            offsets = [self._offset(None, fold=True)] * total
        else:
            owner, seen = self._histories.take(np.array([self._known(user) for user in asked], dtype=np.int64))
            total, offsets = len(asked), [self._offset(user, fold=False) for user in asked]
        if not total:
            return []
        owner, rows = self._owned_rows(owner, seen)
        vectors = (
            self._strangers.vectors(owner, rows, count=total) if asked is None else self._vectors(asked, owner, rows)
        )
        if hidden is not None:
            lists, *unwanted = self._lists(hidden, "hidden")
            if lists != total:
                raise AutopruneError(f"recommend_batch: hidden must hold a list for each of {total}, but has {lists}.")
            owner, rows = self._owned_rows(*unwanted)
        elif include_seen:
            owner, rows = owner[:0], rows[:0]
        found = zip(*self._best(vectors, count, owner, rows), offsets, strict=True)
        return [self._told(items, scores, offset) for items, scores, offset in found]

    def scores(self, user: Id | None = None, *, history: Sequence[Id] | None = None) -> Numbers:
        """The score of every item of `items`, float32 [len(items)]; -inf for removed items."""
        query = self._query(user, self._seen(user, history), fold=history is not None)
        scores = self._scored.scores(self._asking(query))[0] + self._offset(user, fold=history is not None)
        whole = np.full(len(self.items), -np.inf, dtype=np.float32)
        whole[self._item_of_row] = numpy_of(scores)
        return whole

    def vector(self, *, user: Id | None = None, item: Id | None = None) -> Numbers:
        """The embedding of a user or of an item, float32 [dim].

        Raises:
            AutopruneError: neither or both are given, or the row is not there.
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
            users: known users, in any order; None for strangers, who are known by `histories` alone.
            histories: what each of them has seen, as positions in `items`; by default what lies beside the model.
            hidden: what none of them is shown; by default what they have seen.

        Returns:
            int64 [len(users), k], positions in `items`, best first; -1 where there is nothing left.
        """
        if histories is None:
            assert users is not None, "nothing is known of a stranger without a history"
            asked = users.values.tolist() if isinstance(users, Ids) else users
            owner, seen = self._histories.take(np.array([self._known(user) for user in asked], dtype=np.int64))
        else:
            owner, seen = histories.in_numpy().take(np.arange(len(histories)))
        owner, rows = self._owned_rows(owner, seen)
        vectors = (
            self._strangers.vectors(owner, rows, count=len(histories or ()))
            if users is None
            else self._vectors(users, owner, rows)
        )
        if hidden is not None and hidden is not histories:
            owner, rows = self._owned_rows(*hidden.in_numpy().take(np.arange(len(hidden))))
        items, scores = self._best(vectors, k, owner, rows)
        found = np.full((len(vectors), k), -1, dtype=np.int64)
        found[:, : items.shape[1]] = np.where(scores > -np.inf, items, -1)
        return found

    def exported(self) -> Exported:
        """Both tables; users without a row have in theirs what their histories give them."""
        rows = self._user_rows.positions(self.users)
        owner, seen = self._owned_rows(*self._histories.take(np.arange(len(self.users))))
        vectors, bias = numpy_of(self._vectors(self.users, owner, seen)), self._user_bias
        if bias is not None:
            bias = np.where(rows >= 0, bias[rows], bias.mean()).astype(np.float32)
        known = ExportedTable(ids=_texts(self.users), vectors=vectors, bias=bias, packed=self._user_table)
        item_bias = numpy_of(self._scored.tensors["bias"]) if self._biased else None
        items = ExportedTable(
            ids=_texts(self._item_rows),
            vectors=numpy_of(self._item_table.values()),
            bias=item_bias,
            packed=self._item_table,
        )
        lost = ["A user who is not in the table gets no vector: to make one from a history takes autoprune."]
        if folded := int((rows < 0).sum()):
            lost.append(f"{folded:,} users without a row are written with the vectors that their histories give today.")
        lost.append("Titles and histories stay out: what a user has seen is not hidden.")
        tables = {"user": known, "item": items}
        return Exported(tables=tables, searched="item", constant=self._constant, losses=tuple(lost))

    def _best(self, vectors: Array, k: int, owner: Rows, rows: Rows) -> tuple[Rows, Numbers]:
        """The best items of users, but `rows` of whom they are hidden: positions and scores, both [users, k or less].

        Args:
            vectors: of users, float32 [users, dim].
            owner: from whom a row is hidden, int64 [n], ascending.
        """
        best = self._search.topk(self._asking(vectors), k, Hidden(self._put(owner), self._put(rows)))
        return self._item_of_row[numpy_of(best.rows)], numpy_of(best.scores)

    def _told(self, positions: Rows, scores: Numbers, offset: float) -> list[Recommendation]:
        """Best items by their positions, for people."""
        items, told = self.items.values[positions].tolist(), scores.tolist()
        titles = [self._titles[at] for at in positions.tolist()] if self._titles else map(str, items)
        scored = [score + offset for score in told] if offset else told
        found = map(Recommendation, items, titles, scored)
        return [recommendation for recommendation in found if recommendation.score > float("-inf")]

    @cached_property
    def _titles(self) -> list[str] | None:
        """Of all items; None where none are known."""
        return titles_of(self._beside)

    @cached_property
    def _histories(self) -> Histories:
        """Of all users; empty ones where the artifact came without."""
        return histories_of(self._beside, len(self.users))

    def _put(self, array: Array) -> Array:
        """An array of numpy where the tables answer."""
        return array if self.device == "cpu" else tensor_of(array, self.device)

    def _owned_rows(self, owner: Rows, seen: Rows) -> tuple[Rows, Rows]:
        """Whose they are and their rows, of those of `seen` (positions in `items`) that were not removed."""
        rows = self._row_of_item[seen]
        return owner[rows >= 0], rows[rows >= 0]

    def _known(self, user: Id) -> int:
        at = self.users.position(user)
        if at < 0:
            hint = self.users.hint(user)
            raise AutopruneError(f"user {shown(user)} is unknown.{hint} Give history=[item ids] to serve a stranger.")
        return at

    def _seen(self, user: Id | None, history: Sequence[Id] | None) -> Rows:
        """Positions in `items` of what the user has seen, int64 [n]."""
        if history is None:
            if user is None:
                raise AutopruneError("one of user=… and history=[…] must be given.")
            found: Rows = self._histories.of(self._known(user))
            return found
        return self._positions(history, "history")

    def _positions(self, given: object, what: str) -> Rows:
        return item_positions(self.items, given, what)

    def _lists(self, given: object, what: str) -> tuple[int, Rows, Rows]:
        """Lists of item ids end to end: how many lists, whose each id is, its position in `items`, int64 [n] both."""
        found = [self._positions(one, what) for one in one_by_one(given, what, "lists of item ids", dims=2)]
        owner = np.repeat(np.arange(len(found)), np.array([len(one) for one in found], dtype=np.int64))
        return len(found), owner, np.concatenate([*found, np.empty(0, dtype=np.int64)])

    def _query(self, user: Id | None, seen: Rows, *, fold: bool) -> Array:
        """The vector that stands for a user, float32 [1, dim]."""
        row = -1 if fold or user is None else self._user_rows.position(user)
        if row >= 0:
            vector = self._user_table.decode(self._put(np.array([row])))
            if vector.any():
                return vector
        rows = self._rows(seen)  # no row, or one that was never trained
        return self._strangers.vectors(np.zeros_like(rows), rows, count=1)

    def _asking(self, vectors: Array) -> Array:
        """The vectors of users, float32 [n, dim], as queries of what is scored."""
        return asking(vectors) if self._biased else vectors

    def _offset(self, user: Id | None, *, fold: bool) -> float:
        """What is added to all scores of a user alike; of one without a row it is that of the average user."""
        if self._user_bias is None:
            return self._constant
        row = -1 if fold or user is None else self._user_rows.position(user)
        return self._constant + float(self._user_bias[row] if row >= 0 else self._user_bias.mean())

    def _vectors(self, users: Sequence[Id] | Ids, owner: Rows, rows: Rows) -> Array:
        """Vectors of known users, who have seen `rows` of the item table, `owner` by `owner`: float32 [users, dim]."""
        known = (
            self._user_rows.positions(users)
            if isinstance(users, Ids)
            else np.array([self._user_rows.position(user) for user in users], dtype=np.int64)
        )
        vectors = filled((len(users), self._user_table.dim), 0, self._user_table.like)
        vectors[self._put(known >= 0)] = self._user_table.decode(self._put(known[known >= 0]))
        (strangers,) = np.nonzero(~numpy_of(vectors.any(1)))
        if len(strangers):
            place = np.full(len(users), -1)
            place[strangers] = np.arange(len(strangers))
            theirs = place[owner] >= 0
            vectors[self._put(strangers)] = self._strangers.vectors(
                place[owner[theirs]], rows[theirs], count=len(strangers)
            )
        return vectors

    def _typical(self, count: int) -> Array:
        """Vectors to time searches with: users from all over the table, float32 [count, dim]."""
        table = self._user_table if self._user_table.rows else self._item_table
        vectors = table.decode(self._put(np.linspace(0, table.rows - 1, count).astype(np.int64)))
        vectors[~vectors.any(1)] = 1.0
        return self._asking(vectors)

    def _rows(self, items: Rows) -> Rows:
        """The rows of those of `items` (positions, int64 [n]) that were not removed."""
        rows: Rows = self._row_of_item[items]
        return rows if len(self._item_rows) == len(self.items) else rows[rows >= 0]

    @property
    def _strangers(self) -> Strangers:
        """Made when it is asked for: most requests need it not."""
        if self._folding is None:
            self._folding = Strangers(self._item_table, self._user_table, fold_in=self._fold_in, biased=self._biased)
        return self._folding


def _whole(parts: Parts, name: str, rows: Ids) -> Ids:
    """The ids of all users or items: those of the rows themselves where none was removed, or no others are known."""
    known = parts.beside.tensors.get(f"{name}s")
    return rows if known is None or np.array_equal(known, parts.tensors[f"ids.{name}"]) else Ids.decode(known)


def _texts(ids: Ids) -> list[str]:
    return [str(one) for one in ids.values.tolist()]
