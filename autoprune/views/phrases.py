"""Measurements in words: numbers, intervals and machines are written in the same way everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autoprune.fronts.front import NOTHING_TRIED, Front
from autoprune.fronts.infeasible import SEARCH_ON
from autoprune.fronts.requirements import Requirement
from autoprune.measure.measurement import RULES, SEARCH, VERIFY, Latency, Measurement, version_of
from autoprune.measure.reading import FEWEST_UNITS, Reading, shipped
from autoprune.record.archive import ROUNDS, processes
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views.intervals import plus_minus
from autoprune.views.marks import initials

NOTHING = "-"
"""Stands for a value that was not measured."""

MILLION = 1_000_000
"""The number of texts for which the size of their vectors is shown."""

NOTHING_BEATS = f"Nothing beats the baseline under these requirements; loosen one, or {SEARCH_ON}."

THINLY = "timed in too few processes"
"""Of a bound that a requirement asks for, and that says little of other processes."""

PURPOSES = {SEARCH: "the search", VERIFY: "the verification"}
"""The names of the purposes of measurements."""


def counted(count: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def ratio(value: float) -> str:
    """A ratio to the baseline: three decimals, four if it is very small."""
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
    """The throughput of a workload of several texts, to follow its milliseconds: `, 2,560 a second`."""
    return f", {1000 * latency.items / value_ms:,.0f} a second" if latency.items and value_ms > 0 else ""


def for_sure(reading: Reading) -> str:
    """The lower bound of the true ratio, with 95 % confidence (one-sided): `0.981x`."""
    return ratio(reading.sure_bound(upper=False))


def cell(
    name: str, readings: Mapping[str, Reading], *, value: bool = True, relative: bool = True, sure: bool = False
) -> str:
    """A reading as a table shows it: `0.0867 0.985x ±0.012`, or a part of this.

    Args:
        value: whether the value is shown, in its own unit.
        relative: whether the ratio to the baseline is shown.
        sure: whether the interval of a re-measurement is shown.
    """
    reading = readings.get(name)
    if reading is None:
        return NOTHING
    shown = [absolute(name, reading.value)] * value + [ratio(reading.ratio)] * relative + [plus_minus(reading)] * sure
    return " ".join(one for one in shown if one)


def machine(record: Record, number: str) -> str:
    """The description of a machine, found by its fingerprint."""
    facts = record.machines.get(number)
    if facts is None:
        return f"an unknown machine ({number})"
    cores = int(facts["cores"])
    device = f"{facts.get('gpu', '')} ({facts['device']}), " if "device" in facts else ""
    threads = int(facts.get("threads", 0))
    used = f" ({counted(threads, 'thread')} used)" if threads and not device else ""
    return f"{device}{facts['cpu']}, {counted(cores, 'core')}{used}"


def machines(record: Record) -> str:
    """The machines that timed latencies, for the search and for the verification, in a sentence."""
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
    """By how much dropping fallen candidates makes the others look too good; empty if none fell."""
    if not front.falls:
        return ""
    dropped = "Fallen candidates were dropped by their test values"
    if not front.optimism:
        return f"{dropped}, so the others look slightly too good."
    missed = [miss.item for fall in front.falls for miss in fall.misses if not miss.item.ceiling]
    others = dict.fromkeys(item.reading for item in missed if item.reading not in ("quality", front.record.metric))
    excess = [f"the {front.record.metric} of the others {_flattery(front, front.record.metric)}"]
    excess += [f"their {name} {_flattery(front, name)}" for name in others]
    return f"{dropped}; this overstates {', '.join(excess)}."


def _flattery(front: Front, name: str) -> str:
    if name not in front.optimism:
        return "by an unknown share"
    share = max(0.0, front.optimism[name])
    return f"by about {share:.1%}" if share >= 0.0005 else "by less than 0.1%"


def folder(measured: Measurement, baseline: Measurement) -> str:
    """The size of the whole folder, and of the users' histories in it; empty if it is not known."""
    whole = shipped(measured, baseline)
    if whole is None:
        return ""
    text = f"the whole folder takes {byte_count(whole.value)}, {ratio(whole.ratio)} of the dense model's"
    if not measured.history_bytes:
        return text
    return f"{text}; the histories in it ({byte_count(measured.history_bytes)}) serve users without a row"


def why_idle(baseline: Measurement, metric: str, slice_name: str) -> str:
    """Why a slice does not bind: by its units, or by the baseline's value on it."""
    units = baseline.units[metric][slice_name]
    if units < FEWEST_UNITS:
        return f"too few: {units} units"
    return f"too faint: {baseline.quality[metric][slice_name]:.4f} in the baseline"


