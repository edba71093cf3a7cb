"""The requirements profiles: `conf/requirements/NAME.yaml`, or a YAML file of the user's."""

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
"""What a search has where nothing is asked, and what requires nothing: no deployment is named by them."""


def load_profile(name: str) -> dict[str, Any]:
    """The requirements of a profile, as they stand in YAML.

    Args:
        name: of a shipped profile, or the path of a file that ends in .yaml.

    Raises:
        AutopruneError: there is no such profile, or the file holds no mapping.
    """
    source = Path(name) if name.endswith(".yaml") else _shipped() / f"{name}.yaml"
    if source.is_dir():
        raise AutopruneError(f"{name}: a file of requirements in YAML must be given, but this is a folder.")
    if not source.is_file():
        raise unknown("requirements profile", name, [*PURPOSELESS, *profile_names()])
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AutopruneError(f"{name}: the file is no YAML ({error}). Write text in UTF-8.") from error
    if not isinstance(content, dict):
        raise AutopruneError(f"{name}: a mapping of requirements must stand in the file, but got {content!r}.")
    return content


def profile_names() -> list[str]:
    """The shipped profiles that serve a purpose."""
    return list(shipped_profiles())


@cache
def shipped_profiles() -> dict[str, Requirements]:
    """The shipped profiles that serve a purpose, by name; they name only what every study measures."""
    names = sorted(path.name.removesuffix(".yaml") for path in _shipped().iterdir() if path.name.endswith(".yaml"))
    return {name: parse_requirements(load_profile(name)) for name in names if name not in PURPOSELESS}


def _shipped() -> Traversable:
    return resources.files("autoprune.conf") / "requirements"
