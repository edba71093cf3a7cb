"""Command lines to repeat: the study's own, and verbs on it. Absolute paths can be replaced by placeholders."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from autoprune.overrides import is_quoted
from autoprune.record.point import Point
from autoprune.record.record import Record

LOCAL = re.compile(r"\+{0,2}study\.(name|dir|workers|verify_rounds|storage)=")
"""Overrides that the repeated command omits: the name is added anew, the others do not change the results."""

PLACE = re.compile(
    r"""(?P<before>(?:^|[\[{,])\s*['"]?|[{,]\s*[^\s,:'"]+:\s*['"]?)"""
    r"""(?P<place>(?:/(?!/)|\\\\|[A-Za-z]:[/\\])[^,\[\]{}'"]*)"""
)
"""An absolute path among several values: after a comma, in brackets, or as the value of a name."""


def search_command(record: Record) -> str:
    """The command line that repeats the study, and verifies it if this one was; absolute paths become placeholders."""
    flags = ["--config-dir", without_places(record.config_dir)] if record.config_dir else []
    kept = [_placeless(override) for override in record.overrides if not LOCAL.match(override)]
    search = shlex.join(["autoprune", *flags, *kept, f"study.name={record.name}"])
    return f"{search} && autoprune verify {record.name}" if record.baseline.verified else search


def candidate_command(record: Record, point: Point) -> str:
    """`Record.command`, with placeholders instead of absolute paths."""
    return placeless(shlex.split(record.command(point)))


def placeless(arguments: Iterable[str]) -> str:
    """A command line with placeholders instead of absolute paths."""
    return shlex.join(_placeless(argument) for argument in arguments)


def without_places(content: Any) -> Any:
    """The same content with absolute paths, which mean nothing elsewhere, replaced by `path/to/NAME`."""
    if isinstance(content, Mapping):
        return {key: without_places(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_places(value) for value in content]
    if not isinstance(content, str):
        return content
    if "," not in content and (PurePosixPath(content).is_absolute() or PureWindowsPath(content).is_absolute()):
        return _named(content)
    return PLACE.sub(lambda match: f"{match['before']}{_named(match['place'])}", content)


def _named(place: str) -> str:
    return f"path/to/{PureWindowsPath(place).name}"


def _placeless(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return str(without_places(argument))
    place = value[1:-1] if is_quoted(value) else value
    shown = without_places(place)
    return argument if shown == place else f"{key}={shown}"
