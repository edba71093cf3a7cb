"""What looks promise beside what was measured: what of their front was not made, and how well they foretold."""

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
"""Looks that a plot shows."""


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """How far looks were from the measurements of what was made of them.

    Attributes:
        made: candidates that were looked at, made and measured whole.
        middle, most: the difference of the two ratios of quality to the dense model's, without its sign: the median
            and the largest.
    """

    made: int
    middle: float
    most: float


def others(front: Front, *, closer: bool = False) -> list[Look]:
    """Every look (or closer look) but the dense model's, in order of arrival."""
    looks = front.record.closer_looks if closer else front.record.looks
    return [look for look in looks.found.values() if look.number]


def choosing(front: Front) -> Promises | None:
    """What those looks promise by which was chosen what is made: closer ones, where there are; None: there are none."""
    return front.closer if others(front, closer=True) else front.promises


def foretold(front: Front, promises: Promises) -> Foretold | None:
    """How well looks foretold measurements, on validation data both; None where nothing was made of any."""
    points = {point.candidate.key: point for point in front.record.points if "quality" in point.found}
    gaps = [
        abs(promises.readings(look)["quality"].ratio - points[look.key].found["quality"].ratio)
        for look in others(front, closer=promises is front.closer)
        if look.done and not look.failed and look.key in points
    ]
    return Foretold(made=len(gaps), middle=median(gaps), most=max(gaps)) if gaps else None


def unmade(front: Front, promises: Promises) -> list[Look]:
    """What stands on the looks' front and was not made, best quality first."""
    made = front.record.archive.candidates
    found = [look for look in promises.front() if look.key not in made]
    return sorted(found, key=lambda look: -promises.readings(look)["quality"].ratio)


def places(looks: Iterable[Look], promises: Promises) -> list[tuple[float, float]]:
    """Where a plot shows looks that did not fail: ratios of size and quality to the dense model's."""
    found = (promises.readings(look) for look in looks)
    return [(one["size_bytes"].ratio, one["quality"].ratio) for one in found]


def drawn(front: Front) -> list[Look]:
    """Looks that a plot shows, evenly thinned where there are many; without those that came to nothing."""
    looks = [look for look in others(front) if not look.failed]
    return looks[:: -(-len(looks) // MOST_DRAWN) or 1]


def edge(front: Front, promises: Promises) -> list[Look]:
    """The looks that no other beats in size and quality, whatever is required; smallest first."""
    looks = [look for look in others(front) if not look.failed]
    kept = nondominated(places(looks, promises), maximise=[False, True])
    return sorted((looks[at] for at in kept), key=lambda look: look.size_bytes)


def asked(front: Front, look: Look) -> tuple[int, int]:
    """How many units a look asked, and how many a measurement does."""
    return look.units, front.record.baseline.candidate.latest().units[front.record.metric][WHOLE]


def failures(looks: Iterable[Look]) -> tuple[int, str]:
    """How many looks came to nothing, and the commonest reason."""
    reasons = Counter(look.failed for look in looks if look.failed)
    return reasons.total(), reasons.most_common(1)[0][0] if reasons else ""


def sentences(front: Front) -> list[str]:
    """What a look is, how many were taken, and how far they can be trusted; each in a sentence."""
    looks, metrics, promises = others(front), ", ".join(front.record.metrics), front.promises
    if promises is None:
        return []
    units, of = asked(front, promises.dense)
    some = f"all {of:,}" if units == of else f"{units:,} of the {of:,}"
    told = [
        f"A look makes a recipe's model in memory and asks it {some} units of validation data for {metrics}; nothing "
        "is saved or timed, so it is no measurement."
    ]
    trained = len({look.key for look in looks if look.epochs})
    counts = f"{len(looks):,} looks were taken" + f", some of them of {trained:,} recipes in training" * bool(trained)
    failed, reason = failures(looks)
    told.append(f"{counts}; {failed:,} came to nothing, most often: {reason}" if failed else f"{counts}.")
    found = foretold(front, promises)
    if found:
        told.append(
            f"{found.made:,} of them were made and measured: then quality was {found.middle:.3f}x away from what the "
            f"look had told in the median, {found.most:.3f}x at most."
        )
    return [*told, *_closer_sentences(front)]


def _closer_sentences(front: Front) -> list[str]:
    """What closer looks are for, and how far they can be trusted."""
    promises, taken = front.closer, others(front, closer=True)
    if promises is None or not taken:
        return []
    units, of = asked(front, promises.dense)
    some = f"all {of:,}" if units == of else f"{units:,}"
    found = foretold(front, promises)
    told = f" and were {found.middle:.3f}x off in the median, {found.most:.3f}x at most" if found else ""
    return [
        f"The best of many looks are partly luck: what is made is chosen by {len(taken):,} closer looks, which asked "
        f"{some} units{told}."
    ]
