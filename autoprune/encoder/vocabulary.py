"""Parts of a vocabulary: which pieces a tokenizer can lose, on the plain values of a `tokenizer.json`.

A lost piece is read as smaller pieces. WordPiece (Schuster & Nakajima 2012) cuts a word into the longest remaining
pieces, Unigram (Kudo 2018) into the likeliest, so both work with any part. BPE (Sennrich et al. 2016) merges two pieces
into one, so a piece can be reached only while both pieces that it is merged from remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("WordPiece", "BPE", "Unigram")
"""Kinds of tokenizers whose vocabulary can lose pieces."""

SPACE = "▁"
"""Stands for a space in vocabularies of SentencePiece."""


def is_reducible(content: Mapping[str, Any]) -> bool:
    """Whether any text can still be read, perhaps as unknown words, if only the pieces of `is_least` remain."""
    model = content["model"]
    if model["type"] not in KINDS:
        return False
    if model["type"] == "Unigram":  # its ids are positions in a list
        pieces = [piece for piece, _ in model["vocab"]]
        inside = [token for token in content["added_tokens"] if token["id"] < len(pieces)]
        return unknown_piece(model) is not None and all(pieces[token["id"]] == token["content"] for token in inside)
    if model["type"] == "BPE" and (reads_bytes(content) or model.get("byte_fallback")):
        return True
    return unknown_piece(model) in model["vocab"]


def unknown_piece(model: Mapping[str, Any]) -> str | None:
    """The piece that stands for unknown words; None: there is none."""
    if model["type"] == "Unigram":
        return None if model.get("unk_id") is None else str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def reads_bytes(content: Mapping[str, Any]) -> bool:
    """Whether texts are read as bytes, each of which is written as one character (as in GPT-2)."""
    return any(
        step.get("type") == "ByteLevel" for key in ("pre_tokenizer", "normalizer") for step in _steps(content, key)
    )


def _steps(content: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    step = content.get(key) or {}
    inner = step.get("pretokenizers") or step.get("normalizers") or []
    return iter([step, *inner])


def is_least(piece: str, content: Mapping[str, Any]) -> bool:
    """Whether a piece is so small that every part keeps it: an ASCII character, or a byte."""
    if len(piece) == 1:
        return piece.isascii() or piece == SPACE or reads_bytes(content)
    return bool(content["model"].get("byte_fallback")) and len(piece) == 6 and piece.startswith("<0x")


def restricted(model: Mapping[str, Any], kept: Mapping[str, int]) -> dict[str, Any]:
    """The model of a part of the vocabulary.

    Args:
        model: that of the whole vocabulary.
        kept: piece → its new id, ascending as the old ones.
    """
    if model["type"] == "Unigram":
        vocabulary = [entry for entry in model["vocab"] if entry[0] in kept]
        return {**model, "vocab": vocabulary, "unk_id": kept[str(unknown_piece(model))]}
    part = {**model, "vocab": {piece: at for piece, at in kept.items() if piece in model["vocab"]}}
    if model["type"] == "BPE":
        merges = zip(model["merges"], _merges(model), strict=True)
        part["merges"] = [
            merge for merge, (parts, whole) in merges if whole in kept and all(piece in kept for piece in parts)
        ]
    return part


def made_of(model: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Merged piece → the two pieces of its first merge, in the order of merges."""
    merged: dict[str, tuple[str, str]] = {}
    if model["type"] == "BPE":
        for parts, whole in _merges(model):
            merged.setdefault(whole, parts)
    return merged


def _merges(model: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """The two pieces of each merge, and the piece that they become."""
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in model["merges"]:
        one, other = merge.split(" ") if isinstance(merge, str) else merge
        yield (one, other), one + other.removeprefix(prefix)
