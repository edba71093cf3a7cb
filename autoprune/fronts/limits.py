"""What somebody asks for in place of the study's own requirements: one value, from the command line to the pick."""

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
    """What is asked for in place of the study's own requirements; as it stands, nothing is.

    Attributes:
        floors, ceilings: in place of those on the same reading, e.g. `ndcg@20=0.97x` and `latency_ms=0.5x`.
        profile: requirements in place of the study's, e.g. `latency_sensitive`, or the path of a YAML file.
        prefer: `quality`, `size` or `latency`, in place of what the requirements prefer.
        format: what candidates must be writable in, such as `sentence-transformers`; all are in `autoprune`.

    Raises:
        AutopruneError: there is no such objective or format.
    """

    floors: Sequence[str] = ()
    ceilings: Sequence[str] = ()
    profile: str | None = None
    prefer: str | None = None
    format: str = OWN

    def __post_init__(self) -> None:
        for name in ("floors", "ceilings"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise AutopruneError(f"{name}: a list must be given, such as {name}=[{given!r}], but got {given!r}.")
            object.__setattr__(self, name, tuple(given))
        if self.prefer is not None and self.prefer not in OBJECTIVES:
            raise unknown("objective", self.prefer, OBJECTIVES)
        check_format(self.format)

    def requirements(self, record: Record) -> Requirements:
        """What must hold in a study.

        Raises:
            AutopruneError: there is no such profile, a limit cannot be read, or it names what is not measured.
        """
        names = record.names
        content = load_profile(self.profile) if self.profile else record.definition["requirements"]
        where = self.profile if self.profile and self.profile.endswith(".yaml") else "requirements"
        own = parse_requirements(content, names, where=where)
        flags = [parse_flag(floor, "min", names) for floor in self.floors]
        flags += [parse_flag(ceiling, "max", names) for ceiling in self.ceilings]
        # An absolute one on quality is said of the first metric, and leaves what is said of the others.
        if any(item.reading == "quality" and not item.relative for item in flags):
            own = own.of_metrics(record.metrics)
        taken = {name for item in flags for name in _replaced(item, own, record.metrics)}
        items = [*(item for item in own.items if item.reading not in taken), *flags]
        changed = dataclasses.replace(own, items=tuple(dict.fromkeys(items)), prefer=self.prefer or own.prefer)
        return changed.of_metrics(record.metrics)

    @property
    def flags(self) -> list[str]:
        """The arguments of the command line that ask for the same."""
        return [argument for pair in self._given() for argument in pair]

    def _given(self) -> Iterator[tuple[str, str]]:
        if self.profile:
            yield "--for", self.profile
        yield from (("--floor", floor) for floor in self.floors)
        yield from (("--max", ceiling) for ceiling in self.ceilings)
        if self.prefer:
            yield "--prefer", self.prefer
        if self.format != OWN:
            yield "--format", self.format


def _replaced(item: Requirement, own: Requirements, metrics: Sequence[str]) -> set[str]:
    """The readings whose limits an item stands in place of.

    One on `quality` leaves what requirements that say `quality` themselves say of a metric by its name beside that.
    """
    if len(metrics) == 1:
        alike = {"quality", *metrics}
        return alike if item.reading in alike else {item.reading}
    if item.reading != "quality":
        return {item.reading}
    if not item.relative:
        return {"quality", metrics[0]}
    says = any(one.reading == "quality" for one in own.items)
    return {"quality"} if says else {"quality", *metrics}


UNCHANGED = Limits()
"""The study's own requirements."""
