"""Agreement with the dense model: against loops, and what it is for the dense model itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats

from autoprune.encoder.benchmarks.fidelity import MOST_PAIRS, Neighbours, Similarities, drawn_pairs, neighbours
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.task import EncoderTask

TEXTS = {"validation": [f"text {at}" for at in range(60)], "test": [f"text {at}" for at in range(60, 140)]}


def direction(text: str, noise: float) -> np.ndarray:
    """Drawn by the number in the text; the noise by the text as well."""
    number = int("".join(filter(str.isdigit, text)))
    drawn = np.random.default_rng(number).normal(size=8)
    moved = np.random.default_rng([number, 1 + text.isupper()]).normal(size=8)
    found = drawn + (noise + 0.5 * text.isupper()) * moved
    return found / np.linalg.norm(found)


class Encoder:
    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.asked: list[Sequence[str]] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        return np.stack([direction(text, self.noise) for text in texts]).astype(np.float32)


def dense(split: str) -> np.ndarray:
    return Encoder(0)(TEXTS[split])


def test_texts_that_begin_alike_are_looked_at_whole(encoder_task: EncoderTask) -> None:
    """Shortened they would be one text, of which nothing can be asked."""
    words = " ".join(f"word{at}" for at in range(60))
    texts = {split: [f"{words} {text}" for text in TEXTS[split]] for split in TEXTS}
    for kind in (Neighbours, Similarities):
        whole = kind(texts, lambda split: Encoder(0)(texts[split]))
        whole.dense = Encoder(0)
        part = whole.part(Budget(tokens=2000, tokenizer=encoder_task._dense.tokenizer))
        assert set(part.texts["validation"]) <= set(texts["validation"])
        assert 11 <= len(part.texts["validation"]) < 60
        assert len(part.rows(Encoder(0.1), "validation"))


def test_the_dense_model_agrees_with_itself() -> None:
    near, alike = Neighbours(TEXTS, dense), Similarities(TEXTS, dense)
    for split in TEXTS:
        assert near.metrics["overlap@10"](near.rows(Encoder(0), split)) == 1
        assert alike.metrics["similarity"](alike.rows(Encoder(0), split)) == pytest.approx(1)


def test_overlap_matches_a_loop() -> None:
    rows = Neighbours(TEXTS, dense).rows(Encoder(0.5), "test")
    right, found = dense("test"), Encoder(0.5)(TEXTS["test"])
    for at in range(80):
        others = [other for other in range(80) if other != at]
        nearest = [set(sorted(others, key=lambda other: -(v[at] @ v[other]))[:10]) for v in (right, found)]
        assert rows["value"][at] == pytest.approx(len(nearest[0] & nearest[1]) / 10)
    assert 0.2 < rows["value"].mean() < 0.95
    assert rows["text"].tolist() == TEXTS["test"]


def test_similarity_matches_scipy() -> None:
    made = Similarities(TEXTS, dense)
    rows = made.rows(Encoder(0.5), "validation")
    expected = scipy.stats.spearmanr(rows["value"], rows["gold"]).statistic
    assert made.metrics["similarity"](rows) == pytest.approx(expected)
    assert 0.4 < expected < 0.99
    worse = made.rows(Encoder(2), "validation")
    assert made.metrics["similarity"](worse) < expected


def test_a_perturbed_text_asks_among_texts_as_they_are() -> None:
    for kind in (Neighbours, Similarities):
        encoder, made = Encoder(0), kind(TEXTS, dense)
        (metric,) = made.metrics.values()
        perturbed = made.rows(encoder, "validation", str.upper)
        assert encoder.asked == [TEXTS["validation"], [text.upper() for text in TEXTS["validation"]]]
        assert metric(perturbed) < 0.97
        assert perturbed["text"].isin(TEXTS["validation"]).all()


def test_a_text_is_not_its_own_neighbour() -> None:
    vectors = dense("test")
    for asked in (vectors, -vectors):  # found first, and found nowhere near
        found = neighbours(asked, vectors, 10)
        assert found.shape == (80, 10)
        assert (found != np.arange(80)[:, None]).all()
    assert neighbours(vectors[:4], vectors[:4], 10).shape == (4, 3)


def test_alike_texts_are_neighbours() -> None:
    same = np.ones((20, 2), dtype=np.float32)
    found = neighbours(same, same, 10)
    assert found[0].tolist() == list(range(1, 11))
    assert found[15].tolist() == list(range(10))


def test_one_vector_for_all_texts_gains_nothing_by_their_order() -> None:
    def overlap(texts: Sequence[str]) -> float:
        made = Neighbours(dict.fromkeys(("validation", "test"), texts), lambda split: Encoder(0)(texts))
        rows = made.rows(lambda asked: np.ones((len(asked), 4), dtype=np.float32), "test")
        assert rows["text"].tolist() == list(texts)
        return float(made.metrics["overlap@10"](rows))

    alike = [f"text {at}" for at in range(100)]
    assert overlap(alike) == pytest.approx(overlap(alike[::-1])) == pytest.approx(10 / 99, abs=0.03)


def test_pairs_are_half_random_and_half_near() -> None:
    vectors = np.random.default_rng(0).normal(size=(700, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    one, other = drawn_pairs(vectors, seed=0)
    assert MOST_PAIRS * 0.95 < len(one) <= MOST_PAIRS
    assert (one != other).all()
    assert len({frozenset(pair) for pair in zip(one.tolist(), other.tolist(), strict=True)}) == len(one)
    cosines = np.einsum("nd,nd->n", vectors[one], vectors[other])
    assert abs(cosines[:1000].mean()) < 0.1
    assert cosines[-900:].min() > 0.3
    again = drawn_pairs(vectors, seed=0)
    assert (again[0] == one).all()
    assert np.bincount(one, minlength=700).max() <= 4


def test_few_texts_do() -> None:
    texts = {"validation": ["text 1", "text 2"], "test": ["text 3", "text 4", "text 5"]}
    made = Neighbours(texts, lambda split: Encoder(0)(texts[split]))
    assert made.rows(Encoder(1), "test")["value"].tolist() == [1.0, 1.0, 1.0]
    pairs = Similarities(texts, lambda split: Encoder(0)(texts[split]))
    assert len(pairs.rows(Encoder(1), "test")) <= 3


def test_dense_vectors_are_asked_for_when_wanted_and_once() -> None:
    asked: list[str] = []

    def counted(split: str) -> np.ndarray:
        asked.append(split)
        return dense(split)

    made = Neighbours(TEXTS, counted)
    assert made.fingerprint() == Neighbours(TEXTS, dense).fingerprint() != Similarities(TEXTS, dense).fingerprint()
    assert made.describe() == "the 10 neighbours of 60 validation and 80 test texts under the dense model"
    assert asked == []
    made.rows(Encoder(0), "test")
    made.rows(Encoder(1), "test")
    assert asked == ["test"]
