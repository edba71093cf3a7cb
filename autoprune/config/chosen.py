"""The config files that a command line chooses, and their content before any key is set."""

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
"""Hydra's key for folders of configs besides the shipped ones."""

UNCOMPOSABLE = (AutopruneError, HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError)
"""Errors of files that cannot be composed. They are ignored here: composing the whole config reports them."""


def chosen(arguments: Sequence[str]) -> tuple[str, ...]:
    """The overrides that choose the files to compose, in their order; `--config-dir` becomes one of them."""
    return (
        *beside(config_dir(arguments)),
        *(argument for argument in arguments if key_of(argument) in (*GROUPS, SEARCHPATH)),
    )


def beside(folder: str | None) -> list[str]:
    """The override that makes Hydra also look in a folder of the user."""
    return [f"{SEARCHPATH}=[{written(str(Path(folder).absolute()))}]"] if folder else []


def base_of(words: tuple[str, ...]) -> DictConfig:
    """The config of the chosen files before any key is set; where several are chosen, of the first."""
    firsts = [
        f"{key}={quoted(next(iter(several(value)), ''))}" if key in GROUPS else word
        for word in words
        for key, _, value in [word.lstrip("+").partition("=")]
    ]
    shipped = not any(key_of(word) == SEARCHPATH for word in words)  # a user's files can change meanwhile
    return (_composed if shipped else _composed.__wrapped__)(*firsts)


@functools.cache
def _composed(*overrides: str) -> DictConfig:
    with undisturbed(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return compose("config", overrides=list(overrides))


def content_of(words: tuple[str, ...]) -> DictConfig:
    """The content of the chosen files; empty if they cannot be composed."""
    with suppress(*UNCOMPOSABLE):
        return base_of(words)
    return OmegaConf.create()
