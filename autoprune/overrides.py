"""Overrides, `key=value` in Hydra's grammar: taken apart, and values written so that they are read back as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError

OVERRIDE = re.compile(r"(?P<mark>\+{0,2})(?P<key>[\w@/.]+)=(?P<value>.*)", flags=re.DOTALL)
"""A value that is set; what is taken out begins with ~."""

BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.-]*")
"""Text that needs no quotes, `RESERVED` apart."""

RESERVED = ("null", "true", "false", "inf", "nan")
"""Words that are no text without quotes."""

ELEMENT = re.compile(r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:\\.|[^,])*?)\s*(?:,|$)""", flags=re.DOTALL)
"""One of several values after commas. Quotes and backslashes keep a comma in it."""


def key_of(override: str) -> str:
    """The key that an override sets; empty where it sets none."""
    match = OVERRIDE.fullmatch(override)
    return match["key"] if match else ""


def several(text: str) -> list[str]:
    """What stands between the commas of a text, as it was written, without the space around it; nothing empty."""
    return [found for found in (match[1] for match in ELEMENT.finditer(text)) if found]


def is_quoted(text: str) -> bool:
    """Whether quotes stand around the whole text."""
    return re.fullmatch(r"'(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\"", text, flags=re.DOTALL) is not None


def quoted(text: str) -> str:
    """The text in quotes: Hydra takes all within literally, but for backslashes before a quote or at the end."""
    inner = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    return "'" + re.sub(r"\\+\Z", lambda match: match[0] * 2, inner) + "'"


def literal(text: str) -> str:
    """The text as OmegaConf must be given it, which would put another value in place of `${…}`."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def at_home(path: str | os.PathLike[str]) -> Path:
    """The path, with the home folder in place of `~`, which a shell leaves alone behind an equals sign."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody has that name
        return Path(path)


def written(value: Any) -> str:
    """A value in the grammar of overrides.

    Args:
        value: None, a truth value, a number, a text, a path, or these in lists and mappings.

    Raises:
        AutopruneError: it is of another type.
    """
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()  # a scalar of numpy's, as Python has it
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
    """The key of a mapping, which takes no quotes."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", key)
