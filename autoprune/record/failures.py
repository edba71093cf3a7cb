"""Recipes that were to be made and came to nothing, each with its reason; lines of JSON, only appended."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.fits import fits
from autoprune.record.archive import mend, whole_lines

FAILED = "failed.jsonl"
"""Their file in a study's folder."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A recipe of which no candidate came. A search that is run again tries it again.

    Attributes:
        name: of a preset, or `trial`.
        key: of the plan.
        recipe: as nested plain values.
        summary: the plan in a few words.
        reason: why nothing came of it.
    """

    name: str
    key: str
    recipe: dict[str, Any]
    summary: str
    reason: str


class Failures:
    """The failures of a study.

    Args:
        path: made on the first `add`. What cannot be read is left out: nothing rests on it.
        mending: whether a torn last line is cut off; only for who is about to append.

    Attributes:
        found: the latest of each plan, by key.
    """

    def __init__(self, path: Path, *, mending: bool = False) -> None:
        self.path = path
        self.found: dict[str, Failure] = {}
        if mending:
            mend(path)
        for line in whole_lines(path):
            try:
                failure = Failure(**json.loads(line))
            except (ValueError, TypeError, RecursionError):
                continue
            if fits(failure, Failure):
                self.found[failure.key] = failure

    def add(self, failure: Failure) -> None:
        """Appends a failure; when this returns it is on disk."""
        with self.path.open("a") as file:
            file.write(json.dumps(dataclasses.asdict(failure), separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.found[failure.key] = failure

    def text(self, made: Collection[str]) -> str:
        """How many came to nothing, and why most did; empty where all have been made since.

        Args:
            made: keys of the candidates that are archived.
        """
        reasons = Counter(failure.reason for key, failure in self.found.items() if key not in made)
        if not reasons:
            return ""
        count, (reason, _) = reasons.total(), reasons.most_common(1)[0]
        recipes, most = ("recipe", "") if count == 1 else ("recipes", ", most often")
        return f"{count} {recipes} came to nothing{most}: {reason}\n  {self.path} has each with its reason."
