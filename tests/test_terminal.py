"""What people read in a terminal: rendered on made-up studies at 80 and 200 columns, and read back."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import tempfile
import time
from pathlib import Path

import pytest
from made_studies import make_kinds, make_study
from rich.console import Console

from autoprune.cli.verbs import _say_doubts
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.measure.measurement import VERIFY, Measurement
from autoprune.record.archive import Archive
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.card import card
from autoprune.views.front_json import front_json
from autoprune.views.intervals import plus_minus
from autoprune.views.order import ordered
from autoprune.views.terminal import earlier, print_front, print_point, print_verified, say
from autoprune.views.terminal.front import MOST, thinned
from autoprune.views.terminal.verified import Earlier, pick_changes

WIDTHS = (80, 200)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies, by name; not to be changed."""
    return make_kinds(tmp_path_factory.mktemp("runs"))


def shown(width: int, show: object, *args: object, **options: object) -> list[str]:
    """The lines that are printed at a width; none is longer, and nothing is cut."""
    file = io.StringIO()
    assert callable(show)
    show(Console(width=width, file=file), *args, **options)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    copied = ("  autoprune ", "artifact  ")  # commands and paths stay in one piece
    assert max(len(line) for line in lines if not line.startswith(copied)) <= width
    assert "…" not in file.getvalue()
    return lines


def row_of(lines: list[str], number: int) -> str:
    (found,) = [line for line in lines if line.split()[:1] == [str(number)] and "x" in line and "fell when" not in line]
    return found


