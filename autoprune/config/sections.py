"""The sections of a config as plain values and as dataclasses, with their types checked."""

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
from autoprune.config.entries import entry_kind, hint_of, wanted_by
from autoprune.config.errors import readable_errors
from autoprune.errors import AutopruneError, nearest, unknown
from autoprune.families import task_maker
from autoprune.overrides import literal, several


def sections(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The sections of a composed config as plain values.

    Raises:
        AutopruneError: a section is unknown, or not a mapping.
    """
    for key in config:
        if key not in GROUPS:
            raise unknown("config section", key, GROUPS)
    for name in GROUPS:
        if config[name] is not None and not OmegaConf.is_dict(config[name]):
            raise AutopruneError(f"{name}: a mapping must be given, but got {config[name]!r}.")
    return {name: plain(config[name]) for name in GROUPS}


def beside_configs(section: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The section of a task, with relative paths resolved that lie beside or in the user's folder of configs.

    A relative path is tried in the working directory, then beside the folder, in it, and in its `task/`. Several
    paths, separated by commas or in a list, are resolved one by one.
    """
    located = task_maker(section.get("name")).located
    places = [Path(folder).parent, Path(folder), Path(folder) / "task"]

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(one) for one in value]
        if not isinstance(value, str) or value.startswith("~") or Path(value).exists():
            return value
        paths = several(value)
        if len(paths) > 1 and (resolved_paths := [resolved(path) for path in paths]) != paths:
            return resolved_paths
        return next((str(place / value) for place in places if (place / value).exists()), value)

    def resolve(entries: Mapping[str, Any], outer: str) -> dict[str, Any]:
        return {
            key: resolve(value, f"{outer}{key}.")
            if isinstance(value, Mapping)
            else resolved(value)
            if f"{outer}{key}" in located
            else value
            for key, value in entries.items()
        }

    return resolve(section, "")


def structured(schema: type[Any], section: Mapping[str, Any], where: str) -> Any:
    """A config dataclass filled from a mapping. A list of texts may be given as one text with commas.

    Raises:
        AutopruneError: a key is unknown, or a value has the wrong type; the message names its path.
    """
    _refuse_unknown(schema, section, where)
    content = OmegaConf.create(_typed(schema, section, where))
    with readable_errors(where):
        try:
            return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), content))
        except (ValidationError, ConfigTypeError) as error:
            path = re.findall(r"[^.\[\]]+", str(error.full_key or ""))
            wanted = wanted_by(hint_of(schema, path))
            if not wanted:
                raise
            raise AutopruneError(f"{'.'.join((where, *path))}: {wanted}, but got {_at(section, path)!r}.") from error


def plain(node: Any) -> dict[str, Any]:
    """A mapping of a composed config as plain values, with each ${…} resolved; empty for None."""
    with readable_errors():
        content = OmegaConf.to_container(node, resolve=True) if node is not None else {}
    assert isinstance(content, dict), "every section of the config is a mapping"
    return {str(key): value for key, value in content.items()}


def literals(value: Any) -> Any:
    """A plain value with its texts escaped, so that OmegaConf resolves no ${…} in them again."""
    if isinstance(value, Mapping):
        return {key: literals(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [literals(inner) for inner in value]
    return literal(value) if isinstance(value, str) else value


def _typed(schema: Any, value: Any, where: str, path: tuple[str, ...] = ()) -> Any:
    """A plain value with its texts escaped for OmegaConf, and split where a list of texts is expected."""
    if isinstance(value, Mapping):
        if wanted := wanted_by(hint_of(schema, path)):
            raise AutopruneError(f"{'.'.join((where, *path))}: {wanted}, but got {value!r}.")
        return {key: _typed(schema, inner, where, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, str) and "\0" in value:
        raise AutopruneError(f"{'.'.join((where, *path))}: no text may contain the character NUL, but got {value!r}.")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise AutopruneError(f"{'.'.join((where, *path))}: a number must not have more than 308 digits.")
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
                raise AutopruneError(f"{where}.{key}: its entries must be set one by one, but got {value!r}.")
            _refuse_unknown(type(inner), value, f"{where}.{key}")
        elif str(fields[str(key)].type).startswith("dict[") and not isinstance(value, Mapping | None):
            raise AutopruneError(f"{where}.{key}: a mapping such as {{name: value}} must be given, but got {value!r}.")


def _at(value: Any, path: Sequence[str]) -> Any:
    """The value at a path in a tree of plain values."""
    for name in path:
        value = value[int(name)] if isinstance(value, list | tuple) else value[name]
    return value
