"""What stands where an `nn.Embedding` or `nn.EmbeddingBag` stood, and answers as it did."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Rows(Protocol):
    """Where the vectors of a lookup come from."""

    @property
    def device(self) -> torch.device:
        """Where they are."""

    @property
    def stands(self) -> Tensor:
        """Which rows are there: bool [rows], numbered as before any was cut."""

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors of rows, as wide as the module expects them: float32 [n, outer width]; zeros of one that is gone.

        Args:
            ids: int64 [n], rows as they were numbered before any was cut.
        """


class Weights(Protocol):
    """Where the weight and the bias of a linear map come from."""

    bias: nn.Parameter | None

    def values(self) -> Tensor:
        """The weight: float32 [out, in]."""


class Lookup(nn.Module):
    """Stands where an `nn.Embedding` stood: ids of any shape to vectors of the width that the module expects.

    What is looked up is no part of this module: tables are trained, cut and packed elsewhere, and several lookups may
    share one.

    Args:
        path: where it stands in the module, for errors.
        stood: what stood there.

    Attributes:
        num_embeddings, embedding_dim, padding_idx: as of what stood there.
        padding: the vector of `padding_idx`, which no training moves: float32 [embedding_dim].
        counts: while lookups are counted, how often each row was asked for, int64 [num_embeddings]; None otherwise.
    """

    padding: Tensor | None

    def __init__(self, path: str, stood: nn.Embedding | nn.EmbeddingBag) -> None:
        super().__init__()
        self.path = path
        self.num_embeddings, self.embedding_dim = stood.weight.shape
        self.padding_idx = stood.padding_idx
        fixed = None if stood.padding_idx is None else stood.weight.detach()[stood.padding_idx].clone()
        self.register_buffer("padding", fixed)
        self.counts: Tensor | None = None
        self.fill(None)

    def fill(self, source: Rows | None) -> None:
        """Gives it its vectors, or takes them away."""
        self.__dict__["_source"] = source  # not registered: a submodule's weights would be there twice

    @property
    def weight(self) -> Tensor:
        """The whole table: float32 [num_embeddings, embedding_dim], zeros where a row is gone; for tied weights.

        Counted as a lookup of every row.
        """
        if self.counts is not None:
            self.counts += 1
        return self._answers(torch.arange(self.num_embeddings, device=self._rows.device))

    @property
    def stands(self) -> Tensor:
        """Which rows are there: bool [num_embeddings]."""
        return self._rows.stands

    def forward(self, input: Tensor) -> Tensor:
        """The vectors of ids: float32 [*input.shape, embedding_dim]."""
        return self._looked_up(input.flatten()).view(*input.shape, self.embedding_dim)

    def _looked_up(self, ids: Tensor) -> Tensor:
        """The vectors of ids, int [n]: float32 [n, embedding_dim]."""
        if len(ids):
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self.num_embeddings:
                wrong = low if low < 0 else high
                raise IndexError(f"{self.path}: ids from 0 to {self.num_embeddings - 1} have a row, but got {wrong}")
        if self.counts is not None:
            counts = torch.bincount(ids, minlength=self.num_embeddings)
            if self.padding_idx is not None:  # its vector is never asked for
                counts[self.padding_idx] = 0
            self.counts += counts
        return self._answers(ids.long())

    def _answers(self, ids: Tensor) -> Tensor:
        vectors = self._rows.vectors(ids)
        if self.padding is None or self.padding_idx is None:
            return vectors
        return torch.where(ids.eq(self.padding_idx)[:, None], self.padding, vectors)

    @property
    def _rows(self) -> Rows:
        source: Rows | None = self.__dict__["_source"]
        assert source is not None, f"{self.path} is filled before it is asked"
        return source


