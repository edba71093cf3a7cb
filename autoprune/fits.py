"""Checks that values read from a file have the types they were written with."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def fits(value: Any, hint: Any) -> bool:
    """Whether a value, and everything in it, has an annotated type.

    Args:
        hint: a class, a dataclass, a union, or a dict, list, tuple or Mapping of these.
    """
    return _test(hint)(value)


@functools.cache
def _test(hint: Any) -> Callable[[Any], bool]:
    """The test for a hint, built once: files hold many values of few types."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value: True
    if isinstance(hint, types.UnionType):
        plain, options = _plain(hint), [_test(option) for option in arguments]
        return lambda value: type(value) in plain or any(option(value) for option in options)
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
    if hint in (int, float):  # JSON may write 1.0 as 1, and counts are compared with sums
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return lambda value: isinstance(value, hint)


def _plain(hint: Any) -> frozenset[type]:
    """Types whose values all fit a hint: most values have one of them and need no further test."""
    if isinstance(hint, types.UnionType):
        return frozenset().union(*map(_plain, typing.get_args(hint)))
    if hint in (int, float):
        return frozenset({int, float})
    return frozenset({hint}) if hint in (str, bool, types.NoneType) else frozenset()


def _all_fit(hint: Any) -> Callable[[Iterable[Any]], bool]:
    """A test of many values at once; a file has thousands of numbers."""
    plain, test = _plain(hint), _test(hint)
    return lambda values: plain.issuperset(map(type, values)) or all(map(test, values))
