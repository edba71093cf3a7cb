"""What a recommender is asked on a split: by whom, what of them is known, what would be right; also made harder.

Rows know the training data and nothing later. So that both sides of a ratio know the same, whoever is served from a
history is served from the training data too, also on test; what a user did later is only left out of the answers.

Slices     head, middle, tail: wanted items by popularity, a third of the training interactions each;
           short, long: users by the length of their history
Perturbed  stranger: users are served from their history, as if they had no row
           newcomer: the same, and no more is known than `NEWCOMER_ITEMS` of their items
           noisy: as strangers, with a share of `NOISE` of their items replaced by items drawn at random
Aside      live: on test, who has no row is served from all they had done, validation included, as in use; who has one
           is served from it, and so knows less
"""

from __future__ import annotations

import copy

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
"""Users who are asked for again under a perturbation, at most: all of them would cost as much as the whole split."""


class Targets:
    """What a split asks for, found once.

    Attributes:
        users: who asks, positions, int64 [n].
        strangers: whether they are served as if they had no row.
        known: what whoever has no row is served from, for all users.
        seen: what each user has seen, and so is not shown.
        wanted: what would be right.
        rows: a row for every (user, wanted item) with the columns of slices, without ranks.
    """

    def __init__(self, data: Interactions, split: str, users: Numbers) -> None:
        self._items = len(data.items)
        self.users = torch.from_numpy(users)
        self.strangers = False
        self.seen, self.wanted = data.seen_before(split), data.targets(split)
        self.known = data.train
        owner, items = self.wanted.take(self.users)
        histories = self.known.counts[self.users]
        short = histories <= histories.median()
        if short.all():  # most have the longest: the shorter ones are the few, and of equal ones there are none
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
        """The same questions as a perturbation or an aside asks them."""
        if name not in ASIDES:
            return self._perturbed(name)
        made = copy.copy(self)
        made.known = self.seen
        return made

    def _perturbed(self, name: str) -> Targets:
        """The same questions, or some of them, in a form that is harder to answer."""
        made, draw = copy.copy(self), np.random.default_rng(0)
        made.strangers = True
        if len(self.users) > PERTURBED_USERS:
            made.users = self.users[np.sort(draw.choice(len(self.users), PERTURBED_USERS, replace=False))]
        made.rows = self.rows[self.rows["user"].isin(made.users.numpy())].reset_index(drop=True)
        count = len(self.known)
        owner, items = self.known.take(torch.arange(count))
        if name == "newcomer":
            order = torch.from_numpy(draw.permutation(len(items)))
            mixed = Histories.from_pairs(owner[order], items[order], count=count)
            place = torch.arange(len(items)) - mixed.starts[:-1].repeat_interleave(mixed.counts)
            first = place < NEWCOMER_ITEMS
            made.known = Histories.from_pairs(owner[first], mixed.items[first], count=count)
        elif name == "noisy":
            wrong = torch.from_numpy(draw.random(len(items)) < NOISE)
            others = torch.from_numpy(draw.integers(self._items, size=len(items)))
            made.known = Histories.from_pairs(owner, torch.where(wrong, others, items), count=count)
        else:
            assert name == "stranger", f"{name} is none of {PERTURBATIONS}"
        return made


def _labels(codes: Tensor, column: str) -> pd.Categorical[str]:
    names = list(SLICES[column])
    return pd.Categorical(np.array(names)[codes.numpy()], categories=names)


def _thirds(train: Histories, items: Ids) -> Tensor:
    """0, 1, 2 for items of the head, middle and tail: each class holds a third of the train interactions.

    Where two classes meet among equally popular items, it is drawn which of them are of which.
    """
    counts = torch.bincount(train.items, minlength=len(items))
    order = torch.from_numpy(np.lexsort((items.draw(np.arange(len(items))), -counts.numpy())))
    before = counts[order].cumsum(0) - counts[order]
    classes = torch.empty(len(items), dtype=torch.long)
    classes[order] = (before * 3 // max(1, int(counts.sum()))).clamp(max=2)
    return classes
