"""Replacements for `nn.Embedding`, `nn.EmbeddingBag` and `nn.Linear` that read their weights from our tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag, linear


class Rows(Protocol):
    """The table that a lookup reads its vectors from."""

    @property
    def device(self) -> torch.device:
        """The device of the vectors."""

    @property
    def stands(self) -> Tensor:
        """Which rows remain: bool [rows], by original row number."""

    @property
    def whole(self) -> Tensor | None:
        """The table itself if it is plain float32 [rows, outer width], complete, and not trained; None otherwise."""

    def move(self, device: torch.device) -> None:
        """Moves to a device, unless it moves together with the model that it belongs to."""

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors of rows, as wide as the module expects: float32 [n, outer width]; zeros for a removed row.

        Args:
            ids: int64 [n], original row numbers.
        """


class Weights(Protocol):
    """The source of the weight and the bias of a linear layer."""

    bias: nn.Parameter | None

    def values(self) -> Tensor:
        """The weight: float32 [out, in]."""


class Lookup(nn.Module):
    """Replaces an `nn.Embedding`: maps ids of any shape to vectors of the width that the module expects.

    The table is not part of this module: it is trained, cut and packed elsewhere, and several lookups may share it.

    Args:
        path: its path in the module, for errors.
        stood: the embedding that it replaces.

    Attributes:
        num_embeddings, embedding_dim, padding_idx: as in the replaced embedding.
        padding: the vector of `padding_idx`, which is never trained: float32 [embedding_dim].
        counts: while lookups are counted, how often each row was looked up, int64 [num_embeddings]; None otherwise.
    """

    padding: Tensor | None
    _whole: Tensor | None

    def __init__(self, path: str, stood: nn.Embedding | nn.EmbeddingBag) -> None:
        super().__init__()
        self.path = path
        self.num_embeddings, self.embedding_dim = stood.weight.shape
        self.padding_idx = stood.padding_idx
        padding = None if stood.padding_idx is None else stood.weight.detach()[stood.padding_idx].clone()
        self.register_buffer("padding", padding)
        self.counts: Tensor | None = None
        self._dtype = torch.float32
        self.fill(None)

    def fill(self, source: Rows | None) -> None:
        """Sets the table that it reads; None removes it."""
        self.__dict__["_source"] = source  # not registered, or its weights would appear twice in the state_dict
        self._whole = None if source is None else source.whole
        # If coding has changed the padding row, the original padding vector replaces it
        self._pads_over = (
            self._whole is not None
            and self.padding is not None
            and not torch.equal(self._whole[self.padding_idx], self.padding)
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Implements `to`, `half` and the like: the table moves too, and answers get the requested dtype.

        The table itself keeps its dtype, since it may consist of codes.
        """
        applied: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        source: Rows | None = self.__dict__["_source"]
        if source is not None:
            probe = fn(torch.empty(0, device=source.device))
            source.move(probe.device)
            self._dtype, self._whole = probe.dtype, source.whole
        return applied

    @property
    def weight(self) -> Tensor:
        """The whole table, for tied weights: [num_embeddings, embedding_dim], zeros in removed rows.

        Counted as a lookup of every row.
        """
        if self.counts is not None:
            self.counts += 1
        if self._whole is not None and not self._pads_over:
            return self._whole.to(self._dtype)
        return self._padded_vectors(torch.arange(self.num_embeddings, device=self._rows.device)).to(self._dtype)

    @property
    def stands(self) -> Tensor:
        """Which rows remain: bool [num_embeddings]."""
        return self._rows.stands

    def forward(self, input: Tensor) -> Tensor:
        """The vectors of ids: [*input.shape, embedding_dim], float32 or the dtype that the module was converted to."""
        if self._whole is None:
            return self._look_up(input.flatten()).view(*input.shape, self.embedding_dim).to(self._dtype)
        vectors = self._call_torch(embedding, input, self._whole)
        return (self._with_padding(input, vectors) if self._pads_over else vectors).to(self._dtype)

    def _call_torch(self, function: Callable[..., Tensor], ids: Tensor, *arguments: Any, **settings: Any) -> Tensor:
        """Calls a function of torch, which checks ids itself, and turns its error into ours."""
        if ids.is_cuda:  # where an id without a row would make CUDA unusable for this process
            self._check_ids(ids)
        try:
            return function(ids, *arguments, **settings)
        except (IndexError, RuntimeError):
            self._check_ids(ids)
            raise

    def _check_ids(self, ids: Tensor) -> None:
        """Refuses ids without a row."""
        if ids.numel():
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self.num_embeddings:
                invalid = low if low < 0 else high
                raise IndexError(f"{self.path}: ids from 0 to {self.num_embeddings - 1} have a row, but got {invalid}")

    def _look_up(self, ids: Tensor) -> Tensor:
        """The vectors of ids, int [n]: float32 [n, embedding_dim]."""
        self._check_ids(ids)
        ids = ids.long()
        if self.counts is not None:
            # the padding row is never read
            counted = torch.ones_like(ids) if self.padding_idx is None else ids.ne(self.padding_idx).long()
            self.counts.index_add_(0, ids, counted)
        return self._padded_vectors(ids)

    def _padded_vectors(self, ids: Tensor) -> Tensor:
        return self._with_padding(ids, self._rows.vectors(ids))

    def _with_padding(self, ids: Tensor, vectors: Tensor) -> Tensor:
        """The vectors of ids, with the padding vector in place of the padding row."""
        if self.padding is None or self.padding_idx is None:
            return vectors
        return torch.where(ids.eq(self.padding_idx)[..., None], self.padding, vectors)

    @property
    def _rows(self) -> Rows:
        source: Rows | None = self.__dict__["_source"]
        assert source is not None, f"{self.path} must be filled before it is used"
        return source


class Bag(Lookup):
    """Replaces an `nn.EmbeddingBag`: maps bags of ids to the sum, mean or maximum of their vectors.

    A removed row counts as a vector of zeros; `padding_idx` does not count at all.
    """

    def __init__(self, path: str, stood: nn.EmbeddingBag) -> None:
        super().__init__(path, stood)
        self.mode, self.include_last_offset = stood.mode, stood.include_last_offset

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        if per_sample_weights is not None and self.mode != "sum":
            raise ValueError(f"{self.path}: per_sample_weights need mode sum, but the mode is {self.mode}")
        if self._whole is None:
            return self._in_bags(input, offsets, per_sample_weights).to(self._dtype)
        pooled = self._call_torch(
            embedding_bag,
            input,
            self._whole,
            offsets,
            mode=self.mode,
            per_sample_weights=None if per_sample_weights is None else per_sample_weights.to(self._whole.dtype),
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )
        return pooled.to(self._dtype)

    def _in_bags(self, input: Tensor, offsets: Tensor | None, per_sample_weights: Tensor | None) -> Tensor:
        ids = input.flatten()
        bag_of, bags = self._owners(input, offsets)
        vectors = self._look_up(ids)
        if per_sample_weights is not None:
            vectors = vectors * per_sample_weights.flatten()[:, None]
        if self.padding_idx is not None:
            not_padding = ids != self.padding_idx
            bag_of, vectors = bag_of[not_padding], vectors[not_padding]
        empty = vectors.new_zeros(bags, self.embedding_dim)
        if self.mode == "max":
            return empty.scatter_reduce(0, bag_of[:, None].expand_as(vectors), vectors, "amax", include_self=False)
        sums = empty.index_add(0, bag_of, vectors)
        return sums / torch.bincount(bag_of, minlength=bags).clamp_min(1)[:, None] if self.mode == "mean" else sums

    def _owners(self, input: Tensor, offsets: Tensor | None) -> tuple[Tensor, int]:
        """Which bag each id is in, int64 [n], and how many bags there are."""
        if input.dim() == 2:
            bags, length = input.shape
            return torch.arange(bags, device=input.device).repeat_interleave(length), bags
        if offsets is None:
            raise ValueError(f"{self.path}: one-dimensional ids need offsets, which say where each bag begins")
        ends = offsets[1:] if self.include_last_offset else torch.cat([offsets[1:], offsets.new_tensor([len(input)])])
        starts = offsets[:-1] if self.include_last_offset else offsets
        sizes = (ends - starts).long()
        return torch.arange(len(sizes), device=input.device).repeat_interleave(sizes), len(sizes)


class Tied(nn.Module):
    """Replaces an `nn.Linear` that shared its weight with an embedding.

    Args:
        lookup: the lookup of that embedding's table.
        stood: the linear layer that it replaces.
    """

    def __init__(self, lookup: Lookup, stood: nn.Linear) -> None:
        super().__init__()
        self.__dict__["_lookup"] = lookup  # not registered: it already belongs to another submodule
        self.bias = stood.bias

    @property
    def weight(self) -> Tensor:
        """The table."""
        lookup: Lookup = self.__dict__["_lookup"]
        return lookup.weight

    def forward(self, input: Tensor) -> Tensor:
        """The products with all rows, plus the bias: float32 [..., rows]; for a removed row only the bias."""
        return linear(input, self.weight, self.bias)


class Mapped(nn.Module):
    """Replaces an `nn.Linear` whose weight may be quantised; the weight is trained, coded and packed elsewhere.

    Args:
        weights: the source of its weight and bias.
        stood: the linear layer that it replaces.
    """

    def __init__(self, weights: Weights, stood: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = stood.in_features, stood.out_features
        self.__dict__["_weights"] = weights  # not registered, or its weights would appear twice in the state_dict

    @property
    def weight(self) -> Tensor:
        """The weight: float32 [out_features, in_features]."""
        weights: Weights = self.__dict__["_weights"]
        return weights.values()

    @property
    def bias(self) -> Tensor | None:
        """The bias, float32 [out_features], or None."""
        weights: Weights = self.__dict__["_weights"]
        return weights.bias

    def forward(self, input: Tensor) -> Tensor:
        """Maps float32 [..., in_features] to [..., out_features]."""
        return linear(input, self.weight, self.bias)


def standing_rows(table: nn.Module) -> Tensor:
    """Which rows of an embedding remain: bool [rows]; all rows of an ordinary `nn.Embedding`.

    Code that ranks all rows of a table must leave out the removed ones, whose vectors are zeros.
    """
    if isinstance(table, Lookup | Tied):
        return table.stands if isinstance(table, Lookup) else table.__dict__["_lookup"].stands
    weight = table.weight
    assert isinstance(weight, Tensor), "an embedding has a weight"
    return torch.ones(len(weight), dtype=torch.bool, device=weight.device)
