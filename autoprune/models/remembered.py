"""What was computed of a model, kept by content: a search asks the same of equal models again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from torch import Tensor

R = TypeVar("R")

MOST, MOST_BYTES = 128, 5e8
"""Results that are kept, and what they may take beside the largest: numbers, never weights. Those that were not asked
for longest go first."""


class Remembered:
    """Results by what they rest on; nobody may change them."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __deepcopy__(self, memo: object) -> Remembered:
        return self  # what is known of a model is known of its copies

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Hashable, compute: Callable[[], R]) -> R:
        """What `compute` returns, or returned when it was asked under an equal key."""
        if key not in self._known:
            result = compute()
            self._known[key] = result, _bytes(result)
            while len(self._known) > MOST or self._beside_the_largest > MOST_BYTES:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        found: R = self._known[key][0]
        return found

    @property
    def _beside_the_largest(self) -> int:
        sizes = [size for _, size in self._known.values()]
        return sum(sizes) - max(sizes)


def _bytes(result: object) -> int:
    """What tensors take, however deep they lie."""
    if isinstance(result, Tensor):
        return result.nbytes
    held = result.values() if isinstance(result, Mapping) else result if isinstance(result, list | tuple) else ()
    return sum(map(_bytes, held))
