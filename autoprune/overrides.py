"""Overrides, `key=value` in Hydra's grammar: parsing them, and writing values that Hydra reads back unchanged."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError

OVERRIDE = re.compile(r"(?P<mark>\+{0,2})(?P<key>[\w@/.]+)=(?P<value>.*)", flags=re.DOTALL)
"""An override that sets a value; one that removes a key begins with ~ and does not match."""

BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.-]*")
"""Text that needs no quotes, except the words in `RESERVED`."""

RESERVED = ("null", "true", "false", "inf", "nan")
"""Words that Hydra reads as text only in quotes."""

ELEMENT = re.compile(r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:\\.|[^,])*?)\s*(?:,|$)""", flags=re.DOTALL)
"""One value of a comma-separated list. A comma in quotes or after a backslash belongs to the value."""


def key_of(override: str) -> str:
    """The key that an override sets; empty if it sets none."""
    match = OVERRIDE.fullmatch(override)
    return match["key"] if match else ""


def several(text: str) -> list[str]:
    """The comma-separated values of a text as written, stripped; empty ones are left out."""
    return [value for value in (match[1] for match in ELEMENT.finditer(text)) if value]


def is_quoted(text: str) -> bool:
    """Whether the whole text is in quotes."""
    return re.fullmatch(r"'(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\"", text, flags=re.DOTALL) is not None


def quoted(text: str) -> str:
    """The text in quotes. Hydra takes it literally, except backslashes before a quote or at the end."""
    inner = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    return "'" + re.sub(r"\\+\Z", lambda match: match[0] * 2, inner) + "'"


def literal(text: str) -> str:
    """The text with `${…}` escaped, which OmegaConf would otherwise interpolate."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def at_home(path: str | os.PathLike[str]) -> Path:
    """The path with `~` expanded to the home folder; after an equals sign the shell does not expand it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no user of that name
        return Path(path)


def written(value: Any) -> str:
    """A value in the grammar of overrides.

    Args:
        value: None, a bool, a number, a text, a path, or lists and mappings of these.

    Raises:
        AutopruneError: the value has another type.
    """
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()  # a numpy scalar becomes a Python one
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | os.PathLike):
        text = os.fsdecode(value)
        return text if BARE.fullmatch(text) and text.lower() not in RESERVED else quoted(literal(text))
    if isinstance(value, Integral | Real):
        return str(int(value)) if isinstance(value, Integral) else repr(float(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_escaped(str(key))}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(inner) for inner in value) + "]"
    raise AutopruneError(
        f"{value!r}: a value of an override is a text, a path, a number, a truth value, None, or a list or mapping of "
        f"these, but got {type(value).__name__}."
    )


def _escaped(key: str) -> str:
    """The key of a mapping, escaped: Hydra allows no quotes there."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", key)
