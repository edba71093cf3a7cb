"""Measurements in words: one way to write a number, an interval, a machine, wherever people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autoprune.fronts.fall import DOUBT, UNDECIDED
from autoprune.fronts.front import NOTHING_TRIED, Front
from autoprune.fronts.infeasible import SEARCH_ON
from autoprune.fronts.requirements import Requirement
from autoprune.measure.measurement import RULES, SEARCH, VERIFY, Latency, Measurement, version_of
from autoprune.measure.reading import FEWEST_UNITS, SURE, Reading, shipped
from autoprune.record.archive import ROUNDS, processes
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views.intervals import plus_minus
from autoprune.views.marks import initials

NOTHING = "-"
"""Stands where nothing was measured."""

MILLION = 1_000_000
"""Texts, of which it is told what their vectors take."""

NOTHING_BEATS = f"Nothing beats the baseline under these requirements; loosen one, or {SEARCH_ON}."

PURPOSES = {SEARCH: "the search", VERIFY: "the verification"}
"""What measurements were taken for."""


def counted(count: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def ratio(value: float) -> str:
    """A ratio to the baseline: three decimals, four of very small ones."""
    if math.isnan(value):
        return NOTHING
    return f"{value:.4f}x" if 0 < abs(value) < 0.01 else f"{value:.3f}x"


def byte_count(count: float) -> str:
    """Three digits and a unit; kB are 1000 bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def absolute(name: str, value: float) -> str:
    """The value of a reading in its own unit."""
    if math.isnan(value):
        return NOTHING
    if name.endswith("_bytes"):
        return byte_count(value)
    return f"{value:.3f} ms" if name.startswith("latency_ms") else f"{value:.4f}"


def rate(latency: Latency, value_ms: float) -> str:
    """What a workload of several texts comes to in a second, behind its milliseconds: `, 2,560 a second`."""
    return f", {1000 * latency.items / value_ms:,.0f} a second" if latency.items and value_ms > 0 else ""


def for_sure(reading: Reading) -> str:
    """The ratio that the true one is not below, with 95 % confidence (one-sided): `0.981x`."""
    return ratio(reading.bound(SURE, upper=False)) if reading.sure else NOTHING


def cell(
    name: str, found: Mapping[str, Reading], *, value: bool = True, relative: bool = True, sure: bool = False
) -> str:
    """A reading as a table shows it: `0.0867 0.985x ±0.012`, or what of this is asked for.

    Args:
        value: in its own unit.
        relative: to the baseline.
        sure: with the interval of a re-measurement.
    """
    reading = found.get(name)
    if reading is None:
        return NOTHING
    shown = [absolute(name, reading.value)] * value + [ratio(reading.ratio)] * relative + [plus_minus(reading)] * sure
    return " ".join(one for one in shown if one)


def machine(record: Record, number: str) -> str:
    """A machine by its fingerprint: what is known of it."""
    facts = record.machines.get(number)
    if facts is None:
        return f"a machine that nobody wrote down ({number})"
    cores = int(facts["cores"])
    answering = f"{facts.get('gpu', '')} ({facts['device']}), " if "device" in facts else ""
    threads = int(facts.get("threads", 0))
    used = f" ({counted(threads, 'thread')} used)" if threads and not answering else ""
    return f"{answering}{facts['cpu']}, {counted(cores, 'core')}{used}"


def machines(record: Record) -> str:
    """On which machine latencies were timed: the verified ones, and the search's."""
    timed = {SEARCH: record.baseline.candidate.latest().machine}
    if record.baseline.verified:
        timed[VERIFY] = record.baseline.candidate.latest(VERIFY).machine
    if len(set(timed.values())) == 1:
        return f"Latency was timed on {machine(record, timed[SEARCH])}."
    places = [f"for {PURPOSES[purpose]} on {machine(record, number)}" for purpose, number in timed.items()]
    return f"Latency was timed {', '.join(places)}."


def name(point: Point) -> str:
    """A candidate in a few words."""
    return point.candidate.summary if point.number else "baseline"


def optimism(front: Front) -> str:
    """What dropping the fallen does to the values of the rest; empty where nothing fell."""
    if not front.falls:
        return ""
    looked = "Dropping what fell looked at test data"
    if front.optimism is None:
        return f"{looked}: the rest looks a little better for it than it is."
    flattery = max(0.0, front.optimism)
    how = f"by about {flattery:.1%}" if flattery >= 0.0005 else "by less than 0.1%"
    return f"{looked}; that flatters the {front.record.metric} of the rest {how}."


