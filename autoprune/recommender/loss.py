"""The normaliser of a softmax over a whole catalogue, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SOFTMAX_USERS = 128
"""Users whose softmax is computed at a time: bounds memory at SOFTMAX_USERS x items x 4 bytes."""


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
        memory = users.new_empty(len(items) * SOFTMAX_USERS)
        for start in range(0, len(users), SOFTMAX_USERS):
            block, weight = users[start : start + SOFTMAX_USERS], weights[start : start + SOFTMAX_USERS]
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
