"""What answers: loaded artifacts by kind. Nothing here knows how a model was made."""

from __future__ import annotations

import torch

from autoprune.errors import AutopruneError, unknown
from autoprune.runtime.served import Parts, Served

KINDS = ("recommender", "encoder")


def serve(parts: Parts, *, device: torch.device | str = "cpu") -> Served:
    """The object that answers for an artifact's parts.

    Raises:
        AutopruneError: the kind is unknown to this version, or there is no such device.
    """
    kind = parts.manifest.get("kind")
    if kind not in KINDS:
        raise unknown("artifact kind", kind, KINDS)
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"device {str(device)!r} was asked for, but torch sees no CUDA device here; use cpu.")
    if kind == "encoder":  # imported when asked for: a recommender should not wait for what an encoder needs
        from autoprune.runtime.encoder import serve_encoder

        return serve_encoder(parts, device=device)
    from autoprune.runtime.recommender import Recommender

    return Recommender(parts, device=device)
