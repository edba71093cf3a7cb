"""Folders of model2vec or of sentence-transformers' static embeddings: a vector for each token of a tokenizer."""

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
"""Where `model.safetensors` and `tokenizer.json` may lie in a folder; the first place that holds both is used."""

TABLES = ("embeddings", "embedding.weight")
"""Names of the table in model2vec and in sentence-transformers."""


@dataclass(frozen=True, kw_only=True)
class StaticFolder:
    """The content of a folder.

    Attributes:
        rows: tokens and their vectors, without the unknown token, whose vector is never used.
        tokenizer: the content of `tokenizer.json`.
        config: the content of `config.json`; empty if there is none.
    """

    rows: NamedRows
    tokenizer: dict[str, Any]
    config: dict[str, Any]


def read_model2vec(folder: Path) -> StaticFolder:
    """Reads a folder of model2vec or sentence-transformers.

    With model2vec's vocabulary quantisation, tokens share rows, and a token's vector is its row times its weight.

    Raises:
        AutopruneError: it is not such a folder, or its files do not fit together.
    """
    place = next((folder / at for at in LAYOUTS if _is_layout(folder / at)), None)
    if place is None:
        raise AutopruneError(
            f"{folder} is a folder, but not one of model2vec: it lacks model.safetensors or tokenizer.json. To "
            "read a single file in it, name that file."
        )
    tokenizer, where = _json(place / "tokenizer.json"), place / "model.safetensors"
    arrays = read_arrays(where)
    name = next((one for one in TABLES if one in arrays), None)
    if name is None or arrays[name].ndim != 2:
        raise AutopruneError(
            f"{where}: it must hold a table {' or '.join(TABLES)}, but it holds: {', '.join(arrays)[:200]}. A "
            "transformer is not a table of vectors: task=encoder searches it."
        )
    tokens = tokens_of(tokenizer, where=str(place / "tokenizer.json"))
    unknown = unknown_token(tokenizer)
    kept = [at for at, token in enumerate(tokens) if token != unknown]
    vectors = _vectors(arrays, name, tokens, where)
    config = next((file for file in map(folder.joinpath, ("config.json",)) if file.is_file()), None)
    return StaticFolder(
        rows=named_rows(vectors[kept], [tokens[at] for at in kept], where=str(folder)),
        tokenizer=tokenizer,
        config=_json(config) if config else {},
    )


def tokens_of(tokenizer: Mapping[str, Any], *, where: str) -> list[str]:
    """The tokens of a tokenizer, in the order of their numbers.

    Raises:
        AutopruneError: it has no vocabulary, or the numbers have gaps.
    """
    vocabulary: Any = (tokenizer.get("model") or {}).get("vocab")
    if isinstance(vocabulary, list):  # Unigram: tokens with their scores, in the order of their numbers
        vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
    if not isinstance(vocabulary, Mapping):
        raise AutopruneError(f"{where}: it must hold a vocabulary, as `tokenizers` writes it.")
    token_of = {number: token for token, number in vocabulary.items()}
    token_of |= {token["id"]: token["content"] for token in tokenizer.get("added_tokens") or ()}
    if sorted(token_of) != list(range(len(token_of))):
        raise AutopruneError(f"{where}: its {len(token_of):,} tokens are not numbered from 0 to {len(token_of) - 1:,}.")
    return [token_of[number] for number in range(len(token_of))]


def unknown_token(tokenizer: Mapping[str, Any]) -> str | None:
    """The token for text that no other token matches; None if there is none."""
    model = tokenizer["model"]
    if isinstance(model["vocab"], list):
        at = model.get("unk_id")
        return None if at is None else str(model["vocab"][at][0])
    token = model.get("unk_token")
    return None if token is None else str(token)


def _vectors(arrays: Mapping[str, Array], name: str, tokens: list[str], where: Path) -> Array:
    """The vector of each token, [tokens, dim]."""
    table = arrays[name]
    for extra in ("mapping", "weights"):
        if extra in arrays and arrays[extra].shape != (len(tokens),):
            raise AutopruneError(
                f"{where}: {extra} must have an entry for each of {len(tokens):,} tokens, but its shape is "
                f"{list(arrays[extra].shape)}."
            )
    if "mapping" in arrays:
        mapping = arrays["mapping"]
        if mapping.dtype.kind not in "iu" or mapping.min() < 0 or mapping.max() >= len(table):
            raise AutopruneError(f"{where}: mapping must hold rows of {name}, from 0 to {len(table) - 1:,}.")
        table = table[mapping]
    if len(table) != len(tokens):
        raise AutopruneError(f"{where}: {name} has {len(table):,} rows, but its tokenizer has {len(tokens):,} tokens.")
    if "weights" not in arrays:
        return table
    weighted: Array = (
        as_float32(table, str(where)) * as_float32(arrays["weights"], str(where)).astype(np.float32)[:, None]
    )
    return weighted


def _is_layout(place: Path) -> bool:
    return (place / "model.safetensors").is_file() and (place / "tokenizer.json").is_file()


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AutopruneError(f"{path}: it cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise AutopruneError(f"{path}: it must hold a mapping, but it holds {type(content).__name__}.")
    return content
