"""Values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite(content: Any) -> Any:
    """The same plain values with None instead of nan and infinity, which JSON does not have."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
