"""The config: composed by Hydra, read with OmegaConf, and every error of theirs in one message. It alone knows both."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from autoprune.errors import AutopruneError, nearest, unknown

CONFIG_MODULE = "autoprune.conf"

OVERRIDE = re.compile(r"\+{0,2}[\w@/.]+=|~[\w@/.]+(=|$)")

GROUP_VALUE = re.compile(r"\+{0,2}(task|space|presets|requirements|study)=[\[{]")

FREE = re.compile(r"(requirements|presets)\.")
"""Sections that hold what people name: a key need not be there to be set."""

REQUIREMENT = re.compile(r"\+{0,2}requirements\.(\w+[@.][\w@.]+)\.(drop|min|max|confidence)=(.*)")
"""A requirement on a metric or slice whose name Hydra cannot parse."""

SECTIONS = ("task", "space", "presets", "requirements", "study")


def hydra_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What people write, split into what Hydra can read and requirements that it cannot.

    Hydra wants a `+` before new keys, has no `@` or second dot in a key, and takes flags before overrides only.

    Returns:
        The arguments for Hydra, and those such as `requirements.recall@20.min=0.2` for `require`.

    Raises:
        AutopruneError: an argument is neither a flag, nor belongs to one, nor key=value.
    """
    for argument in arguments:
        if not argument.startswith("-") and "=" in argument and not OVERRIDE.match(argument):
            raise AutopruneError(f"{argument!r}: an override is written key=value. autoprune --help explains.")
        if GROUP_VALUE.match(argument):
            raise AutopruneError(
                f"{argument!r}: the name of a file in its folder of conf/ is chosen here; set single keys one by one."
            )
    ours = [argument for argument in arguments if REQUIREMENT.match(argument)]
    theirs = [f"++{argument}" if FREE.match(argument) else argument for argument in arguments if argument not in ours]
    return sorted(theirs, key=lambda argument: OVERRIDE.match(argument) is not None), ours


def config_dir(arguments: Sequence[str]) -> str | None:
    """The folder that `--config-dir` (`-cd`) names on a command line; None where it is not given."""
    found = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        flag, equals, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            found = value if equals else following
    return found


def require(config: DictConfig, overrides: Sequence[str]) -> None:
    """Puts requirements from the command line in their place in a composed config."""
    requirements = dict(_plain(config.requirements))
    for override in overrides:
        match = REQUIREMENT.match(override)
        assert match is not None, "only what hydra_arguments returned is put in place"
        requirements[match[1]] = {**(requirements.get(match[1]) or {}), match[2]: match[3]}
    with open_dict(config):
        config.requirements = OmegaConf.create(requirements)


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config that a list of overrides gives, as on the command line.

    Raises:
        AutopruneError: an override names what is not there, or cannot be read.
    """
    theirs, requirements = hydra_arguments(overrides)
    with readable_errors():
        GlobalHydra.instance().clear()
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            config = compose("config", overrides=theirs)
        require(config, requirements)
        return config


def overridden(overrides: Sequence[str], key: str) -> Any:
    """The value that a list of overrides ends up giving a key; None where it gives none."""
    given = [override for override in overrides if re.match(rf"\+{{0,2}}{re.escape(key)}=", override)]
    return OverridesParser.create().parse_override(given[-1]).value() if given else None


def sections(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The sections of a composed config as plain values.

    Raises:
        AutopruneError: a section is unknown, or is no mapping.
    """
    for key in config:
        if key not in SECTIONS:
            raise unknown("config section", key, SECTIONS)
    for name in SECTIONS:
        if config[name] is not None and not OmegaConf.is_dict(config[name]):
            raise AutopruneError(f"{name}: a mapping must be given, but got {config[name]!r}.")
    return {name: _plain(config[name]) for name in SECTIONS}


def structured(schema: type[Any], section: Mapping[str, Any], where: str) -> Any:
    """A config dataclass filled from a mapping; wrong types and unknown keys name their path."""
    _refuse_unknown(schema, section, where)
    with readable_errors(where):
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(section))))


def _refuse_unknown(schema: type[Any], section: Mapping[str, Any], where: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(schema)}
    defaults = schema()
    for key, value in section.items():
        if key not in fields:
            raise AutopruneError(f"{where}.{key}: there is no such entry. {nearest(key, fields)}")
        inner = getattr(defaults, str(key))
        if dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            _refuse_unknown(type(inner), value, f"{where}.{key}")


def _plain(node: Any) -> dict[str, Any]:
    with readable_errors():
        content = OmegaConf.to_container(node, resolve=True) if node is not None else {}
    assert isinstance(content, dict), "every section of the config is a mapping"
    return {str(key): value for key, value in content.items()}


def _neighbours(path: str) -> str:
    """What the default config holds beside the first unknown key of a path."""
    node: Any = OmegaConf.to_container(compose_config([]))
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return nearest(key, node if isinstance(node, dict) else ())
        node = node[key]
    return f"{path} itself is there, but its value names what is not; ~{path} takes it out, ++{path}=… puts another in."


@contextmanager
def readable_errors(where: str = "") -> Iterator[None]:
    """Turns Hydra's and OmegaConf's errors into ours: one message, with the nearest names."""
    try:
        yield
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        raise AutopruneError(
            f"{group}={option}: there is no such {group}. {nearest(option, error.options or [])}"
        ) from error
    except OmegaConfBaseException as error:
        key = ".".join(piece for piece in (where, str(error.full_key or "")) if piece)
        raise AutopruneError(f"{key or 'config'}: {str(error.msg or error).splitlines()[0]}") from error
    except ConfigCompositionException as error:
        missing = re.match(r"Could not override '([^']*)'", str(error))
        if missing is None:
            raise AutopruneError(" ".join(str(error).split())) from error
        raise AutopruneError(f"{missing[1]}: there is no such entry. {_neighbours(missing[1])}") from error
    except HydraException as error:
        raise AutopruneError(" ".join(str(error).split())) from error
