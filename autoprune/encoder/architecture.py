"""What an encoder is made of, beside its tables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What an encoder is, beside its weights.

    Attributes:
        hidden: width of what flows from layer to layer.
        head_dim: dimensions of an attention head.
        max_tokens: of a text; what is beyond is not read.
        pooling: how tokens become one vector, one of `autoprune.encoder.functional.POOLINGS`.
        normalize: whether vectors have length 1.
        activation: of the neurons, one of `autoprune.encoder.functional.ACTIVATIONS`.
        epsilon: of the layer norms.
        name: of the dense model, for people.
    """

    hidden: int
    head_dim: int
    max_tokens: int
    pooling: str = "mean"
    normalize: bool = True
    activation: str = "gelu"
    epsilon: float = 1e-12
    name: str = ""


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al. 2016)."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.epsilon = epsilon

    def forward(self, vectors: Tensor) -> Tensor:
        return layer_norm(vectors, self.weight.shape, self.weight, self.bias, self.epsilon)
