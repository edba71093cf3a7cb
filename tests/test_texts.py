"""Texts of a user: every form of file, what is dropped, what is refused."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from autoprune.encoder.texts.corpus import JUDGED, Corpus, sentences, split_texts, unseen
from autoprune.encoder.texts.files import packaged_texts, read_elsewhere, read_texts
from autoprune.encoder.texts.general import GCIDE as GCIDE_AT
from autoprune.encoder.texts.general import WORDNET as WORDNET_AT
from autoprune.encoder.texts.general import general_english
from autoprune.errors import AutopruneError

TEXTS = [f"This is text number {at}." for at in range(60)]


def test_a_line_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS, "", TEXTS[0], "  ", f"  {TEXTS[1]}  "]) + "\n")
    corpus = read_texts([str(tmp_path / "texts.txt")])
    assert corpus.texts == TEXTS
    assert corpus.describe() == "60 texts (texts.txt; 2 duplicates and 2 empty dropped)"


def test_a_table_has_a_column_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "id,Sentence\n" + "\n".join(f'{at},"{text}, ""said"""' for at, text in enumerate(TEXTS))
    )
    assert read_texts([str(tmp_path / "a.csv")]).texts[0] == 'This is text number 0., "said"'
    (tmp_path / "b.tsv").write_text("text\tlabel\n" + "\n".join(f"{text}\tx" for text in TEXTS))
    assert read_texts([str(tmp_path / "b.tsv")]).texts == TEXTS
    (tmp_path / "c.csv").write_text("text\n" + "\n".join(TEXTS))
    assert read_texts([str(tmp_path / "c.csv")]).describe() == "60 texts (c.csv)"


def test_json_lines_and_folders_and_several_paths(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS[:30]))
    (folder / "b.txt").write_text("\n".join(TEXTS[30:50]))
    (folder / "notes.md").write_text("no text")
    (tmp_path / "c.txt").write_text("\r\n".join(TEXTS[50:]))
    assert read_texts([str(folder), str(tmp_path / "c.txt")]).texts == TEXTS


def test_documents_of_trec_are_texts(tmp_path: Path) -> None:
    (tmp_path / "docs.xml").write_text(
        "".join(f"<doc>\n<docno>{at}</docno>\n<text>{text}</text>\n</doc>\n" for at, text in enumerate(TEXTS))
    )
    assert read_texts([str(tmp_path / "docs.xml")]).texts == TEXTS


def test_a_long_text_is_a_text(tmp_path: Path) -> None:
    long = "word " * 2000
    (tmp_path / "texts.txt").write_text("\n".join([long, *TEXTS]))
    assert read_texts([str(tmp_path / "texts.txt")]).texts[0] == long.strip()
    (tmp_path / "texts.csv").write_text("\n".join(["text", "a" * 200_000, *TEXTS]))
    assert len(read_texts([str(tmp_path / "texts.csv")]).texts[0]) == 200_000


@pytest.mark.parametrize("first", ["tex\r\x1a\x1bt", "a" * 200_000, 'tex\rt,"', '"\rtext'])
def test_a_first_line_that_is_no_names_is_named(first: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(f"{first}\nN".encode())
    with pytest.raises(AutopruneError, match=r"t\.csv: which column is text"):
        read_texts([str(tmp_path / "t.csv")])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "", r"task\.texts: at least 50 different texts are needed .* but empty.txt is empty"),
        ("one.txt", "one\n", r"at least 50 different texts .* but one.txt holds one text"),
        ("few.txt", "a\nb\n", r"holds 2 different texts"),
        ("a.csv", "title,body\nx,y\n", r"which column is text\? .* its first line is: title, body"),
        ("a.csv", "", r"a\.csv: the file is empty"),
        ("a.jsonl", '{"text": "a"}\n{"text": ', r"a\.jsonl, line 2: this is no JSON"),
        ("a.jsonl", '{"title": "a"}', r"line 1: an object with a string text is expected, but got: title"),
        ("a.pdf", "x", r"ends in \.txt, .* but got '.*a\.pdf'"),
        ("a.xml", "<x></x>", r"a\.xml: there is no document"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(AutopruneError, match=message):
        read_texts([str(tmp_path / name)])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match=r"task\.texts: there is no file '.*none\.txt'"):
        read_texts([str(tmp_path / "none.txt")])
    with pytest.raises(AutopruneError, match=r"a folder must hold \.txt, \.csv, \.tsv, \.jsonl, but"):
        read_texts([str(tmp_path)])
    with pytest.raises(AutopruneError, match="must be named"):
        read_texts([])
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(AutopruneError, match=r"the text is not UTF-8: .* at byte 3"):
        read_texts([str(tmp_path / "latin.txt")])


