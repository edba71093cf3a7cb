"""Users without a row in training: they get vectors from part of their history, as in serving."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

GIVEN_SHARE = 0.5
"""The mean share of a history that makes the user's vector; the rest is to be predicted from it."""

AMONG = 0
"""About how many items compete with the items to predict; 0: those to predict for any user of the batch, and no others.
Vectors made from histories are far from items that similar users have not seen anyway; training to increase this
distance would hide new items (`studies/strangers`)."""

MOMENT_ROWS = 2**16
"""At most so many rows give the mean and the covariance, which bounds the cost of an update of a large table."""


def parted(owner: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Splits histories at random into given items and items to predict: bool [n] each.

    Nothing is to be predicted for users without a given item.

    Args:
        owner: the user of each item of the histories, int64 [n].
        count: number of users.
    """
    given = torch.rand(len(owner)).to(owner.device) < GIVEN_SHARE
    has_given = torch.bincount(owner[given], minlength=count) > 0
    return given, ~given & has_given[owner]


def folded(items: Tensor, stays: Tensor, owner: Tensor, rows: Tensor, *, count: int, ridge: float) -> Tensor:
    """Directions of users from the items they have seen, float32 [count, dim], differentiable by the items.

    These are the vectors of `autoprune.recommender.strangers.Strangers` before its further steps. Gradients do not flow
    through the mean and the covariance of the rows.

    Args:
        items: rows as they are served, float32 [items, dim].
        stays: False for removed rows, bool [items].
        owner, rows: who has seen which row, int64 [n] each.
        count: number of users.
        ridge: see `autoprune.recommender.strangers.Strangers`.
    """
    kept = items.detach()[stays]
    sample = kept[:: -(-len(kept) // MOMENT_ROWS)]
    mean = sample.mean(0)
    moments = sample.T @ sample / len(sample) - mean[:, None] * mean
    penalty = ridge * moments.diagonal().mean().clamp_min(1e-12) * torch.eye(sample.shape[1], device=sample.device)
    counts = torch.bincount(owner, minlength=count).clamp_min(1)[:, None]
    means = torch.zeros(count, sample.shape[1], device=sample.device).index_add(0, owner, items[rows]) / counts
    return normalize((means - mean) @ torch.linalg.pinv(moments + penalty, rtol=1e-6, hermitian=True))
