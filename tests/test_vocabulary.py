"""Parts of the vocabularies of BPE and Unigram: any part reads every text, what is gone as smaller pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_encoder import TEXTS, make_task, write_tiny_bert

from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.vocabulary import made_of
from autoprune.steps.rows import IMPORTANCES, Rows

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


def out_of_reach(tokenizer: Tokenizer, pieces: set[str]) -> list[str]:
    """Those of some pieces that nothing is ever merged to."""
    merged = made_of(tokenizer.content["model"])
    return [piece for piece, parts in merged.items() if piece in pieces and not set(parts) <= pieces]


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_no_piece_stays_that_could_never_be_reached(importance: str, tmp_path: Path) -> None:
    whole = trained("bytes")
    folder = write_tiny_bert(tmp_path, config={"vocab_size": whole.size})
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer.json").write_text(whole.to_json())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    task = make_task(folder)
    model, context = task.model({}, seed=0), task.context(seed=0, device=torch.device("cpu"))
    step = Rows(sparsity=0.25, importance=importance)
    step.advance(model, context, 1.0)
    stay = {whole.pieces[at] for at in model.pieces.tolist()}
    assert len(stay) < whole.size
    assert any(piece in stay for piece in made_of(whole.content["model"]))
    assert not out_of_reach(whole, stay)


def test_a_piece_is_not_unknown_for_being_called_none() -> None:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["None of them. None of these."] * 9, trainer)
    whole = Tokenizer.read(made.to_str(), max_tokens=50)
    assert read(whole, "None") == ["None"]
    assert whole.pieces.index("None") not in whole.protected
    assert whole.count(["None"])[1].tolist() == [0]
