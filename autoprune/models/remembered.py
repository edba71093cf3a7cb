"""What was computed of a model, kept by content: a search asks the same of equal models again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

R = TypeVar("R")

MOST = 128
"""Results that are kept: numbers, never weights. Those that were not asked for longest go first."""


class Remembered:
    """Results by what they rest on; nobody may change them."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def __deepcopy__(self, memo: object) -> Remembered:
        return self  # what is known of a model is known of its copies

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Hashable, compute: Callable[[], R]) -> R:
        """What `compute` returns, or returned when it was asked under an equal key."""
        if key not in self._known:
            self._known[key] = compute()
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        found: R = self._known[key]
        return found
