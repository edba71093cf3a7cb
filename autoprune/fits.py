"""Whether what was read from a file has the types it was written with."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, and all that is within it.

    Args:
        hint: a class, a dataclass, a union, or a dict, list, tuple or Mapping of these.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if isinstance(hint, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            fits(key, arguments[0]) and fits(inner, arguments[1]) for key, inner in value.items()
        )
    if origin in (list, tuple):
        return isinstance(value, origin) and all(fits(inner, arguments[0]) for inner in value)
    if dataclasses.is_dataclass(hint):
        return isinstance(value, typing.cast(type, hint)) and all(
            fits(getattr(value, name), inner) for name, inner in _fields(typing.cast(Any, hint)).items()
        )
    if hint in (int, float):  # JSON writes 1.0 as 1 at times, and counts are compared with sums
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint)


@functools.cache
def _fields(schema: Any) -> dict[str, Any]:
    return typing.get_type_hints(schema)
