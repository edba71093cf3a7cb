"""Implicit feedback: who interacted with what, split into train, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autoprune.errors import AutopruneError, unknown
from autoprune.packing.ids import Ids
from autoprune.recommender.data.log import Log
from autoprune.recommender.histories import Histories

Numbers = npt.NDArray[np.int64]

HOW = {
    "per_user": "80/10/10 per user by time",
    "global": "80/10/10 by time",
    "random": "80/10/10 per user at random",
}
"""split → what it does."""

HELD_OUT = 0.1
"""Share of the interactions that validation and test get, each."""

FEWEST_USERS = 200
"""With fewer evaluable users the noise of a metric hides any loss a study could look for."""


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Interactions of all users with all items, as positions in `users` and `items`.

    Validation and test hold only what the user has not seen before: full ranking masks seen items, so a repeated
    one could never be found.

    Attributes:
        users, items: external ids in row order.
        train, validation, test: what each user did, a list each.
        titles: of the items, or None.
        how: the split in words.
        notes: what else is to be known of how the data was read and split.
    """

    users: Ids
    items: Ids
    train: Histories
    validation: Histories
    test: Histories
    titles: list[str] | None = None
    how: str = ""
    notes: tuple[str, ...] = ()

    def seen_before(self, split: str) -> Histories:
        """What a user had seen when `split` began: train for validation, train and validation for test."""
        return self.train if split == "validation" else self.train.joined(self.validation)

    def targets(self, split: str) -> Histories:
        """What is to be found in `split`.

        Raises:
            AutopruneError: there is no such split.
        """
        if split not in ("validation", "test"):
            raise unknown("split", split, ("validation", "test"))
        return self.validation if split == "validation" else self.test

    def evaluable(self, split: str) -> Numbers:
        """Positions of the users with both a history and something to find."""
        mask = (self.seen_before(split).counts > 0) & (self.targets(split).counts > 0)
        found: Numbers = mask.nonzero()[:, 0].numpy()
        return found

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of ids and interactions."""
        state = hashlib.sha256()
        for ids in (self.users, self.items):
            state.update(ids.content)
        for histories in (self.train, self.validation, self.test):
            state.update(histories.starts.numpy().tobytes() + histories.items.numpy().tobytes())
        return state.hexdigest()[:12]


def split_log(
    log: Log, split: str | None = None, *, seed: int = 0, where: str, titles: Mapping[Any, str] | None = None
) -> Interactions:
    """Splits a log of interactions; a repeated pair counts once, at its first time.

    What has the same time stands in an order drawn by `seed`: that of ids or of the file may follow the content, and
    the last tenths would then be another kind of item than the rest.

    Args:
        split: `per_user` holds out the last tenths of every user by time (it leaks across users: some train
            interactions are later than other users' test interactions); `global` the last tenths of the whole log,
            the honest one where the data can carry it; `random` tenths of every user by `seed`. None: as the files
            are split, else per user by time where there are times, and at random where there are none.
        where: what the data is, for errors.
        titles: by item id.

    Raises:
        AutopruneError: the log cannot be split so, or too few users are left to evaluate.
    """
    if log.split is not None:
        if split is not None:
            raise AutopruneError(
                f"task.data.split: {where} is split by its files, but got {split!r}; leave it out or name one file."
            )
        (pairs, how), tied = _as_given(log, seed), ""
    else:
        split = split or ("random" if log.time is None else "per_user")
        check_split(split)
        if log.time is None and split != "random":
            raise AutopruneError(
                f"task.data.split: {split} needs times, but {where} has none; name their column "
                "(task.data.columns.timestamp=NAME) or take random."
            )
        (pairs, tied), how = _tenths(log, split, seed), HOW[split]
    train, validation, test = pairs
    validation = _unseen(validation, train, len(log.items))
    test = _unseen(test, np.concatenate([train, validation]), len(log.items))
    data = Interactions(
        users=log.users,
        items=log.items,
        train=_histories(train, len(log.users)),
        validation=_histories(validation, len(log.users)),
        test=_histories(test, len(log.users)),
        titles=[titles.get(item, str(item)) for item in log.items.values.tolist()] if titles else None,
        how=how,
        notes=(*log.notes, *([tied] if tied else [])),
    )
    counts = {name: len(data.evaluable(name)) for name in ("validation", "test")}
    if min(counts.values()) < FEWEST_USERS:
        raise AutopruneError(
            f"{where} split {how}: at least {FEWEST_USERS} users with a history must have something to find in each "
            f"split, but of {len(log.users)} users validation has {counts['validation']} and test has {counts['test']} "
            "(what a user had seen before is nothing to find); split the data otherwise or bring more."
        )
    return data


def check_split(split: str) -> None:
    """Refuses what is no split.

    Raises:
        AutopruneError: with what there is.
    """
    if split not in HOW:
        raise unknown("task.data.split", split, HOW)


def _tenths(log: Log, split: str, seed: int) -> tuple[list[Numbers], str]:
    """(user, item) pairs of train, validation and test, [n, 2] each; and what is to be said about equal times."""
    user, item, time = _distinct(log)
    drawn = np.random.default_rng(seed).permutation(len(user))
    user, item, time = user[drawn], item[drawn], time[drawn]
    whole = np.zeros_like(user) if split == "global" else user
    order = np.argsort(whole, kind="stable") if split == "random" else np.lexsort((time, whole))
    user, item, time, whole = user[order], item[order], time[order], whole[order]
    place, size = _rank_within(whole), np.bincount(whole)[whole]
    held = np.maximum(1, np.round(size * HELD_OUT)) * (size >= 3)
    part = (place >= size - 2 * held).astype(np.int64) + (place >= size - held)
    pairs = np.stack([user, item], axis=1)
    said = "" if split == "random" else _ties(whole, time, part, "of their user" if split == "per_user" else "")
    return [pairs[part == each] for each in range(3)], said


def _distinct(log: Log) -> tuple[Numbers, Numbers, npt.NDArray[np.float64]]:
    """Users, items and first times of all distinct pairs, by time; as in the files, and all zero, without times."""
    time = np.zeros(len(log.user)) if log.time is None else log.time
    order = np.arange(len(time)) if log.time is None else np.lexsort((log.user, log.item, time))
    _, first = np.unique((log.user * len(log.items) + log.item)[order], return_index=True)
    chosen = order[np.sort(first)]
    return log.user[chosen], log.item[chosen], time[chosen]


def _ties(whole: Numbers, time: npt.NDArray[np.float64], part: Numbers, whose: str) -> str:
    """How many interactions, by `whole` and time, have another's time, and how many of these a boundary takes apart."""
    starts = np.flatnonzero((np.diff(whole, prepend=-1) != 0) | (np.diff(time, prepend=np.nan) != 0))
    counts = np.diff(starts, append=len(whole))
    ends = starts + counts - 1
    tied, apart = int(counts[counts > 1].sum()), int(counts[part[starts] != part[ends]].sum())
    if not apart:
        return ""
    return (
        f"{tied:,} of {len(whole):,} interactions share their time with another {whose}".rstrip()
        + f", {apart:,} of them across a boundary of the split: their order is drawn by task.data.seed"
    )


def _as_given(log: Log, seed: int) -> tuple[list[Numbers], str]:
    """The pairs as the files split them; without validation, a tenth of every user's train items, drawn by `seed`."""
    pairs = []
    for split in range(3):
        theirs = log.split == split
        distinct = np.unique(log.user[theirs] * len(log.items) + log.item[theirs])
        pairs.append(np.stack(np.divmod(distinct, max(1, len(log.items))), axis=1))
    train, validation, test = pairs
    if len(validation):
        return pairs, "as its files are"
    # Whole users' lists are shuffled and the head of each is held out; a user of fewer than 10 keeps them all.
    order = np.random.default_rng(seed).permutation(len(train))
    order = order[np.argsort(train[order, 0], kind="stable")]
    held = _rank_within(train[order, 0]) < np.bincount(train[:, 0])[train[order, 0]] // int(1 / HELD_OUT)
    drawn, left = train[np.sort(order[held])], train[np.sort(order[~held])]
    return [left, drawn, test], "as its files are, a tenth of train drawn for validation"


def _rank_within(groups: Numbers) -> Numbers:
    """The place of each entry within its run of equal values; `groups` is sorted."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ranks: Numbers = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return ranks


def _histories(pairs: Numbers, users: int) -> Histories:
    found = torch.from_numpy(np.ascontiguousarray(pairs))
    return Histories.from_pairs(found[:, 0], found[:, 1], count=users)


def _unseen(pairs: Numbers, seen: Numbers, items: int) -> Numbers:
    """Those of some pairs that are not among others; no pair stands twice in either."""
    known = np.isin(pairs[:, 0] * items + pairs[:, 1], seen[:, 0] * items + seen[:, 1], assume_unique=True)
    kept: Numbers = pairs[~known]
    return kept
