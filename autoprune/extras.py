"""Packages that are not always installed: what needs one says so, and how it is had."""

from __future__ import annotations

import importlib.util

from autoprune.errors import AutopruneError


def has(package: str) -> bool:
    """Whether a package is installed; found without importing it, which may take seconds."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # it is kept from being imported
        return False
    return found is not None and found.origin is not None  # a folder that happens to have the name is no package


def need(package: str, extra: str, what: str, *, distribution: str = "", instead: str = "") -> None:
    """Says what needs a package that is not installed.

    Args:
        package: as it is imported.
        extra: of pyproject.toml, which brings it.
        what: needs it, at the beginning of a sentence.
        distribution: the name by which it is installed, where that is another one.
        instead: what else the user can do.

    Raises:
        AutopruneError: the package is not installed.
    """
    if not has(package):
        otherwise = f"; or {instead}" if instead else ""
        raise AutopruneError(
            f"{what} needs {distribution or package}, which is not installed: "
            f"pip install 'autoprune[{extra}]'{otherwise}."
        )
