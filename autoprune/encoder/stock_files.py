"""The files that all exported folders of encoders have: tokenizer, prompts and similarity.

tokenizer.json, tokenizer_config.json, special_tokens_map.json
config_sentence_transformers.json     prompts and similarity
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.served import Parts
from autoprune.encoder.prompts import DECLARED, Prompts
from autoprune.encoder.similarity import SIMILARITIES
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.exports.tables import write_json

SPECIAL_TOKENS = {
    "unk_token": ("[UNK]", "<unk>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>", "<|endoftext|>", "<|padding|>"),
    "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""Role of a special token → its names in the known families."""

ACTIVATION = "activation_fn"
"""The setting of sentence-transformers for the function that is applied to a score."""

SCORES = {
    **dict.fromkeys(("torch.nn.modules.activation.Sigmoid", "torch.nn.Sigmoid"), "sigmoid"),
    **dict.fromkeys(("torch.nn.modules.linear.Identity", "torch.nn.Identity"), "identity"),
}
"""A class of torch → the function that is applied to a score; the first class of each function is written."""

LABEL = "LABEL_0"
"""The name of the only output, as `transformers` names it."""


def special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The special tokens by role; without one for padding, any token serves as it, because padding is masked."""
    pieces = set(tokenizer.pieces)
    found = {role: next((name for name in names if name in pieces), None) for role, names in SPECIAL_TOKENS.items()}
    known = {role: name for role, name in found.items() if name is not None}
    special = [str(token["content"]) for token in tokenizer.content["added_tokens"] if token.get("special")]
    return {"pad_token": next(iter((*known.values(), *special)), tokenizer.pieces[0]), **known}


def write_tokenizer(parts: Parts, tokenizer: Tokenizer, folder: Path, *, has_segments: bool = False) -> None:
    """Writes the tokenizer of an artifact and its settings.

    Args:
        has_segments: whether the model takes token types, which mark the second text of a pair.
    """
    special = special_tokens(tokenizer)
    (folder / "tokenizer.json").write_bytes(parts.content("tokenizer.json"))
    write_json(folder / "special_tokens_map.json", special)
    names = ["input_ids", *["token_type_ids"] * has_segments, "attention_mask"]
    settings = {"model_max_length": tokenizer.max_tokens, "model_input_names": names}
    settings["truncation_side"] = "left" if tokenizer.keeps_end else "right"
    # BertTokenizerFast would build a tokenizer of its own from the vocabulary; this one takes tokenizer.json as it is.
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special, **settings})


def of_score(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of config.json for a cross-encoder's score."""
    activation = next(theirs for theirs, ours in SCORES.items() if ours == manifest["score"])
    return {
        "id2label": {"0": LABEL},
        "label2id": {LABEL: 0},
        "sentence_transformers": {ACTIVATION: activation},
    }


def write_declared(manifest: Mapping[str, Any], folder: Path) -> None:
    """Writes the prompts and the similarity of an artifact."""
    declared = Prompts(**manifest.get("prompts", {})).declared()
    write_json(folder / DECLARED, declared | {"similarity_fn_name": manifest.get("similarity", SIMILARITIES[0])})
