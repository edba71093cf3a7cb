"""A recommender that answers from packed tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.histories import Histories
from autoprune.ids import Id, Ids
from autoprune.packing import restore
from autoprune.packing.packed import BLOCK_ROWS
from autoprune.runtime.served import Parts, Served


class Recommendation(NamedTuple):
    """One recommended item: its id, its title (the id again where no titles are known) and its score."""

    item: Id
    title: str
    score: float


class Recommender(Served):
    """Full-catalogue recommendations by dot products of user and item rows.

    Users without a row (strangers, and users that pruning removed) get a vector by ridge regression on their
    history; with rows v_i of the items they have seen (H) out of all items (I) it is

        argmin_u  Σ_H (1 - u·v_i)² + alpha Σ_I (u·v_i)² + ridge * s * |u|²,   s = mean diagonal of Σ_I v_i v_iᵀ

    the user's half-step of implicit-feedback ALS (Hu, Koren & Volinsky 2008).

    Attributes:
        items: ids of the whole catalogue, those of removed items included.
        users: ids of all known users, those of removed rows included.
    """

    def __init__(self, parts: Parts, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        tables = {
            name: restore(entry, {key: parts.tensors[f"{name}.{key}"] for key in _fields(parts.tensors, name)}).to(
                self.device
            )
            for name, entry in parts.manifest["tables"].items()
        }
        self._user_table, self._item_table = tables["user"], tables["item"]
        self._alpha = float(parts.manifest["fold_in"]["alpha"])
        self._ridge = float(parts.manifest["fold_in"]["ridge"])
        self._user_rows, self._item_rows = (Ids.decode(parts.tensors[f"ids.{name}"]) for name in ("user", "item"))
        self.users = Ids.decode(parts.beside.tensors["users"]) if parts.beside.tensors else self._user_rows
        self.items = Ids.decode(parts.beside.tensors["items"]) if parts.beside.tensors else self._item_rows
        self._titles: list[str] | None = parts.beside.values.get("titles")
        self._row_of_item = self._item_rows.positions(self.items).to(self.device)
        self._item_of_row = self.items.positions(self._item_rows).to(self.device)
        self._histories = (
            Histories(starts=parts.beside.tensors["starts"], items=parts.beside.tensors["history"].long())
            if parts.beside.tensors
            else Histories(starts=torch.zeros(len(self.users) + 1, dtype=torch.long), items=torch.empty(0).long())
        )
        self._regression: tuple[Tensor, Tensor] | None = None

    @property
    def memory_bytes(self) -> int:
        held = self._user_table.memory_bytes + self._item_table.memory_bytes
        return held + self._user_rows.memory_bytes + self._item_rows.memory_bytes

    def recommend(
        self,
        user: Id | None = None,
        *,
        history: Sequence[Id] | None = None,
        k: int = 10,
        include_seen: bool = False,
    ) -> list[Recommendation]:
        """The k best items, best first.

        Args:
            user: a known user.
            history: item ids instead of (or in place of) what is known of the user; alone, it serves a stranger.
            k: how many; fewer come back when fewer items are left.
            include_seen: whether items of the history may be recommended again.

        Raises:
            AutopruneError: the user is unknown and no history is given, or k is not positive.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise AutopruneError(f"recommend: a whole number k >= 1 must be given, but got {k!r}.")
        seen = self._seen(user, history)
        scores = self._scores(user, seen, fold=history is not None)
        if not include_seen:
            scores.index_fill_(0, self._rows(seen), float("-inf"))
        best = scores.topk(min(k, len(scores)))
        positions = self._item_of_row[best.indices].tolist()
        items = self.items.values[positions].tolist()
        titles = [self._titles[at] for at in positions] if self._titles else map(str, items)
        found = map(Recommendation, items, titles, best.values.tolist())
        return [recommendation for recommendation in found if recommendation.score > float("-inf")]

    def scores(self, user: Id | None = None, *, history: Sequence[Id] | None = None) -> Tensor:
        """The score of every item of `items`, float32 [len(items)]; -inf for removed items."""
        scores = self._scores(user, self._seen(user, history), fold=history is not None)
        whole = torch.full((len(self.items),), float("-inf"), device=self.device)
        whole[self._item_of_row] = scores
        return whole

    def vector(self, *, user: Id | None = None, item: Id | None = None) -> Tensor:
        """The embedding of a user or of an item, float32 [dim].

        Raises:
            AutopruneError: neither or both are given, or the row is not there.
        """
        if (user is None) == (item is None):
            raise AutopruneError("vector: exactly one of user=… and item=… must be given.")
        if item is None:
            return self._vector(user, self._seen(user, None), fold=False)
        row = self._item_rows.position(item)
        if row < 0:
            removed = self.items.position(item) >= 0
            why = "was removed by pruning." if removed else f"is unknown.{self.items.hint(item)}"
            raise AutopruneError(f"vector: item {item!r} {why}")
        return self._item_table.decode(torch.tensor([row], device=self.device))[0]

    def topk(self, users: Sequence[Id], k: int, *, histories: Histories | None = None) -> Tensor:
        """The k best unseen items of many users at once.

        Args:
            users: known users.
            histories: what each of `users` has seen, as positions in `items`; by default what lies beside the model.

        Returns:
            int64 [len(users), k], positions in `items`, best first; -1 where there is nothing left.
        """
        if histories is None:
            known = torch.tensor([self._known(user) for user in users], dtype=torch.long)
            owner, seen = self._histories.take(known)
        else:
            owner, seen = histories.take(torch.arange(len(users)))
        scores = self._item_table.scores(self._vectors(users, owner, seen))
        self._hide(scores, owner, seen)
        best = scores.topk(min(k, scores.shape[1]), dim=1)
        found = torch.where(best.values > float("-inf"), self._item_of_row[best.indices], -1)
        return torch.nn.functional.pad(found, (0, k - found.shape[1]), value=-1)

    def _known(self, user: Id) -> int:
        at = self.users.position(user)
        if at < 0:
            hint = self.users.hint(user)
            raise AutopruneError(f"user {user!r} is unknown.{hint} Give history=[item ids] to serve a stranger.")
        return at

    def _seen(self, user: Id | None, history: Sequence[Id] | None) -> Tensor:
        """Positions in `items` of what the user has seen, int64 [n]."""
        if history is None:
            if user is None:
                raise AutopruneError("one of user=… and history=[…] must be given.")
            return self._histories.of(self._known(user))
        if isinstance(history, str) or not isinstance(history, Iterable):
            raise AutopruneError(f"history: a list of item ids must be given, but got {history!r}.")
        at = {item: self.items.position(item) for item in history}
        for item, position in at.items():
            if position < 0:
                raise AutopruneError(f"history: item {item!r} is unknown; leave it out.{self.items.hint(item)}")
        return torch.tensor(list(at.values()), dtype=torch.long)

    def _scores(self, user: Id | None, seen: Tensor, *, fold: bool) -> Tensor:
        return self._item_table.scores(self._vector(user, seen, fold=fold)[None])[0]

    def _vector(self, user: Id | None, seen: Tensor, *, fold: bool) -> Tensor:
        row = -1 if fold or user is None else self._user_rows.position(user)
        if row >= 0:
            vector = self._user_table.decode(torch.tensor([row], device=self.device))[0]
            if vector.any():
                return vector
        return self._fold_in(seen)  # no row, or one that was never trained

    def _vectors(self, users: Sequence[Id], owner: Tensor, seen: Tensor) -> Tensor:
        rows = torch.tensor([self._user_rows.position(user) for user in users], dtype=torch.long, device=self.device)
        vectors = torch.empty(len(users), self._user_table.dim, device=self.device)
        vectors[rows >= 0] = self._user_table.decode(rows[rows >= 0])
        vectors[rows < 0] = 0.0
        for at in (~vectors.any(1)).nonzero()[:, 0].tolist():
            vectors[at] = self._fold_in(seen[owner == at])
        return vectors

    def _hide(self, scores: Tensor, owner: Tensor, seen: Tensor) -> None:
        rows = self._row_of_item[seen.to(self.device)]
        scores[owner.to(self.device)[rows >= 0], rows[rows >= 0]] = float("-inf")

    def _rows(self, items: Tensor) -> Tensor:
        """The rows of those of `items` (positions, int64 [n]) that were not removed."""
        rows = self._row_of_item[items.to(self.device)]
        return rows if len(self._item_rows) == len(self.items) else rows[rows >= 0]

    def _fold_in(self, seen: Tensor) -> Tensor:
        """The vector of a user who has no row, from what they have seen; float32 [dim]."""
        if self._regression is None:
            self._regression = self._prepare_regression()
        penalty, average = self._regression
        rows = self._rows(seen)
        if len(rows) == 0:
            return average  # nothing is known of them: answer as for the average user
        vectors = self._item_table.decode(rows)
        solution: Tensor = torch.linalg.solve(vectors.T @ vectors + penalty, vectors.sum(0))
        return solution

    def _prepare_regression(self) -> tuple[Tensor, Tensor]:
        """What every regression shares, [dim, dim], and the mean user, [dim]; summed block by block."""
        dim = self._item_table.dim
        gram, total = torch.zeros(dim, dim, device=self.device), torch.zeros(dim, device=self.device)
        for rows in _blocks(self._item_table.rows, self.device):
            block = self._item_table.decode(rows)
            gram += block.T @ block
        for rows in _blocks(self._user_table.rows, self.device):
            total += self._user_table.decode(rows).sum(0)
        scale = gram.diagonal().mean().clamp_min(1e-12)
        penalty = self._alpha * gram + self._ridge * scale * torch.eye(dim, device=self.device)
        return penalty, total / self._user_table.rows


def _fields(tensors: dict[str, Any], table: str) -> list[str]:
    return [name.removeprefix(f"{table}.") for name in tensors if name.startswith(f"{table}.")]


def _blocks(rows: int, device: torch.device) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(rows, device=device), BLOCK_ROWS)