def beyond(record: Record, point: Point) -> str:
    """The loss of a point on a slice that no requirement covers; empty if there is none."""
    loss = record.beyond(point)
    return f"keeps {ratio(loss[1])} of {loss[0]}, which is too faint in the baseline to bind" if loss else ""


def idle(front: Front) -> list[str]:
    """A line for each requirement that is weaker than it seems, or that the baseline misses on test data."""
    baseline, lines = front.record.baseline, []
    for item in front.requirements.items:
        searched, tested = baseline.found.get(item.reading), baseline.verified.get(item.reading)
        if searched is not None and not searched.binds:
            metric, _, slice_name = item.reading.rpartition(".")
            lines.append(f"{item.text} does not bind: {why_idle(baseline.candidate.latest(), metric, slice_name)}.")
        elif searched is not None and tested is not None and item.violation(searched) <= 0 < item.violation(tested):
            lines.append(f"{item.text} is missed by the baseline itself on test data: {tested.value:.4g}.")
    return lines


def unverified(front: Front) -> str:
    """Which points are not verified yet, and the command that verifies them; empty if all are."""
    left = [point for point in front if point.number and not point.verified]
    if not left:
        return ""
    verb = _verify(front)
    if not any(point.verified for point in front):
        return (
            "Nothing is verified yet: these are the search's own values, on the validation data that it selected by. "
            f"Verify them on test data:\n  {verb}"
        )
    are = "is" if len(left) == 1 else "are"
    total = sum(point.number > 0 for point in front)
    return f"{len(left)} of {counted(total, 'point')} {are} not verified yet:\n  {verb}"


def judged_before(front: Front) -> str:
    """A note if another version verified quality by other rules, and the remedy; empty otherwise."""
    baseline = front.record.baseline
    if not baseline.verified or (rules := baseline.candidate.latest(VERIFY).rules) == RULES:
        return ""
    note = f"Verified by {version_of(rules)}, which judged quality by other rules."
    return f"{note} Update autoprune." if rules > RULES else f"{note} By the current rules:\n  {_verify(front)}"


def judged_apart(front: Front) -> str:
    """Which points the search judged by other rules than the baseline; empty if none."""
    rules = front.record.baseline.candidate.latest().rules
    apart = ", ".join(f"#{point.number}" for point in front.searched if point.candidate.latest().rules != rules)
    return f"Searched by other rules than the baseline, so their ratios are less reliable: {apart}." * bool(apart)


def thinly_timed(front: Front) -> str:
    """How many points were timed in fewer processes than usual, and the command to time them again; empty if none."""
    timed = [point.candidate.latest(VERIFY) for point in front if point.number and point.verified]
    few = sum(processes(measured) < ROUNDS for measured in timed)
    if not few:
        return ""
    were = "was" if few == 1 else "were"
    return f"{few} of {counted(len(timed), 'point')} {were} timed in fewer than {ROUNDS} processes:\n  {_verify(front)}"


def alone(front: Front) -> str:
    """Why only the baseline is on a front; empty if others are, or if a format excludes them."""
    if not len(front) or any(point.number for point in front) or front.falls:
        return ""
    if len(front.record.points) == 1:
        return NOTHING_TRIED
    if len(front.candidates) == 1:
        return ""
    return NOTHING_BEATS if any(point.number for point in front.feasible) else front.infeasible().text


def notes(front: Front) -> list[str]:
    """Caveats of a front: idle requirements, luck, what is not verified, failures, what was cut short or not finished.

    `Front.explain_empty` explains an empty front; its notes are the last three.
    """
    if not len(front):
        return [line for line in (front.record.cut_short, front.record.failed, front.record.unfinished) if line]
    lines = [
        alone(front),
        *idle(front),
        optimism(front),
        unverified(front) or judged_before(front) or thinly_timed(front),
        judged_apart(front),
        timed_under_load(front),
        front.record.cut_short,
        front.record.failed,
        front.record.unfinished,
    ]
    return [line for line in lines if line]


def timed_under_load(front: Front) -> str:
    """Which points were timed while the machine was busy, and the command to time them again; empty if none."""
    busy = [point.number for point in front if point.number and point.busy]
    if not busy:
        return ""
    numbers, verb = ", ".join(f"#{number}" for number in busy), _verify(front, "--again")
    return f"Timed while the machine was busy with other work, so latency is uncertain: {numbers}.\n  {verb}"


