"""The requests of an evaluation: users, the histories that serve them, and target items; also perturbed.

Rows are trained on the training data alone. For a fair ratio, users served from a history are served from their
training data too, even on test; their later interactions are only excluded from the recommendations.

Slices     head, middle, tail: target items by popularity, a third of the training interactions each;
           short, long: users by the length of their history
Perturbed  stranger: users are served from their history, as if they had no row
           newcomer: the same, from at most `NEWCOMER_ITEMS` items of the history
           noisy: like strangers, with a share of `NOISE` of the history replaced by random items
Aside      live: on test, users without a row are served from all earlier interactions, including validation, as in use;
           users with a row are served from the row, which does not include validation
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autoprune.packing.ids import Ids
from autoprune.recommender.data.interactions import Interactions, Numbers
from autoprune.recommender.histories import Histories

SLICES = {"popularity": ("head", "middle", "tail"), "history": ("short", "long")}

PERTURBATIONS = ("stranger", "newcomer", "noisy")

ASIDES = {
    "live": "who has no row is served from training and validation data, as in use, and a row knows training data alone"
}

NEWCOMER_ITEMS = 5

NOISE = 0.2

PERTURBED_USERS = 1024
"""At most so many users are evaluated under a perturbation: all would cost as much as the whole split."""

KEPT_USERS = 2**14
"""The batches of at most so many users are kept: so those of looks, as a rule."""


class UserBatch(NamedTuple):
    """Some users of an evaluation, whose answers are computed together; positions in a batch count from 0.

    Attributes:
        users: positions of the users, int64 [n].
        known, hidden: the histories that serve them, and what is not recommended to them; the same object if equal.
        owner, wanted: users, as positions in the batch, and their target items, int64 [m] each.
    """

    users: Tensor
    known: Histories
    hidden: Histories
    owner: Tensor
    wanted: Tensor


class Targets:
    """The users of a split and their target items.

    Attributes:
        users: positions of the users to evaluate, int64 [n].
        strangers: whether all are served as if they had no row.
        known: the histories that serve users without a row, of all users.
        seen: what each user has seen, and so is not recommended.
        wanted: the target items of each user.
        rows: a row for every (user, target item) with the columns of slices, without ranks.
    """

    def __init__(self, data: Interactions, split: str, users: Numbers) -> None:
        self._items = len(data.items)
        self.users = torch.from_numpy(users)
        self.strangers = False
        self.seen, self.wanted = data.seen_before(split), data.targets(split)
        self.known = data.train
        self._batches: dict[int, list[UserBatch]] = {}
        owner, items = self.wanted.take(self.users)
        histories = self.known.counts[self.users]
        short = histories <= histories.median()
        if short.all():  # most have the longest history: only shorter ones are short; if all are equal, none is
            short = histories < histories.max()
        self.rows = pd.DataFrame(
            {
                "user": self.users[owner].numpy(),
                "item": items.numpy(),
                "popularity": _labels(_thirds(data.train, data.items)[items], "popularity"),
                "history": _labels((~short)[owner].long(), "history"),
            }
        )

    def asked(self, name: str) -> Targets:
        """The same targets for a perturbation or an aside."""
        if name not in ASIDES:
            return self._perturbed(name)
        live = self._twin()
        live.known = self.seen
        return live

    def batches(self, step: int) -> Iterable[UserBatch]:
        """The users in batches of `step`. Few users' batches are kept, since every model answers the same ones."""
        batches = map(self._batch, torch.split(self.users, step))
        if len(self.users) > KEPT_USERS:
            return batches
        if step not in self._batches:
            self._batches[step] = list(batches)
        return self._batches[step]

    def _batch(self, users: Tensor) -> UserBatch:
        known = self.known.of_users(users).in_numpy()
        hidden = known if self.known is self.seen else self.seen.of_users(users).in_numpy()
        return UserBatch(users, known, hidden, *self.wanted.take(users))

    def _twin(self) -> Self:
        twin = copy.copy(self)
        twin._batches = {}
        return twin

    def _perturbed(self, name: str) -> Targets:
        """The targets of at most `PERTURBED_USERS` users, whose histories are perturbed."""
        perturbed, draw = self._twin(), np.random.default_rng(0)
        perturbed.strangers = True
        if len(self.users) > PERTURBED_USERS:
            perturbed.users = self.users[np.sort(draw.choice(len(self.users), PERTURBED_USERS, replace=False))]
        perturbed.rows = self.rows[self.rows["user"].isin(perturbed.users.numpy())].reset_index(drop=True)
        count = len(self.known)
        owner, items = self.known.take(torch.arange(count))
        if name == "newcomer":
            order = torch.from_numpy(draw.permutation(len(items)))
            shuffled = Histories.from_pairs(owner[order], items[order], count=count)
            place = torch.arange(len(items)) - shuffled.starts[:-1].repeat_interleave(shuffled.counts)
            first = place < NEWCOMER_ITEMS
            perturbed.known = Histories.from_pairs(owner[first], shuffled.items[first], count=count)
        elif name == "noisy":
            replaced = torch.from_numpy(draw.random(len(items)) < NOISE)
            others = torch.from_numpy(draw.integers(self._items, size=len(items)))
            perturbed.known = Histories.from_pairs(owner, torch.where(replaced, others, items), count=count)
        else:
            assert name == "stranger", f"{name} is none of {PERTURBATIONS}"
        return perturbed


def _labels(codes: Tensor, column: str) -> pd.Categorical[str]:
    names = list(SLICES[column])
    return pd.Categorical(np.array(names)[codes.numpy()], categories=names)


def _thirds(train: Histories, items: Ids) -> Tensor:
    """0, 1, 2 for items of the head, middle and tail: each class has a third of the train interactions.

    Where a boundary falls among equally popular items, their order is random.
    """
    counts = torch.bincount(train.items, minlength=len(items))
    order = torch.from_numpy(np.lexsort((items.draw(np.arange(len(items))), -counts.numpy())))
    before = counts[order].cumsum(0) - counts[order]
    classes = torch.empty(len(items), dtype=torch.long)
    classes[order] = (before * 3 // max(1, int(counts.sum()))).clamp(max=2)
    return classes
