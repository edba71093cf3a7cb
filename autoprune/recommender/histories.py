"""Who has seen what: one list of items a user, stored end to end."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from autoprune.packing.arrays import Array, bounds, namespace, numbers, numpy_of, repeat
from autoprune.packing.ids import Packed
from autoprune.packing.varint import from_varints, to_varints

BLOCK = 2**14
"""Lists that are compressed together; bounds the memory needed to read them."""


@dataclass(frozen=True, kw_only=True)
class Histories:
    """Ragged lists of item positions: torch tensors for training, numpy arrays for serving.

    Attributes:
        starts: int64 [users + 1]; user u's items are items[starts[u] : starts[u + 1]].
        items: int64 [interactions]; int32 if read from an artifact.
    """

    starts: Array
    items: Array

    @staticmethod
    def from_pairs(users: Array, items: Array, *, count: int) -> Histories:
        """From (user, item) pairs in any order, int64 [n] each; a user's items keep their order.

        Args:
            count: number of users, including those without items.
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

    def encode(self) -> Packed:
        """Compressed bytes, uint8 [m]; the order within a list is lost.

        A head gives the number of blocks and the bytes of each. A block of `BLOCK` lists has their counts, then the
        gaps between the sorted items of each, as varints (`autoprune.packing.varint`) compressed by zlib.
        """
        lists = self.in_numpy()
        order = np.lexsort((lists.items, _owners(lists)))
        items = lists.items[order].astype(np.int64)
        gaps = np.diff(items, prepend=0)
        first = lists.starts[:-1][lists.counts > 0]
        gaps[first] = items[first]
        blocks = []
        for start in range(0, len(self), BLOCK):
            edges = lists.starts[start : start + BLOCK + 1]
            stream = to_varints(np.concatenate([np.diff(edges), gaps[edges[0] : edges[-1]]]))
            blocks.append(np.diff(edges).size.to_bytes(4, "little") + zlib.compress(stream.tobytes(), level=6))
        head = np.array([len(blocks), *map(len, blocks)], dtype="<u4").tobytes()
        return np.frombuffer(head + b"".join(blocks), dtype=np.uint8)

    @staticmethod
    def decode(packed: Packed) -> Histories:
        """The inverse of `encode`; each list in ascending order, its items int32."""
        content = packed.tobytes()
        position = 4 * (1 + int(np.frombuffer(content, "<u4", 1)[0]))
        counts, items = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int32)]
        for size in np.frombuffer(content[4:position], "<u4").tolist():
            block, position = content[position : position + size], position + size
            lists, stream = int.from_bytes(block[:4], "little"), np.frombuffer(zlib.decompress(block[4:]), np.uint8)
            values = from_varints(stream)
            counts.append(values[:lists])
            items.append(_summed(values[:lists], values[lists:]).astype(np.int32))
        return Histories(starts=bounds(np.concatenate(counts)), items=np.concatenate(items))


def _summed(counts: Array, gaps: Array) -> Array:
    """The items of lists end to end, from the gaps between them."""
    items, filled = gaps.cumsum(), counts > 0
    first = bounds(counts)[:-1][filled]
    return items - np.repeat(items[first] - gaps[first], counts[filled])  # minus the sum of all earlier lists


def _owners(histories: Histories) -> Array:
    return repeat(numbers(len(histories), histories.starts), histories.counts)
