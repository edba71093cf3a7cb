"""Classification by a linear probe: whether hyperplanes separate the classes of texts."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Benchmark, Encode, Perturb, Vectors, as_rows, embedded, sha256_of
from autoprune.encoder.benchmarks.part import SEED, Budget
from autoprune.encoder.benchmarks.tables import Row, read_table, split_files
from autoprune.encoder.similarity import normalized
from autoprune.errors import AutopruneError, nearest
from autoprune.extras import need
from autoprune.tasks.benchmarks import MeanValue

WHERE = "task.data.path"

COLUMNS = {"text": r"text|sentence|utterance|query", "category": r"category|label|intent|class|labeltext"}

C = 30.0
"""Inverse strength of the ridge. The features of a unit vector are small, about 1 / √dim each, so that scikit-learn's
1.0, which is meant for features of unit variance, keeps the weights too small: all-MiniLM-L6-v2 on Banking77's
validation has 0.868 at 1, 0.889 at 3, 0.897 at 10 and 30, 0.895 at 100."""

ITERATIONS = 300
"""The most iterations of L-BFGS."""

VALIDATION_TRAIN = 3000

VALIDATION_JUDGED = 1000

PART_LEARNT = 0.6
"""Share of the texts of a part (`Benchmark.part`) on which the probe is trained."""

PART_OF_A_CLASS = 2
"""Training texts of each class in a part; if there are too many classes, some are left out."""

SHARES = (0.6, 0.8)
"""Where one file is cut into train, validation and test."""


@dataclass(frozen=True)
class Labelled:
    """Texts and their classes."""

    texts: list[str]
    labels: list[str]

    def taken(self, places: np.ndarray[Any, Any]) -> Labelled:
        """The texts at some positions, in their original order."""
        kept = np.sort(places)
        return Labelled([self.texts[at] for at in kept], [self.labels[at] for at in kept])


class Classification(Benchmark):
    """Accuracy of multinomial logistic regression on the embeddings; each text is classified correctly or not.

    Args:
        train: by split, the texts on which the probe is trained before it is judged on `validation` and on `test`.
        judged: by split, the texts on which it is judged.
        how: how the splits were made, for people.
    """

    def __init__(self, train: Mapping[str, Labelled], judged: Mapping[str, Labelled], *, how: str = "") -> None:
        self.name = "classification"
        self.metrics = {"accuracy": MeanValue(self.name)}
        self.train, self.judged = dict(train), dict(judged)
        self._how = how
        self._fitted: tuple[str, Any] = ("", None)

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        train, judged = self.train[split], self.judged[split]
        probe = self._probe(self._unit(embedded(encode, train.texts)), train.labels)
        queries = [perturb(text) for text in judged.texts] if perturb else judged.texts
        hits = probe.predict(self._unit(embedded(encode, queries))) == np.array(judged.labels, dtype=object)
        return as_rows(self.name, judged.texts, hits)

    def _unit(self, vectors: Vectors) -> Vectors:
        """Rows of length 1, for which `C` is meant; with cosine they already have it."""
        return vectors if self.similarity == "cosine" else normalized(vectors)

    def part(self, budget: Budget) -> Classification:
        train, judged = self.train["validation"], self.judged["validation"]
        texts = [budget.short(one.texts) for one in (train, judged)]
        fit = max(4, int(budget.tokens / budget.costs([*texts[0], *texts[1]]).mean()))
        learnt = max(2, int(PART_LEARNT * fit))
        classes = _some_classes(train.labels, learnt // PART_OF_A_CLASS)
        taken = []
        for one, short, count in ((train, texts[0], learnt), (judged, texts[1], fit - learnt)):
            of_classes = np.flatnonzero([label in classes for label in one.labels])
            shortened = Labelled(short, one.labels).taken(of_classes)
            taken.append(shortened.taken(stratified(shortened.labels, seed=SEED)[:count]))
        return Classification({"validation": taken[0]}, {"validation": taken[1]}).under(self.similarity)

    def describe(self) -> str:
        counts = [
            f"{len(self.judged[split].texts):,} {split} texts after {len(self.train[split].texts):,} to learn from"
            for split in ("validation", "test")
        ]
        return f"{len(set(self.train['test'].labels))} classes, {' and '.join(counts)}{self._how and f' ({self._how})'}"

    def fingerprint(self) -> str:
        return sha256_of(
            value
            for texts in (self.train, self.judged)
            for split in ("validation", "test")
            for value in (split, len(texts[split].texts), *texts[split].texts, *texts[split].labels)
        )

    def _probe(self, vectors: np.ndarray[Any, Any], labels: list[str]) -> Any:
        """The probe, fitted once for the same vectors: perturbations do not change training texts."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        key = sha256_of([hashlib.sha256(vectors.tobytes()).hexdigest(), *labels])
        if self._fitted[0] != key:
            probe = LogisticRegression(C=C, max_iter=ITERATIONS)
            with warnings.catch_warnings():  # accuracy settles long before the last digits of the weights
                warnings.simplefilter("ignore", ConvergenceWarning)
                probe.fit(vectors, np.array(labels, dtype=object))
            self._fitted = key, probe
        return self._fitted[1]


