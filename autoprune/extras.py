"""Optional packages: whether one is installed, and an error that says how to install it."""

from __future__ import annotations

import importlib.util

from autoprune.errors import AutopruneError


def has(package: str) -> bool:
    """Whether a package is installed. The package is not imported, which can take seconds."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # its import is blocked
        return False
    return spec is not None and spec.origin is not None  # a folder that happens to have this name is not the package


def need(package: str, extra: str, what: str, *, distribution: str = "", instead: str = "") -> None:
    """Requires that a package is installed.

    Args:
        package: the name it is imported by.
        extra: the extra in pyproject.toml that installs it.
        what: what needs the package; begins the error message.
        distribution: the name it is installed by, if different.
        instead: another way out for the user.

    Raises:
        AutopruneError: the package is not installed.
    """
    if not has(package):
        otherwise = f"; or {instead}" if instead else ""
        raise AutopruneError(
            f"{what} needs {distribution or package}, which is not installed: "
            f"pip install 'autoprune[{extra}]'{otherwise}."
        )