def folder(measured: Measurement, baseline: Measurement) -> str:
    """What the whole folder takes, and what of it a model without rows for all users needs; empty if nobody knows."""
    whole = shipped(measured, baseline)
    if whole is None:
        return ""
    text = f"the whole folder takes {byte_count(whole.value)}, {ratio(whole.ratio)} of the dense model's"
    if not measured.history_bytes:
        return text
    return f"{text}; the users' histories in it ({byte_count(measured.history_bytes)}) serve those who have no row"


def why_idle(baseline: Measurement, metric: str, slice_name: str) -> str:
    """Why a slice does not bind: by its units, or by the baseline's value on it."""
    units = baseline.units[metric][slice_name]
    if units < FEWEST_UNITS:
        return f"too few: {units} units"
    return f"too faint: {baseline.quality[metric][slice_name]:.4f} in the baseline"


def beyond(record: Record, point: Point) -> str:
    """What a point loses that no requirement on slices sees; empty where it loses nothing of the kind."""
    found = record.beyond(point)
    return f"keeps {ratio(found[1])} of {found[0]}, which is too faint in the baseline to bind" if found else ""


def idle(front: Front) -> list[str]:
    """A line for each requirement that says less than it seems to: on a slice that does not bind, or harder on test."""
    baseline, lines = front.record.baseline, []
    for item in front.requirements.items:
        found, tested = baseline.found.get(item.reading), baseline.verified.get(item.reading)
        if found is not None and not found.binds:
            metric, _, slice_name = item.reading.rpartition(".")
            lines.append(f"{item.text} does not bind: {why_idle(baseline.candidate.latest(), metric, slice_name)}.")
        elif found is not None and tested is not None and item.violation(found) <= 0 < item.violation(tested):
            lines.append(f"{item.text} is missed by the baseline itself on test data: {tested.value:.4g}.")
    return lines


def unverified(front: Front) -> str:
    """Which points are not verified yet, and what verifies them; empty where all are."""
    left = [point for point in front if point.number and not point.verified]
    if not left:
        return ""
    verb = _verify(front)
    if not any(point.verified for point in front):
        return (
            "Nothing is verified yet: these are the search's own values, on validation data that it chose by. "
            f"Verify them on test data:\n  {verb}"
        )
    are = "is" if len(left) == 1 else "are"
    of = sum(point.number > 0 for point in front)
    return f"{len(left)} of {counted(of, 'point')} {are} not verified yet:\n  {verb}"


def judged_before(front: Front) -> str:
    """That quality was verified by the rules of another version, and what mends it; empty where it was not."""
    baseline = front.record.baseline
    if not baseline.verified or (rules := baseline.candidate.latest(VERIFY).rules) == RULES:
        return ""
    told = f"Verified by {version_of(rules)}, which judged by other rules."
    return f"{told} Update autoprune." if rules > RULES else f"{told} By those of now:\n  {_verify(front)}"


def judged_apart(front: Front) -> str:
    """Which points the search judged by other rules than their baseline; empty where none."""
    rules = front.record.baseline.candidate.latest().rules
    apart = ", ".join(f"#{point.number}" for point in front.searched if point.candidate.latest().rules != rules)
    return f"Searched by other rules than the baseline, so that their search's ratios say less: {apart}." * bool(apart)


def thinly_timed(front: Front) -> str:
    """How many points were timed in fewer processes than a verification takes, and what mends it; empty if none."""
    timed = [point.candidate.latest(VERIFY) for point in front if point.number and point.verified]
    few = sum(processes(measured) < ROUNDS for measured in timed)
    if not few:
        return ""
    were = "was" if few == 1 else "were"
    return f"{few} of {counted(len(timed), 'point')} {were} timed in fewer than {ROUNDS} processes:\n  {_verify(front)}"


def alone(front: Front) -> str:
    """Why the baseline stands alone on a front; empty where it does not, or where a format keeps others away."""
    if not len(front) or any(point.number for point in front) or front.falls:
        return ""
    if len(front.record.points) == 1:
        return NOTHING_TRIED
    if len(front.candidates) == 1:
        return ""
    return NOTHING_BEATS if any(point.number for point in front.feasible) else front.infeasible().text


def notes(front: Front) -> list[str]:
    """What to know of a front before using it: what it lacks, what says less than it seems to, luck, what is not done.

    Of one that is empty, what else is said of it tells why.
    """
    if not len(front):
        return [line for line in (front.record.failed, front.record.unfinished) if line]
    lines = [
        alone(front),
        *idle(front),
        optimism(front),
        unverified(front) or judged_before(front) or thinly_timed(front),
        judged_apart(front),
        timed_under_load(front),
        front.record.failed,
        front.record.unfinished,
    ]
    return [line for line in lines if line]


