"""Models after the first stages of plans, kept in memory: thousands of recipes differ only in their last stage."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from autoprune.models.model import Model

LIMIT_BYTES = 256_000_000
"""A hundred models of MovieLens, or two of a small sentence encoder; each process of a search holds this much."""


class Prefixes:
    """Models by the key of the stages that made them; beyond a size limit, the least recently used are dropped.

    The models must not be changed, neither those taken from here nor those put in.

    Args:
        limit_bytes: of all tensors; a larger model is not kept.
    """

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._sizes: dict[str, int] = {}  # in bytes; computing them each time would take longer than some looks

    @property
    def bytes(self) -> int:
        """Size of the tensors of all models; a tensor that models share counts for each."""
        return sum(self._sizes.values())

    def longest(self, keys: Sequence[str]) -> tuple[int, Model | None]:
        """The position of the last key that has a model, and the model; (0, None) if there is none."""
        for place in reversed(range(len(keys))):
            if keys[place] in self._models:
                self._models.move_to_end(keys[place])
                return place, self._models[keys[place]]
        return 0, None

    def put(self, key: str, model: Model) -> None:
        """Keeps a model, unless it exceeds the limit alone."""
        size = sum(tensor.nbytes for tensor in model.state_dict().values() if isinstance(tensor, Tensor))
        if size > self.limit_bytes:
            return
        self._models[key], self._sizes[key] = model, size
        self._models.move_to_end(key)
        while self.bytes > self.limit_bytes:
            oldest, _ = self._models.popitem(last=False)
            del self._sizes[oldest]
