"""Whether what was read from a file has the types it was written with."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, and all that is within it.

    Args:
        hint: a class, a dataclass, a union, or a dict, list, tuple or Mapping of these.
    """
    return _test(hint)(value)


@functools.cache
def _test(hint: Any) -> Callable[[Any], bool]:
    """A hint taken apart once: files hold many values of few types."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value: True
    if isinstance(hint, types.UnionType):
        options = [_test(option) for option in arguments]
        return lambda value: any(option(value) for option in options)
    if origin in (dict, Mapping):
        key, inner = (_test(argument) for argument in arguments)
        return lambda value: isinstance(value, Mapping) and all(key(name) and inner(value[name]) for name in value)
    if origin in (list, tuple):
        each = _test(arguments[0])
        return lambda value: isinstance(value, origin) and all(map(each, value))
    if dataclasses.is_dataclass(hint):
        fields = {name: _test(inner) for name, inner in typing.get_type_hints(hint).items()}
        return lambda value: (
            isinstance(value, typing.cast(type, hint))
            and all(test(getattr(value, name)) for name, test in fields.items())
        )
    if hint in (int, float):  # JSON writes 1.0 as 1 at times, and counts are compared with sums
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return lambda value: isinstance(value, hint)