def changed(record: Record, change: object, *, keep: tuple[int, ...] = ()) -> Record:
    """The same study with other verifications; `change` takes a verification and returns another."""
    assert callable(change)
    archive = Archive(record.folder / "archive.jsonl")
    for point in record.points:
        if point.verified and point.number not in keep:
            archive.add(point.candidate.with_measurement(change(point.candidate.latest(VERIFY))))
    return Record(record.folder)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_verified_point_has_its_values_and_intervals(width: int, runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    lines = shown(width, print_front, front)
    assert len(front) >= 3
    for point in front:
        row = row_of(lines, point.number)
        for name in ("quality", "latency_ms"):
            reading = point.verified[name]
            assert reading.interval is not None
            half = (reading.interval[1] - reading.interval[0]) / 2
            assert f"{reading.ratio:.3f}x ±{math.ceil(half * 1000) / 1000:.3f}" in row
        assert f"{point.verified['size_bytes'].ratio:.3f}x" in row
        assert front.letters[point.number] in row.split()
        if width == 200:
            assert f"{point.verified['quality'].value:.4f} {point.verified['quality'].ratio:.3f}x" in row
            assert f"{point.found['quality'].value:.4f} {point.found['quality'].ratio:.3f}x" in row
            assert f"{point.verified['latency_ms'].value:.3f} ms" in row
    assert "0.0880" in row_of([line.replace("baseline", "x") for line in lines], 0)


@pytest.mark.parametrize("width", WIDTHS)
def test_picks_and_knee_are_marked(width: int, runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    lines = shown(width, print_front, front)
    assert "pick" in row_of(lines, front.pick().number)
    assert front.knee is not None
    assert "knee" in row_of(lines, front.knee.number)
    text = " ".join(" ".join(lines).split())
    for profile, point in front.picks().items():
        assert point is not None
        assert f"{profile} ({profile[0].upper()}) #{point.number}" in text


def test_footer_says_what_fell_and_what_it_means(runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    assert front.falls
    text = "\n".join(shown(200, print_front, front))
    for fall in front.falls:
        assert f"#{fall.point.number} fell when verified: it {fall.reason}" in text
    assert "Points that share a letter cannot be told apart in quality." in text
    assert "Fallen candidates were dropped by their test values; this overstates" in text
    assert "Latency was timed on made up, 2 cores." in text
    assert "verify" not in text.replace("verified", "")


def test_letters_match_pairwise_comparisons(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "s", 600, requirements={}))
    points = sorted([*front], key=lambda point: -point.verified["quality"].ratio)
    shared = 0
    for one, other in itertools.combinations(points, 2):
        alike = bool(set(front.letters[one.number]) & set(front.letters[other.number]))
        assert not (alike and front.told_apart(one, other))
        shared += alike
    for one, other in itertools.pairwise(points):
        if not front.told_apart(one, other):
            assert set(front.letters[one.number]) & set(front.letters[other.number])
    assert 0 < shared < len(points) * (len(points) - 1) / 2


def test_what_is_not_verified_says_so(runs: Path) -> None:
    front = Front(Record(runs / "raw"))
    lines = shown(80, print_front, front)
    text = "\n".join(lines)
    assert "validation" in lines[2]
    assert "±" not in text
    assert "Nothing is verified yet" in text
    assert text.endswith(f"autoprune verify raw --runs {runs}")


def test_partly_verified_points_are_told_apart(runs: Path, tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", verified=False)
    done = Record(runs / "verified")
    some = Front(record).searched[1]
    for point in (done.baseline, done.points[some.number]):
        record.archive.add(point.candidate)
    front = Front(Record(tmp_path / "s"))
    lines = shown(80, print_front, front)
    for point in front:
        if point.number:
            assert ("?" in row_of(lines, point.number)) == (point.number != some.number)
    assert any("points are not verified yet" in line for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_long_front_is_thinned_and_says_so(width: int, runs: Path) -> None:
    front = Front(Record(runs / "long"))
    assert len(front) > MOST + 5
    found = [point for point in front if point.number]
    kept = thinned(front, found, front.picks())
    assert len(kept) == MOST
    wanted = {point.number for point in [front.pick(), front.knee, *front.picks().values()] if point}
    assert wanted & {point.number for point in found} <= {point.number for point in kept}
    assert [point.number for point in kept] == [point.number for point in found if point in kept]
    lines = shown(width, print_front, front)
    assert any(f"{MOST} of {len(found)} points are shown" in line for line in lines)
    whole = shown(width, print_front, front, everything=True)
    assert all(row_of(whole, point.number) for point in found)
    assert not any("are shown" in line for line in whole)


def test_sorting_puts_the_best_first(runs: Path) -> None:
    record = Record(runs / "long")
    front = Front(record)
    sizes = [point.known["size_bytes"].value for point in ordered(front, record, "size")]
    assert sizes == sorted(sizes)
    tails = [point.known["recall@20.tail"].value for point in ordered(front, record, "recall@20.tail")]
    assert tails == sorted(tails, reverse=True)
    lines = shown(80, print_front, front, sort="size", everything=True)
    rows = [int(line[:3]) for line in lines if line[:3].strip().isdigit() and line[-1] in "sx"]
    assert rows == [0, *(point.number for point in ordered(front, record, "size") if point.number)]
    with pytest.raises(AutopruneError, match=r"--sort 'sise' is unknown\. Did you mean size"):
        ordered(front, record, "sise")


@pytest.mark.parametrize("width", WIDTHS)
def test_infeasible_front_explains_itself(width: int, runs: Path) -> None:
    front = Front(Record(runs / "none"))
    lines = shown(width, print_front, front)
    assert lines[0] == "No candidate of 39 meets every requirement."
    assert " ".join(" ".join(lines).split()) == " ".join(front.explain_empty().split())


def test_front_whose_points_all_fell_says_that(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", requirements={"quality": {"drop": "5%"}, "size_bytes": {"max": "0.9x"}})

    def halved(measured: object) -> object:
        quality = {name: {part: value / 2 for part, value in parts.items()} for name, parts in measured.quality.items()}
        return dataclasses.replace(measured, quality=quality)

    front = Front(changed(record, halved, keep=(0,)))
    assert not len(front)
    assert front.searched
    text = "\n".join(shown(80, print_front, front))
    count = len(front.falls)
    assert text.startswith(f"No candidate passed verification: all {count} points of the search's front fell.")
    assert "misses quality >= 0.95x by" in text
    assert front_json(front)["explanation"].startswith("No candidate passed verification")


def test_baseline_alone_is_a_front(runs: Path) -> None:
    lines = shown(80, print_front, Front(Record(runs / "one")))
    assert any("Only the baseline was measured so far" in line for line in lines)
    assert not any("Nothing beats" in line for line in lines), "nothing was tried"


@pytest.mark.parametrize("width", WIDTHS)
def test_verification_shows_both_looks_and_how_far_it_fell(width: int, runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    lines = shown(width, print_verified, front)
    for point in front:
        row = row_of(lines, point.number)
        if point.number:
            assert "front" in row
            assert f"{point.found['quality'].ratio:.3f}x" in row
            assert f"{phrases.ratio(point.verified['quality'].ratio)} {plus_minus(point.verified['quality'])}" in row
    for fall in front.falls:
        assert "fell" in row_of(lines, fall.point.number)
    tested = sum(point.number > 0 for point in front.searched)
    assert f"{len(front.falls)} of {tested} points on the search's front fell." in lines


def test_changed_picks_are_named(runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    now, search = front.picks(), front.picks(verified=False)
    (line,) = pick_changes(front)
    for profile, point in now.items():
        assert (f"{profile} #{search[profile].number} -> #{point.number}" in line) == (point != search[profile])
    other = front.record.points[3]
    before = Earlier(machine="elsewhere", picks={**now, "balanced": other, "smallest": None})
    line = pick_changes(front, before)[1]
    assert f"balanced #3 -> #{now['balanced'].number}, smallest nothing -> #{now['smallest'].number}." in line
    assert "(elsewhere)" in line
    same = earlier(front.record)
    assert same is not None
    assert len(pick_changes(front, same)) == 1, "verified here before: nothing to compare with"
    assert earlier(Record(runs / "raw")) is None


def test_a_candidate_is_shown_as_searched_and_as_verified(runs: Path) -> None:
    record = Record(runs / "verified")
    point = Front(record).points[-1]
    text = "\n".join(shown(200, print_point, Front(record), point))
    assert "item:" in text
    assert text.count("on made up, 2 cores") == 2
    assert text.count("binds, the worst") == 2
    assert f"{point.verified['quality'].error:.4f}" in text
    assert "5 processes" in text
    by = -Limits().requirements(record).items[0].violation(point.verified["quality"])
    assert f"holds, {by:.1%} to spare" in text.split("requirements")[1]
    assert "to repeat it" in text


@pytest.mark.parametrize("name", ["verified", "raw", "none", "one"])
def test_the_baseline_is_not_read_against_itself(name: str, runs: Path) -> None:
    record = Record(runs / name)
    for limits in (Limits(), Limits(profile="balanced"), Limits(ceilings=["latency_ms.batch=0.1x"])):
        text = "\n".join(shown(100, print_point, Front(record, limits), record.baseline))
        for nonsense in ("the worst", "missed", "holds", "1.000x", "ratio", "±", "spare", "requirements"):
            assert nonsense not in text
        assert text.count("  binds\n") + text.count("binds\n") >= 7
        assert f"{record.baseline.found['quality'].value:.4f}" in text
    asked = "\n".join(shown(120, print_point, Front(record, Limits(ceilings=["size_bytes=1MB"])), record.baseline))
    assert "size_bytes <= 1000000 missed by 150.0% of the limit" in asked, "a number of bytes is asked of it as well"


def test_what_nobody_was_measured_on_is_no_number(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4)
    archive = Archive(record.folder / "archive.jsonl")
    for candidate in list(archive.candidates.values()):
        made = [
            dataclasses.replace(
                found,
                quality={metric: {**parts, "tail": math.nan} for metric, parts in found.quality.items()},
                units={metric: {**counts, "tail": 0} for metric, counts in found.units.items()},
            )
            for found in candidate.measurements
        ]
        archive.add(dataclasses.replace(candidate, measurements=tuple(made)))
    front = Front(Record(record.folder))
    for point in front.record.points[:2]:
        for text in ("\n".join(shown(100, print_point, front, point)), card(front, point)):
            assert "nan" not in text
            assert "0 units" not in text


@pytest.mark.parametrize(
    ("name", "limits", "told"),
    [
        (
            "verified",
            Limits(),
            "39 candidates beside the dense model, 11 meet the requirements, nothing beats 5 of them (the front)",
        ),
        (
            "raw",
            Limits(),
            "39 candidates beside the dense model, 13 meet the requirements, nothing beats 6 of them (the front)",
        ),
        ("one", Limits(), "nothing was tried besides the baseline"),
        (
            "verified",
            Limits(ceilings=["size_bytes=1x"], floors=["quality=1x"]),
            "2 meet the requirements, nothing beats 1 of them (the front)",
        ),
    ],
)
def test_the_baseline_is_never_counted_among_what_was_found(name: str, limits: Limits, told: str, runs: Path) -> None:
    front = Front(Record(runs / name), limits)
    assert told in phrases.count(front)
    assert told in " ".join(shown(200, print_front, front))


def test_a_pick_is_shown_with_the_slices_of_its_metric(runs: Path) -> None:
    record = Record(runs / "verified")
    point = Front(record).points[-1]
    whole = "\n".join(shown(200, print_point, Front(record), point))
    short = "\n".join(shown(200, lambda *args: print_point(*args, everything=False), Front(record), point))
    assert "recall@20.tail" in whole
    assert "recall@20.tail" not in short
    assert short.count("recall@20 ") == whole.count("recall@20 ")
    assert short.count(f"{record.metric}.tail") == 2
    assert f"show verified {point.number}" in short


def test_a_slice_that_does_not_bind_says_why(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=False)
    archive = Archive(record.folder / "archive.jsonl")
    for point in record.points:
        measured = point.candidate.latest()
        units = {metric: {**counts, "tail": 7} for metric, counts in measured.units.items()}
        archive.add(point.candidate.with_measurement(dataclasses.replace(measured, units=units)))
    record = Record(record.folder)
    text = "\n".join(shown(200, print_point, Front(record), record.points[1]))
    assert "does not bind, too few: 7 units" in text


def test_what_another_machine_verified_last_is_told(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s")
    elsewhere = changed(record, lambda measured: dataclasses.replace(measured, machine="elsewhere"), keep=())
    # The baseline was verified there last; a point that was verified here alone counts as not verified.
    archive, point = Archive(elsewhere.folder / "archive.jsonl"), Front(elsewhere).searched[-1]
    kept = tuple(found for found in point.candidate.measurements if found.machine != "elsewhere")
    archive.add(dataclasses.replace(point.candidate, measurements=kept))
    after = Record(elsewhere.folder)
    text = "\n".join(shown(200, print_point, Front(after), after.points[point.number]))
    assert "not verified on test data" in text
    text = "\n".join(shown(200, print_point, Front(after), after.baseline))
    assert "also measured for the verification on made up, 2 cores: single 1.000x" in text
    lines = shown(200, print_front, Front(after))
    assert (
        "Latency was timed for the search on made up, 2 cores, for the verification on an unknown machine (elsewhere)."
        in lines
    )


def test_standing_names_what_is_wrong(runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    assert phrases.standing(front, front.points[-1]) == ""
    fallen = front.falls[0].point
    assert (
        phrases.standing(front, fallen)
        == f"candidate {fallen.number} fell when it was verified: it {front.falls[0].reason}"
    )
    worst = min((point for point in front.record.points if not point.candidate.rejected), key=quality)
    assert "misses quality >= 0.95x by" in phrases.standing(front, worst)


def quality(point: Point) -> float:
    return point.found["quality"].ratio


def test_numbers_in_words() -> None:
    assert [phrases.byte_count(count) for count in (7, 999, 999.6, 1_000, 2_500_000, 3_999_999_999)] == [
        "7 B",
        "999 B",
        "1 kB",
        "1 kB",
        "2.5 MB",
        "4 GB",
    ]
    assert phrases.ratio(0.00412) == "0.0041x"
    assert phrases.ratio(math.nan) == "-"
    assert phrases.initials(dict.fromkeys(["small", "smallest", "fast"])) == {
        "small": "SMALL",
        "smallest": "SMALLE",
        "fast": "F",
    }


def test_folded_lines_keep_their_indent() -> None:
    lines = shown(20, say, "  one two three four five six\nnext")
    assert lines == ["  one two three four", "    five six", "next"]


def test_commands_are_not_folded() -> None:
    command = "  autoprune task=encoder 'task.texts=[general, my own.txt]'"
    assert shown(20, say, f"The same command goes on:\n{command}") == ["The same command", "  goes on:", command]


def test_what_verifies_a_candidate_can_be_copied_at_any_width(runs: Path) -> None:
    limits = Limits(floors=["quality=0.9x", "recall@20=0.9x"], ceilings=["size_bytes=0.5x", "latency_ms=0.9x"])
    front = Front(Record(runs / "raw"), limits)
    point = front.record.points[1]
    offered = f"  {phrases.verifying(front, point)}"
    assert len(offered) > 80
    for show in (print_point, _say_doubts):
        assert offered in shown(80, show, front, point)


def test_why_a_candidate_was_rejected_stands_as_it_was_written(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=False)
    lines = [json.loads(line) for line in record.archive.path.read_text().splitlines()]
    lines[3]["rejected"] = "#2 is no larger, and better for sure"
    record.archive.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    record = Record(record.folder)
    lines = shown(80, print_point, Front(record), record.points[3])
    assert "rejected early, not fully measured: #2 is no larger, and better for sure" in lines


@pytest.mark.slow
def test_what_showing_a_front_costs_grows_with_its_candidates_and_no_faster(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        made = make_study(Path(tempfile.mkdtemp(dir=tmp_path)) / "s", count).folder
        start = time.process_time()  # of this process alone, however busy the machine is
        front = Front(Record(made))
        shown(80, print_front, front)
        json.dumps(front_json(front), allow_nan=False)
        return time.process_time() - start

    few = min(seconds(500) for _ in range(2))
    assert seconds(5000) < 40 * few, "ten times as many; by their squares it would be a hundred times"


def test_another_profile_is_another_front(runs: Path) -> None:
    record = Record(runs / "verified")
    front = Front(record, Limits(profile="latency_sensitive"))
    assert "latency_ms <= 0.9x" in shown(200, print_front, front)[0]


def test_a_ruined_tail_is_marked_although_it_does_not_bind(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s")
    number = Front(record).points[-1].number

    def faint(measured: Measurement) -> Measurement:
        parts = {**measured.quality["ndcg@20"], "tail": 0.01}
        return dataclasses.replace(measured, quality={**measured.quality, "ndcg@20": parts})

    archive = Archive(record.folder / "archive.jsonl")
    for candidate in list(archive.candidates.values()):
        made = [faint(found) if found.quality else found for found in candidate.measurements]
        if candidate.number == number:
            ruined = [{**found.quality["ndcg@20"], "tail": 0.004} for found in made]
            made = [
                dataclasses.replace(found, quality={**found.quality, "ndcg@20": parts})
                for found, parts in zip(made, ruined, strict=True)
            ]
        archive.add(dataclasses.replace(candidate, measurements=tuple(made)))
    after = Record(record.folder)
    front = Front(after)
    assert after.points[number].known["worst_slice"].ratio > 0.5, "it does not bind"
    assert after.beyond(after.points[number]) == ("tail", pytest.approx(0.4))
    text = " ".join(" ".join(shown(80, print_front, front)).split())
    assert f"* marks a larger loss on a slice that is too faint in the baseline to bind: #{number} keeps" in text
    assert "0.400x of tail" in text
