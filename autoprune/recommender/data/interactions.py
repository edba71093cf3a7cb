"""Implicit feedback: who interacted with what, split into train, validation and test."""

from __future__ import annotations

import dataclasses
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
"""split → its description."""

HELD_OUT = 0.1
"""Share of the interactions that validation and test get each."""

FEWEST_USERS = 200
"""With fewer evaluable users, the losses that a study looks for are lost in the noise of the metrics."""


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """The interactions of users with items, as positions in `users` and `items`.

    Validation and test have only items that the user has not seen before: full ranking masks seen items, so it could
    never recommend a repeated one.

    Attributes:
        users, items: external ids in row order.
        train, validation, test: the items of each user.
        titles: of the items, or None.
        how: a description of the split.
        notes: further remarks on how the data was read and split.
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
        """What users had seen before `split`: train for validation, train and validation for test."""
        return self.train if split == "validation" else self.train.joined(self.validation)

    def targets(self, split: str) -> Histories:
        """The items to recommend in `split`.

        Raises:
            AutopruneError: there is no such split.
        """
        if split not in ("validation", "test"):
            raise unknown("split", split, ("validation", "test"))
        return self.validation if split == "validation" else self.test

    def evaluable(self, split: str) -> Numbers:
        """Positions of the users with both a history and a target in `split`."""
        mask = (self.seen_before(split).counts > 0) & (self.targets(split).counts > 0)
        users: Numbers = mask.nonzero()[:, 0].numpy()
        return users

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

    Interactions with the same time are put into a random order by `seed`. The order of ids or of the file may depend on
    what the items are; then the last tenths would have other kinds of items than the rest.

    Args:
        split: `per_user` holds out the last tenths of every user by time (it leaks across users: some train
            interactions are later than other users' test interactions); `global` the last tenths of the whole log,
            which leaks nothing but needs enough data; `random` tenths of every user by `seed`. None: as the files are
            split; if they are not, per user by time if there are times, else at random.
        where: names the data in errors.
        titles: item id → title.

    Raises:
        AutopruneError: the log cannot be split in this way, or too few users are left to evaluate.
    """
    if log.split is not None:
        if split is not None:
            raise AutopruneError(
                f"task.data.split: {where} is split by its files, but got {split!r}; omit it, or give a single file."
            )
        (pairs, how), tie_note = _as_given(log, seed), ""
    else:
        split = split or ("random" if log.time is None else "per_user")
        check_split(split)
        if log.time is None and split != "random":
            raise AutopruneError(
                f"task.data.split: {split} needs times, but {where} has none; name the column of times "
                "(task.data.columns.timestamp=NAME) or use random."
            )
        (pairs, tie_note), how = _tenths(log, split, seed), HOW[split]
    train, *held_out = pairs
    validation = _unseen(held_out[0], train, len(log.items))
    test = _unseen(held_out[1], np.concatenate([train, validation]), len(log.items))
    data = Interactions(
        users=log.users,
        items=log.items,
        train=_histories(train, len(log.users)),
        validation=_histories(validation, len(log.users)),
        test=_histories(test, len(log.users)),
        titles=[titles.get(item, str(item)) for item in log.items.values.tolist()] if titles else None,
        how=how,
        notes=(*log.notes, *([tie_note] if tie_note else [])),
    )
    data = dataclasses.replace(data, notes=(*data.notes, *_left_out(data, held_out)))
    counts = {name: len(data.evaluable(name)) for name in ("validation", "test")}
    if min(counts.values()) < FEWEST_USERS:
        raise AutopruneError(
            f"{where} split {how}: validation and test must each have at least {FEWEST_USERS} users with a history and "
            f"an item to find, but of {len(log.users)} users validation has {counts['validation']} and test has "
            f"{counts['test']} (items that a user had seen before do not count); split the data in another way or use "
            "more data."
        )
    return data


def _left_out(data: Interactions, held_out: list[Numbers]) -> list[str]:
    """Notes on pairs of validation and test ([n, 2] each) that are left out, and on users who are not judged."""
    notes = []
    for split, pairs in zip(("validation", "test"), held_out, strict=True):
        left, users = len(data.targets(split).items), int((data.targets(split).counts > 0).sum())
        strangers = users - len(data.evaluable(split))
        if left < len(pairs):
            notes.append(
                f"{len(pairs) - left:,} of {len(pairs):,} {split} interactions repeat what was seen before and are "
                "left out"
            )
        if strangers:
            notes.append(f"{strangers:,} of {users:,} users of {split} have no history and are not judged")
    return notes


