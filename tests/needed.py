"""What a file of tests cannot do without; found without importing it, which takes seconds in every process."""

from __future__ import annotations

import importlib.util

import pytest


def needs(package: str, reason: str = "") -> None:
    """Skips the file of tests that calls this where a package is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(reason or f"{package} is not installed", allow_module_level=True)
