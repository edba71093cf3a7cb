"""Results computed of models, kept by content: a search needs the same results of equal models again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from torch import Tensor

R = TypeVar("R")

MOST, MOST_BYTES = 128, 5e8
"""The most results that are kept, and the most bytes that they may take without the largest. Results are statistics,
never weights. The least recently used ones are dropped first."""


class Remembered:
    """A cache of results by keys; the results must not be changed."""

    def __init__(self) -> None:
        self._results: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __deepcopy__(self, memo: object) -> Remembered:
        return self  # copies of a model share the results

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: Hashable, compute: Callable[[], R]) -> R:
        """The result of `compute`, or the kept result of an equal key."""
        if key not in self._results:
            result = compute()
            self._results[key] = result, _bytes(result)
            while len(self._results) > MOST or self._beside_the_largest > MOST_BYTES:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        kept: R = self._results[key][0]
        return kept

    @property
    def _beside_the_largest(self) -> int:
        sizes = [size for _, size in self._results.values()]
        return sum(sizes) - max(sizes)


def _bytes(result: object) -> int:
    """The bytes of the tensors in a result, however nested."""
    if isinstance(result, Tensor):
        return result.nbytes
    entries = result.values() if isinstance(result, Mapping) else result if isinstance(result, list | tuple) else ()
    return sum(map(_bytes, entries))
