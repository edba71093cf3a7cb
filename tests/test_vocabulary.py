"""Parts of the vocabularies of BPE and Unigram: any part reads every text, what is gone as smaller pieces."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_encoder import TEXTS

from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.vocabulary import made_of

tokenizers = pytest.importorskip("tokenizers")

OTHERS = ["Übergröße ☃ 漢字", "naïve café", "xyz 123!", "", "  two  spaces"]


def trained(kind: str) -> Tokenizer:
    """Trained on texts, with the special tokens and the reading of the models that have such ones."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<s>", "</s>", "<unk>"]
    given: dict[str, Any] = {"special_tokens": special, "vocab_size": 420, "show_progress": False}
    if kind == "bytes":  # as RoBERTa, ModernBERT and Qwen3
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **given)
    elif kind == "fallback":  # as Gemma 3
        made = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        made.normalizer = normalizers.Replace(" ", "▁")
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        given["special_tokens"] = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(**{**given, "vocab_size": 520})
    else:  # as XLM-RoBERTa, CamemBERT, ALBERT and T5
        made = tokenizers.Tokenizer(models.Unigram())
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **{**given, "vocab_size": 300})
    made.train_from_iterator(TEXTS, trainer)
    framed = [(name, made.token_to_id(name)) for name in special[:2]]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=framed)
    if kind == "fallback":  # as it comes: bytes are pieces like others, and no special tokens
        content = json.loads(made.to_str())
        content["added_tokens"] = [one for one in content["added_tokens"] if one["content"] in special]
        return Tokenizer.read(json.dumps(content), max_tokens=400)
    return Tokenizer.read(made.to_str(), max_tokens=400)


KINDS = ["bytes", "fallback", "unigram"]


FEW = TEXTS[:20]


def counted(whole: Tokenizer) -> NDArray[np.int64]:
    """As importance counts pieces: 1 of those that never occur."""
    return 2 * whole.frequency(FEW) + 1


def part_of(whole: Tokenizer, stays: NDArray[np.bool_]) -> Tokenizer:
    stays[whole.protected] = True
    return whole.restricted(stays.nonzero()[0])


def read(tokenizer: Tokenizer, text: str) -> list[str]:
    [ids] = tokenizer.encode([text])
    return [tokenizer.pieces[at] for at in ids]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_reads_every_text(kind: str) -> None:
    whole = trained(kind)
    before = tokenizers.Tokenizer.from_str(whole.to_json())
    assert whole.reducible
    for part in (whole.restricted(whole.protected), part_of(whole, whole.with_parts(counted(whole)) > 1)):
        assert part.size < whole.size
        again = tokenizers.Tokenizer.from_str(part.to_json())
        for text in [*TEXTS[:60], *OTHERS]:
            pieces = read(part, text)
            assert (pieces[0], pieces[-1]) == ("<s>", "</s>")
            assert len(pieces) >= len(read(whole, text))
            if kind != "unigram" or text in TEXTS:
                assert "<unk>" not in pieces
            decoded = again.decode(part.encode([text])[0].tolist())
            assert decoded == before.decode(whole.encode([text])[0].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_that_they_are_made_of_frequent_pieces_are_read_as_before(kind: str) -> None:
    whole = trained(kind)
    part = part_of(whole, whole.with_parts(counted(whole)) > 1)
    assert part.size < whole.size
    assert all(read(part, text) == read(whole, text) for text in FEW)
    other = next(text for text in TEXTS if not set(read(whole, text)) <= set(part.pieces))
    assert len(read(part, other)) > len(read(whole, other))
    assert set(read(part, other)) <= set(part.pieces)


@pytest.mark.parametrize("kind", ["bytes", "fallback"])
def test_by_how_often_they_occur_alone_some_could_never_be_reached(kind: str) -> None:
    whole = trained(kind)
    alone, parts = part_of(whole, counted(whole) > 1), made_of(whole.content["model"])
    lost = [piece for piece in alone.pieces if piece in parts and not set(parts[piece]) <= set(alone.pieces)]
    assert lost
    assert any(read(alone, text) != read(whole, text) for text in FEW)
