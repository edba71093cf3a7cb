"""Users without a row while items are trained: found as they will be served, from a part of their history."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

TOLD = 0.5
"""How much of a history is told, in the mean; what is left is to be guessed."""

AMONG = 0
"""Items that compete with what is to be guessed, about: those that anybody of the batch has to guess, and no others.
What nobody near has seen is far from these users already; to learn that hides what is new (`studies/strangers`)."""

MEANT = 2**16
"""Rows that their mean and their covariance are taken of, at most, so that an update of a large table costs no more."""


def parted(owner: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Parts histories at random, in what is told and what is to be guessed: bool [n] each.

    Users of whom nothing came to be told are asked nothing.

    Args:
        owner: whose each item of a history is, int64 [n].
        count: of users.
    """
    told = torch.rand(len(owner)).to(owner.device) < TOLD
    known = torch.bincount(owner[told], minlength=count) > 0
    return told, ~told & known[owner]


def folded(items: Tensor, stays: Tensor, owner: Tensor, rows: Tensor, *, count: int, ridge: float) -> Tensor:
    """Directions of users by the items that they have seen, float32 [count, dim], differentiable by the items.

    The first vector of `autoprune.recommender.strangers.Strangers`. Its matrix and its mean are taken as they are.

    Args:
        items: rows as they are served, float32 [items, dim].
        stays: which of them stand, bool [items].
        owner, rows: who has seen which row, int64 [n] each.
    """
    held = items.detach()[stays]
    held = held[:: -(-len(held) // MEANT)]
    mean = held.mean(0)
    moments = held.T @ held / len(held) - mean[:, None] * mean
    penalty = ridge * moments.diagonal().mean().clamp_min(1e-12) * torch.eye(held.shape[1], device=held.device)
    counts = torch.bincount(owner, minlength=count).clamp_min(1)[:, None]
    means = torch.zeros(count, held.shape[1], device=held.device).index_add(0, owner, items[rows]) / counts
    return normalize((means - mean) @ torch.linalg.pinv(moments + penalty, rtol=1e-6, hermitian=True))
