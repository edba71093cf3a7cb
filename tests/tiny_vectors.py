"""Small real tables of vectors: planted clusters, and words whose analogies are exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from autoprune.artifacts.served import serve
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.vectors.config import VectorsConfig, WordsConfig
from autoprune.vectors.make import make_vectors, make_words
from autoprune.vectors.served import VectorIndex
from autoprune.vectors.task import VectorsTask

ROWS, WIDTH, RANK = 240, 12, 6

COUNTRIES, KINDS = 12, ("land", "town", "folk", "food")


def write_items(folder: Path, *, seed: int = 0, ids: bool = True, counts: bool = True) -> Path:
    """Writes items.npy of rank 6, with ids 10, 20, … in no order, and counts; returns where."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(20, RANK))
    rows = centres[draw.integers(20, size=ROWS)] + 0.6 * draw.normal(size=(ROWS, RANK))
    vectors = rows @ np.linalg.qr(draw.normal(size=(WIDTH, RANK)))[0].T * draw.uniform(0.5, 2, size=(ROWS, 1))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "items.npy", vectors.astype(np.float32))
    names = 10 * (1 + draw.permutation(ROWS))
    if ids:
        (folder / "items_ids.txt").write_text("\n".join(map(str, names)) + "\n")
    if counts:
        (folder / "counts.tsv").write_text("".join(f"{name}\t{ROWS // (at + 1)}\n" for at, name in enumerate(names)))
    return folder / "items.npy"


def vectors_task(folder: Path, *, seed: int = 0, **changed: object) -> VectorsTask:
    """A task on what `write_items` writes."""
    path = write_items(folder, seed=seed)
    told = {"vectors": str(path), "counts": str(folder / "counts.tsv"), "judged": 60, **changed}
    return make_vectors(VectorsConfig(**told))  # type: ignore[arg-type]


def words_of(*, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Words that are a country plus a kind, and others of noise; frequent ones first."""
    draw = np.random.default_rng(seed)
    country, kind = draw.normal(size=(COUNTRIES, WIDTH)), 2 * draw.normal(size=(len(KINDS), WIDTH))
    names = [f"{letter}{name}" for letter in "abcdefghijkl" for name in KINDS]
    vectors = [one + other for one in country for other in kind]
    noise = ["king", "queen", *(f"w{number}" for number in range(98))]
    return [*names, *noise], np.array([*vectors, *draw.normal(size=(100, WIDTH)) * 2], dtype=np.float32)


def write_words(folder: Path) -> dict[str, object]:
    """Writes words.vec, a similarity set, analogies and a text; returns what a config is told."""
    names, vectors = words_of()
    folder.mkdir(parents=True, exist_ok=True)
    written = [" ".join(f"{value:.6f}" for value in vector) for vector in vectors]
    lines = [f"{name} {values}" for name, values in zip(names, written, strict=True)]
    (folder / "words.vec").write_text(f"{len(names)} {WIDTH}\n" + "\n".join(lines) + "\n")
    draw = np.random.default_rng(1)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [draw.choice(48, 2, replace=False) for _ in range(120)]
    scored = [f"{names[a]}\t{names[b]}\t{unit[a] @ unit[b] + 0.1 * draw.normal():.4f}" for a, b in pairs]
    (folder / "liked.tsv").write_text("# one\n" + "\n".join([*scored, "awry\taland\t0.5"]) + "\n")
    asked = [
        f"{one}{KINDS[0]} {one}{kind} {other}{KINDS[0]} {other}{kind}"
        for one in "abcdefghijkl"
        for other in "abcdefghijkl"
        for kind in KINDS[1:]
        if one != other
    ]
    (folder / "asked.txt").write_text(": places\n" + "\n".join(asked) + "\n")
    text = [names[at] if at < len(names) else "stranger" for at in np.minimum(draw.geometric(0.03, size=4100) - 1, 160)]
    (folder / "text.txt").write_text(" ".join(text))
    return {
        "vectors": str(folder / "words.vec"),
        "pairs": [str(folder / "liked.tsv")],
        "analogies": str(folder / "asked.txt"),
        "texts": [str(folder / "text.txt")],
        "judged": 40,
    }


def words_task(folder: Path, **changed: object) -> VectorsTask:
    """A task on what `write_words` writes."""
    return make_words(WordsConfig(**{**write_words(folder), **changed}))  # type: ignore[arg-type]


def served(task: VectorsTask, recipe: dict[str, object] | None = None, *, device: str = "cpu") -> VectorIndex:
    """What answers for a recipe."""
    context = task.context(seed=0, device=torch.device("cpu"))
    model = run(plan(recipe or {}, base_defaults=task.base), task, context, trainer=Trainer(task.training))
    found = serve(task.parts(model), device=device)
    assert isinstance(found, VectorIndex)
    return found
