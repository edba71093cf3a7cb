"""The formats that a picked candidate can be written in, and what stands in the way of each.

`autoprune` is the artifact itself, which every candidate is. `sentence-transformers` is a folder that an unmodified
`SentenceTransformer(folder)` loads: it holds what stock configs express, and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.errors import unknown

OWN = "autoprune"
STOCK = "sentence-transformers"
FORMATS = (OWN, STOCK)

LOADING = {
    OWN: "import autoprune; model = autoprune.load({folder!r})",
    STOCK: "from sentence_transformers import SentenceTransformer; model = SentenceTransformer({folder!r})",
}
"""Python that loads what was written."""

FLOAT = 32
"""Bits of a value that is no code."""


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """What keeps a candidate from a format.

    Attributes:
        words: what it is, for people.
        way_out: an override of a search whose candidates don't have it; empty where there is none.
    """

    words: str
    way_out: str = ""


def _is_onnx(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest["runtime"] != "torch")


def _is_uneven(manifest: Mapping[str, Any]) -> bool:
    return len({layer["ffn"] for layer in manifest["layers"]}) > 1


def _lacks_heads(manifest: Mapping[str, Any]) -> bool:
    return any(layer["heads"] * manifest["head_dim"] != manifest["hidden"] for layer in manifest["layers"])


def _is_coded(manifest: Mapping[str, Any]) -> bool:
    bits = manifest.get("bits") or {name: entry.get("bits") for name, entry in manifest.get("tables", {}).items()}
    return any(width != FLOAT for width in bits.values())


NO_ENCODER = Obstacle(words="it is no sentence encoder")

STOCK_OBSTACLES: tuple[tuple[Callable[[Mapping[str, Any]], bool], Obstacle], ...] = (
    (_is_onnx, Obstacle(words="its runtime is onnx, a graph of its own", way_out="space.runtime=torch")),
    (_is_uneven, Obstacle(words="its layers have FFNs of several widths", way_out="space.cut.ffn.scope=layer")),
    (_lacks_heads, Obstacle(words="attention heads are pruned", way_out="space.cut.heads.sparsity=0")),
    (_is_coded, Obstacle(words="values are codes of few bits", way_out="'~space.tune.method'")),
)
"""What stock configs can't express. Pruned zeros are values like others."""


def check_format(name: str) -> str:
    """The name of a format.

    Raises:
        AutopruneError: there is no such format.
    """
    if name not in FORMATS:
        raise unknown("--format", name, FORMATS)
    return name


def obstacles(manifest: Mapping[str, Any], format: str = STOCK) -> list[Obstacle]:
    """All that keeps an artifact from a format; empty if nothing does.

    Args:
        manifest: what `model/manifest.json` of the artifact says.
    """
    if format == OWN:
        return []
    if manifest.get("kind") != "encoder":
        return [NO_ENCODER]
    return [obstacle for stands, obstacle in STOCK_OBSTACLES if stands(manifest)]


def obstacle_words(found: Sequence[Sequence[Obstacle]], format: str = STOCK) -> str:
    """How many candidates can't be written in a format, for which reasons, and the way out.

    Args:
        found: of each candidate.
    """
    counts = Counter(obstacle for one in found for obstacle in one)
    fit = sum(not one for one in found)
    lines = [f"{fit or 'none'} of {len(found)} candidates can be written in the format {format}. Of the others:"]
    lines += [f"  {count}: {obstacle.words}" for obstacle, count in counts.most_common()]
    ways = [obstacle.way_out for obstacle in counts if obstacle.way_out]
    if ways:
        lines.append(f"A search for such candidates: autoprune … {' '.join(ways)}")
    return "\n".join(lines)
