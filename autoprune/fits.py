"""Whether what was read from a file has the types it was written with."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
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
        keys, values = (_all_fit(argument) for argument in arguments)
        return lambda value: isinstance(value, Mapping) and keys(value) and values(value.values())
    if origin in (list, tuple):
        every = _all_fit(arguments[0])
        return lambda value: isinstance(value, origin) and every(value)
    if dataclasses.is_dataclass(hint):
        fields = {name: _test(inner) for name, inner in typing.get_type_hints(hint).items()}
        return lambda value: (
            isinstance(value, typing.cast(type, hint))
            and all(test(getattr(value, name)) for name, test in fields.items())
        )
    if hint in (int, float):  # JSON writes 1.0 as 1 at times, and counts are compared with sums
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return lambda value: isinstance(value, hint)


PLAIN = {int: {int, float}, float: {int, float}, str: {str}, bool: {bool}}
"""Of what a hint takes, the types that most values have: where all of many do, none needs to be looked at."""


def _all_fit(hint: Any) -> Callable[[Iterable[Any]], bool]:
    """Whether all of many values are of a type; a file has thousands of numbers."""
    test, plain = _test(hint), PLAIN.get(hint, set()) if isinstance(hint, type) else set()
    return lambda values: set(map(type, values)) <= plain or all(map(test, values))
