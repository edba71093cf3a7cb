"""Folders of model2vec, and of static embeddings of sentence-transformers: a vector for each token of a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.readers.arrays import Array, read_arrays
from autoprune.readers.named import NamedRows, as_float32, named_rows

LAYOUTS = ("", "0_StaticEmbedding")
"""Where in a folder `model.safetensors` and `tokenizer.json` may lie; the first that holds both is taken."""

TABLES = ("embeddings", "embedding.weight")
"""What the table is called by model2vec, and by sentence-transformers."""


@dataclass(frozen=True, kw_only=True)
class StaticFolder:
    """What such a folder holds.

    Attributes:
        rows: tokens and their vectors, without the token for what is unknown: its vector is never used.
        tokenizer: how texts become tokens, as `tokenizer.json` says.
        config: what else is said of it; empty where nothing is.
    """

    rows: NamedRows
    tokenizer: dict[str, Any]
    config: dict[str, Any]


def read_model2vec(folder: Path) -> StaticFolder:
    """What is in a folder.

    A vector is its row times its weight, where tokens share rows or have weights (model2vec's vocabulary quantisation).

    Raises:
        AutopruneError: it is no such folder, or its parts do not fit one another.
    """
    place = next((folder / at for at in LAYOUTS if _is_layout(folder / at)), None)
    if place is None:
        raise AutopruneError(
            f"{folder} is a folder, but none of model2vec's: model.safetensors and tokenizer.json must lie in it; or "
            "name a file in it."
        )
    tokenizer, where = _json(place / "tokenizer.json"), place / "model.safetensors"
    arrays = read_arrays(where)
    name = next((one for one in TABLES if one in arrays), None)
    if name is None or arrays[name].ndim != 2:
        raise AutopruneError(
            f"{where}: a table {' or '.join(TABLES)} must stand there, but it holds: {', '.join(arrays)[:200]}. A "
            "transformer is no table of vectors: task=encoder searches it."
        )
    tokens = tokens_of(tokenizer, where=str(place / "tokenizer.json"))
    unknown = unknown_token(tokenizer)
    kept = [at for at, token in enumerate(tokens) if token != unknown]
    vectors = _vectors(arrays, name, tokens, where)
    config = next((held for held in map(folder.joinpath, ("config.json",)) if held.is_file()), None)
    return StaticFolder(
        rows=named_rows(vectors[kept], [tokens[at] for at in kept], where=str(folder)),
        tokenizer=tokenizer,
        config=_json(config) if config else {},
    )


def tokens_of(tokenizer: Mapping[str, Any], *, where: str) -> list[str]:
    """The tokens of a tokenizer, in the order of their numbers.

    Raises:
        AutopruneError: it has none, or numbers are left out.
    """
    vocabulary: Any = (tokenizer.get("model") or {}).get("vocab")
    if isinstance(vocabulary, list):  # Unigram: tokens with their scores, as they are numbered
        vocabulary = {token: at for at, (token, _) in enumerate(vocabulary)}
    if not isinstance(vocabulary, Mapping):
        raise AutopruneError(f"{where}: a vocabulary must stand there, as `tokenizers` writes it.")
    found = {at: token for token, at in vocabulary.items()}
    found |= {token["id"]: token["content"] for token in tokenizer.get("added_tokens") or ()}
    if sorted(found) != list(range(len(found))):
        raise AutopruneError(f"{where}: its {len(found):,} tokens are not numbered from 0 to {len(found) - 1:,}.")
    return [found[at] for at in range(len(found))]


def unknown_token(tokenizer: Mapping[str, Any]) -> str | None:
    """What stands for a text that no token fits; None where there is nothing for it."""
    model = tokenizer["model"]
    if isinstance(model["vocab"], list):
        at = model.get("unk_id")
        return None if at is None else str(model["vocab"][at][0])
    token = model.get("unk_token")
    return None if token is None else str(token)


def _vectors(arrays: Mapping[str, Array], name: str, tokens: list[str], where: Path) -> Array:
    """The vector of each token, [tokens, dim]."""
    table = arrays[name]
    for one in ("mapping", "weights"):
        if one in arrays and arrays[one].shape != (len(tokens),):
            raise AutopruneError(
                f"{where}: {one} must have an entry for each of {len(tokens):,} tokens, but its shape is "
                f"{list(arrays[one].shape)}."
            )
    if "mapping" in arrays:
        mapping = arrays["mapping"]
        if mapping.dtype.kind not in "iu" or mapping.min() < 0 or mapping.max() >= len(table):
            raise AutopruneError(f"{where}: mapping must hold rows of {name}, from 0 to {len(table) - 1:,}.")
        table = table[mapping]
    if len(table) != len(tokens):
        raise AutopruneError(
            f"{where}: {name} has {len(table):,} rows, but the tokenizer beside it has {len(tokens):,} tokens."
        )
    if "weights" not in arrays:
        return table
    found: Array = as_float32(table, str(where)) * as_float32(arrays["weights"], str(where)).astype(np.float32)[:, None]
    return found


def _is_layout(place: Path) -> bool:
    return (place / "model.safetensors").is_file() and (place / "tokenizer.json").is_file()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AutopruneError(f"{path}: it cannot be read as JSON: {error}.") from error
    if not isinstance(found, dict):
        raise AutopruneError(f"{path}: a mapping must stand there, but it holds {type(found).__name__}.")
    return found
