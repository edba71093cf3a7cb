"""What a search had no time for: shown at its end, and whenever the study is shown, until the search continues."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autoprune.deadline import clock
from autoprune.fits import fits
from autoprune.whole import whole_file

FILE = "unfinished.json"


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """How far a search was when its time ran out.

    Attributes:
        minutes: its time limit.
        doing: what was being done, and how far it had got; empty if it was between two candidates.
        presets: those that were not measured, each with the key of its plan.
        undone: what the search skipped or stopped early for lack of time, each in a few words.
        trials, of: how many recipes were not tried, and of how many; only in files of older versions.
        seconds: about how long the rest takes; only in files of older versions.
    """

    minutes: float
    doing: str
    presets: Mapping[str, str] = field(default_factory=dict)
    undone: list[str] = field(default_factory=list)
    trials: int = 0
    of: int = 0
    seconds: float | None = None

    def write(self, folder: Path) -> None:
        """Writes it to a study's folder."""
        with whole_file(folder / FILE) as draft:
            draft.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @staticmethod
    def read(folder: Path) -> Unfinished | None:
        """Reads it from a study's folder; None if there is none."""
        try:
            unfinished = Unfinished(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return unfinished if fits(unfinished, Unfinished) else None

    @staticmethod
    def clear(folder: Path) -> None:
        """Deletes it, since the search continues."""
        (folder / FILE).unlink(missing_ok=True)

    def text(self, known: Collection[str], *, command: str) -> str:
        """A description in words.

        Args:
            known: keys of the archived candidates.
            command: that continues the search.
        """
        lines = [f"study.minutes={self.minutes:.10g} was over before the search was finished:"]
        if self.doing:
            lines.append(f"  stopped at: {self.doing}; what was trained is kept")
        if not known:
            lines.append("  the dense model is not finished, and so nothing else was tried")
        missing = [name for name, key in self.presets.items() if key not in known]
        if missing:
            lines.append(f"  presets not run: {', '.join(missing)}")
        lines += [f"  {undone}" for undone in self.undone]
        if self.trials:
            lines.append(f"  trials not run: {self.trials} of {self.of}")
        takes = f"What is left takes about {clock(self.seconds)}. " if self.seconds else ""
        return "\n".join([*lines, f"{takes}The same command goes on, with as many minutes again:", f"  {command}"])