def test_texts_are_split_by_seed() -> None:
    parts = split_texts(TEXTS)
    assert {name: len(part) for name, part in parts.items()} == {"train": 36, "validation": 12, "test": 12}
    assert sorted(text for part in parts.values() for text in part) == sorted(TEXTS)
    assert split_texts(TEXTS) == parts != split_texts(TEXTS, seed=1)
    many = split_texts([str(at) for at in range(10_000)])
    assert len(many["test"]) == len(many["validation"]) == JUDGED
    assert len(many["train"]) == 8000


def test_sentences_end_where_sentences_end() -> None:
    text = 'Mr. J. Smith said: "It is 4.5 per cent." The U.S. team won! "Why?" asked Dr. No. (He left.) It rained.'
    assert sentences(text) == [
        'Mr. J. Smith said: "It is 4.5 per cent."',
        "The U.S. team won!",
        '"Why?" asked Dr. No.',
        "(He left.) It rained.",
    ]


def test_sentences_end_without_spaces_and_capitals_too() -> None:
    assert sentences("今天很冷。他说：“我们走吧！”于是大家走了？！真的。") == [
        "今天很冷。",
        "他说：“我们走吧！”",
        "于是大家走了？！",
        "真的。",
    ]


def test_packaged_texts_are_sentences_and_none_that_is_judged_by() -> None:
    pytest.importorskip("gensim")
    from autoprune.encoder.benchmarks.pairs import lee_pairs

    corpus = packaged_texts()
    assert 2000 < len(corpus.texts) < 4000
    judged = " ".join(text for part in lee_pairs().pairs.values() for text in part.first)
    assert not [text for text in corpus.texts if text in judged]
    assert corpus.fingerprint() == Corpus.of(corpus.texts, "elsewhere").fingerprint()


WORDNET = """  1 This is the licence, which is no gloss | at all.
00001740 03 n 01 entity 0 000 | that which is perceived to have existence; "it was full of rackets, balls and such"
00002137 06 n 02 thing 0 object 0 001 @ 00001740 n 0000 | a separate entity; short one; "he took his things with him"
"""

GCIDE = """   This dictionary was made by many.

Absolute \\Ab"so*lute\\, a. [L. absolutus [root]12, p. p. of absolvere: cf. F.
   absolu. See {Absolve}.] (Geom.)
   In a plane, the two imaginary circular points at infinity. [1913 Webster]

   3. (R. C. Ch.) The exercise of {priestly jurisdiction} in the
      sacrament of penance. "Government . . . granting
      absolution to the nation." --Froude.
      [1913 Webster]

   Syn: Positive; certain.
"""


def dictionaries(folder: Path) -> tuple[Path, Path]:
    """A WordNet and a GCIDE of a few lines."""
    for kind in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{kind}").write_text(WORDNET if kind == "noun" else "")
    (folder / "gcide.dict.dz").write_bytes(gzip.compress(GCIDE.encode()))
    return folder, folder / "gcide.dict.dz"


