"""Limits: requirements and a format, given on the command line or in Python, that replace the study's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from autoprune.artifacts.formats import OWN, check_format
from autoprune.errors import AutopruneError, unknown
from autoprune.fronts.profiles import load_profile
from autoprune.fronts.requirements import OBJECTIVES, Requirement, Requirements, parse_flag, parse_requirements
from autoprune.record.record import Record


class Asked(TypedDict, total=False):
    """The fields of `Limits`, as keywords of a function."""

    floors: Sequence[str]
    ceilings: Sequence[str]
    profile: str | None
    prefer: str | None
    format: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What replaces the study's own requirements; by default nothing does.

    Attributes:
        floors, ceilings: replace the study's limits on the same readings, e.g. `ndcg@20=0.97x`, `latency_ms=0.5x`.
        profile: replaces all requirements of the study, e.g. `latency_sensitive`, or the path of a YAML file.
        prefer: `quality`, `size`, `latency` or `index`; replaces what the requirements prefer.
        format: that candidates must be writable in, such as `sentence-transformers`; all are in `autoprune`.

    Raises:
        AutopruneError: the objective or the format is unknown.
    """

    floors: Sequence[str] = ()
    ceilings: Sequence[str] = ()
    profile: str | None = None
    prefer: str | None = None
    format: str = OWN

    def __post_init__(self) -> None:
        for name in ("floors", "ceilings"):
            limits = getattr(self, name)
            if isinstance(limits, str):
                raise AutopruneError(f"{name}: a list must be given, such as {name}=[{limits!r}], but got {limits!r}.")
            object.__setattr__(self, name, tuple(limits))
        if self.prefer is not None and self.prefer not in OBJECTIVES:
            raise unknown("objective", self.prefer, OBJECTIVES)
        check_format(self.format)

    def requirements(self, record: Record) -> Requirements:
        """The requirements of a study under these limits.

        Raises:
            AutopruneError: the profile is unknown, a limit cannot be read, or it names a reading that is not measured.
        """
        names = record.names
        content = load_profile(self.profile) if self.profile else record.definition["requirements"]
        where = self.profile if self.profile and self.profile.endswith(".yaml") else "requirements"
        own = parse_requirements(content, names, where=where)
        flags = [parse_flag(floor, "min", names) for floor in self.floors]
        flags += [parse_flag(ceiling, "max", names) for ceiling in self.ceilings]
        # An absolute limit on quality replaces that of the first metric only; the limits on the other metrics stay.
        if any(item.reading == "quality" and not item.relative for item in flags):
            own = own.of_metrics(record.metrics)
        replaced = {name for item in flags for name in _replaced(item, own, record.metrics)}
        items = [*(item for item in own.items if item.reading not in replaced), *flags]
        changed = dataclasses.replace(own, items=tuple(dict.fromkeys(items)), prefer=self.prefer or own.prefer)
        return changed.of_metrics(record.metrics)

    @property
    def flags(self) -> list[str]:
        """These limits as arguments of the command line."""
        return [argument for pair in self._options() for argument in pair]

    def _options(self) -> Iterator[tuple[str, str]]:
        if self.profile:
            yield "--for", self.profile
        yield from (("--floor", floor) for floor in self.floors)
        yield from (("--max", ceiling) for ceiling in self.ceilings)
        if self.prefer:
            yield "--prefer", self.prefer
        if self.format != OWN:
            yield "--format", self.format


def _replaced(item: Requirement, own: Requirements, metrics: Sequence[str]) -> set[str]:
    """The readings whose limits a given limit replaces.

    If the study's requirements have a limit on `quality`, a limit on `quality` replaces that one, and leaves limits on
    metrics by their names.
    """
    if len(metrics) == 1:
        same = {"quality", *metrics}
        return same if item.reading in same else {item.reading}
    if item.reading != "quality":
        return {item.reading}
    if not item.relative:
        return {"quality", metrics[0]}
    has_quality = any(requirement.reading == "quality" for requirement in own.items)
    return {"quality"} if has_quality else {"quality", *metrics}


UNCHANGED = Limits()
"""The study's own requirements."""
