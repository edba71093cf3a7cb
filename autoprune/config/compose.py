"""Composes the config of a command line."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from autoprune.config.arguments import FREE, GROUPS, MANY, REQUIREMENT, Kind, check_arguments, is_override, readable
from autoprune.config.chosen import CONFIG_MODULE, SEARCHPATH, UNCOMPOSABLE, base_of, beside, chosen
from autoprune.config.entries import entry_kind, hint_of, options
from autoprune.config.errors import readable_errors
from autoprune.config.hydra_state import undisturbed
from autoprune.config.sections import beside_configs, literals, plain, sections
from autoprune.config.settings import ExecutorConfig, StudyConfig
from autoprune.errors import AutopruneError
from autoprune.families import task_maker
from autoprune.overrides import OVERRIDE, key_of, several
from autoprune.record.storage import KEYS as STORAGE
from autoprune.record.storage import without_password

Schemas = tuple[type[Any], ...]

SCHEMAS: dict[str, type[Any]] = {"study": StudyConfig, "executor": ExecutorConfig}
"""The schemas of sections; the schema of `task` comes with the task."""


def hydra_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line, split into arguments that Hydra can read and requirements that it cannot.

    Hydra wants a `+` before new keys, allows no `@` or second dot in a key, takes flags only before overrides, and
    reads few characters without quotes.

    Returns:
        The arguments for Hydra, and requirements such as `requirements.recall@20.min=0.2`, which `require` applies.

    Raises:
        AutopruneError: an argument is no flag, no flag's value and not key=value.
    """
    check_arguments(arguments)
    schemas = functools.cache(functools.partial(_task_schemas, chosen(arguments)))  # it reads config files
    arguments = [_by_path(argument, schemas) for argument in arguments]
    ours = [argument for argument in arguments if REQUIREMENT.fullmatch(argument)]
    rest = [f"++{argument}" if FREE.match(argument) else argument for argument in arguments if argument not in ours]
    many = any(argument in MANY for argument in arguments)
    if many and any(key_of(argument) == STORAGE[1] and _secret(argument) for argument in rest):
        raise AutopruneError(  # Hydra writes the swept overrides to a file
            "study.storage: with --multirun the address must not contain a password; set PGPASSWORD or use ~/.pgpass."
        )
    kind = functools.partial(_kind_of, schemas=schemas)
    theirs = [readable(argument, kind, many=many) if is_override(argument) else argument for argument in rest]
    return sorted(theirs, key=is_override), ours


def _secret(override: str) -> bool:
    """Whether the address in an override contains a password."""
    address = override.partition("=")[2]
    return without_password(address) != address


def require(config: DictConfig, overrides: Sequence[str]) -> None:
    """Applies requirements of the command line to a composed config."""
    requirements = dict(plain(config.requirements))
    for override in overrides:
        match = REQUIREMENT.fullmatch(override)
        assert match is not None, "hydra_arguments returned these"
        reading, limit, value, null = match.groups()
        requirements[reading] = None if null else {**(requirements.get(reading) or {}), limit: value}
    with open_dict(config):
        config.requirements = OmegaConf.create(literals(requirements))


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config that a list of overrides gives, as on the command line.

    Raises:
        AutopruneError: an override names an unknown entry, or cannot be read.
    """
    with undisturbed():
        return _compose(overrides)


def compose_sections(overrides: Sequence[str], *, folder: str | None = None) -> dict[str, dict[str, Any]]:
    """The sections of the config that a list of overrides gives, as plain values.

    Args:
        folder: the user's own configs, besides the shipped ones; files that a task names may lie there too.

    Raises:
        AutopruneError: as `compose_config` and `sections`, or there is no such folder.
    """
    if folder is not None and not Path(folder).is_dir():
        raise AutopruneError(f"config_dir: there is no folder of configs {folder!r}.")
    with undisturbed():  # also while ${…} is resolved
        content = sections(_compose([*beside(folder), *overrides]))
    if folder is not None:
        content["task"] = beside_configs(content["task"], folder)
    return content


def _compose(overrides: Sequence[str]) -> DictConfig:
    theirs, requirements = hydra_arguments(overrides)
    with readable_errors(words=chosen(overrides)), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        try:
            config = compose("config", overrides=theirs)
        except (OmegaConfBaseException, OSError):  # `readable_errors` translates them
            raise
        except (TypeError, ValueError, AttributeError, LookupError) as error:  # bugs of Hydra with unusual values
            raise AutopruneError(f"{' '.join(overrides)}: Hydra cannot compose a config of these ({error}).") from error
        require(config, requirements)
        return config


def _kind_of(key: str, *, schemas: Callable[[], Schemas]) -> Kind:
    """The kind of value that a key takes in the chosen tasks."""
    section, *path = key.split(".")
    if key in GROUPS:
        return Kind.NAME
    if section not in ("task", *SCHEMAS):
        return Kind.ONE if section == "requirements" else Kind.ANY
    candidates = (SCHEMAS[section],) if section in SCHEMAS else schemas()
    kinds = [kind for schema in candidates if (kind := entry_kind(schema, path)) is not None]
    return kinds[0] if kinds else Kind.ANY


def _task_schemas(words: tuple[str, ...]) -> Schemas:
    """The schemas of the chosen tasks; an unknown task is skipped here and reported later."""
    given = [word.partition("=")[2] for word in words if key_of(word) == "task"]
    paths = [word for word in words if key_of(word) == SEARCHPATH]
    schemas = []
    for option in several(given[-1]) if given else [""]:
        with suppress(*UNCOMPOSABLE):
            name = base_of((*paths, f"task={option}") if option else tuple(paths)).task.name
            schemas.append(task_maker(name).config)
    return tuple(schemas)


def _by_path(argument: str, schemas: Callable[[], Schemas]) -> str:
    """The argument in its long form.

    `storage=…` is short for `study.storage=…`. If the entry `task.model` has a `path`, `task.model=my_model/` is short
    for `task.model.path=my_model/`.
    """
    match = OVERRIDE.fullmatch(argument)
    if match is not None and match["key"] == STORAGE[0]:
        return f"{match['mark']}{STORAGE[1]}={match['value']}"
    section, _, name = match["key"].partition(".") if match else ("", "", "")
    if match is None or section != "task" or "." in name or match["value"].startswith(("{", "[")):
        return argument
    for schema in schemas():
        entry = next(iter(options(hint_of(schema, [name]))), None)
        if dataclasses.is_dataclass(entry) and "path" in typing.get_type_hints(entry):
            return f"{match['mark']}{match['key']}.path={match['value']}"
    return argument