def test_general_english_is_glosses_examples_and_definitions(tmp_path: Path) -> None:
    assert general_english(*dictionaries(tmp_path)) == [
        "that which is perceived to have existence",
        "it was full of rackets, balls and such",
        "he took his things with him",
        "This dictionary was made by many.",
        "In a plane, the two imaginary circular points at infinity.",
        "The exercise of priestly jurisdiction in the sacrament of penance.",
        '"Government . . . granting absolution to the nation."',
    ]


def test_a_dictionary_that_is_missing_or_cut_off_is_named(tmp_path: Path) -> None:
    wordnet, gcide = dictionaries(tmp_path)
    with pytest.raises(
        AutopruneError, match=r"none/data\.noun cannot be read .*apt-get install --no-install-recommends wordnet-base"
    ):
        general_english(tmp_path / "none", gcide)
    gcide.write_bytes(gcide.read_bytes()[:-20])
    with pytest.raises(AutopruneError, match=r"gcide\.dict\.dz is no dictionary"):
        general_english(wordnet, gcide)


def test_texts_from_elsewhere_are_none_of_those_that_were_seen() -> None:
    found = unseen(Corpus.of(TEXTS, "other.txt"), seen=TEXTS[:10])
    assert not set(TEXTS[:10]) & {*found["validation"], *found["test"]}
    assert len(found["validation"]) == len(found["test"]) == 25
    assert not set(found["validation"]) & set(found["test"])
    few = r"task\.data\.elsewhere: at least 50 different texts are needed.* but other\.txt holds 49\."
    with pytest.raises(AutopruneError, match=few):
        unseen(Corpus.of(TEXTS, "other.txt"), seen=TEXTS[:11])


def test_errors_name_the_entry_that_names_the_texts(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("one\ntwo")
    for path in ("few.txt", "none.txt", "what.pdf"):
        with pytest.raises(AutopruneError, match=r"^task\.data\.elsewhere: "):
            read_texts([str(tmp_path / path)], where="task.data.elsewhere")


def test_general_english_stands_beside_a_corpus_and_a_name_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wordnet, gcide = dictionaries(tmp_path)
    monkeypatch.setattr(general_english, "__defaults__", (wordnet, gcide))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text("\n".join(TEXTS))
    own, beside = read_texts(["own.txt"]), read_texts(["general", "own.txt"])
    assert beside.texts == own.texts == TEXTS
    assert beside.general == general_english()
    assert beside.describe() == "60 texts (own.txt), and 7 of general English are counted"
    assert beside.fingerprint() != own.fingerprint() != Corpus.of([*beside.general, *TEXTS], "both").fingerprint()
    assert read_texts(["general"], instead=lambda: own).texts == TEXTS
    assert read_elsewhere("own.txt", where="task.data.elsewhere").texts == TEXTS
    few = r"^task\.data\.elsewhere: at least 50 different texts are needed to judge by, but general English holds 7"
    with pytest.raises(AutopruneError, match=few):
        read_elsewhere("general", where="task.data.elsewhere")
    (wordnet / "data.noun").unlink()
    with pytest.raises(AutopruneError, match=r"^task\.data\.elsewhere: general English is read from"):
        read_elsewhere("general", where="task.data.elsewhere")
    with pytest.raises(AutopruneError, match=r"Did you mean general\?"):
        read_texts(["generel", "own.txt"])
    (tmp_path / "general").mkdir()
    with pytest.raises(AutopruneError, match=r"something of that name lies here, too; for that write \./general"):
        read_texts(["general"])


@pytest.mark.slow
@pytest.mark.skipif(not (WORDNET_AT.exists() and GCIDE_AT.exists()), reason="needs wordnet-base and dict-gcide")
def test_general_english_of_debian(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\n".join(TEXTS))
    corpus = read_texts(["general", str(tmp_path / "own.txt")])
    assert corpus.texts == TEXTS
    assert 380_000 < len(corpus.general) < 420_000
    marked = [text for text in corpus.general if re.search(r"\]|\\|^\d+\. ", text)]
    assert len(marked) < 0.001 * len(corpus.general), marked[:10]
