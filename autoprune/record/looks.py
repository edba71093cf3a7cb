"""Looks: what recipes promised at a glance, in memory, before anything was made; lines of JSON, only appended.

A look is no measurement. It asks a part of the validation data for the main metrics alone, of a model that was not
saved; nothing is timed. By looks a search chooses what is worth making; the front is made of measurements.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.fits import fits
from autoprune.measure.measurement import RULES, SEARCH, WHOLE, Measurement
from autoprune.record.journal import Journal, Turn

LOOKS = "looks.jsonl"
"""The file of looks in a study's folder …"""

CLOSER_LOOKS = "closer_looks.jsonl"
"""… and that of looks that asked more: they are read against a look at the dense model that asked as much."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a recipe promised.

    Attributes:
        number: in the order in which looks were taken; 0 is the dense model.
        key: of the plan that the recipe describes when it is trained to the end.
        recipe: as nested plain values.
        summary: the plan in a few words.
        epochs, of_epochs: that it was trained for, and that its recipe asks for.
        units: users (pairs, queries) that were asked.
        quality: by metric, then by slice (`all` is every row); empty where it failed.
        counts: units that each of these rests on; of the dense model's look alone, by which others are read.
        near: how near answers were to the dense model's, by the main metric that this foretells
            (`autoprune.fronts.shrinkage`); nothing where that is not known.
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
    near: dict[str, float] = field(default_factory=dict)
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
        path: made on the first `add`.
        turn: as `autoprune.record.journal.Journal` takes it.

    Attributes:
        found: by key of the plan and epochs trained, in order of arrival.
    """

    def __init__(self, path: Path, *, turn: Turn = nullcontext) -> None:
        self.path = path
        self.found: dict[tuple[str, int], Look] = {}
        self._journal = Journal(path, turn=turn)
        self._last = 0  # the largest number
        self.refresh()

    def refresh(self) -> None:
        """Reads what other processes have appended."""
        for number, line in self._journal.news():
            try:
                look = Look(**json.loads(line))
                if not fits(look, Look):
                    raise ValueError("a value is of another type than was written")
            except (ValueError, TypeError, RecursionError) as error:
                raise AutopruneError(
                    f"{self.path}:{number}: the line is no look ({error}); take it out, and what it held is looked at "
                    "again."
                ) from error
            self._hold(look)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def dense(self) -> Look | None:
        """The look at the dense model, which all others are read against; None until it is there."""
        return next((look for look in self.found.values() if look.number == 0), None)

    def add(self, *looks: Look) -> None:
        """Appends looks; when this returns they are on disk."""
        with self._journal.turn():
            self.refresh()
            self._append(looks)

    def keep(self, *looks: Look) -> None:
        """As `add`, of looks that were just taken: they have the next numbers, but for the dense model's, which has 0.

        What another process was first to look at is left as it is.
        """
        with self._journal.turn():
            self.refresh()
            new = {(look.key, look.epochs): look for look in looks if (look.key, look.epochs) not in self.found}
            numbers = range(self._last + 1, self._last + 1 + len(new))
            self._append(
                [
                    dataclasses.replace(look, number=look.number and number)
                    for look, number in zip(new.values(), numbers, strict=True)
                ]
            )

    def _append(self, looks: Sequence[Look]) -> None:
        self._journal.append(json.dumps(_plain(look), separators=(",", ":")) for look in looks)
        for look in looks:
            self._hold(look)

    def _hold(self, look: Look) -> None:
        self._last = max(self._last, look.number)
        self.found[look.key, look.epochs] = look


def _plain(look: Look) -> Mapping[str, Any]:
    """What differs from the defaults."""
    optional = vars(Look(number=0, key="", recipe={}, summary=""))
    required = ("number", "key", "recipe", "summary")
    return {name: value for name, value in vars(look).items() if name in required or value != optional[name]}
