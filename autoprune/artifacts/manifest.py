"""Reads the manifest of an artifact, without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError

MANIFEST = "model/manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the artifact in a folder. Its hash is not checked.

    Raises:
        AutopruneError: it is missing, or not a JSON mapping.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise AutopruneError(f"{path}: the manifest cannot be read ({error}); rebuild the artifact.") from error
    if not isinstance(content, dict):
        raise AutopruneError(f"{path}: the manifest is not a mapping; rebuild the artifact.")
    return content