def read_classification(
    path: Path, *, validation_train: int = VALIDATION_TRAIN, seed: int = 0, where: str = WHERE
) -> Classification:
    """Reads a folder with a train, a test and perhaps a dev (or val) table, or one table that is split 60/20/20.

    A table has the columns text (or sentence, utterance) and category (or label, intent). Validation is kept cheap,
    since the search uses it often: it judges at most `VALIDATION_JUDGED` texts, taken from train if it has no table.

    Args:
        path: the folder or the table.
        validation_train: the most training texts for validation; for test the probe is trained on all of train.
        seed: draws texts and splits, class by class.
        where: the config entry that names the path.

    Raises:
        AutopruneError: the content is invalid (the error gives file and line), or scikit-learn is not installed.
    """
    need("sklearn", "text", "classification", distribution="scikit-learn")
    if path.is_dir():
        files = split_files(path, ("train", "test"), where=where, otherwise="train, validation and test")
        rows = {split: read_table(file, COLUMNS, where=where) for split, file in files.items()}
        _check(rows["train"])
        how = "" if "validation" in rows else "validation is of train"
    else:
        whole = read_table(path, COLUMNS, where=where)
        _check(whole)
        order = stratified([row.fields[1] for row in whole], seed=seed)
        pieces = np.split(order, [int(share * len(order)) for share in SHARES])
        rows = {
            split: [whole[at] for at in np.sort(piece)]
            for split, piece in zip(("train", "validation", "test"), pieces, strict=True)
        }
        how = f"{path.name} split 60/20/20"
    known = {row.fields[1] for row in rows["train"]}
    for row in (row for rows_of_split in rows.values() for row in rows_of_split):
        if not row.fields[0] or row.fields[1] not in known:
            what = (
                f"class {row.fields[1]!r} has no text to learn from in train. {nearest(row.fields[1], known)}"
                if row.fields[0]
                else "the text is empty; take the line out."
            )
            raise AutopruneError(f"{row.where}: {what}")
    splits = {split: _labelled(lines) for split, lines in rows.items()}
    train, order = splits["train"], stratified(splits["train"].labels, seed=seed)
    if "validation" in splits:
        drawn = stratified(splits["validation"].labels, seed=seed)
        judged = splits["validation"].taken(drawn[:VALIDATION_JUDGED])
        learnt = train.taken(order[:validation_train])
    else:
        count = min(VALIDATION_JUDGED, len(order) // 4)
        cut = min(validation_train, len(order) - count)
        judged, learnt = train.taken(order[cut : cut + count]), train.taken(order[:cut])
    return Classification(
        {"validation": learnt, "test": train}, {"validation": judged, "test": splits["test"]}, how=how
    )


def stratified(labels: list[str], *, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """An order in which every stretch has about the same shares of the classes, and the beginning has each class.

    Args:
        labels: the class of each of n texts.
        seed: shuffles each class.

    Returns:
        Positions, int64 [n].
    """
    draw = np.random.default_rng(seed)
    _, classes = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
    key = np.empty(len(labels))
    for one in range(classes.max(initial=-1) + 1):
        members = draw.permutation(np.flatnonzero(classes == one))
        key[members] = (np.arange(len(members)) + draw.random()) / len(members)
        key[members[0]] = -1
    return np.argsort(key, kind="stable")


def _some_classes(labels: list[str], most: int) -> set[str]:
    """All classes, or `most` of them (at least two), drawn at random."""
    classes = sorted(set(labels))
    return set(np.random.default_rng(SEED).permutation(np.array(classes, dtype=object))[: max(2, most)].tolist())


def _labelled(rows: list[Row]) -> Labelled:
    return Labelled([row.fields[0] for row in rows], [row.fields[1] for row in rows])


def _check(rows: list[Row]) -> None:
    """Refuses rows on which no probe can be trained."""
    counts = Counter(row.fields[1] for row in rows)
    for row in rows:
        if not row.fields[1]:
            raise AutopruneError(f"{row.where}: the class is empty; name it, or take the line out.")
        if not row.fields[0]:
            raise AutopruneError(f"{row.where}: the text is empty; take the line out.")
    if len(counts) < 2:
        raise AutopruneError(f"{rows[0].file}: two classes or more are needed, but all are {next(iter(counts))!r}.")
    for row in rows:
        if counts[row.fields[1]] < 2:
            raise AutopruneError(
                f"{row.where}: class {row.fields[1]!r} has one text, but two or more are needed to learn from and to "
                "judge; add texts, or take the line out."
            )
