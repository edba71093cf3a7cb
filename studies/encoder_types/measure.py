"""Every type of encoder in a row: whose vectors it gives, in which formats, and what can be cut of it.

    python studies/encoder_types/measure.py > studies/encoder_types/results.csv

Makes a small model of each type with random weights, as the tests do, from the classes of `transformers`. Its vectors
of 24 texts are compared with those of sentence-transformers, whole and without the half of everything that it has.
Needs sentence-transformers.
"""

from __future__ import annotations

import csv
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Beside
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.layouts.known import LAYOUTS
from autoprune.encoder.model import Encoder
from autoprune.encoder.obstacles import stock_obstacles
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.stock_format import STOCK

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from tiny_encoder import TEXTS, write_tiny_bert  # where the small models are described

ASKED = TEXTS[:24]
KINDS = {"layers": "layers", "heads": "heads", "neurons": "ffn", "pieces": "rows", "dimensions": "dim"}
"""What can be cut, and the axes that it is cut along."""

Vectors = np.ndarray[Any, Any]


def stock(folder: Path) -> Vectors:
    """What sentence-transformers makes of the texts."""
    loaded = sentence_transformers.SentenceTransformer(str(folder), local_files_only=True, device="cpu")
    return np.asarray(loaded.encode(ASKED, show_progress_bar=False))


def saved(model: Encoder, folder: Path, runtime: str) -> Path:
    """An artifact of the model."""
    artifact.save(encoder_parts(model, runtime, Beside(values={}, tensors={})), folder, provenance={})
    return folder


def served(model: Encoder, folder: Path, runtime: str) -> Vectors:
    """What an artifact of the model makes of the texts, once it is loaded."""
    found: Vectors = artifact.load(saved(model, folder, runtime)).encode(ASKED)
    return found


def apart(one: Vectors, other: Vectors) -> float:
    """The largest difference of two values."""
    return float(np.abs(one - other).max())


def halve(model: Encoder, kind: str) -> str:
    """Takes half away along every axis of a kind; why it could not, or nothing."""
    for axis in model.axes_of(kind).values():
        size = model.size(axis)
        if size < 2:
            return "there is one alone"
        stay = {*range(size // 2), *model.protected(axis).tolist()}
        model.cut(axis, torch.tensor(sorted(stay)))
    return ""


def coded(model: Encoder, bits: int) -> Encoder:
    """The model with codes of so many bits in all tables."""
    found = model.own()
    for table in found.tables.values():
        table.choose_bits(torch.full((table.rows,), bits))
        table.code()
    return found


def row(kind: str, folder: Path) -> dict[str, str]:
    """What there is to say of a type."""
    source = write_tiny_bert(folder / "source", family=kind)
    model, expected = read_encoder(str(source)), stock(source)
    found = {"type": kind, "parameters": f"{sum(one.numel() for one in model.parameters()):,}"}
    for runtime in ("torch", "onnx"):
        found[runtime] = f"{apart(served(model, folder / runtime, runtime), expected):.1e}"
    STOCK.write(folder / "torch", folder / "stock")
    found["folder"] = f"{apart(stock(folder / 'stock'), expected):.1e}"
    for bits in (8, 4):
        codes = served(coded(model, bits), folder / f"codes-{bits}", "onnx")
        found[f"{bits} bits"] = f"{float((codes * expected).sum(axis=1).min()):.4f}"
    for name, axes in KINDS.items():
        found[name] = without_half(model.own(), axes, folder / name)
    return found


def without_half(model: Encoder, kind: str, folder: Path) -> str:
    """Whether both runtimes, and sentence-transformers, answer as the model does when half of a kind is gone."""
    if reason := halve(model, kind):
        return f"no: {reason}"
    with torch.no_grad():
        left = model.calibrate(ASKED).numpy()
    worst = max(apart(served(model, folder / runtime, runtime), left) for runtime in ("torch", "onnx"))
    obstacles = stock_obstacles(artifact.read(folder / "torch").manifest)
    if not obstacles:
        STOCK.write(folder / "torch", folder / "stock")
        worst = max(worst, apart(stock(folder / "stock"), left))
    told = f"{worst:.1e}"
    return f"{told}, no folder: {obstacles[0].reason}" if obstacles else told


def rows() -> Iterator[dict[str, str]]:
    """A row a type."""
    for kind in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            yield row(kind, Path(folder))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    writer = None
    for found in rows():
        writer = writer or csv.DictWriter(sys.stdout, list(found))
        if found["type"] == next(iter(LAYOUTS)):
            writer.writeheader()
        writer.writerow(found)
        sys.stdout.flush()
