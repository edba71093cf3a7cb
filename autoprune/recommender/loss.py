"""The likelihood of users' items under a softmax over a whole catalogue or a sample of it, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from autoprune.machine import at_once

SOFTMAX_USERS = 128
"""Users per block of the softmax on a CPU; bounds memory at SOFTMAX_USERS x items x 4 bytes."""


def log_likelihood(users: Tensor, items: Tensor, owner: Tensor, seen: Tensor, *, logs: Tensor | None = None) -> Tensor:
    """Σ log softmax(u·v) over the items that users have seen, a scalar, differentiable by users and items.

    Args:
        users, items: float32 [users, dim] and [items, dim], whose dot products are the logits.
        owner, seen: who has seen what: positions in `users` and in `items`, int64 [n] each.
        logs: logarithm of how many items each of `items` represents, see `opponents`; None: each only itself.
    """
    # Of user u with items H: Σ_H log softmax = u·Σ_H v - |H| log Σ exp(u·v).
    sums = torch.zeros_like(users).index_add(0, owner, items.index_select(0, seen))
    if not len(seen):
        return (users * sums).sum()  # 0, but differentiable
    counts, queries = torch.bincount(owner, minlength=len(users)).to(users), users
    if logs is not None:  # one more dimension, in which all users are 1, adds them to the logits
        items, queries = torch.cat([items, logs[:, None]], dim=1), pad(users, (0, 1), value=1.0)
    return (users * sums).sum() - log_partition(queries, items, counts)


def opponents(seen: Tensor, items: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Items that represent a catalogue: those that the batch has seen, and a random sample of the others.

    The items with much weight in a user's softmax are mostly the user's own or popular ones. The batch has seen these,
    so only the rest of the softmax is estimated.

    Args:
        seen: positions of items, int64 [n].
        items: number of items in the catalogue.
        count: about how many items to return; at least a quarter of this number is sampled in any case.

    Returns:
        Their positions, int64 [m]; the place of each of `seen` among them, int64 [n]; and the logarithm of how many
        items each represents, float32 [m].
    """
    is_seen = torch.zeros(items, dtype=torch.bool)
    is_seen[seen.cpu()] = True
    own, others = is_seen.nonzero()[:, 0], (~is_seen).nonzero()[:, 0]
    drawn = min(len(others), max(count - len(own), count // 4))
    logs, positions = torch.zeros(len(own) + drawn), own
    if drawn:  # 0 if `count` is 0, or if the batch has seen the whole catalogue
        logs[len(own) :] = math.log(len(others) / drawn)
        positions = torch.cat([own, others[torch.randint(len(others), (drawn,))]])
    own = own.to(seen.device)
    return positions.to(seen.device), torch.searchsorted(own, seen), logs.to(seen.device)


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
    """Computes the gradient in the forward pass, block by block, so the logits of users x items are never all stored.

    This takes half the time of automatic differentiation and a fraction of its memory.
    """

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, weights: Tensor) -> Tensor:
        total = users.new_zeros(())
        user_gradient, item_gradient = torch.empty_like(users), torch.zeros_like(items)
        # Logits as items x users in one reused buffer: half the time of users x items in newly allocated memory.
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
