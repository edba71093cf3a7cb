"""What the model that trains and the one that serves compute alike: activations, padding, pooling."""

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
"""In place of the row of a piece: it is no longer there."""

POOLINGS = ("mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
"""By the names that sentence-transformers gives them."""

Runs = Sequence[tuple[int, int]]
"""How texts lie one after the other: so many of so many tokens each, then others."""


def pool(hidden: Tensor, there: Tensor, pooling: str) -> Tensor:
    """One vector for each text: the mean or the maximum over its tokens, or its first or last token's.

    Args:
        hidden: float32 [batch, tokens, hidden].
        there: bool [batch, tokens]; padding stands behind the text.
        pooling: one of `POOLINGS`. In a `weightedmean` later tokens count for more, by their places (Muennighoff 2022,
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
    """Token ids side by side, zeros behind the shorter ones, and which are there: int64 and bool [batch, longest]."""
    ids, there = side_by_side(tokens)
    return torch.from_numpy(ids), torch.from_numpy(there)


def end_to_end(tokens: Sequence[Tokens], *, multiple: int = 1) -> tuple[Tensor, Runs]:
    """Token ids of texts one after the other: int64 [1, tokens of all], and how they lie.

    Args:
        tokens: at least one of each text; those of like length follow one another best.
        multiple: of which the tokens of all are one; texts of a single zero behind them fill it up.
    """
    filling = -sum(map(len, tokens)) % multiple
    ids = np.concatenate([*tokens, np.zeros(filling, dtype=np.int64)]).astype(np.int64)
    runs = [(len(list(alike)), length) for length, alike in itertools.groupby(tokens, key=len)]
    return torch.from_numpy(ids)[None], [*runs, (filling, 1)] if filling else runs


def places(ids: Tensor, padding: int | None) -> Tensor:
    """The rows of the position table: int64 [tokens], or [batch, tokens] where the padding has no place of its own.

    Args:
        ids: int64 [batch, tokens].
        padding: the id that is not counted, and takes row 0 (as in RoBERTa, Liu et al. 2019), perhaps `GONE`; None: all
            ids are counted.
    """
    if padding is None:
        return torch.arange(ids.shape[1], device=ids.device)
    counted = ids != padding
    return counted.cumsum(1) * counted
