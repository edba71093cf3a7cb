"""Who has seen what: one list of items a user, stored end to end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Histories:
    """Ragged lists of item positions.

    Attributes:
        starts: int64 [users + 1]; user u's items are items[starts[u] : starts[u + 1]].
        items: int64 [interactions].
    """

    starts: Tensor
    items: Tensor

    @staticmethod
    def from_pairs(users: Tensor, items: Tensor, *, count: int) -> Histories:
        """From (user, item) pairs in any order, int64 [n] each; a user's items keep their order.

        Args:
            count: how many users there are, those without items included.
        """
        order = users.argsort(stable=True)
        counts = torch.bincount(users, minlength=count)
        return Histories(starts=torch.nn.functional.pad(counts.cumsum(0), (1, 0)), items=items[order])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> Tensor:
        """How many items each user has, int64 [users]."""
        return self.starts.diff()

    def of(self, user: int) -> Tensor:
        """The items of one user, int64 [n]."""
        first, last = self.starts[user : user + 2].tolist()
        return self.items[first:last]

    def take(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The items of several users: (position in `users`, item), int64 [n] each."""
        counts = self.counts[users]
        owner = torch.arange(len(users)).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        return owner, self.items[torch.arange(len(owner)) + (self.starts[users] - first)[owner]]

    def of_users(self, users: Tensor) -> Histories:
        """The lists of several users, in their order."""
        starts = torch.nn.functional.pad(self.counts[users].cumsum(0), (1, 0))
        return Histories(starts=starts, items=self.take(users)[1])

    def joined(self, other: Histories) -> Histories:
        """Both lists of every user, this one's items first."""
        users = torch.cat([_owners(self), _owners(other)])
        return Histories.from_pairs(users, torch.cat([self.items, other.items]), count=len(self))


def _owners(histories: Histories) -> Tensor:
    return torch.arange(len(histories)).repeat_interleave(histories.counts)