def timed_under_load(front: Front) -> str:
    """Which points were timed while the machine was busy, and what mends it; empty where none was."""
    busy = [point.number for point in front if point.number and point.busy]
    if not busy:
        return ""
    numbers, verb = ", ".join(f"#{number}" for number in busy), _verify(front, "--again")
    return f"Timed while the machine was busy with other work, so that latency is unsure: {numbers}.\n  {verb}"


def picks(found: Mapping[str, Point | None]) -> str:
    """What each profile picks: `accuracy_critical (A) #14, balanced (B) #27`."""
    letters = initials(found)
    return ", ".join(
        f"{profile} ({letters[profile]}) {'nothing' if point is None else f'#{point.number}'}"
        for profile, point in found.items()
    )


def count(front: Front) -> str:
    """How many candidates there are beside the dense model, how many are feasible, how many on the front."""
    tried, feasible, found = (
        sum(point.number > 0 for point in points) for points in (front.record.points, front.feasible, front.points)
    )
    if not tried:
        return "nothing was tried beside the baseline"
    meet, beats = "meets" if feasible == 1 else "meet", f"nothing beats {found} of them (the front)"
    return f"{counted(tried, 'candidate')} beside the dense model, {feasible} {meet} the requirements, {beats}"


def best(front: Front) -> str:
    """The pick, and why it is: `#10, the smallest that held on test data`."""
    pick, most = (
        front.pick(),
        {
            "quality": "the most accurate",
            "size": "the smallest",
            "latency": "the fastest",
            "index": "the one of the smallest vectors",
        },
    )
    held = "that held on test data" if pick.verified else "by the search's own values, on validation data"
    return f"#{pick.number}, {most[front.requirements.prefer]} {held}"


def required(front: Front) -> str:
    """What must hold, in a line."""
    return ", ".join(item.text for item in front.requirements.items) or "no requirements"


def margin(item: Requirement, found: Mapping[str, Reading]) -> str:
    """How a requirement stands to what was measured: `holds, 3.1% to spare`, `missed by 2.0% of the limit`."""
    if item.reading not in found:
        return "not measured"
    by = item.violation(found[item.reading])
    return f"missed by {by:.1%} of the limit" if by > 0 else f"holds, {-by:.1%} to spare"


def bound(item: Requirement, reading: Reading) -> str:
    """What is true of a reading with 95 % confidence, as the requirement counts it: `0.981x`."""
    value = item.bound(reading)
    if math.isnan(value):
        return NOTHING
    return ratio(value) if item.relative else absolute(item.reading, value)


def certainty(item: Requirement, reading: Reading) -> str:
    """Whether a requirement holds, and whether its bound holds, too: a second look at the evidence."""
    if not reading.binds:
        return "does not bind"
    if item.violation(reading) > 0:
        if item.doubted(reading):
            return "missed for doubt alone"
        return "missed; too near to tell" if item.undecided(reading) else "missed"
    return {True: "holds", False: "holds by value alone", None: "holds by value; the bound is not known"}[
        item.sure(reading)
    ]


def evidence(front: Front, point: Point) -> str:
    """Which requirements a verified point holds by value alone, in a sentence; empty where it was not verified."""
    found = {item: point.verified[item.reading] for item in front.requirements.items if item.reading in point.verified}
    held = {item: reading for item, reading in found.items() if reading.binds and item.violation(reading) <= 0}
    alone = [f"{item.text} (bound {bound(item, reading)})" for item, reading in held.items() if not item.sure(reading)]
    if not held:
        return ""
    if not alone:
        return "Each requirement that holds does so by its bound at 95 %, too."
    return f"By value alone, not by the bound at 95 %, it holds {', '.join(alone)}."


def standing(front: Front, point: Point) -> str:
    """What keeps a point from being a sound choice under the front's requirements; empty if nothing does."""
    fall = next((fall for fall in front.falls if fall.point.number == point.number), None)
    if fall is not None:
        return f"candidate {point.number} fell when it was verified: it {fall.reason}"
    for found, when in ((point.verified, "as verified on test data"), (point.found, "by the search's measurements")):
        held = {item: found[item.reading] for item in front.requirements.items if item.reading in found}
        missed = [
            f"{item.text} by {item.violation(reading):.1%} of the limit"
            f"{DOUBT * item.doubted(reading)}{UNDECIDED * item.undecided(reading)}"
            for item, reading in held.items()
            if item.violation(reading) > 0
        ]
        if missed:
            return f"candidate {point.number} misses {', '.join(missed)}, {when}"
    return ""


def verifying(front: Front, point: Point) -> str:
    """The command that verifies a point: what is no finalist takes --all."""
    finalist = any(other.number == point.number for other in front.finalists)
    return _verify(front, *([] if finalist else ["--all"]))


def _verify(front: Front, *more: str) -> str:
    """The command that verifies a front under the requirements that it was asked for."""
    return front.record.verb("verify", *more, *front.limits.flags)
