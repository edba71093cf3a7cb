"""Sentence pairs: read in every form, refused with the line, scored like scipy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from autoprune.encoder.benchmarks.pairs import lee_pairs, read_pairs
from autoprune.errors import AutopruneError

STSB = Path(__file__).parents[2] / "shared" / "data" / "stsb"


def bag_of_words(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors of hashed words."""
    found = np.zeros((len(texts), 512), dtype=np.float32)
    for at, text in enumerate(texts):
        for word in text.lower().split():
            found[at, int(hashlib.md5(word.encode()).hexdigest(), 16) % 512] += 1
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def long_words(texts: Sequence[str]) -> np.ndarray:
    return bag_of_words([" ".join(word for word in text.split() if len(word) > 5) for text in texts])


def lines(count: int = 24, *, offset: int = 0) -> list[str]:
    return [f'"a man, number {at}",a person number {at % 7},{(at + offset) % 11 / 2}' for at in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, offset in (("train", 1), ("dev", 2), ("test", 3)):
        (tmp_path / f"sts-en-{name}.csv").write_text("\n".join(lines(offset=offset)) + "\n")
    return tmp_path


def test_a_folder_gives_validation_and_test(folder: Path) -> None:
    pairs = read_pairs(folder)
    assert pairs.pairs["validation"].score[:2] == [1.0, 1.5]
    assert pairs.pairs["test"].score[:2] == [1.5, 2.0]
    assert pairs.pairs["test"].first[0] == "a man, number 0"
    assert pairs.describe() == "24 validation and 24 test pairs that people scored (0 to 5)"


def test_rank_correlation_matches_scipy(folder: Path) -> None:
    pairs = read_pairs(folder)
    rows = pairs.rows(bag_of_words, "test")
    scored = pairs.pairs["test"]
    cosines = (bag_of_words(scored.first) * bag_of_words(scored.second)).sum(axis=1)
    expected = scipy.stats.spearmanr(np.round(cosines, 6), scored.score).statistic
    assert pairs.metrics["spearman"](rows.round(6)) == pytest.approx(expected)
    assert rows["text"][0] == "a man, number 0\na person number 0"


def test_a_perturbation_is_of_the_first_sentence_only(folder: Path) -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return bag_of_words(texts)

    rows = read_pairs(folder).rows(encode, "validation", str.upper)
    assert asked[:24] == [text.upper() for text in asked[:24]]
    assert asked[24] == "a person number 0"
    assert rows["text"][0].startswith("a man"), "slices are made from the text as it is"


@pytest.mark.parametrize(
    "header",
    [
        "sentence1,sentence2,score",
        "sentence_A,sentence_B,relatedness_score",
        "Text1,Text2,Score",
        "id,s1,s2,similarity",
    ],
)
def test_columns_have_usual_names(tmp_path: Path, header: str) -> None:
    before = "7," if header.startswith("id") else ""
    (tmp_path / "all.csv").write_text("\n".join([header, *(before + line for line in lines(30))]))
    pairs = read_pairs(tmp_path / "all.csv")
    assert {len(part.score) for part in pairs.pairs.values()} == {15}
    assert "all.csv in halves" in pairs.describe()


def test_a_tsv_may_mean_its_quotation_marks(tmp_path: Path) -> None:
    text = "\n".join(f'"he said {at}\tshe said " {at}\t{at % 5}' for at in range(20))
    (tmp_path / "all.tsv").write_text("sentence1\tsentence2\tscore\n" + text)
    pairs = read_pairs(tmp_path / "all.tsv")
    assert pairs.pairs["test"].first[0].startswith('"he said')


def test_halves_are_the_seed_s(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("\n".join(lines()))
    one, again, other = (read_pairs(tmp_path / "all.csv", seed=seed) for seed in (0, 0, 1))
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    assert not set(one.pairs["test"].first) & set(one.pairs["validation"].first)


def test_a_fingerprint_knows_no_path(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in folder.iterdir():
        (elsewhere / file.name.replace("dev", "validation")).write_text(file.read_text())
    assert read_pairs(folder).fingerprint() == read_pairs(elsewhere).fingerprint()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,b,5.5", r"all\.csv, line 201: 0 <= score <= 5 must hold, but got 5.5 \(1 of 201"),
        ("a,b,-3", r"line 201: 0 <= score <= 5 must hold, but got -3"),
        ("a,b,nan", r"line 201: a score must be a finite number, but got 'nan'"),
        ("a,b,high", r"line 201: a score must be a finite number, but got 'high'"),
        ("a,,3", r"line 201: sentence2 is empty"),
        ("a,b,c,3", r"line 201: 4 fields, but the first line has 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "all.csv").write_text("\n".join([*lines(200), line]))
    with pytest.raises(AutopruneError, match=message):
        read_pairs(tmp_path / "all.csv")


def test_a_scale_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("\n".join([*lines(200), "a,b,6"]))
    assert read_pairs(tmp_path / "all.csv", scale=(0, 6)).describe().startswith("100 validation and 101 test")
    with pytest.raises(AutopruneError, match="0 <= score <= 4 must hold"):
        read_pairs(tmp_path / "all.csv", scale=(0, 4))


@pytest.mark.parametrize(
    ("last", "scale"),
    [("77", None), ("6", None), ("-1", None), ("0", "(0 to 5"), ("5", "(1 to 5")],
)
def test_one_score_makes_no_scale(tmp_path: Path, last: str, scale: str | None) -> None:
    scores = [1 + at % 9 / 2 for at in range(30)]
    (tmp_path / "all.csv").write_text(
        "\n".join([*(f"a{at},b,{score}" for at, score in enumerate(scores)), f"a,b,{last}"])
    )
    if scale:
        assert scale in read_pairs(tmp_path / "all.csv").describe()
    else:
        with pytest.raises(
            AutopruneError, match=rf"line 31: .* must hold, but got {last} \(1 of 31 .*task\.data\.scale"
        ):
            read_pairs(tmp_path / "all.csv")


def test_scores_beyond_every_scale_are_refused(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("\n".join(f"a{at},b,{at * 20}" for at in range(40)))
    with pytest.raises(AutopruneError, match="0 <= score <= 100 must hold, but got 120"):
        read_pairs(tmp_path / "all.csv")


def test_too_little_is_refused(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("\n".join(lines(12)))
    with pytest.raises(AutopruneError, match=r"needs 10 pairs or more of different scores, but there are 6 pairs"):
        read_pairs(tmp_path / "few.csv")
    (tmp_path / "same.csv").write_text("\n".join(["a,b,1"] * 30))
    with pytest.raises(AutopruneError, match="with 1 different score"):
        read_pairs(tmp_path / "same.csv")


def test_wrong_columns_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("premise,hypothesis,score\na,b,1\n")
    with pytest.raises(
        AutopruneError, match=r"which column is sentence1 and sentence2\? .* premise, hypothesis, score"
    ):
        read_pairs(tmp_path / "all.csv")
    with pytest.raises(AutopruneError, match=r"task.data.path: there is no file '.*none.csv'"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(AutopruneError, match=r"whose names say train, dev or test, but .* holds: all.csv"):
        read_pairs(tmp_path)
    (tmp_path / "x-test.csv").write_text("\n".join(lines()))
    with pytest.raises(AutopruneError, match=r"has no table for validation, only x-test\.csv"):
        read_pairs(tmp_path)


def test_lee_s_documents_make_1225_pairs() -> None:
    pytest.importorskip("gensim")
    pairs = lee_pairs()
    assert (
        pairs.describe()
        == "612 validation and 613 test pairs that people scored (0 to 1, Lee's news documents in halves)"
    )
    rows = pairs.rows(long_words, "test")
    assert pairs.metrics["spearman"](rows) > 0.1, "words in common say something"


@pytest.mark.skipif(not STSB.is_dir(), reason=f"{STSB} is absent")
def test_stsb_is_read_whole() -> None:
    assert read_pairs(STSB).describe() == "1,500 validation and 1,379 test pairs that people scored (0 to 5)"
