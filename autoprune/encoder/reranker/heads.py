"""The heads with which types of transformers give a score, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.encoder.functional import GONE
from autoprune.encoder.layouts.bert import ALBERT, BERT, DISTILBERT, ELECTRA, MPNET, ROBERTA
from autoprune.encoder.layouts.layout import Layout
from autoprune.encoder.layouts.rotary import MODERNBERT
from autoprune.errors import AutopruneError, nearest


@dataclass(frozen=True, kw_only=True)
class Head:
    """A map with an activation on the first token, perhaps a norm, and a map to one number.

    Attributes:
        layout: layout of the layers.
        model: the class of `transformers` with layers and head.
        layers: the prefix of the layers' weights.
        dense, norm, score: names of the head's weights, without `.weight`; empty: there is none.
        activation: activation of the first map, one of `autoprune.encoder.functional.ACTIVATIONS`.
        pools: whether config.json says how tokens become one vector, the activation, and whether the map has a bias.
    """

    layout: Layout
    model: str
    layers: str
    dense: str
    norm: str = ""
    score: str
    activation: str = "tanh"
    pools: bool = False

    def names(self, *, biased: bool = True) -> dict[str, str]:
        """Our names of its weights → theirs.

        Args:
            biased: whether the first map has a bias.
        """
        found = {"dense": f"{self.dense}.weight", "out": f"{self.score}.weight", "out.bias": f"{self.score}.bias"}
        found |= {"dense.bias": f"{self.dense}.bias"} if biased else {}
        return found | ({"head.norm": f"{self.norm}.weight"} if self.norm else {})


HEADS: Mapping[str, Head] = {
    "bert": Head(
        layout=BERT,
        model="BertForSequenceClassification",
        layers="bert.",
        dense="bert.pooler.dense",
        score="classifier",
    ),
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "camembert"),
        Head(
            layout=ROBERTA,
            model="RobertaForSequenceClassification",
            layers="roberta.",
            dense="classifier.dense",
            score="classifier.out_proj",
        ),
    ),
    "electra": Head(
        layout=ELECTRA,
        model="ElectraForSequenceClassification",
        layers="electra.",
        activation="gelu",
        dense="classifier.dense",
        score="classifier.out_proj",
    ),
    "distilbert": Head(
        layout=DISTILBERT,
        model="DistilBertForSequenceClassification",
        layers="distilbert.",
        dense="pre_classifier",
        score="classifier",
        activation="relu",
    ),
    "mpnet": Head(
        layout=MPNET,
        model="MPNetForSequenceClassification",
        layers="mpnet.",
        dense="classifier.dense",
        score="classifier.out_proj",
    ),
    "albert": Head(
        layout=ALBERT,
        model="AlbertForSequenceClassification",
        layers="albert.",
        dense="albert.pooler",
        score="classifier",
    ),
    "modernbert": Head(
        layout=MODERNBERT,
        model="ModernBertForSequenceClassification",
        layers="model.",
        dense="head.dense",
        norm="head.norm",
        score="classifier",
        pools=True,
    ),
}
"""Heads by `model_type`. RoBERTa, XLM-R and CamemBERT share a head, and are written as one type."""


def head_of(family: str) -> Head:
    """The head of a type.

    Raises:
        AutopruneError: its head is not known.
    """
    if family not in HEADS:
        raise AutopruneError(
            f"how a cross-encoder of type {family!r} makes a score is not described here. {nearest(family, HEADS)}"
        )
    return HEADS[family]


def written_head(manifest: Mapping[str, Any]) -> Head:
    """The head with which an artifact is exported, by its layers and activation.

    Args:
        manifest: the manifest of a cross-encoder.
    """
    if "family" in manifest:
        return HEADS[manifest["family"]]
    kinds = {"gelu": "electra", "relu": "distilbert"}
    counted = "bert" if manifest.get("padding", GONE) == GONE else "roberta"
    return HEADS[kinds.get(manifest["dense"], counted)]