def check_split(split: str) -> None:
    """Checks the name of a split.

    Raises:
        AutopruneError: there is no such split.
    """
    if split not in HOW:
        raise unknown("task.data.split", split, HOW)


def _tenths(log: Log, split: str, seed: int) -> tuple[list[Numbers], str]:
    """(user, item) pairs of train, validation and test, [n, 2] each, and a note on equal times."""
    user, item, time = _distinct(log)
    shuffled = np.random.default_rng(seed).permutation(len(user))
    user, item, time = user[shuffled], item[shuffled], time[shuffled]
    group = np.zeros_like(user) if split == "global" else user
    order = np.argsort(group, kind="stable") if split == "random" else np.lexsort((time, group))
    user, item, time, group = user[order], item[order], time[order], group[order]
    rank, size = _rank_within(group), np.bincount(group)[group]
    tenth = np.maximum(1, np.round(size * HELD_OUT)) * (size >= 3)
    part = (rank >= size - 2 * tenth).astype(np.int64) + (rank >= size - tenth)
    pairs = np.stack([user, item], axis=1)
    note = "" if split == "random" else _ties(group, time, part, "of their user" if split == "per_user" else "")
    return [pairs[part == number] for number in range(3)], note


def _distinct(log: Log) -> tuple[Numbers, Numbers, npt.NDArray[np.float64]]:
    """Users, items and first times of all distinct pairs, by time; without times all 0, in the order of files."""
    time = np.zeros(len(log.user)) if log.time is None else log.time
    order = np.arange(len(time)) if log.time is None else np.lexsort((log.user, log.item, time))
    _, first = np.unique((log.user * len(log.items) + log.item)[order], return_index=True)
    chosen = order[np.sort(first)]
    return log.user[chosen], log.item[chosen], time[chosen]


def _ties(group: Numbers, time: npt.NDArray[np.float64], part: Numbers, whose: str) -> str:
    """A note on how many interactions share their time within a group, and how many of them the split separates.

    Args:
        group, time, part: of each interaction, sorted by group and time.
        whose: the words after "share their time with another" in the note; may be empty.
    """
    starts = np.flatnonzero((np.diff(group, prepend=-1) != 0) | (np.diff(time, prepend=np.nan) != 0))
    counts = np.diff(starts, append=len(group))
    ends = starts + counts - 1
    tied, separated = int(counts[counts > 1].sum()), int(counts[part[starts] != part[ends]].sum())
    if not separated:
        return ""
    return (
        f"{tied:,} of {len(group):,} interactions share their time with another {whose}".rstrip()
        + f", {separated:,} of them across a boundary of the split: their order is drawn by task.data.seed"
    )


def _as_given(log: Log, seed: int) -> tuple[list[Numbers], str]:
    """The pairs as the files split them; without validation, a tenth of every user's train items becomes validation."""
    pairs = []
    for split in range(3):
        in_split = log.split == split
        distinct = np.unique(log.user[in_split] * len(log.items) + log.item[in_split])
        pairs.append(np.stack(np.divmod(distinct, max(1, len(log.items))), axis=1))
    train, validation, test = pairs
    if len(validation):
        return pairs, "as its files are"
    # Each user's list is shuffled and its head is held out; users with fewer than 10 items keep all for training.
    order = np.random.default_rng(seed).permutation(len(train))
    order = order[np.argsort(train[order, 0], kind="stable")]
    is_drawn = _rank_within(train[order, 0]) < np.bincount(train[:, 0])[train[order, 0]] // int(1 / HELD_OUT)
    drawn, rest = train[np.sort(order[is_drawn])], train[np.sort(order[~is_drawn])]
    return [rest, drawn, test], "as its files are, a tenth of train drawn for validation"


def _rank_within(groups: Numbers) -> Numbers:
    """The rank of each entry within its run of equal values; `groups` is sorted."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ranks: Numbers = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return ranks


def _histories(pairs: Numbers, users: int) -> Histories:
    tensor = torch.from_numpy(np.ascontiguousarray(pairs))
    return Histories.from_pairs(tensor[:, 0], tensor[:, 1], count=users)


def _unseen(pairs: Numbers, seen: Numbers, items: int) -> Numbers:
    """The `pairs` that are not in `seen`; neither has duplicates."""
    is_seen = np.isin(pairs[:, 0] * items + pairs[:, 1], seen[:, 0] * items + seen[:, 1], assume_unique=True)
    unseen: Numbers = pairs[~is_seen]
    return unseen
