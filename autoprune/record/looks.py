"""Looks: quick estimates of recipes, taken in memory before anything is made; lines of JSON, only appended.

A look is not a measurement: it scores a model that is not saved, by the main metrics on a part of the validation data,
and times nothing. Looks decide which recipes are worth making; the front consists of measurements.
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
"""… and that of closer looks, which use more data: they are compared to a closer look at the dense model."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A quick estimate of a recipe.

    Attributes:
        number: in the order in which looks were taken; 0 is the dense model.
        key: of the recipe's plan, fully trained.
        recipe: as nested plain values.
        summary: the plan in a few words.
        epochs, of_epochs: that it was trained for, and that its recipe asks for.
        units: users (pairs, queries) that it scored.
        quality: by metric, then by slice (`all` is every row); empty if it failed.
        counts: units behind each of these values; only in the dense model's look, which the others refer to.
        near: nearness of the answers to the dense model's, by the main metric that it predicts
            (`autoprune.fronts.shrinkage`); empty if it is unknown.
        errors: standard error of each metric's ratio to the dense model's, by a paired comparison; if it is known.
        size_bytes: of what the saved model would need to answer; 0 if it failed.
        vector_bytes: size of each text's stored vector; None if no vectors are stored.
        products: multiplications per request, by the shapes alone; a proxy for latency, which is not timed.
        seconds: that the look took.
        failed: why it failed; empty if it did not.
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
        """Whether the recipe was fully trained, so that it can be made as it was looked at."""
        return self.epochs == self.of_epochs

    def value(self, metric: str) -> float:
        """A metric on all rows; NaN if there is none."""
        return self.quality.get(metric, {}).get(WHOLE, math.nan)

    def measurement(self) -> Measurement:
        """The look in the form of a measurement, for readings; nothing in it was timed."""
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
        path: created on the first `add`.
        turn: see `autoprune.record.journal.Journal`.

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
                    f"{self.path}:{number}: the line is not a look ({error}); remove it, and its recipe is looked at "
                    "again."
                ) from error
            self._hold(look)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def dense(self) -> Look | None:
        """The look at the dense model, to which all others are compared; None before it is taken."""
        return next((look for look in self.found.values() if look.number == 0), None)

    def add(self, *looks: Look) -> None:
        """Appends looks; they are on disk when this returns."""
        with self._journal.turn():
            self.refresh()
            self._append(looks)

    def keep(self, *looks: Look) -> None:
        """Adds looks that were just taken and assigns their numbers: the next ones, or 0 for the dense model's.

        A look that another process has already recorded is left as it is.
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
    """A look as plain values, without those that have their defaults."""
    optional = vars(Look(number=0, key="", recipe={}, summary=""))
    required = ("number", "key", "recipe", "summary")
    return {name: value for name, value in vars(look).items() if name in required or value != optional[name]}
