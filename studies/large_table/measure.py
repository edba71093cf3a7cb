"""What it takes to cut, code and save a large table of vectors, beside copying its file.

    .venv/bin/python studies/large_table/measure.py OUT                    # 10 million x 64: 7 GB of disk
    .venv/bin/python studies/large_table/measure.py OUT --rows 1000000     # the same, smaller

OUT gets `items.npy`, drawn block by block unless it is there, and `results.csv`. Each recipe is made by a process of
its own, through the steps and to the artifact that a search makes, with one thread. Before it the file is copied (by
the system, through its cache, as our writing goes), and so many bytes from memory to memory. Turns are repeated;
medians count. Where others have the processors, time on the processor says more than the clock on the wall: both are
told.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, BLOCK = 64, 2**18

RECIPES: dict[str, dict[str, Any]] = {
    "dense": {},
    "int8": {"encode": {"quantize": {"bits": 8}}},
    "half_dims_int8": {"cut": {"dims": {"sparsity": 0.5, "importance": "pca"}}, "encode": {"quantize": {"bits": 8}}},
    "rows_int8": {
        "cut": {"rows": {"sparsity": 0.25, "importance": "norm"}},
        "encode": {"quantize": {"bits": 8}},
    },
    "all_three": {
        "cut": {"rows": {"sparsity": 0.25, "importance": "norm"}, "dims": {"sparsity": 0.5, "importance": "pca"}},
        "encode": {"quantize": {"bits": 8}},
    },
    "int4": {"encode": {"quantize": {"bits": 4}}},
    "half_dims_product": {
        "cut": {"dims": {"sparsity": 0.5, "importance": "pca"}},
        "encode": {"product": {"width": 4, "entries": 256}},
    },
}


def draw(path: Path, rows: int) -> None:
    """Clusters along axes of falling strength, as trained tables have, turned so that no column shows them."""
    draw = np.random.default_rng(0)
    strength = (np.arange(1, WIDTH + 1) ** -0.6).astype(np.float32)
    turn = np.linalg.qr(draw.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    centres = draw.standard_normal((2000, WIDTH), dtype=np.float32)
    table = np.lib.format.open_memmap(path, "w+", np.float32, (rows, WIDTH))
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        own = 0.7 * draw.standard_normal((count, WIDTH), dtype=np.float32)
        table[start : start + count] = ((centres[draw.integers(len(centres), size=count)] + own) * strength) @ turn
    table.flush()


def make(path: Path, recipe: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Makes an artifact: seconds of the clock and of the processor, and the most memory that this process held."""
    import torch

    from autoprune.artifacts import artifact
    from autoprune.models.context import Context
    from autoprune.recipes.recipe import plan
    from autoprune.recipes.stages import run_stage
    from autoprune.recipes.train import Trainer
    from autoprune.vectors.config import VectorsConfig
    from autoprune.vectors.make import make_vectors

    torch.set_num_threads(1)
    processor, start = time.process_time(), time.perf_counter()
    task = make_vectors(VectorsConfig(vectors=str(path)))
    model, read = task.model({}, seed=0), time.perf_counter()
    for stage in plan(recipe, base_defaults={}, runtimes=task.runtimes).stages:
        model = run_stage(model, stage, task, Context(), trainer=Trainer(task.training), key="")
    planned = time.perf_counter()
    artifact.save(task.parts(model), folder, provenance={"recipe": dict(recipe)})
    end, processor = time.perf_counter(), time.process_time() - processor
    task.fingerprint()  # of which a search needs one for all of its candidates
    return {
        "seconds": end - start,
        "reading": read - start,
        "planning": planned - read,
        "writing": end - planned,
        "fingerprint": time.perf_counter() - end,
        "processor": processor,
        "artifact_mb": artifact.size_bytes(folder) / 1e6,
        **held(),
    }


