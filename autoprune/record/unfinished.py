"""What a search had no time for: said at its end, and by whoever looks at the study until it has gone on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autoprune.deadline import clock
from autoprune.fits import fits

FILE = "unfinished.json"


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """Where a search was when its time was over.

    Attributes:
        minutes: that it had.
        doing: what was being done, and how far it was; empty where it was between two candidates.
        presets: those that were not measured, each with the key of its plan.
        undone: what the search did not come to, or stopped in, each in a few words.
        trials, of: how many recipes were not asked for, of how many; in the files of older versions.
        seconds: about what all of it takes; likewise.
    """

    minutes: float
    doing: str
    presets: Mapping[str, str] = field(default_factory=dict)
    undone: list[str] = field(default_factory=list)
    trials: int = 0
    of: int = 0
    seconds: float | None = None

    def write(self, folder: Path) -> None:
        """Keeps it in a study's folder."""
        draft = folder / f"{FILE}.tmp"
        draft.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        draft.replace(folder / FILE)

    @staticmethod
    def read(folder: Path) -> Unfinished | None:
        """What stands in a study's folder; None where nothing does."""
        try:
            found = Unfinished(**json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return found if fits(found, Unfinished) else None

    @staticmethod
    def clear(folder: Path) -> None:
        """The search goes on."""
        (folder / FILE).unlink(missing_ok=True)

    def text(self, known: Collection[str], *, command: str) -> str:
        """In words.

        Args:
            known: keys of the candidates that are archived.
            command: that the search goes on with.
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
