"""What answers: loaded artifacts by kind. Nothing here knows how a model was made."""

from __future__ import annotations

import torch

from autoprune.errors import AutopruneError, unknown
from autoprune.runtime.recommender import Recommender
from autoprune.runtime.served import Parts, Served

KINDS: dict[str, type[Recommender]] = {"recommender": Recommender}


def serve(parts: Parts, *, device: torch.device | str = "cpu") -> Served:
    """The object that answers for an artifact's parts.

    Raises:
        AutopruneError: the kind is unknown to this version.
    """
    kind = parts.manifest.get("kind")
    if kind not in KINDS:
        raise unknown("artifact kind", kind, KINDS)
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"device {str(device)!r} was asked for, but torch sees no CUDA device here; use cpu.")
    return KINDS[kind](parts, device=device)
