"""Profiles of requirements: `conf/requirements/NAME.yaml`, or a YAML file of the user."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from autoprune.errors import AutopruneError, unknown
from autoprune.fronts.requirements import Requirements, parse_requirements

PURPOSELESS = ("default", "none")
"""Profiles for no purpose in particular: the default of a search, and the one that requires nothing."""


def load_profile(name: str) -> dict[str, Any]:
    """The requirements of a profile, as its YAML file has them.

    Args:
        name: of a shipped profile, or the path of a file that ends in .yaml.

    Raises:
        AutopruneError: the profile is unknown, or the file is not YAML or holds no mapping.
    """
    source = Path(name) if name.endswith(".yaml") else _shipped() / f"{name}.yaml"
    if source.is_dir():
        raise AutopruneError(f"{name}: a YAML file of requirements must be given, but this is a folder.")
    if not source.is_file():
        raise unknown("requirements profile", name, [*PURPOSELESS, *profile_names()])
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AutopruneError(f"{name}: the file is not valid YAML in UTF-8 ({error}); correct it.") from error
    if not isinstance(content, dict):
        raise AutopruneError(f"{name}: the file must hold a mapping of requirements, but got {content!r}.")
    return content


def profile_names() -> list[str]:
    """The names of the shipped profiles that serve a purpose."""
    return list(shipped_profiles())


@cache
def shipped_profiles() -> dict[str, Requirements]:
    """The shipped profiles that serve a purpose, by name; they limit only readings that every study has."""
    names = sorted(path.name.removesuffix(".yaml") for path in _shipped().iterdir() if path.name.endswith(".yaml"))
    return {name: parse_requirements(load_profile(name)) for name in names if name not in PURPOSELESS}


def _shipped() -> Traversable:
    return resources.files("autoprune.conf") / "requirements"