class Bag(Lookup):
    """Stands where an `nn.EmbeddingBag` stood: bags of ids to the sum, mean or largest values of their vectors.

    A row that is gone counts as a vector of zeros, `padding_idx` not at all.
    """

    def __init__(self, path: str, stood: nn.EmbeddingBag) -> None:
        super().__init__(path, stood)
        self.mode, self.include_last_offset = stood.mode, stood.include_last_offset

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        ids = input.flatten()
        owner, bags = self._owners(input, offsets)
        vectors = self._looked_up(ids)
        if per_sample_weights is not None:
            if self.mode != "sum":
                raise ValueError(f"{self.path}: per_sample_weights go with mode sum, but the mode is {self.mode}")
            vectors = vectors * per_sample_weights.flatten()[:, None]
        if self.padding_idx is not None:
            there = ids != self.padding_idx
            owner, vectors = owner[there], vectors[there]
        empty = vectors.new_zeros(bags, self.embedding_dim)
        if self.mode == "max":
            return empty.scatter_reduce(0, owner[:, None].expand_as(vectors), vectors, "amax", include_self=False)
        sums = empty.index_add(0, owner, vectors)
        return sums / torch.bincount(owner, minlength=bags).clamp_min(1)[:, None] if self.mode == "mean" else sums

    def _owners(self, input: Tensor, offsets: Tensor | None) -> tuple[Tensor, int]:
        """Which bag each id is in, int64 [n], and how many bags there are."""
        if input.dim() == 2:
            bags, length = input.shape
            return torch.arange(bags, device=input.device).repeat_interleave(length), bags
        if offsets is None:
            raise ValueError(f"{self.path}: ids in one dimension need offsets, where each bag begins")
        ends = offsets[1:] if self.include_last_offset else torch.cat([offsets[1:], offsets.new_tensor([len(input)])])
        starts = offsets[:-1] if self.include_last_offset else offsets
        sizes = (ends - starts).long()
        return torch.arange(len(sizes), device=input.device).repeat_interleave(sizes), len(sizes)


class Tied(nn.Module):
    """Stands where an `nn.Linear` stood whose weight was that of a table.

    Args:
        lookup: of the table.
        stood: what stood there.
    """

    def __init__(self, lookup: Lookup, stood: nn.Linear) -> None:
        super().__init__()
        self.__dict__["_lookup"] = lookup  # not registered: it stands elsewhere
        self.bias = stood.bias

    @property
    def weight(self) -> Tensor:
        """The table."""
        lookup: Lookup = self.__dict__["_lookup"]
        return lookup.weight

    def forward(self, input: Tensor) -> Tensor:
        """The products with all rows, and the bias: float32 [..., rows]; of a row that is gone the bias alone."""
        return linear(input, self.weight, self.bias)


class Mapped(nn.Module):
    """Stands where an `nn.Linear` stood whose weight may lose bits: it is trained, coded and packed elsewhere.

    Args:
        weights: of the map.
        stood: what stood there.
    """

    def __init__(self, weights: Weights, stood: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = stood.in_features, stood.out_features
        self.__dict__["_weights"] = weights  # not registered: a submodule's weights would be there twice

    @property
    def weight(self) -> Tensor:
        """What it multiplies by: float32 [out_features, in_features]."""
        weights: Weights = self.__dict__["_weights"]
        return weights.values()

    @property
    def bias(self) -> Tensor | None:
        """What it adds, float32 [out_features]; None: nothing."""
        weights: Weights = self.__dict__["_weights"]
        return weights.bias

    def forward(self, input: Tensor) -> Tensor:
        """The map of float32 [..., in_features]: [..., out_features]."""
        return linear(input, self.weight, self.bias)


def standing_rows(table: nn.Module) -> Tensor:
    """Which rows of an embedding are there: bool [rows]; all of an `nn.Embedding` that nothing was taken from.

    Whoever ranks all rows of a table leaves out those that are gone, whose vectors are zeros.
    """
    if isinstance(table, Lookup | Tied):
        return table.stands if isinstance(table, Lookup) else table.__dict__["_lookup"].stands
    weight = table.weight
    assert isinstance(weight, Tensor), "an embedding has a weight"
    return torch.ones(len(weight), dtype=torch.bool, device=weight.device)