def look_up(folder: Path, rows: int) -> dict[str, float]:
    """Loads an artifact of which nothing is in memory, and asks for one vector, and for a hundred drawn."""
    import autoprune

    file = folder / "model" / "tensors.safetensors"
    with file.open("rb") as held_file:
        os.fsync(held_file.fileno())
        os.posix_fadvise(held_file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    names = random.Random(0).sample(range(rows), 101)
    before, start = read_bytes(), time.perf_counter()
    model = autoprune.load(folder)
    wanted = [name for name in names if name in model]  # type: ignore[operator]
    loaded, load = read_bytes(), time.perf_counter()
    model.vector(wanted[0])  # type: ignore[attr-defined]
    one, first = read_bytes(), time.perf_counter()
    for name in wanted[1:]:
        model.vector(name)  # type: ignore[attr-defined]
    return {
        "load_ms": 1e3 * (load - start),
        "load_read_mb": (loaded - before) / 1e6,
        "first_ms": 1e3 * (first - load),
        "first_read_mb": (one - loaded) / 1e6,
        "hundred_ms": 1e3 * (time.perf_counter() - first),
        "hundred_read_mb": (read_bytes() - one) / 1e6,
        "file_mb": file.stat().st_size / 1e6,
    }


def held() -> dict[str, float]:
    """The most memory that this process held, pages of mapped files included; and how much of it is its own now."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"peak_mb": "VmHWM", "own_mb": "RssAnon"}
    return {name: int(lines[line].split()[0]) * 1024 / 1e6 for name, line in names.items()}


def read_bytes() -> int:
    """Bytes that the system fetched from storage for this process."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def copy_file(path: Path, to: Path) -> dict[str, float]:
    """Seconds to copy a file, on the wall and on the processor."""
    processor, start = time.process_time(), time.perf_counter()
    shutil.copyfile(path, to)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    to.unlink()
    return {"file_copy": seconds, "file_copy_processor": processor}


def copy_memory(path: Path) -> dict[str, float]:
    """Seconds to copy so many bytes from memory to memory, likewise."""
    left = np.ones(2**28, dtype=np.uint8)
    right, share = left.copy(), path.stat().st_size / (4 * left.nbytes)
    processor, start = time.process_time(), time.perf_counter()
    for _ in range(4):
        np.copyto(right, left)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {"memory_copy": share * seconds, "memory_copy_processor": share * processor}


def in_process(*arguments: str) -> dict[str, float]:
    """What a fresh process of this script prints."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def turn(folder: Path, name: str) -> dict[str, float]:
    """A copy, and a recipe."""
    path, artifact = folder / "items.npy", folder / f"artifact-{name}"
    copies = copy_file(path, folder / "copy.npy") | copy_memory(path)
    return {**copies, **in_process(str(folder), "--make", name), **in_process(str(artifact), "--look-up", str(path))}


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure, and of the ratios that the study is about; of these the least and the largest too."""
    found = {name: statistics.median(one[name] for one in turns) for name in turns[0]}
    for copied in ("file_copy", "memory_copy"):
        for ending, ours in {"": "seconds", "_processor": "processor"}.items():
            shares = sorted(one[f"{copied}{ending}"] / one[ours] for one in turns)
            told = {"": statistics.median(shares), "_least": shares[0], "_most": shares[-1]}
            found |= {f"of_{copied}{ending}{which}": share for which, share in told.items()}
    return found


def main() -> None:
    """Draws, takes turns, and writes the table."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("folder", type=Path, help="where the table and the results go")
    told.add_argument("--rows", type=int, default=10_000_000)
    told.add_argument("--turns", type=int, default=3)
    told.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    told.add_argument("--make", choices=RECIPES, help=argparse.SUPPRESS)
    told.add_argument("--look-up", type=Path, help=argparse.SUPPRESS)
    asked = told.parse_args()
    path = asked.folder / "items.npy"
    if asked.make:
        print(json.dumps(make(path, RECIPES[asked.make], asked.folder / f"artifact-{asked.make}")))
        return
    if asked.look_up:
        print(json.dumps(look_up(asked.folder, len(np.load(asked.look_up, mmap_mode="r")))))
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not path.exists() or len(np.load(path, mmap_mode="r")) != asked.rows:
        draw(path, asked.rows)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in asked.recipes}
    for _ in range(asked.turns):
        for name, taken in turns.items():
            taken.append(turn(asked.folder, name))
            print(name, {key: round(value, 3) for key, value in taken[-1].items()}, flush=True)
    table = path.stat().st_size
    rows = [
        {"recipe": name, "table_mb": table / 1e6, "turns": len(taken), **medians(taken)}
        for name, taken in turns.items()
    ]
    with (asked.folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {key: round(one, 4) if isinstance(one, float) else one for key, one in row.items()} for row in rows
        )


if __name__ == "__main__":
    main()
