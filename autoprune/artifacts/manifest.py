"""What an artifact says its tensors mean; to read it nobody should wait for torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError

MANIFEST = "model/manifest.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the artifact in a folder; not checked against its hash.

    Raises:
        AutopruneError: it is missing, or no mapping in JSON.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise AutopruneError(f"{path}: the manifest cannot be read ({error}); make the artifact again.") from error
    if not isinstance(content, dict):
        raise AutopruneError(f"{path}: the manifest is no mapping; make the artifact again.")
    return content
