"""Texts to ids, under whole vocabularies and parts of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_encoder import LONGEST, SPECIAL, TEXTS, VOCABULARY

from autoprune.encoder.bert import read_encoder
from autoprune.encoder.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def whole(tiny: Path) -> Tokenizer:
    return read_encoder(str(tiny)).tokenizer


def without(tokenizer: Tokenizer, *pieces: str) -> Tokenizer:
    return tokenizer.restricted(np.array([at for at, piece in enumerate(tokenizer.pieces) if piece not in pieces]))


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    [ids] = tokenizer.encode([text])
    return [tokenizer.pieces[at] for at in ids]


def test_the_vocabulary_is_that_of_the_folder(whole: Tokenizer) -> None:
    assert whole.kind == "WordPiece"
    assert whole.reducible
    assert whole.pieces == VOCABULARY
    assert pieces_of(whole, "Walking home") == ["[CLS]", "walk", "##ing", "h", "##o", "##m", "##e", "[SEP]"]


def test_what_is_gone_falls_back_to_smaller_pieces(whole: Tokenizer) -> None:
    assert pieces_of(whole, "water") == ["[CLS]", "water", "[SEP]"]
    assert pieces_of(without(whole, "water"), "water") == ["[CLS]", "wat", "##er", "[SEP]"]
    smallest = ["[CLS]", "w", "##a", "##t", "##e", "##r", "[SEP]"]
    assert pieces_of(without(whole, "water", "wat", "##er", "##ter"), "water") == smallest


def test_protected_pieces_read_everything(whole: Tokenizer) -> None:
    least = whole.restricted(whole.protected)
    kept = set(least.pieces)
    assert set(SPECIAL) <= kept
    assert {"a", "##a", "7", "##7", "?"} <= kept
    assert not {"water", "##ing"} & kept
    texts = [*TEXTS[:20], "What? 12 x!"]
    assert not any("[UNK]" in pieces_of(least, text) for text in texts)
    assert [least.pieces[at] for at in least.encode(["日"])[0]] == ["[CLS]", "[UNK]", "[SEP]"]


def test_ids_are_positions_in_the_part(whole: Tokenizer) -> None:
    keep = np.array([at for at, piece in enumerate(whole.pieces) if piece not in ("water", "##ing", "a")])
    part = whole.restricted(keep)
    assert part.size == len(keep)
    assert part.pieces == [whole.pieces[at] for at in keep.tolist()]
    assert whole.restricted(np.arange(whole.size)) is whole
    assert whole.pieces == VOCABULARY, "the whole is as it was"


@pytest.mark.parametrize("processor", ["BertProcessing", "TemplateProcessing"])
def test_special_tokens_are_found_at_their_new_places(whole: Tokenizer, processor: str) -> None:
    content = dict(whole.content)
    if processor == "BertProcessing":
        content["post_processor"] = {"type": processor, "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    else:
        frame = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        frame.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
        special = {name: {"id": name, "ids": [at], "tokens": [name]} for name, at in (("[CLS]", 2), ("[SEP]", 3))}
        content["post_processor"] = {"type": processor, "single": frame, "pair": frame, "special_tokens": special}
    moved = Tokenizer(json.loads(json.dumps(content)), max_tokens=LONGEST)
    keep = np.arange(1, whole.size)  # without [PAD] every other id moves by one
    moved.content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "[PAD]"]
    [ids] = moved.restricted(keep).encode(["walk"])
    assert ids.tolist() == [1, VOCABULARY.index("walk") - 1, 2]


@pytest.mark.parametrize("gone", [(), ("water", "##ing", "walk", "the")])
def test_the_file_reads_as_tokenizers_reads_it(whole: Tokenizer, gone: tuple[str, ...], tmp_path: Path) -> None:
    ours = without(whole, *gone)
    (tmp_path / "tokenizer.json").write_text(ours.to_json())
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = [*TEXTS, "", "WATER walking !?", "x" * 300]
    assert [ids.tolist() for ids in ours.encode(texts)] == [one.ids for one in theirs.encode_batch(texts)]
    again = Tokenizer.read(ours.to_json(), max_tokens=LONGEST)
    assert [ids.tolist() for ids in again.encode(texts)] == [ids.tolist() for ids in ours.encode(texts)]


def test_long_texts_are_cut_off(whole: Tokenizer) -> None:
    text = " ".join(TEXTS)
    assert len(text) > 10_000
    [ids] = whole.encode([text])
    assert len(ids) == LONGEST
    assert ids[-1] == VOCABULARY.index("[SEP]")
    short = Tokenizer(whole.content, max_tokens=8)
    assert short.encode([text])[0].tolist() == [*ids[:7], ids[-1]]


@pytest.mark.parametrize(
    "text",
    [" " * 10_000 + "water", f"{'q' * 300} " * 20 + "water", "water" + "\n" * 9_000 + "stone"],
    ids=["space", "words that cannot be read", "lines"],
)
def test_what_lies_behind_long_gaps_is_read(whole: Tokenizer, text: str) -> None:
    theirs = tokenizers.Tokenizer.from_str(whole.to_json())
    assert whole.encode([text])[0].tolist() == theirs.encode(text).ids


def test_no_more_is_held_of_texts_than_of_some(whole: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, asked = ["a\ud800b", *TEXTS[:10], ("water", "the walk"), " " * 10_000 + "water"], list[int]()
    wanted = [whole.encode([text])[0].tolist() for text in texts]
    again = Tokenizer(whole.content, max_tokens=LONGEST)
    backend = again._backend

    class Watched:
        """Sees how many texts are encoded at once."""

        def __getattr__(self, name: str) -> Any:
            return getattr(backend, name)

        def encode_batch_fast(self, texts: list[Any]) -> Any:
            asked.append(len(texts))
            return backend.encode_batch_fast(texts)

    monkeypatch.setitem(vars(again), "_backend", Watched())
    monkeypatch.setattr("autoprune.encoder.tokenizer.AT_ONCE", 4)
    assert [ids.tolist() for ids in again.encode(texts)] == wanted
    assert max(asked) == 4
    assert again.encode([]) == []


def test_frequency_counts_ids(whole: Tokenizer) -> None:
    counts = whole.frequency(["water the water", "walk"])
    found = {whole.pieces[at]: int(counts[at]) for at in counts.nonzero()[0]}
    assert found == {"[CLS]": 2, "[SEP]": 2, "water": 2, "the": 1, "walk": 1}


def test_what_cannot_read_every_text_stays_whole() -> None:
    vocabulary = {"a": 0, "b": 1, "ab": 2}
    byte_pairs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    assert not Tokenizer.read(byte_pairs.to_str(), max_tokens=8).reducible
    unigrams = tokenizers.Tokenizer(tokenizers.models.Unigram([("a", -1.0)]))
    assert not Tokenizer.read(unigrams.to_str(), max_tokens=8).reducible
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    assert not Tokenizer.read(words.to_str(), max_tokens=8).reducible
    unknown = tokenizers.Tokenizer(tokenizers.models.WordPiece({"a": 0, "##a": 1}, unk_token="[UNK]"))
    assert not Tokenizer.read(unknown.to_str(), max_tokens=8).reducible, "there is nothing for what it cannot read"


@pytest.mark.parametrize("tokens", [8, 9, 13, LONGEST, 500])
@pytest.mark.parametrize(
    "text", ["", "Water!", " ".join(TEXTS[:9]), "waterwalking " * 40, "Ünïted " * 30, "a\ud800b " * 30]
)
def test_a_shortened_text_has_the_first_tokens_of_the_whole(whole: Tokenizer, text: str, tokens: int) -> None:
    [found] = whole.shortened([text], tokens)
    [ids], [before] = whole.encode([found]), whole.encode([text])
    wanted = min(tokens, len(before))
    assert ids.tolist() == [*before[: wanted - 1], before[-1]]
    assert len(before) > tokens or found == text


@pytest.mark.parametrize("keeps_end", [False, True])
def test_texts_are_cut_without_a_tokenizer_for_each_length(
    whole: Tokenizer, keeps_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, read = Tokenizer.read(whole.to_json(), max_tokens=LONGEST, keeps_end=keeps_end), list[str]()
    made.encode(["water"])  # which makes its own
    text, lengths = " ".join(TEXTS[:9]), (8, 13, LONGEST)
    others = [Tokenizer.read(whole.to_json(), max_tokens=tokens, keeps_end=keeps_end) for tokens in lengths]
    wanted = [other.encode([text])[0].tolist() for other in others]
    monkeypatch.setattr(tokenizers.Tokenizer, "from_str", lambda text: read.append(text))
    found = [made.shortened([text], 8), made.shortened([text], 13), made.reached([text])]
    assert [made.encode(one)[0].tolist() for one in found] == wanted
    assert text.endswith(found[2][0]) == keeps_end
    assert not read


@pytest.mark.parametrize("keeps_end", [False, True])
def test_all_tokens_of_a_text_are_counted(whole: Tokenizer, keeps_end: bool) -> None:
    """Against a tokenizer that cuts nothing off."""
    made = Tokenizer.read(whole.to_json(), max_tokens=LONGEST, keeps_end=keeps_end)
    endless = Tokenizer.read(whole.to_json(), max_tokens=10**6)
    texts = ["", "water", " ".join(TEXTS), f"{'日' * 5} water " * 80, "a\ud800b " * 300, " " * 9_000 + "water"]
    for found, wanted in zip(made.count(texts), endless.count(texts), strict=True):
        assert found.tolist() == wanted.tolist()
        assert found[3] > LONGEST


def test_half_of_a_surrogate_pair_is_no_character(whole: Tokenizer) -> None:
    broken, mended = "caf\u00e9 \ud83d half", "caf\u00e9 ? half"
    assert whole.characters([broken]) == whole.characters([mended])
    assert whole.frequency([broken]).tolist() == whole.frequency([mended]).tolist()
    gaps = " " * 10_000 + broken  # what lies behind is looked at after all
    assert whole.encode([gaps])[0].tolist() == whole.encode([mended])[0].tolist()


@pytest.mark.parametrize("tokens", [8, 13])
@pytest.mark.parametrize("text", [" ".join(TEXTS[:9]), "Ünïted\n" * 30, "a\ud800b " * 30, "wa\tter " * 9])
def test_passages_are_what_is_read_of_a_text_cut_at_spaces(whole: Tokenizer, text: str, tokens: int) -> None:
    [found], [read] = whole.passages([text], tokens), whole.encode([text])
    ids = [passage[1:-1] for passage in whole.encode(found)]
    assert np.concatenate(ids).tolist() == read[1:-1].tolist(), "nothing is lost, broken or read twice"
    assert len(found) == round((len(read) - 2) / tokens) > 1
    assert max(map(len, ids)) < 2 * tokens
    assert all(passage == passage.strip() != "" for passage in found)


def test_where_there_are_no_spaces_passages_are_cut_between_tokens(whole: Tokenizer) -> None:
    text = "water,walk;" * 9
    [found] = whole.passages([text], 8)
    assert "".join(found) == text[: len("".join(found))]
    assert {len(ids) - 2 for ids in whole.encode(found)} <= {7, 8, 9}


@pytest.mark.parametrize("text", ["", "   ", "water", "water the water walk"])
def test_a_short_text_has_no_passages(whole: Tokenizer, text: str) -> None:
    assert list(whole.passages([text, " ".join(TEXTS[:9]), text], 8))[::2] == [[], []]
    assert list(whole.passages([], 8)) == []


def test_passages_are_of_the_end_where_that_is_what_is_read(whole: Tokenizer) -> None:
    left = Tokenizer.read(whole.to_json(), max_tokens=LONGEST, keeps_end=True)
    text = " ".join(TEXTS)
    [first], [last] = whole.passages([text], 8), left.passages([text], 8)
    assert text.startswith(first[0])
    assert text.endswith(last[-1])
    [ids] = left.encode([text])
    assert np.concatenate([passage[1:-1] for passage in whole.encode(last)]).tolist() == ids[1:-1].tolist()


def test_passages_of_bytes_lose_no_character() -> None:
    """A character may be several tokens of a byte-level tokenizer, which all lie where it does."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(
        TEXTS[:20], tokenizers.trainers.BpeTrainer(initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    )
    text = "wärme überall 日本語のテキスト " * 6
    [found] = Tokenizer.read(made.to_str(), max_tokens=400).passages([text], 8)
    assert len(found) > 6
    assert "".join("".join(found).split()) == "".join(text.split())
