"""The layouts by type, and why other types cannot be read."""

from __future__ import annotations

from autoprune.encoder.layouts.bert import ALBERT, BERT, DISTILBERT, ELECTRA, MPNET, ROBERTA
from autoprune.encoder.layouts.layout import Entries, Layout
from autoprune.encoder.layouts.rotary import GEMMA3, MODERNBERT, QWEN3
from autoprune.encoder.layouts.t5 import T5, T5_GATED
from autoprune.errors import nearest

LAYOUTS: dict[str, Layout] = {
    "bert": BERT,
    "electra": ELECTRA,
    "distilbert": DISTILBERT,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), ROBERTA),
    "mpnet": MPNET,
    "albert": ALBERT,
    "t5": T5,
    "modernbert": MODERNBERT,
    "qwen3": QWEN3,
    "gemma3_text": GEMMA3,
}
"""Layouts by `model_type`."""

AS_BERT = ("bert", "electra", "distilbert", "roberta", "xlm-roberta", "camembert")
"""The types that are written as one of three types, whichever of these they are."""

DISENTANGLED = "its scores compare contents with distances, which autoprune cannot write as a graph"
BEYOND = {
    **dict.fromkeys(("deberta", "deberta-v2"), DISENTANGLED),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "gpt_neox", "opt", "bloom"), "there is no layout for such decoders"),
    "xlnet": "its attention uses permutations",
    **dict.fromkeys(("longformer", "big_bird"), "its attention is sparse; texts of 512 tokens need none"),
    **dict.fromkeys(("clip", "siglip", "gemma3"), "it reads images as well; save its text model alone"),
    **dict.fromkeys(("mt5", "umt5"), "each of its layers has its own distances, or it has a decoder"),
}
"""Why the encoder of a type cannot be read, if the reason is more than a missing layout."""


def unknown_family(family: str) -> str:
    """Why a type of model cannot be read, and which type has the nearest name."""
    why = BEYOND.get(family, "there is no layout for its layers here")
    return f"it is a model of type {family!r}, not an encoder of a known family: {why}. {nearest(family, LAYOUTS)}"


def layout_of(config: Entries) -> Layout:
    """The layout for a config.json of a known type."""
    layout = LAYOUTS[str(config["model_type"])]
    return T5_GATED if layout is T5 and str(config.get("feed_forward_proj")).startswith("gated-") else layout
