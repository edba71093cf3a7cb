"""The sections of a config as plain values and as dataclasses, checked against what their entries take."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, ValidationError

from autoprune.config.arguments import GROUPS, Kind
from autoprune.config.entries import entry_kind, hint_of, taken_by
from autoprune.config.errors import readable_errors
from autoprune.errors import AutopruneError, nearest, unknown
from autoprune.families import task_maker
from autoprune.overrides import literal, several


def sections(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The sections of a composed config as plain values.

    Raises:
        AutopruneError: a section is unknown, or is no mapping.
    """
    for key in config:
        if key not in GROUPS:
            raise unknown("config section", key, GROUPS)
    for name in GROUPS:
        if config[name] is not None and not OmegaConf.is_dict(config[name]):
            raise AutopruneError(f"{name}: a mapping must be given, but got {config[name]!r}.")
    return {name: plain(config[name]) for name in GROUPS}


def beside_configs(section: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The section of a task, with what lies beside the user's folder of configs, or in it, found there.

    A relative path is looked for where the command was typed, then beside the folder, in it, and in its `task/`; of
    several, after commas or as a list, each.
    """
    located = task_maker(section.get("name")).located
    places = [Path(folder).parent, Path(folder), Path(folder) / "task"]

    def found(value: Any) -> Any:
        if isinstance(value, list):
            return [found(one) for one in value]
        if not isinstance(value, str) or value.startswith("~") or Path(value).exists():
            return value
        each = several(value)
        if len(each) > 1 and (there := [found(one) for one in each]) != each:
            return there
        return next((str(place / value) for place in places if (place / value).exists()), value)

    def within(held: Mapping[str, Any], outer: str) -> dict[str, Any]:
        return {
            key: within(value, f"{outer}{key}.")
            if isinstance(value, Mapping)
            else found(value)
            if f"{outer}{key}" in located
            else value
            for key, value in held.items()
        }

    return within(section, "")


def structured(schema: type[Any], section: Mapping[str, Any], where: str) -> Any:
    """A config dataclass filled from a mapping; wrong types and unknown keys name their path.

    Where a list of texts is due, one text with commas will do.
    """
    _refuse_unknown(schema, section, where)
    content = OmegaConf.create(_typed(schema, section, where))
    with readable_errors(where):
        try:
            return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), content))
        except (ValidationError, ConfigTypeError) as error:
            path = re.findall(r"[^.\[\]]+", str(error.full_key or ""))
            taken = taken_by(hint_of(schema, path))
            if not taken:
                raise
            raise AutopruneError(f"{'.'.join((where, *path))}: {taken}, but got {_found(section, path)!r}.") from error


def plain(node: Any) -> dict[str, Any]:
    """A mapping of a composed config as plain values, each ${…} looked up; empty for none."""
    with readable_errors():
        content = OmegaConf.to_container(node, resolve=True) if node is not None else {}
    assert isinstance(content, dict), "every section of the config is a mapping"
    return {str(key): value for key, value in content.items()}


def literals(value: Any) -> Any:
    """A plain value as OmegaConf must be given it, so that no text in it is looked up again."""
    if isinstance(value, Mapping):
        return {key: literals(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [literals(inner) for inner in value]
    return literal(value) if isinstance(value, str) else value


def _typed(schema: Any, value: Any, where: str, path: tuple[str, ...] = ()) -> Any:
    """A plain value with its texts as OmegaConf must be given them."""
    if isinstance(value, Mapping):
        if taken := taken_by(hint_of(schema, path)):
            raise AutopruneError(f"{'.'.join((where, *path))}: {taken}, but got {value!r}.")
        return {key: _typed(schema, inner, where, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, str) and "\0" in value:
        raise AutopruneError(f"{'.'.join((where, *path))}: no text or name holds the character NUL, but got {value!r}.")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise AutopruneError(
            f"{'.'.join((where, *path))}: a number with more than 308 digits is none that can be used."
        )
    if isinstance(value, str) and entry_kind(schema, path) is Kind.TEXTS:
        return [literal(text) for text in several(value)]
    if isinstance(value, list | tuple):
        return [_typed(schema, inner, where, (*path, str(place))) for place, inner in enumerate(value)]
    return literal(value) if isinstance(value, str) else value


def _refuse_unknown(schema: type[Any], section: Mapping[str, Any], where: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(schema)}
    defaults = schema()
    for key, value in section.items():
        if key not in fields:
            raise AutopruneError(f"{where}.{key}: there is no such entry. {nearest(key, fields)}")
        inner = getattr(defaults, str(key))
        if dataclasses.is_dataclass(inner):
            if not isinstance(value, Mapping):
                raise AutopruneError(f"{where}.{key}: it has entries that are set one by one, but got {value!r}.")
            _refuse_unknown(type(inner), value, f"{where}.{key}")
        elif str(fields[str(key)].type).startswith("dict[") and not isinstance(value, Mapping | None):
            raise AutopruneError(f"{where}.{key}: a mapping such as {{name: value}} must be given, but got {value!r}.")


def _found(value: Any, path: Sequence[str]) -> Any:
    """What a tree of plain values holds at a path."""
    for name in path:
        value = value[int(name)] if isinstance(value, list | tuple) else value[name]
    return value
