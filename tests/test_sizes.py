"""The bytes of a model's tensors as formulas of its recipe, written without a look at how tables are packed."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest

from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.recommender.task import RecommenderTask

SHAPES = {"user": (240, 16), "item": (120, 16)}
SCALING = 2 + 2
"""Bytes a row: scale and offset in float16."""
UNIT = 4


def full(rows: int, dim: int, bits: int) -> int:
    codes = rows * ceil(dim * bits / 8)
    return codes if bits == 32 else codes + rows * SCALING + UNIT


def pruned(rows: int, dim: int, bits: int, sparsity: float) -> int:
    kept = rows * dim - round(sparsity * rows * dim)
    values = ceil(kept * bits / 8)
    where = min(rows * ceil(dim / 8), kept + rows)  # a bit a position, or a byte a value and a count a row
    if bits == 32:
        return min(values + where, 4 * rows * dim)
    return values + where + rows * SCALING + UNIT


def mixed(rows: int, dim: int, head: float, bits: tuple[int, int]) -> int:
    high = round(head * rows)
    return full(high, dim, bits[0]) + full(rows - high, dim, bits[1]) + ceil(rows / 8)


def product(rows: int, dim: int, width: int, entries: int) -> int:
    width, entries = min(width, dim), min(entries, rows)
    runs = ceil(dim / width)
    return rows * ceil(runs * (4 if entries <= 16 else 8) / 8) + runs * entries * width * 2 + UNIT


RECIPES: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({}, {name: 4 * rows * dim for name, (rows, dim) in SHAPES.items()}),
    *(
        ({"quantize": {"bits": bits}}, {name: full(rows, dim, bits) for name, (rows, dim) in SHAPES.items()})
        for bits in (8, 4, 2, 1)
    ),
    ({"quantize": {"bits": {"item": 2}}}, {"user": 240 * 16 * 4, "item": 120 * 16 * 2 // 8 + 120 * 4 + 4}),
    *(
        (
            {"prune": {"magnitude": {"sparsity": sparsity, "scope": "table"}}, "quantize": {"bits": bits}},
            {name: pruned(rows, dim, bits, sparsity) for name, (rows, dim) in SHAPES.items()},
        )
        for bits in (32, 8, 4, 2, 1)
        for sparsity in (0.01, 0.5, 0.97)
    ),
    *(
        (
            {"dims": {"sparsity": 0.3}, "rows": {"sparsity": {"user": 0.7}}, "quantize": {"bits": bits}},
            {"user": full(72, 11, bits), "item": full(120, 11, bits)},
        )
        for bits in (32, 8, 4, 2, 1)
    ),
    (
        {"mixed": {"head": 0.1, "head_bits": 8, "tail_bits": 1}},
        {name: mixed(rows, dim, 0.1, (8, 1)) for name, (rows, dim) in SHAPES.items()},
    ),
    (
        {"prune": {"rows": {"sparsity": 0.5}, "mixed": {"head": 0.25, "head_bits": 4, "tail_bits": 2}}},
        {"user": mixed(120, 16, 0.25, (4, 2)), "item": mixed(60, 16, 0.25, (4, 2))},
    ),
    *(
        (
            {"product": {"width": width, "entries": entries}},
            {name: product(rows, dim, width, entries) for name, (rows, dim) in SHAPES.items()},
        )
        for width, entries in ((4, 16), (4, 100), (3, 16), (5, 17), (40, 2))
    ),
    (
        {"rows": {"sparsity": {"item": 0.9}}, "product": {"width": 4, "entries": 64}},
        {"user": product(240, 16, 4, 64), "item": product(12, 16, 4, 64)},
    ),
]


@pytest.mark.parametrize(("recipe", "expected"), RECIPES, ids=[str(recipe) for recipe, _ in RECIPES])
def test_bytes_follow_from_the_recipe(
    recipe: dict[str, Any],
    expected: dict[str, int],
    dense: Model,
    task: RecommenderTask,
    context: Context,
    trainer: Trainer,
) -> None:
    made, model = plan(recipe, base_defaults=task.base), dense
    for stage in made.stages:
        model = run_stage(model, stage, task, context, trainer=trainer, key="")
    tensors = task.parts(model).tensors
    found = {
        name: sum(tensor.nbytes for key, tensor in tensors.items() if key.startswith(f"{name}.")) for name in SHAPES
    }
    assert found == expected
    assert found == {name: table.packed().size_bytes for name, table in model.tables.items()}
