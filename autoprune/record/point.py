"""A candidate as its study sees it."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.artifacts.formats import OWN, Obstacle, find_format
from autoprune.artifacts.manifest import read_manifest
from autoprune.errors import AutopruneError
from autoprune.measure.measurement import SEARCH, VERIFY
from autoprune.measure.reading import SURE, Reading
from autoprune.record.archive import Candidate

if TYPE_CHECKING:  # to look at a front nobody should wait for torch
    from autoprune.artifacts.served import Served

REJECTED = Obstacle(reason="it was rejected")
UNREADABLE = Obstacle(reason="its artifact is gone or damaged")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate as its study sees it.

    Attributes:
        candidate: recipe and measurements.
        found: its readings against the baseline, as the search took them: quality on validation data. Latency that the
            search did not time is the verification's.
        folder: where its artifact lies.
        verified: its readings as `autoprune verify` took them: quality on test data; empty where it did not.
        draws: bootstrapped ratios of the main metric on test data, drawn alike for all that were verified.
    """

    candidate: Candidate
    found: dict[str, Reading]
    folder: Path
    verified: dict[str, Reading] = field(default_factory=dict)
    draws: tuple[float, ...] = ()

    @property
    def number(self) -> int:
        """Of the candidate."""
        return self.candidate.number

    @property
    def known(self) -> dict[str, Reading]:
        """The readings to go by: the verified ones where there are any."""
        return self.verified or self.found

    @property
    def searched(self) -> dict[str, Reading]:
        """What the search itself read: `found` without latencies that are the verification's."""
        return {name: reading for name, reading in self.found.items() if reading is not self.verified.get(name)}

    @property
    def busy(self) -> bool:
        """Whether the latencies to go by were timed while the machine was busy with other work."""
        return self.candidate.latest(VERIFY if self.verified else SEARCH).busy

    def obstacles(self, format: str) -> list[Obstacle]:
        """What keeps its artifact from being written in a format; empty if nothing does."""
        if format == OWN:
            return []
        if self.candidate.rejected:
            return [REJECTED]
        return [UNREADABLE] if self._manifest is None else find_format(format).obstacles(self._manifest)

    @cached_property
    def _manifest(self) -> dict[str, Any] | None:
        try:
            return read_manifest(self.folder)
        except AutopruneError:
            return None

    def load(self) -> Served:
        """The artifact, ready to answer.

        Raises:
            AutopruneError: it is gone, or damaged.
        """
        from autoprune.artifacts import artifact

        self._check_kept("--to", "DIR")
        return artifact.load(self.folder)

    def save(self, to: str | os.PathLike[str], *, format: str = OWN, bare: bool = False) -> Path:
        """Copies the artifact to a new folder, or writes it there in another format.

        Args:
            bare: whether what lies beside the model is left out, such as titles and histories.

        Raises:
            AutopruneError: the folder exists, there is no such format, or the artifact has no such form or is gone.
        """
        form = find_format(format, bare=bare)
        self._check_kept("--to", str(Path(to)), *["--format", format] * (format != OWN), *["--bare"] * bare)
        form.write(self.folder, Path(to))
        return Path(to)

    def _check_kept(self, *flags: str) -> None:
        """Says what makes an artifact again that was deleted because its candidate could not win.

        Args:
            flags: of `pick`, which does so.
        """
        if self.folder.exists():
            return
        if self.candidate.rejected:
            raise AutopruneError(f"candidate {self.number} was rejected and has no artifact; take another.")
        pick = shlex.join(["autoprune", "pick", str(self.folder.parent.parent), str(self.number), *flags])
        raise AutopruneError(
            f"the artifact of candidate {self.number} is gone: {str(self.folder)!r}. What makes it again:\n  {pick}"
        )


def columns(point: Point, names: Iterable[str]) -> dict[str, float]:
    """Readings of a point as columns of a table: value and ratio of each, and verified ones where there are any.

    A verified ratio has the interval of its re-measurement beside it, in `…_low` and `…_high`, unless that says
    nothing; and what the true one is not worse than, with 95 % confidence (one-sided), in `…_bound`.

    Args:
        names: of the readings; `quality` is left out, for it is another name of a metric.
    """
    row: dict[str, float] = {}
    kept = [name for name in names if name != "quality" and name in point.found]
    searched = point.searched
    for name in kept:
        if name in searched:
            row[name], row[f"{name}_ratio"] = searched[name].value, searched[name].ratio
    for name in kept:
        if name in point.verified and not name.endswith("_bytes"):  # the same files weigh the same
            label = f"{'verified' if name.startswith('latency_ms') else 'test'}_{name}"
            reading = point.verified[name]
            row[label], row[f"{label}_ratio"] = reading.value, reading.ratio
            if reading.interval and not reading.vague:
                row[f"{label}_low"], row[f"{label}_high"] = reading.interval
            if reading.sure:
                row[f"{label}_bound"] = reading.bound(SURE, upper=name.startswith("latency_ms"))
    return {name: value for name, value in row.items() if not math.isnan(value)}  # of a slice that nobody is in


def all_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows, in the order of those that have most; the baseline has no intervals."""
    return list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
