"""The types of the entries of a config dataclass, by their paths."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from types import UnionType
from typing import Any

from autoprune.config.arguments import Kind


def options(hint: Any) -> list[Any]:
    """The types that a hint allows, except None."""
    types = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return [option for option in types if option is not type(None)]


def hint_of(schema: Any, path: Sequence[str]) -> Any:
    """The annotated type of an entry of a config dataclass; None if it has no such entry."""
    hint = schema
    for name in path:
        schema = next(iter(options(hint)), None)
        if dataclasses.is_dataclass(schema):
            hint = typing.get_type_hints(schema).get(name)
        else:
            hint = next(iter(typing.get_args(schema)), None) if name.isdecimal() else None
    return hint


def entry_kind(schema: Any, path: Sequence[str]) -> Kind | None:
    """The kind of value that an entry of a config dataclass takes; None if it has no such entry."""
    for name in path:
        hint = typing.get_type_hints(schema).get(name) if dataclasses.is_dataclass(schema) else None
        schema = next(iter(options(hint)), None)
    if schema is None or dataclasses.is_dataclass(schema):
        return None
    if typing.get_origin(schema) in (list, tuple):
        return Kind.TEXTS if typing.get_args(schema)[0] is str else Kind.ANY
    return Kind.TEXT if schema is str else Kind.ONE


def wanted_by(hint: Any) -> str:
    """What must be given for an entry of a type, in words; empty if there are none for the type."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    several = {int: "whole numbers", float: "numbers", str: "texts"}
    described = []
    for option in options(hint):
        if typing.get_origin(option) in (list, tuple):
            described.append(f"a list of {several.get(typing.get_args(option)[0], 'values')}")
        elif option in words:
            described.append(words[option])
    return f"{' or '.join(described)} must be given" if described else ""
