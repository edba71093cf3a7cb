"""Looks: what recipes promised at a glance, in memory, before anything was made; lines of JSON, only appended.

A look is no measurement. It asks a part of the validation data for the main metrics alone, of a model that was not
saved; nothing is timed. By looks a search chooses what is worth making; the front is made of measurements.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.fits import fits
from autoprune.measure.measurement import RULES, SEARCH, WHOLE, Measurement
from autoprune.record.archive import mend, whole_lines

LOOKS = "looks.jsonl"
"""The file of looks in a study's folder."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a recipe promised.

    Attributes:
        number: in the order in which looks were asked for; 0 is the dense model.
        key: of the plan that the recipe describes when it is trained to the end.
        recipe: as nested plain values.
        summary: the plan in a few words.
        epochs, of_epochs: that it was trained for, and that its recipe asks for.
        units: users (pairs, queries) that were asked.
        quality: by metric, then by slice (`all` is every row); empty where it failed.
        counts: units that each of these rests on; of the dense model's look alone, by which others are read.
        errors: standard error of a metric's ratio to the dense model's, by a paired comparison; where it is known.
        size_bytes: of what the model needs to answer, if it were saved; 0 where it failed.
        vector_bytes: of the vector that is stored of each text, where users store any.
        products: multiplications that one request takes, by the shapes alone; stands for latency, which is not timed.
        seconds: that it took.
        failed: why nothing came of it; empty if something did.
    """

    number: int
    key: str
    recipe: dict[str, Any]
    summary: str
    epochs: int = 0
    of_epochs: int = 0
    units: int = 0
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    vector_bytes: int | None = None
    products: int = 0
    seconds: float = 0.0
    failed: str = ""

    @property
    def done(self) -> bool:
        """Whether the recipe was trained to the end, so that it can be made as it was looked at."""
        return self.epochs == self.of_epochs

    def value(self, metric: str) -> float:
        """A metric on all rows; nan where there is none."""
        return self.quality.get(metric, {}).get(WHOLE, math.nan)

    def measurement(self) -> Measurement:
        """In the form in which readings are taken; nothing in it was timed."""
        return Measurement(
            split="validation",
            purpose=SEARCH,
            machine="",
            quality=self.quality,
            units=self.counts,
            errors=self.errors,
            size_bytes=self.size_bytes,
            memory_bytes=self.size_bytes,
            vector_bytes=self.vector_bytes,
            structure="",
            latency={},
            rules=RULES,
        )


class Looks:
    """The looks of a study, in a file that survives a kill at any byte.

    Args:
        path: made on the first `add`. A torn last line is left out.
        mending: whether such a line is cut off the file; only for who holds the study, and is about to append.

    Attributes:
        found: by key of the plan and epochs trained, in order of arrival.
    """

    def __init__(self, path: Path, *, mending: bool = False) -> None:
        self.path = path
        self.found: dict[tuple[str, int], Look] = {}
        if mending:
            mend(path)
        for number, line in enumerate(whole_lines(path), start=1):
            try:
                look = Look(**json.loads(line))
                if not fits(look, Look):
                    raise ValueError("a value is of another type than was written")
            except (ValueError, TypeError, RecursionError) as error:
                raise AutopruneError(
                    f"{path}:{number}: the line is no look ({error}); take it out, and what it held is looked at again."
                ) from error
            self.found[look.key, look.epochs] = look

    def __len__(self) -> int:
        return len(self.found)

    @property
    def dense(self) -> Look | None:
        """The look at the dense model, which all others are read against; None until it is there."""
        return next((look for look in self.found.values() if look.number == 0), None)

    def add(self, *looks: Look) -> None:
        """Appends looks; when this returns they are on disk."""
        lines = [json.dumps(_plain(look), separators=(",", ":")) + "\n" for look in looks]
        with self.path.open("a") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        self.found |= {(look.key, look.epochs): look for look in looks}


def _plain(look: Look) -> Mapping[str, Any]:
    """What differs from the defaults."""
    optional = vars(Look(number=0, key="", recipe={}, summary=""))
    required = ("number", "key", "recipe", "summary")
    return {name: value for name, value in vars(look).items() if name in required or value != optional[name]}
