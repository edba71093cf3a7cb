"""Implicit feedback: who interacted with what, read from files and split into train, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from autoprune.errors import AutopruneError, unknown
from autoprune.histories import Histories
from autoprune.ids import Ids

Numbers = npt.NDArray[np.int64]

SPLITS = ("per_user", "global", "random")
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
    """

    users: Ids
    items: Ids
    train: Histories
    validation: Histories
    test: Histories
    titles: list[str] | None = None

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
            state.update(ids.values.tobytes())
        for histories in (self.train, self.validation, self.test):
            state.update(histories.starts.numpy().tobytes() + histories.items.numpy().tobytes())
        return state.hexdigest()[:12]


def read_lines(folder: Path, *, seed: int = 0) -> Interactions:
    """Reads LightGCN's format: `train.txt`, `test.txt` and perhaps `valid.txt`, a line a user, `user item item …`.

    Without `valid.txt` a tenth of every user's train items, drawn by `seed`, is validation.

    Raises:
        AutopruneError: a file is missing or a line is malformed (with its number), or too few users can be evaluated.
    """
    if not folder.is_dir():
        raise AutopruneError(
            f"task.data.path: there is no folder {str(folder)!r}. It should hold train.txt and test.txt."
        )
    pairs = {name: _read_file(folder / f"{name}.txt") for name in ("train", "test")}
    if (folder / "valid.txt").exists():
        pairs["valid"] = _read_file(folder / "valid.txt")
    users = Ids(np.unique(np.concatenate([split[:, 0] for split in pairs.values()])))
    items = Ids(np.unique(np.concatenate([split[:, 1] for split in pairs.values()])))
    numbered = {
        name: np.stack([np.searchsorted(users.values, split[:, 0]), np.searchsorted(items.values, split[:, 1])], axis=1)
        for name, split in pairs.items()
    }
    train = numbered["train"]
    if "valid" not in numbered:
        # Whole users' lists are shuffled and the head of each is held out; a user of fewer than 10 keeps them all.
        order = np.random.default_rng(seed).permutation(len(train))
        order = order[np.argsort(train[order, 0], kind="stable")]
        held = _rank_within(train[order, 0]) < np.bincount(train[:, 0])[train[order, 0]] // int(1 / HELD_OUT)
        numbered["valid"], train = train[np.sort(order[held])], train[np.sort(order[~held])]
    return _checked(users, items, train, numbered["valid"], numbered["test"], where=str(folder))


def split_by(
    split: str,
    user_ids: Numbers,
    item_ids: Numbers,
    timestamps: Numbers,
    *,
    seed: int = 0,
    where: str,
    titles: dict[int, str] | None = None,
) -> Interactions:
    """Splits a log of interactions 80/10/10.

    Args:
        split: `per_user` holds out the last tenths of every user by time (it leaks across users: some train
            interactions are later than other users' test interactions); `global` the last tenths of the whole log,
            the honest one where the data can carry it; `random` tenths of every user by `seed`.
        user_ids, item_ids, timestamps: one entry an interaction, [n]; a repeated pair counts once, at its first time.
        where: what the data is, for errors.
        titles: by item id.

    Raises:
        AutopruneError: `split` is unknown, or leaves too few users to evaluate.
    """
    if split not in SPLITS:
        raise unknown("task.data.split", split, SPLITS)
    users, items = Ids(np.unique(user_ids)), Ids(np.unique(item_ids))
    user, item = np.searchsorted(users.values, user_ids), np.searchsorted(items.values, item_ids)
    order = np.lexsort((item, timestamps))
    _, first = np.unique(user[order] * len(items) + item[order], return_index=True)
    order = order[np.sort(first)]
    user, item = user[order], item[order]  # distinct pairs, by time
    if split == "global":
        place, size = np.arange(len(user)), np.full(len(user), len(user))
    else:
        if split == "random":
            shuffled = np.random.default_rng(seed).permutation(len(user))
            user, item = user[shuffled], item[shuffled]
        grouped = np.argsort(user, kind="stable")
        user, item = user[grouped], item[grouped]
        place, size = _rank_within(user), np.bincount(user)[user]
    held = np.maximum(1, np.round(size * HELD_OUT)) * (size >= 3)
    in_test = place >= size - held
    in_valid = (place >= size - 2 * held) & ~in_test
    pairs = np.stack([user, item], axis=1)
    return _checked(
        users,
        items,
        pairs[~in_test & ~in_valid],
        pairs[in_valid],
        pairs[in_test],
        where=f"{where} split {split}",
        titles=[titles.get(int(item), str(item)) for item in items.values] if titles else None,
    )


def _read_file(path: Path) -> Numbers:
    """(user, item) pairs of one file, int64 [n, 2]; an item that stands twice on a line counts once."""
    if not path.is_file():
        raise AutopruneError(f"task.data.path: {str(path)!r} is missing; each line of it is `user item item …`.")
    if path.stat().st_size == 0:
        raise AutopruneError(f"{path}: the file is empty; each line of it is `user item item …`.")
    first_line: dict[int, int] = {}
    parts = []
    for number, numbers in _parsed(path):
        user = int(numbers[0])
        if user in first_line:
            raise AutopruneError(
                f"{path}:{number}: user {user} stands on line {first_line[user]} too; one line holds all their items."
            )
        first_line[user] = number
        items = np.unique(numbers[1:])
        parts.append(np.stack([np.full(len(items), user), items], axis=1))
    return np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)


def _parsed(path: Path) -> Iterator[tuple[int, Numbers]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            words = line.split()
            if not words:
                continue
            for word in words:
                if not word.isdigit() or len(word) > 18:
                    shown = word.decode(errors="replace")[:40]
                    raise AutopruneError(
                        f"{path}:{number}: whole numbers >= 0 are expected, but got {shown!r}; "
                        "each line is `user item item …`."
                    )
            yield number, np.array(words, dtype=np.int64)


def _rank_within(groups: Numbers) -> Numbers:
    """The place of each entry within its run of equal values; `groups` is sorted."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ranks: Numbers = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return ranks


def _checked(
    users: Ids,
    items: Ids,
    train: Numbers,
    validation: Numbers,
    test: Numbers,
    *,
    where: str,
    titles: list[str] | None = None,
) -> Interactions:
    validation = _unseen(validation, train, len(items))
    test = _unseen(test, np.concatenate([train, validation]), len(items))

    def histories(pairs: Numbers) -> Histories:
        found = torch.from_numpy(np.ascontiguousarray(pairs))
        return Histories.from_pairs(found[:, 0], found[:, 1], count=len(users))

    data = Interactions(
        users=users,
        items=items,
        train=histories(train),
        validation=histories(validation),
        test=histories(test),
        titles=titles,
    )
    counts = {split: len(data.evaluable(split)) for split in ("validation", "test")}
    if min(counts.values()) < FEWEST_USERS:
        raise AutopruneError(
            f"{where}: at least {FEWEST_USERS} users with a history must have something to find in each split, but of "
            f"{len(users)} users validation has {counts['validation']} and test has {counts['test']} (what a user had "
            "seen before is nothing to find); split the data otherwise or bring more."
        )
    return data


def _unseen(pairs: Numbers, seen: Numbers, items: int) -> Numbers:
    kept: Numbers = pairs[~np.isin(pairs[:, 0] * items + pairs[:, 1], seen[:, 0] * items + seen[:, 1])]
    return kept
