"""The files of configs that are chosen, and what they hold before any key is set."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autoprune.config.arguments import GROUPS, config_dir
from autoprune.config.hydra_state import undisturbed
from autoprune.errors import AutopruneError
from autoprune.overrides import key_of, quoted, several, written

CONFIG_MODULE = "autoprune.conf"

SEARCHPATH = "hydra.searchpath"
"""The key of folders of configs beside the shipped ones."""

UNCOMPOSABLE = (AutopruneError, HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError)
"""What files that cannot be composed raise; whoever composes the whole config says it."""


def chosen(arguments: Sequence[str]) -> tuple[str, ...]:
    """The overrides that say which files are composed, in their order; `--config-dir` as one of them."""
    return (
        *beside(config_dir(arguments)),
        *(argument for argument in arguments if key_of(argument) in (*GROUPS, SEARCHPATH)),
    )


def beside(folder: str | None) -> list[str]:
    """The override that has Hydra look in a folder of the user's too."""
    return [f"{SEARCHPATH}=[{written(str(Path(folder).absolute()))}]"] if folder else []


def base_of(words: tuple[str, ...]) -> DictConfig:
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


def held(words: tuple[str, ...]) -> DictConfig:
    """What the chosen files hold; nothing where they alone cannot be composed."""
    with suppress(*UNCOMPOSABLE):
        return base_of(words)
    return OmegaConf.create()
