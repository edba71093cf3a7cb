"""Parts of a vocabulary: what a tokenizer can lose, and how it then reads. Plain values of a `tokenizer.json`.

What is gone is read as smaller pieces. WordPiece (Schuster & Nakajima 2012) cuts a word into the longest pieces there
are, Unigram (Kudo 2018) into the likeliest ones, so both take any part. BPE (Sennrich et al. 2016) merges two pieces to
one, so a piece can be reached only as long as the two that it is merged from are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("WordPiece", "BPE", "Unigram")
"""Of tokenizers whose vocabulary can lose pieces."""

SPACE = "▁"
"""In place of a space, in vocabularies of SentencePiece."""


def is_reducible(content: Mapping[str, Any]) -> bool:
    """Whether any text can still be read, perhaps as unknown, whichever pieces are gone but those of `is_least`."""
    model = content["model"]
    if model["type"] not in KINDS:
        return False
    if model["type"] == "Unigram":  # whose ids are places in a list
        pieces = [piece for piece, _ in model["vocab"]]
        inside = [token for token in content["added_tokens"] if token["id"] < len(pieces)]
        return unknown_piece(model) is not None and all(pieces[token["id"]] == token["content"] for token in inside)
    if model["type"] == "BPE" and (reads_bytes(content) or model.get("byte_fallback")):
        return True
    return unknown_piece(model) in model["vocab"]


def unknown_piece(model: Mapping[str, Any]) -> str | None:
    """What stands for what cannot be read."""
    if model["type"] == "Unigram":
        return None if model.get("unk_id") is None else str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def reads_bytes(content: Mapping[str, Any]) -> bool:
    """Whether texts are read as bytes, each of which is written as one character (as in GPT-2)."""
    return any(
        step.get("type") == "ByteLevel" for key in ("pre_tokenizer", "normalizer") for step in _steps(content, key)
    )


def _steps(content: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    held = content.get(key) or {}
    inside = held.get("pretokenizers") or held.get("normalizers") or []
    return iter([held, *inside])


def is_least(piece: str, content: Mapping[str, Any]) -> bool:
    """Whether a piece is so small that every part keeps it: an ASCII character, or a byte."""
    if len(piece) == 1:
        return piece.isascii() or piece == SPACE or reads_bytes(content)
    return bool(content["model"].get("byte_fallback")) and len(piece) == 6 and piece.startswith("<0x")


def restricted(model: Mapping[str, Any], kept: Mapping[str, int]) -> dict[str, Any]:
    """The model of a part of the vocabulary.

    Args:
        model: of the whole.
        kept: piece → its new id, ascending as the old ones.
    """
    if model["type"] == "Unigram":
        vocabulary = [entry for entry in model["vocab"] if entry[0] in kept]
        return {**model, "vocab": vocabulary, "unk_id": kept[str(unknown_piece(model))]}
    found = {**model, "vocab": {piece: at for piece, at in kept.items() if piece in model["vocab"]}}
    if model["type"] == "BPE":
        merges = zip(model["merges"], _merges(model), strict=True)
        found["merges"] = [
            merge for merge, (parts, whole) in merges if whole in kept and all(one in kept for one in parts)
        ]
    return found


def made_of(model: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Of each piece that is merged, the two that it is merged from first; those of later merges come later."""
    found: dict[str, tuple[str, str]] = {}
    if model["type"] == "BPE":
        for parts, whole in _merges(model):
            found.setdefault(whole, parts)
    return found


def _merges(model: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """The two pieces of each merge, and what becomes of them."""
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in model["merges"]:
        one, other = merge.split(" ") if isinstance(merge, str) else merge
        yield (one, other), one + other.removeprefix(prefix)
