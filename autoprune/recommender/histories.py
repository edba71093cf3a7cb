"""Who has seen what: one list of items a user, stored end to end."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.packing.arrays import Array, bounds, namespace, numbers, numpy_of, repeat


@dataclass(frozen=True, kw_only=True)
class Histories:
    """Ragged lists of item positions: in torch where they are trained on, in numpy where they are served from.

    Attributes:
        starts: int64 [users + 1]; user u's items are items[starts[u] : starts[u + 1]].
        items: int64 [interactions]; of an artifact int32.
    """

    starts: Array
    items: Array

    @staticmethod
    def from_pairs(users: Array, items: Array, *, count: int) -> Histories:
        """From (user, item) pairs in any order, int64 [n] each; a user's items keep their order.

        Args:
            count: how many users there are, those without items included.
        """
        order = users.argsort(stable=True)
        counts = namespace(users).bincount(users, minlength=count)
        return Histories(starts=bounds(counts), items=items[order])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> Array:
        """How many items each user has, int64 [users]."""
        return self.starts[1:] - self.starts[:-1]

    def in_numpy(self) -> Histories:
        """The same lists in numpy."""
        return Histories(starts=numpy_of(self.starts), items=numpy_of(self.items))

    def of(self, user: int) -> Array:
        """The items of one user, int64 [n]."""
        first, last = self.starts[user : user + 2].tolist()
        return self.items[first:last]

    def take(self, users: Array) -> tuple[Array, Array]:
        """The items of several users: (position in `users`, item), int64 [n] each."""
        counts = self.counts[users]
        owner = repeat(numbers(len(users), users), counts)
        first = bounds(counts)[:-1]
        return owner, self.items[numbers(len(owner), users) + (self.starts[users] - first)[owner]]

    def of_users(self, users: Array) -> Histories:
        """The lists of several users, in their order."""
        return Histories(starts=bounds(self.counts[users]), items=self.take(users)[1])

    def joined(self, other: Histories) -> Histories:
        """Both lists of every user, this one's items first."""
        library = namespace(self.items)
        users = library.concatenate([_owners(self), _owners(other)])
        items = library.concatenate([self.items, other.items])
        return Histories.from_pairs(users, items, count=len(self))


def _owners(histories: Histories) -> Array:
    return repeat(numbers(len(histories), histories.starts), histories.counts)
