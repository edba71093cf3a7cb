"""The config: composed by Hydra, read with OmegaConf, and every error of theirs in one message. It alone knows both."""

from __future__ import annotations

import dataclasses
import functools
import os
import pkgutil
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import UnionType
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import (
    ConfigTypeError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

from autoprune.arguments import (
    FREE,
    GROUPS,
    MANY,
    REQUIREMENT,
    Kind,
    check_arguments,
    config_dir,
    is_override,
    readable,
)
from autoprune.errors import AutopruneError, nearest, unknown
from autoprune.families import task_maker
from autoprune.hydra_state import undisturbed
from autoprune.overrides import OVERRIDE, key_of, literal, quoted, several, written
from autoprune.record.storage import KEYS as STORAGE
from autoprune.record.storage import without_password

CONFIG_MODULE = "autoprune.conf"

Schemas = tuple[type[Any], ...]

SCHEMAS = {
    "study": "autoprune.study.settings:StudyConfig",
    "executor": "autoprune.study.settings:ExecutorConfig",
}
"""Of sections; the schema of `task` comes with the task."""

UNCOMPOSABLE = (AutopruneError, HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError)
"""What files that cannot be composed raise; whoever composes the whole config says it."""

SEARCHPATH = "hydra.searchpath"
"""The key of folders of configs beside the shipped ones."""


def hydra_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What people write, split into what Hydra can read and requirements that it cannot.

    Hydra wants a `+` before new keys, has no `@` or second dot in a key, takes flags before overrides only, and reads
    few characters without quotes.

    Returns:
        The arguments for Hydra, and those such as `requirements.recall@20.min=0.2` for `require`.

    Raises:
        AutopruneError: an argument is neither a flag, nor belongs to one, nor key=value.
    """
    check_arguments(arguments)
    schemas = functools.cache(functools.partial(_task_schemas, chosen(arguments)))  # files of configs are read for it
    arguments = [_by_path(argument, schemas) for argument in arguments]
    ours = [argument for argument in arguments if REQUIREMENT.match(argument)]
    rest = [f"++{argument}" if FREE.match(argument) else argument for argument in arguments if argument not in ours]
    many = any(argument in MANY for argument in arguments)
    if many and any(key_of(argument) == STORAGE[1] and _secret(argument) for argument in rest):
        raise AutopruneError(  # Hydra writes what it sweeps into a file
            "study.storage: with --multirun no password is taken here; libpq finds it in PGPASSWORD, or in ~/.pgpass."
        )
    kind = functools.partial(_kind_of, schemas=schemas)
    theirs = [readable(argument, kind, many=many) if is_override(argument) else argument for argument in rest]
    return sorted(theirs, key=is_override), ours


def _secret(override: str) -> bool:
    """Whether an address has a password in it."""
    address = override.partition("=")[2]
    return without_password(address) != address


def require(config: DictConfig, overrides: Sequence[str]) -> None:
    """Puts requirements from the command line in their place in a composed config."""
    requirements = dict(_plain(config.requirements))
    for override in overrides:
        match = REQUIREMENT.match(override)
        assert match is not None, "only what hydra_arguments returned is put in place"
        requirements[match[1]] = {**(requirements.get(match[1]) or {}), match[2]: match[3]}
    with open_dict(config):
        config.requirements = OmegaConf.create(_literal(requirements))


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config that a list of overrides gives, as on the command line.

    Raises:
        AutopruneError: an override names what is not there, or cannot be read.
    """
    with undisturbed():
        return _compose(overrides)


def compose_sections(overrides: Sequence[str], *, folder: str | None = None) -> dict[str, dict[str, Any]]:
    """The sections of the config that a list of overrides gives, as plain values.

    Args:
        folder: of the user's own configs, beside the shipped ones; what a task names may lie there too.

    Raises:
        AutopruneError: as `compose_config` and `sections`, or there is no such folder.
    """
    if folder is not None and not Path(folder).is_dir():
        raise AutopruneError(f"config_dir: there is no folder of configs {folder!r}.")
    with undisturbed():  # also while ${…} is looked up
        found = sections(_compose([*_beside(folder), *overrides]))
    if folder is not None:
        found["task"] = beside_configs(found["task"], folder)
    return found


def _compose(overrides: Sequence[str]) -> DictConfig:
    theirs, requirements = hydra_arguments(overrides)
    with readable_errors(words=chosen(overrides)), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        try:
            config = compose("config", overrides=theirs)
        except (OmegaConfBaseException, OSError):  # `readable_errors` knows them
            raise
        except (
            TypeError,
            ValueError,
            AttributeError,
            LookupError,
        ) as error:  # Hydra's own, of values it is not made for
            raise AutopruneError(f"{' '.join(overrides)}: no config can be composed of these ({error}).") from error
        require(config, requirements)
        return config


def chosen(arguments: Sequence[str]) -> tuple[str, ...]:
    """The overrides that say which files are composed, in their order; `--config-dir` as one of them."""
    return (
        *_beside(config_dir(arguments)),
        *(argument for argument in arguments if key_of(argument) in (*GROUPS, SEARCHPATH)),
    )


def _beside(folder: str | None) -> list[str]:
    """The override that has Hydra look in a folder of the user's too."""
    return [f"{SEARCHPATH}=[{written(str(Path(folder).absolute()))}]"] if folder else []


def _base(words: tuple[str, ...]) -> DictConfig:
    """The config of the files that are chosen, of several the first, before any key is set."""
    firsts = [
        f"{key}={quoted(next(iter(several(value)), ''))}" if key in GROUPS else word
        for word in words
        for key, _, value in [word.lstrip("+").partition("=")]
    ]
    shipped = not any(key_of(word) == SEARCHPATH for word in words)  # others can change while this process runs
    return (_composed if shipped else _composed.__wrapped__)(*firsts)


@functools.cache
def _composed(*overrides: str) -> DictConfig:
    with undisturbed(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return compose("config", overrides=list(overrides))


def _kind_of(key: str, *, schemas: Callable[[], Schemas]) -> Kind:
    """What a key takes, in the tasks that are chosen."""
    section, *path = key.split(".")
    if key in GROUPS:
        return Kind.NAME
    if section not in ("task", *SCHEMAS):
        return Kind.ONE if section == "requirements" else Kind.ANY
    known = (pkgutil.resolve_name(SCHEMAS[section]),) if section in SCHEMAS else schemas()
    found = [kind for schema in known if (kind := _entry_kind(schema, path)) is not None]
    return found[0] if found else Kind.ANY


def _task_schemas(words: tuple[str, ...]) -> Schemas:
    """The schemas of the tasks that are chosen; of what there is not none, which others say."""
    given = [word.partition("=")[2] for word in words if key_of(word) == "task"]
    paths = [word for word in words if key_of(word) == SEARCHPATH]
    found = []
    for option in several(given[-1]) if given else [""]:
        with suppress(*UNCOMPOSABLE):
            name = _base((*paths, f"task={option}") if option else tuple(paths)).task.name
            found.append(task_maker(name).config)
    return tuple(found)


def _by_path(argument: str, schemas: Callable[[], Schemas]) -> str:
    """The same argument in full: `task.model=my_model/` stands for `task.model.path=my_model/`, of what has a path.

    Likewise `storage=…` for `study.storage=…`.
    """
    match = OVERRIDE.fullmatch(argument)
    if match is not None and match["key"] == STORAGE[0]:
        return f"{match['mark']}{STORAGE[1]}={match['value']}"
    section, _, name = match["key"].partition(".") if match else ("", "", "")
    if match is None or section != "task" or "." in name or match["value"].startswith(("{", "[")):
        return argument
    for schema in schemas():
        held = next(iter(_options(_hint(schema, [name]))), None)
        if dataclasses.is_dataclass(held) and "path" in typing.get_type_hints(held):
            return f"{match['mark']}{match['key']}.path={match['value']}"
    return argument


def _options(hint: Any) -> list[Any]:
    """The types that a hint allows, but for None."""
    options = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return [option for option in options if option is not type(None)]


def _hint(schema: Any, path: Sequence[str]) -> Any:
    """The annotated type of an entry of a config dataclass; None where it has no such entry."""
    hint = schema
    for name in path:
        schema = next(iter(_options(hint)), None)
        if dataclasses.is_dataclass(schema):
            hint = typing.get_type_hints(schema).get(name)
        else:
            hint = next(iter(typing.get_args(schema)), None) if name.isdecimal() else None
    return hint


def _taken(hint: Any) -> str:
    """What an entry takes, in words, by its type; empty where there are none."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    several = {int: "whole numbers", float: "numbers", str: "texts"}
    found = []
    for option in _options(hint):
        if typing.get_origin(option) in (list, tuple):
            found.append(f"a list of {several.get(typing.get_args(option)[0], 'values')}")
        elif option in words:
            found.append(words[option])
    return f"{' or '.join(found)} is taken" if found else ""


def _found(value: Any, path: Sequence[str]) -> Any:
    """What a tree of plain values holds at a path."""
    for name in path:
        value = value[int(name)] if isinstance(value, list | tuple) else value[name]
    return value


def _entry_kind(schema: Any, path: Sequence[str]) -> Kind | None:
    """What an entry of a config dataclass takes; None where it has no such entry."""
    for name in path:
        hint = typing.get_type_hints(schema).get(name) if dataclasses.is_dataclass(schema) else None
        schema = next(iter(_options(hint)), None)
    if schema is None or dataclasses.is_dataclass(schema):
        return None
    if typing.get_origin(schema) in (list, tuple):
        return Kind.TEXTS if typing.get_args(schema)[0] is str else Kind.ANY
    return Kind.TEXT if schema is str else Kind.ONE


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
    return {name: _plain(config[name]) for name in GROUPS}


def beside_configs(section: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The section of a task, with what lies beside the user's folder of configs, or in it, found there.

    A relative path is looked for where the command was typed, then beside the folder, in it, and in its `task/`.
    """
    located = task_maker(section.get("name")).located
    places = [Path(folder).parent, Path(folder), Path(folder) / "task"]

    def found(value: Any) -> Any:
        if not isinstance(value, str) or value.startswith("~") or Path(value).exists():
            return value
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
            taken = _taken(_hint(schema, path))
            if not taken:
                raise
            raise AutopruneError(f"{'.'.join((where, *path))}: {taken}, but got {_found(section, path)!r}.") from error


def _literal(value: Any) -> Any:
    """A plain value as OmegaConf must be given it, so that no text in it is looked up again."""
    if isinstance(value, Mapping):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return literal(value) if isinstance(value, str) else value


def _typed(schema: Any, value: Any, where: str, path: tuple[str, ...] = ()) -> Any:
    """A plain value with its texts as OmegaConf must be given them."""
    if isinstance(value, Mapping):
        if taken := _taken(_hint(schema, path)):
            raise AutopruneError(f"{'.'.join((where, *path))}: {taken}, but got {value!r}.")
        return {key: _typed(schema, inner, where, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, str) and "\0" in value:
        raise AutopruneError(f"{'.'.join((where, *path))}: no text or name holds the character NUL, but got {value!r}.")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise AutopruneError(
            f"{'.'.join((where, *path))}: a number with more than 308 digits is none that can be used."
        )
    if isinstance(value, str) and _entry_kind(schema, path) is Kind.TEXTS:
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


def _plain(node: Any) -> dict[str, Any]:
    with readable_errors():
        content = OmegaConf.to_container(node, resolve=True) if node is not None else {}
    assert isinstance(content, dict), "every section of the config is a mapping"
    return {str(key): value for key, value in content.items()}


def _held(words: tuple[str, ...]) -> DictConfig:
    """What the chosen files hold; nothing where they alone cannot be composed."""
    with suppress(*UNCOMPOSABLE):
        return _base(words)
    return OmegaConf.create()


def _neighbours(path: str, words: tuple[str, ...]) -> str:
    """What the config of the chosen files holds beside the first unknown key of a path."""
    node: Any = OmegaConf.to_container(_held(words))
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return nearest(key, node if isinstance(node, dict) else ())
        node = node[key]
    return f"{path} itself is there, but its value names what is not; ~{path} takes it out, ++{path}=… puts another in."


def _not_composed(error: HydraException, words: tuple[str, ...]) -> str:
    """Why Hydra could not put an override into a config."""
    said = str(error)
    if match := re.match(r"Could not override '([^']*)'", said):
        return f"{match[1]}: there is no such entry. {_neighbours(match[1], words)}"
    if match := re.match(r"Could not append to config\. An item is already at '([^']*)'", said):
        return f"+{match[1]}: the entry is there already; {match[1]}=… sets it."
    if match := re.match(r"Could not delete '([^']*)'\. No match", said):
        return f"~{match[1]}: there is no such entry; a key that is taken out has dots, as in ~space.prune."
    if (match := re.match(r"Error merging override (.*)", said, flags=re.DOTALL)) and "merge" in str(error.__cause__):
        return f"{match[1]}: what is there is of another kind; a list, a mapping and one value cannot be put together."
    if match := re.match(
        r"Could not delete from config\. The value of '([^']*)' is (.*) and not ", said, flags=re.DOTALL
    ):
        held = textwrap.shorten(match[2], 80, placeholder=" …")
        return (
            f"~{match[1]}: it holds {held}, and not what was written behind it; ~{match[1]} takes it out in any case."
        )
    if match := re.match(r"Could not delete from config\. '([^']*)' does", said):
        if OmegaConf.select(_held(words), match[1], default="nothing") is None:
            return f"~{match[1]}: it holds nothing, so that there is nothing to take out; {match[1]}=… sets it."
        return f"~{match[1]}: there is no such entry. {_neighbours(match[1], words)}"
    return f"{_plainly(error)}{f': {error.__cause__}' if error.__cause__ else ''}".splitlines()[0]


@contextmanager
def readable_errors(where: str = "", *, words: tuple[str, ...] = ()) -> Iterator[None]:
    """Turns Hydra's and OmegaConf's errors into ours: one message, with the nearest names.

    Args:
        where: the path of what is read.
        words: what chooses the files that are composed, see `chosen`.
    """
    try:
        yield
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        raise AutopruneError(
            f"{group}={option}: there is no such {group}. {nearest(option, error.options or [])}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:  # in a folder of the user's
        raise AutopruneError(f"a file of the config is no YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        key = ".".join(piece for piece in (where, str(error.full_key or "")) if piece)
        way = "; a ${ that is meant as such is written \\${" if isinstance(error, InterpolationResolutionError) else ""
        said = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error.msg or error).splitlines()[0])
        raise AutopruneError(f"{key or 'config'}: {said.rstrip('.')}{way}.") from error
    except OverrideParseException as error:
        raise AutopruneError(f"{error.override}: Hydra cannot read this; put the value in quotes.") from error
    except ConfigCompositionException as error:
        raise AutopruneError(_not_composed(error, words)) from error
    except HydraException as error:
        raise AutopruneError(_plainly(error)) from error
    except OSError as error:
        if error.errno is None:  # OmegaConf's own
            raise AutopruneError(f"a file of the config holds no mapping ({error}).") from error
        if error.filename is None:  # of no file, such as a pipe that is closed
            raise
        name = Path(os.fsdecode(error.filename)).name
        raise AutopruneError(f"a file of the config, {name!r}, cannot be read: {error.strerror}.") from error


def _plainly(error: HydraException) -> str:
    """What Hydra says, in a line, without its links."""
    return " ".join(re.sub(r"See https\S+( for \w+)*", "", str(error)).split())