def picks(by_profile: Mapping[str, Point | None]) -> str:
    """The pick of each profile: `accuracy_critical (A) #14, balanced (B) #27`."""
    letters = initials(by_profile)
    return ", ".join(
        f"{profile} ({letters[profile]}) {'nothing' if point is None else f'#{point.number}'}"
        for profile, point in by_profile.items()
    )


def count(front: Front) -> str:
    """How many candidates there are besides the dense model, how many are feasible, how many on the front."""
    tried, feasible, on_front = (
        sum(point.number > 0 for point in points) for points in (front.record.points, front.feasible, front.points)
    )
    if not tried:
        return "nothing was tried besides the baseline"
    meet, beats = "meets" if feasible == 1 else "meet", f"nothing beats {on_front} of them (the front)"
    return f"{counted(tried, 'candidate')} beside the dense model, {feasible} {meet} the requirements, {beats}"


def best(front: Front) -> str:
    """The pick, and why it was chosen: `#10, the smallest that held on test data`."""
    pick, most = (
        front.pick(),
        {
            "quality": "the most accurate",
            "size": "the smallest",
            "latency": "the fastest",
            "index": "the one with the smallest vectors",
        },
    )
    basis = "that held on test data" if pick.verified else "by the search's own values, on validation data"
    return f"#{pick.number}, {most[front.requirements.prefer]} {basis}"


def required(front: Front) -> str:
    """The requirements in one line."""
    return ", ".join(item.text for item in front.requirements.items) or "no requirements"


def margin(item: Requirement, readings: Mapping[str, Reading]) -> str:
    """Whether a requirement holds, and by how much: `holds, 3.1% to spare`, `missed by 2.0% of the limit`."""
    if item.reading not in readings:
        return "not measured"
    by = item.violation(readings[item.reading])
    return f"missed by {by:.1%} of the limit" if by > 0 else f"holds, {-by:.1%} to spare"


def bound(item: Requirement, reading: Reading) -> str:
    """The bound of a reading with 95 % confidence, in the unit of the requirement: `0.981x`."""
    value = item.bound(reading)
    if math.isnan(value):
        return NOTHING
    return ratio(value) if item.relative else absolute(item.reading, value)


def certainty(item: Requirement, reading: Reading) -> str:
    """Whether a requirement holds by the value of a reading, and by its bound."""
    if not reading.binds:
        return "does not bind"
    if item.violation(reading) > 0:
        if item.doubted(reading):
            return "missed by its bound alone"
        return "missed; too near to tell" if item.undecided(reading) else "missed"
    if item.thinly(reading):
        return f"holds; {THINLY}"
    return {True: "holds", False: "holds by value alone", None: "holds by value, bound unknown"}[item.sure(reading)]


def evidence(front: Front, point: Point) -> str:
    """Which requirements a verified point meets by value alone, in a sentence; empty if it was not verified."""
    verified = point.verified
    readings = {item: verified[item.reading] for item in front.requirements.items if item.reading in verified}
    held = {item: reading for item, reading in readings.items() if reading.binds and item.violation(reading) <= 0}
    alone = [
        f"{item.text} ({THINLY if item.thinly(reading) else f'bound {bound(item, reading)}'})"
        for item, reading in held.items()
        if not item.sure(reading)
    ]
    if not held:
        return ""
    if not alone:
        return "Every requirement that holds also holds by its bound at 95 %."
    return f"It meets these by value alone, not by the bound at 95 %: {', '.join(alone)}."


def standing(front: Front, point: Point) -> str:
    """Why a point is no sound choice under the front's requirements; empty if it is one."""
    fall = next((fall for fall in front.falls if fall.point.number == point.number), None)
    if fall is not None:
        return f"candidate {point.number} fell when it was verified: it {fall.reason}"
    for found, when in ((point.verified, "as verified on test data"), (point.found, "by the search's measurements")):
        missed = [miss.text for miss in front.requirements.misses(found)]
        if missed:
            return f"candidate {point.number} misses {', '.join(missed)}, {when}"
    return ""


def verifying(front: Front, point: Point) -> str:
    """The command that verifies a point; one that is no finalist needs --all."""
    finalist = any(other.number == point.number for other in front.finalists)
    return _verify(front, *([] if finalist else ["--all"]))


def _verify(front: Front, *more: str) -> str:
    """The command that verifies a front under its limits."""
    return front.record.verb("verify", *more, *front.limits.flags)
