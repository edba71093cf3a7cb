"""Which machine this is: latencies are only compared where the fingerprint is the same."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from pathlib import Path

import torch


@functools.cache
def machine() -> dict[str, str | int]:
    """What a latency depends on beside the artifact, and `id`, ten digits that stand for all of it."""
    facts: dict[str, str | int] = {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    facts["id"] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
    return facts


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
