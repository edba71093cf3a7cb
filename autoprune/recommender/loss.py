"""The likelihood of what users have seen, under a softmax over a whole catalogue or a part of it, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from autoprune.machine import at_once

SOFTMAX_USERS = 128
"""Users whose softmax a CPU computes at a time: bounds memory at SOFTMAX_USERS x items x 4 bytes."""


def log_likelihood(users: Tensor, items: Tensor, owner: Tensor, seen: Tensor, *, drawn: int) -> Tensor:
    """Σ log softmax(u·v) of what users have seen, a scalar, differentiable by users and items.

    Args:
        users, items: float32 [users, dim] and [items, dim], whose dot products are the logits.
        owner, seen: who has seen what: positions in `users` and in `items`, int64 [n] each.
        drawn: items that compete, about: those that anybody has seen, and others; all if there are no more.
    """
    # Of user u with items H: Σ_H log softmax = u·Σ_H v - |H| log Σ exp(u·v).
    sums = torch.zeros_like(users).index_add(0, owner, items.index_select(0, seen))
    if not len(seen):
        return (users * sums).sum()  # 0: nothing competes with nothing
    counts = torch.bincount(owner, minlength=len(users)).to(users)
    opposed = users
    if len(items) > drawn:
        compared, logs = _opponents(seen.cpu(), len(items), drawn)
        # What an item stands for is a dimension more, in which all users are 1.
        items = torch.cat([items[compared.to(items.device)], logs[:, None].to(items.device)], dim=1)
        opposed = pad(users, (0, 1), value=1.0)
    return (users * sums).sum() - log_partition(opposed, items, counts)


def _opponents(seen: Tensor, items: int, count: int) -> tuple[Tensor, Tensor]:
    """Items that stand for a catalogue: those that the batch has seen, and others, drawn.

    Whatever weighs much in somebody's softmax is mostly an item of theirs, or a popular one: these are all there, and
    only the rest is estimated.

    Args:
        seen: positions of items, int64 [n].
        items: of the catalogue.
        count: how many are wanted, about; a quarter of so many are drawn in any case.

    Returns:
        Positions, int64 [m], and the logarithm of how many items each stands for, float32 [m].
    """
    is_seen = torch.zeros(items, dtype=torch.bool)
    is_seen[seen] = True
    own, others = is_seen.nonzero()[:, 0], (~is_seen).nonzero()[:, 0]
    drawn = min(len(others), max(count - len(own), count // 4))
    logs = torch.zeros(len(own) + drawn)
    if not drawn:  # none are wanted, or the batch has seen the whole catalogue
        return own, logs
    logs[len(own) :] = math.log(len(others) / drawn)
    return torch.cat([own, others[torch.randint(len(others), (drawn,))]]), logs


def log_partition(users: Tensor, items: Tensor, weights: Tensor) -> Tensor:
    """Σ_u weight_u log Σ_i exp(u·v_i), a scalar, differentiable by users and items.

    Args:
        users: float32 [users, dim].
        items: float32 [items, dim].
        weights: float32 [users].
    """
    partition: Tensor = _LogPartition.apply(users, items, weights)  # type: ignore[no-untyped-call]  # so in torch
    return partition


class _LogPartition(torch.autograd.Function):
    """The gradient is taken on the way, block by block, so that the logits of users x items are never kept.

    Half the time of automatic differentiation, and a fraction of its memory.
    """

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, weights: Tensor) -> Tensor:
        total = users.new_zeros(())
        user_gradient, item_gradient = torch.empty_like(users), torch.zeros_like(items)
        # Items x users, and written into one place: half the time of users x items in fresh memory.
        step = max(1, min(len(users), at_once(users.device, 4 * len(items), usual=SOFTMAX_USERS)))
        memory = users.new_empty(len(items) * step)
        for start in range(0, len(users), step):
            block, weight = users[start : start + step], weights[start : start + step]
            terms = torch.mm(items, block.T, out=memory[: len(items) * len(block)].view(len(items), len(block)))
            largest = terms.amax(dim=0)
            partition = terms.sub_(largest).exp_().sum(dim=0)
            total += ((largest + partition.log()) * weight).sum()
            scale = (weight / partition)[:, None]
            user_gradient[start : start + len(block)] = scale * (terms.T @ items)
            item_gradient.addmm_(terms, scale * block)
        ctx.save_for_backward(user_gradient, item_gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        user_gradient, item_gradient = ctx.saved_tensors
        return gradients[0] * user_gradient, gradients[0] * item_gradient, None
