"""What answers: loaded artifacts by kind. Nothing here knows how a model was made."""

from __future__ import annotations

import torch

from autoprune.errors import unknown
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
    return KINDS[kind](parts, device=device)
