"""Packages that are not always installed: what needs one says so, and how it is had."""

from __future__ import annotations

import importlib.util

from autoprune.errors import AutopruneError


def has(package: str) -> bool:
    """Whether a package is installed; found without importing it, which may take seconds."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # it is kept from being imported
        return False


def need(package: str, extra: str, what: str) -> None:
    """Says what needs a package that is not installed.

    Args:
        extra: of pyproject.toml, which brings it.
        what: needs it, at the beginning of a sentence.

    Raises:
        AutopruneError: the package is not installed.
    """
    if not has(package):
        raise AutopruneError(
            f"{what} needs the package {package}, which is not installed: pip install 'autoprune[{extra}]'."
        )
