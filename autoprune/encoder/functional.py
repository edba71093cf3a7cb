"""Computations that training and serving share: activations, padding, pooling."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, silu

from autoprune.encoder.tokenizer import Tokens, side_by_side

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_new": lambda x: gelu(x, approximate="tanh"),
    "relu": relu,
    "silu": silu,
    "tanh": torch.tanh,
}
GONE = -1
"""Stands for the row of a piece that was cut."""

POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
"""Poolings, by their names in sentence-transformers."""

Runs = Sequence[tuple[int, int]]
"""How texts are laid end to end: (number of texts, tokens of each) for each run of texts of equal length."""


def pool(hidden: Tensor, there: Tensor, pooling: str) -> Tensor:
    """One vector for each text: the mean or the maximum over its tokens, or that of its first or last token.

    Args:
        hidden: float32 [batch, tokens, hidden].
        there: bool [batch, tokens], False for padding, which follows the text.
        pooling: one of `POOLINGS`. In a `weightedmean` tokens are weighted by their positions (Muennighoff 2022,
            "SGPT"); `mean_sqrt_len_tokens` divides the sum by the root of the number of tokens.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), there.sum(1) - 1]
    if pooling == "max":
        return hidden.masked_fill(~there[:, :, None], -torch.inf).amax(1)
    weights = there.to(hidden.dtype)
    if pooling == "weightedmean":
        weights = weights * weights.cumsum(1)
    total = weights.sum(1, keepdim=True)
    count = total.sqrt() if pooling == "mean_sqrt_len_tokens" else total
    return torch.einsum("bth,bt->bh", hidden, weights) / count


def padded(tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Token ids padded with zeros, and the mask of real tokens: int64 and bool [batch, longest]."""
    ids, there = side_by_side(tokens)
    return torch.from_numpy(ids), torch.from_numpy(there)


def end_to_end(tokens: Sequence[Tokens], *, multiple: int = 1) -> tuple[Tensor, Runs]:
    """Token ids of texts laid end to end: int64 [1, tokens of all], and their runs.

    Args:
        tokens: ids of each text, at least one; texts of equal length should follow one another.
        multiple: the number of all tokens is padded to a multiple of this, with texts of a single zero.
    """
    filling = -sum(map(len, tokens)) % multiple
    ids = np.concatenate([*tokens, np.zeros(filling, dtype=np.int64)]).astype(np.int64)
    runs = [(len(list(alike)), length) for length, alike in itertools.groupby(tokens, key=len)]
    return torch.from_numpy(ids)[None], [*runs, (filling, 1)] if filling else runs


def places(ids: Tensor, padding: int | None) -> Tensor:
    """The rows of the position table: int64 [tokens], or [batch, tokens] if the padding has no position.

    Args:
        ids: int64 [batch, tokens].
        padding: the id that is not counted and takes row 0 (as in RoBERTa, Liu et al. 2019), perhaps `GONE`; None: all
            ids are counted.
    """
    if padding is None:
        return torch.arange(ids.shape[1], device=ids.device)
    counted = ids != padding
    return counted.cumsum(1) * counted
