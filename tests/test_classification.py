"""The linear probe: how texts are split, what it learns, what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from needed import needs

from autoprune.encoder.benchmarks.classification import read_classification, stratified
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.task import EncoderTask
from autoprune.errors import AutopruneError

needs("sklearn", "the probe is scikit-learn's")

BANKING = Path(__file__).parents[2] / "shared" / "data" / "banking77"

COLOURS = ("red", "green", "blue")


def by_colour(texts: Sequence[str]) -> np.ndarray:
    """Near the colour's axis; capitals are not understood."""
    found = np.stack([[0.1 * (len(text) % 3), *(colour in text for colour in COLOURS)] for text in texts]) + 0.01
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def write(file: Path, count: int, *, start: int = 0, header: str = "text,category") -> Path:
    lines = [f'"a {COLOURS[at % 3]} thing, {at}",{COLOURS[at % 3]}' for at in range(start, start + count)]
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def test_a_folder_without_validation_draws_it_from_train(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", 120)
    write(tmp_path / "test.csv", 30, start=500)
    made = read_classification(tmp_path)
    assert made.describe() == (
        "3 classes, 30 validation texts after 90 to learn from and 30 test texts after 120 to learn from "
        "(validation is of train)"
    )
    assert not set(made.train["validation"].texts) & set(made.judged["validation"].texts)
    assert Counter(made.judged["validation"].labels) == dict.fromkeys(COLOURS, 10)
    fewer = read_classification(tmp_path, validation_train=12)
    assert len(fewer.train["validation"].texts) == 12
    assert len(fewer.train["test"].texts) == 120
    assert fewer.fingerprint() != made.fingerprint() == read_classification(tmp_path).fingerprint()


def test_a_folder_may_have_validation(tmp_path: Path) -> None:
    for name, start in (("train", 0), ("dev", 300), ("test", 600)):
        write(tmp_path / f"{name}.tsv", 60, start=start).write_text(
            (tmp_path / f"{name}.tsv").read_text().replace('"', "").replace(", ", " ").replace(",", "\t")
        )
    made = read_classification(tmp_path)
    assert made.judged["validation"].texts[0] == "a red thing 300"
    assert len(made.train["validation"].texts) == 60


@pytest.mark.parametrize("header", ["Text,Label", "utterance,intent", "sentence,category"])
def test_one_table_is_split(tmp_path: Path, header: str) -> None:
    made = read_classification(write(tmp_path / "all.csv", 150, header=header))
    sizes = [len(part.texts) for part in (made.train["test"], made.judged["validation"], made.judged["test"])]
    assert sizes == [90, 30, 30]
    parts = [made.train["test"].texts, made.judged["validation"].texts, made.judged["test"].texts]
    assert len({text for part in parts for text in part}) == 150
    assert "all.csv split 60/20/20" in made.describe()


@pytest.mark.parametrize("seed", range(5))
def test_a_table_of_small_classes_is_split(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "c.csv"
    file.write_text("\n".join(["text,category", *[f"text {at},class {at % 20}" for at in range(60)]]))
    made = read_classification(file, seed=seed)
    assert len(set(made.train["test"].labels)) == 20


def test_lines_may_end_as_on_an_old_macintosh(tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", 60)
    made = read_classification(file)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r"))
    assert read_classification(file).fingerprint() == made.fingerprint()


def test_a_probe_learns_classes_that_are_apart(tmp_path: Path) -> None:
    made = read_classification(write(tmp_path / "all.csv", 150))
    rows = made.rows(by_colour, "test")
    assert rows["value"].tolist() == [1.0] * 30
    assert made.metrics["accuracy"](rows) == 1.0
    blind = made.rows(lambda texts: by_colour(["nothing"] * len(texts)), "test")
    assert blind["value"].mean() == pytest.approx(1 / 3, abs=0.07)


def test_a_perturbation_is_of_judged_texts_only_and_the_probe_stays(tmp_path: Path) -> None:
    made = read_classification(write(tmp_path / "all.csv", 150))
    asked: list[Sequence[str]] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.append(list(texts))
        return by_colour(texts)

    plain = made.rows(encode, "test")
    fitted = made._fitted[1]
    perturbed = made.rows(encode, "test", str.upper)
    assert made._fitted[1] is fitted
    assert asked[2] == made.train["test"].texts
    assert asked[3] == [text.upper() for text in made.judged["test"].texts]
    assert perturbed["value"].mean() < 0.6
    assert perturbed["text"].tolist() == plain["text"].tolist()
    made.rows(lambda texts: -by_colour(texts), "test")
    assert made._fitted[1] is not fitted


def test_a_part_for_looks_is_small_and_knows_each_class_that_it_asks(tmp_path: Path, encoder_task: EncoderTask) -> None:
    whole = read_classification(write(tmp_path / "a.csv", 300))
    tokenizer = encoder_task.model({}, seed=0).tokenizer
    length = float(np.mean([len(ids) for ids in tokenizer.encode(whole.train["validation"].texts)]))
    part = whole.part(Budget(tokens=int(20 * length), tokenizer=tokenizer))
    train, judged = part.train["validation"], part.judged["validation"]
    assert 16 <= len(train.texts) + len(judged.texts) <= 24
    assert set(train.labels) >= set(judged.labels)
    assert part.rows(by_colour, "validation")["value"].mean() == 1
    few = whole.part(Budget(tokens=int(7 * length), tokenizer=tokenizer))
    assert len(set(few.train["validation"].labels)) == 2, "too few texts for three classes"


def test_an_order_has_every_class_early_and_in_its_share() -> None:
    labels = ["often"] * 900 + ["rare"] * 90 + ["rarest"] * 2
    order = stratified(labels, seed=0)
    assert sorted(order.tolist()) == list(range(992))
    assert {labels[at] for at in order[:3]} == {"often", "rare", "rarest"}
    for start in (0, 300, 600):
        counts = Counter(labels[at] for at in order[start : start + 300])
        assert counts["rare"] == pytest.approx(27, abs=3)
    assert (order != stratified(labels, seed=1)).any()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,x", "b,x", "c,x"], r"all\.csv: two classes or more are needed, but all are 'x'"),
        (["a,x", "b,x", "c,y"], r"all\.csv, line 4: class 'y' has one text, but two or more are needed"),
        (["a,x", "b,x", ",y", "d,y"], r"all\.csv, line 4: the text is empty"),
        (["a,x", "b,x", "c,", "d,y"], r"all\.csv, line 4: the class is empty"),
        (["a,x", "b,x,y"], r"all\.csv, line 3: 3 fields, but the first line has 2"),
    ],
)
def test_what_cannot_be_learnt_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "all.csv").write_text("\n".join(["text,category", *lines]))
    with pytest.raises(AutopruneError, match=message):
        read_classification(tmp_path / "all.csv")


def test_wrong_columns_and_unknown_classes_are_named(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", 30)
    with pytest.raises(AutopruneError, match=r"has no table for test, only train\.csv"):
        read_classification(tmp_path)
    (tmp_path / "test.csv").write_text("text,category\na red thing,red\na thing,gren\n")
    with pytest.raises(AutopruneError, match=r"test\.csv, line 3: class 'gren' has no text.*Did you mean green"):
        read_classification(tmp_path)
    (tmp_path / "test.csv").write_text("body,category\na,red\n")
    with pytest.raises(AutopruneError, match=r"test\.csv: which column is text\?.*its first line is: body, category"):
        read_classification(tmp_path)


@pytest.mark.skipif(not BANKING.is_dir(), reason=f"{BANKING} is absent")
def test_banking77_is_read_whole() -> None:
    assert read_classification(BANKING).describe() == (
        "77 classes, 1,000 validation texts after 3,000 to learn from and 3,080 test texts after 10,003 to learn from "
        "(validation is of train)"
    )
