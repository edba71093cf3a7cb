"""Looks next to measurements: which promising looks were not made, and how accurate looks were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from autoprune.fronts.front import Front
from autoprune.fronts.pareto import nondominated
from autoprune.fronts.promises import Promises
from autoprune.measure.measurement import WHOLE
from autoprune.record.looks import Look

MOST_DRAWN = 2000
"""Looks that a plot shows, at most."""


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """How far looks were from the measurements of the same recipes.

    Attributes:
        made: candidates that were looked at, made and fully measured.
        middle, most: the median and the largest absolute difference between the two ratios of quality.
    """

    made: int
    middle: float
    most: float


def others(front: Front, *, closer: bool = False) -> list[Look]:
    """Every look (or closer look) except the dense model's, in order of arrival."""
    looks = front.record.closer_looks if closer else front.record.looks
    return [look for look in looks.found.values() if look.number]


def choosing(front: Front) -> Promises | None:
    """The promises that chose what is made: those of closer looks if there are any; None if there are no looks."""
    return front.closer if others(front, closer=True) else front.promises


def foretold(front: Front, promises: Promises) -> Foretold | None:
    """How accurate looks were, both on validation data; None if none of their recipes was made."""
    points = {point.candidate.key: point for point in front.record.points if "quality" in point.found}
    gaps = [
        abs(promises.readings(look)["quality"].ratio - points[look.key].found["quality"].ratio)
        for look in others(front, closer=promises is front.closer)
        if look.done and not look.failed and look.key in points
    ]
    return Foretold(made=len(gaps), middle=median(gaps), most=max(gaps)) if gaps else None


def unmade(front: Front, promises: Promises) -> list[Look]:
    """The looks on the looks' front whose recipes were not made, best quality first."""
    made = front.record.archive.candidates
    left = [look for look in promises.front() if look.key not in made]
    return sorted(left, key=lambda look: -promises.readings(look)["quality"].ratio)


def places(looks: Iterable[Look], promises: Promises) -> list[tuple[float, float]]:
    """The coordinates in a plot of looks that did not fail: ratios of size and quality to the dense model's."""
    ratios = (promises.readings(look) for look in looks)
    return [(one["size_bytes"].ratio, one["quality"].ratio) for one in ratios]


def drawn(front: Front) -> list[Look]:
    """The looks that a plot shows: evenly thinned if there are many, without failed ones."""
    looks = [look for look in others(front) if not look.failed]
    return looks[:: -(-len(looks) // MOST_DRAWN) or 1]


def edge(front: Front, promises: Promises) -> list[Look]:
    """The looks that no other beats in size and quality, without requirements; smallest first."""
    looks = [look for look in others(front) if not look.failed]
    kept = nondominated(places(looks, promises), maximise=[False, True])
    return sorted((looks[at] for at in kept), key=lambda look: look.size_bytes)


def asked(front: Front, look: Look) -> tuple[int, int]:
    """How many units a look used, and how many a measurement uses."""
    return look.units, front.record.baseline.candidate.latest().units[front.record.metric][WHOLE]


def failures(looks: Iterable[Look]) -> tuple[int, str]:
    """How many looks failed, and the most common reason."""
    reasons = Counter(look.failed for look in looks if look.failed)
    return reasons.total(), reasons.most_common(1)[0][0] if reasons else ""


def sentences(front: Front) -> list[str]:
    """What a look is, how many there are, and how accurate they were; a sentence each."""
    looks, metrics, promises = others(front), ", ".join(front.record.metrics), front.promises
    if promises is None:
        return []
    units, of = asked(front, promises.dense)
    some = f"all {of:,}" if units == of else f"{units:,} of the {of:,}"
    texts = [
        f"A look builds a recipe's model in memory and estimates {metrics} on {some} units of validation data; nothing "
        "is saved or timed, so a look is not a measurement."
    ]
    trained = len({look.key for look in looks if look.epochs})
    counts = f"{len(looks):,} looks were taken" + f", some of them at {trained:,} recipes in training" * bool(trained)
    failed, reason = failures(looks)
    texts.append(f"{counts}; {failed:,} failed, most often with: {reason}" if failed else f"{counts}.")
    accuracy = foretold(front, promises)
    if accuracy:
        texts.append(
            f"{accuracy.made:,} of these recipes were made and measured: their quality differed from the look's by "
            f"{accuracy.middle:.3f}x in the median, {accuracy.most:.3f}x at most."
        )
    return [*texts, *_closer_sentences(front)]


def _closer_sentences(front: Front) -> list[str]:
    """What closer looks are for, and how accurate they were."""
    promises, taken = front.closer, others(front, closer=True)
    if promises is None or not taken:
        return []
    units, of = asked(front, promises.dense)
    some = f"all {of:,}" if units == of else f"{units:,}"
    accuracy = foretold(front, promises)
    off = f" and were {accuracy.middle:.3f}x off in the median, {accuracy.most:.3f}x at most" if accuracy else ""
    return [
        f"The best of many looks are partly luck, so {len(taken):,} closer looks choose what is made. They used {some} "
        f"units{off}."
    ]
