"""The compression methods, one per file, and which of them can be combined.

To add one, write a module with a frozen `Step` and add the class to `STEPS`. The conformance suite finds it there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from autoprune.errors import RecipeError, nearest
from autoprune.steps.dims import Dims
from autoprune.steps.l1 import L1
from autoprune.steps.layers import Layers
from autoprune.steps.magnitude import Magnitude
from autoprune.steps.mixed import Mixed
from autoprune.steps.product import Product
from autoprune.steps.quantize import Quantize
from autoprune.steps.rows import Rows
from autoprune.steps.step import Step
from autoprune.steps.store import Store
from autoprune.steps.tiers import Tiers
from autoprune.steps.width import Ffn, Heads

STEPS: dict[str, type[Step]] = {
    step.name: step for step in (Layers, Heads, Ffn, Rows, Dims, L1, Magnitude, Quantize, Mixed, Product, Tiers, Store)
}

CANNOT_FOLLOW: dict[tuple[str, str], str] = {
    ("zeros", "dims.pca"): "turning to principal axes would fill the zeros again; cut dimensions first",
    ("codes", "magnitude"): "codes cannot be pruned; prune first",
    ("codes", "dims"): "codes cannot be cut; cut dimensions first",
    ("codes", "rows"): "codes cannot be cut; cut rows first",
    ("codes", "layers"): "codes cannot be cut; cut layers first",
    ("codes", "heads"): "codes cannot be cut; cut heads first",
    ("codes", "ffn"): "codes cannot be cut; cut neurons first",
    ("codes", "codes"): "the tables are coded already; name one way",
}
"""(earlier, later) → why not. Both are aspects of a step: its name, a narrower one (`dims.pca`), or what it leaves."""


def make_step(name: str, parameters: Mapping[str, Any]) -> Step:
    """The step that a recipe names.

    Raises:
        RecipeError: the step is unknown, or a parameter is unknown or missing.
    """
    if name not in STEPS:
        raise RecipeError((name,), f"method {name!r} is unknown. {nearest(name, STEPS)}")
    fields = {field.name: field for field in dataclasses.fields(STEPS[name])}
    for parameter in parameters:
        if parameter not in fields:
            raise RecipeError((str(parameter),), f"{name} has no such parameter. {nearest(parameter, fields)}")
    missing = [key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in parameters]
    if missing:
        raise RecipeError((missing[0],), f"{name} needs a value for {', '.join(missing)}.")
    return STEPS[name](**parameters)


def refusal(earlier: Step, later: Step) -> str | None:
    """Why `later` cannot follow `earlier` or share a stage with it; None if it can."""
    for first in earlier.aspects():
        for second in later.aspects():
            if (first, second) in CANNOT_FOLLOW:
                return CANNOT_FOLLOW[first, second]
    return None
