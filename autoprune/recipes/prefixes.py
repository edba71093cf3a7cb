"""Models of the first stages of plans, in memory: thousands of recipes differ in their last stage alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from autoprune.models.model import Model

LIMIT_BYTES = 256_000_000
"""A hundred models of MovieLens, or two of a small sentence encoder; each process of a search holds as much."""


class Prefixes:
    """Models by the key of what made them; beyond a size those go that were used longest ago.

    Nobody may change a model that is in here, nor one that was put in.

    Args:
        limit_bytes: of all tensors; a model that is larger than that is not kept.
    """

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._sizes: dict[str, int] = {}  # in bytes: to ask every model each time would take longer than some looks

    @property
    def bytes(self) -> int:
        """Of the tensors of its models; of those that models share, once for each."""
        return sum(self._sizes.values())

    def longest(self, keys: Sequence[str]) -> tuple[int, Model | None]:
        """The last of `keys` that there is a model for: its place, and the model; (0, None) if there is none."""
        for place in reversed(range(len(keys))):
            if keys[place] in self._models:
                self._models.move_to_end(keys[place])
                return place, self._models[keys[place]]
        return 0, None

    def put(self, key: str, model: Model) -> None:
        """Keeps a model, if there is room for it at all."""
        size = sum(held.nbytes for held in model.state_dict().values() if isinstance(held, Tensor))
        if size > self.limit_bytes:
            return
        self._models[key], self._sizes[key] = model, size
        self._models.move_to_end(key)
        while self.bytes > self.limit_bytes:
            oldest, _ = self._models.popitem(last=False)
            del self._sizes[oldest]
