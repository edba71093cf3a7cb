"""Recipes that failed when they were made, each with its reason: lines of JSON, only appended."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.fits import fits
from autoprune.record.journal import Journal, Turn

FAILED = "failed.jsonl"
"""The file of failures in a study's folder."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A recipe that failed; a resumed search tries it again.

    Attributes:
        name: of a preset, or `trial`.
        key: of the plan.
        recipe: as nested plain values.
        summary: the plan in a few words.
        reason: why it failed.
    """

    name: str
    key: str
    recipe: dict[str, Any]
    summary: str
    reason: str


class Failures:
    """The failures of a study.

    Args:
        path: created on the first `add`. Lines that cannot be read are skipped, since nothing depends on them.
        turn: see `autoprune.record.journal.Journal`.

    Attributes:
        found: the latest failure of each plan, by key.
    """

    def __init__(self, path: Path, *, turn: Turn = nullcontext) -> None:
        self.path = path
        self.found: dict[str, Failure] = {}
        self._journal = Journal(path, turn=turn)
        self.refresh()

    def refresh(self) -> None:
        """Reads what other processes have appended."""
        for _, line in self._journal.news():
            try:
                failure = Failure(**json.loads(line))
            except (ValueError, TypeError, RecursionError):
                continue
            if fits(failure, Failure):
                self.found[failure.key] = failure

    def add(self, failure: Failure) -> None:
        """Appends a failure; it is on disk when this returns."""
        with self._journal.turn():
            self.refresh()
            self._journal.append([json.dumps(dataclasses.asdict(failure), separators=(",", ":"))])
        self.found[failure.key] = failure

    def text(self, made: Collection[str]) -> str:
        """How many recipes failed, and the most frequent reason; empty if all have been made since.

        Args:
            made: keys of the candidates that are archived.
        """
        reasons = Counter(failure.reason for key, failure in self.found.items() if key not in made)
        if not reasons:
            return ""
        count, (reason, _) = reasons.total(), reasons.most_common(1)[0]
        recipes, most = ("recipe", "") if count == 1 else ("recipes", ", most often")
        return f"{count} {recipes} failed{most}: {reason}\n  {self.path} lists them with their reasons."
