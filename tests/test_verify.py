"""The finalists of a real small study, measured again on test data."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml
from shell import typed
from short_search import shorten

import autoprune
from autoprune.deadline import Deadline
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.machine import machine
from autoprune.measure.measurement import Measurement
from autoprune.measure.timing import MOST_PAIRS
from autoprune.record.archive import Archive, Candidate
from autoprune.record.folder import driving
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.study.definition import Definition
from autoprune.study.evaluation.eviction import evict
from autoprune.study.evaluation.remeasure import Pair, Remeasurer
from autoprune.study.executors.forked import can_fork
from autoprune.study.progress.progress import Expected, Watching
from autoprune.study.search import _verified_so_far
from autoprune.study.verify import verify, verify_finalists, verify_pick

WORDS = [
    "task=interactions",
    "task.dim=16",
    "task.training.epochs=20",
    "space.prune.epochs=0",
    "presets=none",
    "presets.int8.quantize.bits=8",
    "presets.lossy.prune.method.dims.sparsity=0.75",
    "requirements=none",
    "requirements.quality.drop=25%",
    "study.objectives=[quality,size]",
    "study.latency_seconds=0.001",
    "study.name=s",
    "study.looks=40",
    "study.trials=0",
    "study.verify_rounds=0",
]

pytestmark = pytest.mark.slow  # each verification starts processes


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        yield


@pytest.fixture(scope="module")
def searched(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was searched and not verified; not to be changed."""
    folder = tmp_path_factory.mktemp("searched")
    autoprune.search(*WORDS, f"task.data.path={planted}", f"study.dir={folder}")
    return folder


@pytest.fixture(scope="module")
def verified(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study, verified; not to be changed."""
    folder = Path(shutil.copytree(searched, tmp_path_factory.mktemp("verified") / "runs"))
    autoprune.verify_study("s", runs=folder, rounds=2)
    return folder


@pytest.fixture
def runs(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "runs"))


def numbers(points: list[Point]) -> set[int]:
    return {point.candidate.number for point in points}


def test_baseline_presets_and_front_are_verified(searched: Path, verified: Path) -> None:
    record = Record(verified / "s")
    front = Front(record)
    assert numbers(front.finalists) == {0, 1, 2} | numbers(Front(Record(searched / "s")).points)
    assert numbers([point for point in record.points if point.verified]) == numbers(front.finalists)


def test_search_values_stay_and_order_does(searched: Path, verified: Path) -> None:
    before, after = Record(searched / "s"), Record(verified / "s")
    assert [point.candidate.key for point in after.points] == [point.candidate.key for point in before.points]
    for old, new in zip(before.points, after.points, strict=True):
        # What the search had no need to time is known by the verification alone.
        assert {name: new.found[name] for name in old.found} == old.found
        assert new.candidate.latest() == old.candidate.latest()
    fallen = numbers([fall.point for fall in Front(after).falls])
    assert numbers(Front(after).points) | fallen == numbers(Front(before).points)
    line = (searched / "s" / "archive.jsonl").read_bytes()
    assert (verified / "s" / "archive.jsonl").read_bytes().startswith(line)


def test_verified_quality_is_what_the_loaded_artifact_scores_on_test(verified: Path) -> None:
    record = Record(verified / "s")
    task = Definition.of_record(record).make_task()
    for point in Front(record).finalists:
        measured = point.candidate.latest("verify")
        assert measured.split == "test"
        assert measured.machine == machine()["id"]
        rows = task.score(autoprune.load(point.folder), "test")
        assert point.verified["quality"].value == task.metrics["ndcg@20"](rows)
        assert point.verified["quality"].value != point.found["quality"].value
        assert measured.size_bytes == point.candidate.latest().size_bytes


def test_every_artifact_is_timed_on_its_own(verified: Path) -> None:
    record = Record(verified / "s")
    timings = [point.candidate.latest("verify").latency["single"] for point in Front(record).finalists]
    assert len({timing.median_ms for timing in timings}) == len(timings)
    assert timings[0].ratio == 1.0
    assert all(len(timing.rounds) == 2 and timing.pairs <= 2 * MOST_PAIRS for timing in timings)
    reading = record.points[1].verified["latency_ms"]
    assert reading.value == pytest.approx(timings[0].median_ms * reading.ratio)


@pytest.mark.skipif(not can_fork(), reason="nothing is copied here")
def test_artifacts_are_judged_together_as_each_alone(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", 0.0)
    monkeypatch.setattr("autoprune.study.evaluation.remeasure.cores", lambda: 2)
    found = {}
    for workers, copies in ((1, {0}), (2, {0, 2}), (99, {0, 2})):
        runs = with_workers(searched, tmp_path / str(workers), workers)
        seen = set[int]()
        finalists = verify(runs / "s", rounds=1, working=partial(count_copies, seen)).finalists
        measured = [point.candidate.latest("verify") for point in finalists]
        found[workers] = [(one.quality, one.errors, one.draws) for one in measured]
        assert all(timed.median_ms > 0 for one in measured for timed in one.latency.values())
        assert seen == copies, workers
    assert found[1] == found[2] == found[99]


@pytest.mark.skipif(not can_fork(), reason="nothing is copied here")
def test_what_ends_a_copy_is_judged_in_this_process(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, judge = with_workers(searched, tmp_path, 2), Remeasurer.judge

    def dies_in_a_copy(self: Remeasurer, pair: Pair) -> Measurement:
        if multiprocessing.parent_process() is not None:
            os._exit(9)
        return judge(self, pair)

    monkeypatch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", 0.0)
    monkeypatch.setattr("autoprune.study.evaluation.remeasure.cores", lambda: 2)
    monkeypatch.setattr(Remeasurer, "judge", dies_in_a_copy)
    assert all(point.verified for point in verify(runs / "s", rounds=1).finalists)


def with_workers(searched: Path, folder: Path, workers: int) -> Path:
    """A copy of the study that is judged by so many processes."""
    runs = Path(shutil.copytree(searched, folder / "runs"))
    told = runs / "s" / "study.yaml"
    told.write_text(yaml.safe_dump({**yaml.safe_load(told.read_text()), "workers": workers}, sort_keys=False))
    return runs


def count_copies(counts: set[int], message: str) -> None:
    if message:
        counts.add(len(multiprocessing.active_children()))


def test_a_task_that_is_lent_to_a_verification_is_given_back(runs: Path) -> None:
    """A search that goes on after it stops and speaks as before."""
    record, said = Record(runs / "s"), list[str]()
    task = Definition.of_record(record).make_task()
    task.report, task.pause = before = said.append, lambda: None
    verify_finalists(record, task=task, rounds=1, deadline=Deadline.after(0.0))
    assert (task.report, task.pause) == before
    assert said == []


def test_before_training_what_would_be_picked_is_verified_and_no_more(runs: Path) -> None:
    record = Record(runs / "s")
    task = Definition.of_record(record).make_task()
    picked = Front(record).pick(verified=False)
    assert _verified_so_far(Front(record)) == "", "nothing is said of what nobody verified"
    front = verify_pick(record, task=task, watch=Watching())
    assert _verified_so_far(front).startswith(f"On test data {1 / picked.found['size_bytes'].ratio:.1f}x smaller at ")
    seen = [point for point in front.record.points if point.verified]
    assert numbers(seen) == {0, picked.number} < numbers(front.finalists)
    assert front.pick().number == picked.number
    before = (runs / "s" / "archive.jsonl").read_bytes()
    verify_pick(front.record, task=task, watch=Watching())
    assert (runs / "s" / "archive.jsonl").read_bytes() == before


def test_what_others_verified_before_training_counts(runs: Path) -> None:
    """As many as are verified at most: what would be picked then waits for the end."""
    record = Record(runs / "s")
    task = Definition.of_record(record).make_task()
    front = verify_finalists(record, task=task, rounds=1)
    picked, archive = front.pick(verified=False).candidate, front.record.archive
    searched = tuple(found for found in picked.measurements if found.purpose == "search")
    archive.add(dataclasses.replace(archive.candidates[picked.key], measurements=searched))
    before = (runs / "s" / "archive.jsonl").read_bytes()
    front = verify_pick(front.record.renewed(), task=task, watch=Watching())
    assert front.pick(verified=False).number == picked.number
    assert (runs / "s" / "archive.jsonl").read_bytes() == before


def test_before_training_what_does_not_hold_makes_way_for_the_next(runs: Path, verified: Path) -> None:
    smallest = min(Front(Record(verified / "s")).finalists, key=lambda point: point.found["size_bytes"].value)
    found, held = smallest.found["quality"].ratio, smallest.verified["quality"].ratio
    assert held < found
    record = Record(runs / "s")
    record.definition["requirements"]["quality"] = {"min": f"{(found + held) / 2:.5f}x"}
    assert Front(record).pick().number == smallest.number
    front = verify_pick(record, task=Definition.of_record(record).make_task(), watch=Watching())
    assert smallest.number in numbers([point for point in front.record.points if point.verified])
    assert front.pick().number != smallest.number
    assert front.pick().verified


def test_a_second_verification_measures_nothing(verified: Path) -> None:
    before = (verified / "s" / "archive.jsonl").read_bytes()
    working: list[str] = []
    autoprune.verify_study("s", runs=verified, rounds=2, working=working.append)
    assert not working
    assert (verified / "s" / "archive.jsonl").read_bytes() == before


def test_all_verifies_every_candidate(runs: Path) -> None:
    autoprune.verify_study("s", runs=runs, everything=True, rounds=1)
    assert all(point.verified for point in Record(runs / "s").points)


def test_another_floor_has_other_finalists(searched: Path) -> None:
    record = Record(searched / "s")
    strict = Front(record, Limits(floors=["quality=0.999x"]))
    assert {0, 1, 2} <= numbers(strict.finalists)
    assert len(strict.finalists) <= len(Front(record).finalists)


def test_an_interrupted_verification_goes_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, add = runs / "s" / "archive.jsonl", Archive.add
    added: list[str] = []

    def killed_at_the_third(self: Archive, candidate: Candidate) -> None:
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(candidate.key)
        add(self, candidate)

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "add", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            autoprune.verify_study("s", runs=runs, rounds=1)
    first = Record(runs / "s")
    taken = {one.key: [found.purpose for found in one.measurements] for one in first.archive.candidates.values()}
    assert {key for key, purposes in taken.items() if "verify" in purposes} == set(added)
    assert not any(point.verified for point in first.points), "the baseline comes last: all counts, or nothing"
    with archive.open("ab") as file:
        file.write(b'{"number": 3, "na')  # as a kill leaves it
    autoprune.verify_study("s", runs=runs, rounds=1)
    finalists = Front(Record(runs / "s")).finalists
    purposes = [[found.purpose for found in point.candidate.measurements] for point in finalists]
    assert purposes == [["search", "verify"]] * len(finalists), "nothing is measured twice"
    assert archive.read_bytes().endswith(b"}\n")


def test_out_of_time_the_baseline_and_the_pick_are_verified_and_the_rest_goes_on(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.study.verify.judged_at_once", lambda workers: 1)  # one report for each candidate
    before = Front(Record(runs / "s"))
    pick = before.pick(verified=False).number
    assert len(before.finalists) > 2
    said: list[Expected] = []
    found = verify(runs / "s", rounds=3, deadline=Deadline.after(0.0), expect=said.append)
    assert numbers([point for point in found.finalists if point.verified]) == {0, pick}
    assert found.pick().number == pick
    assert all(one.left() >= 1.0 for one in said)
    found = verify(runs / "s", rounds=2, expect=said.append)
    assert all(point.verified for point in found.finalists)
    assert {len(point.candidate.latest("verify").latency["single"].rounds) for point in found.finalists} == {2}
    assert len(said) == len(before.finalists) * 2


def test_another_machine_measures_again(verified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Path(shutil.copytree(verified, tmp_path / "runs"))
    before = Record(runs / "s").points[1].verified
    monkeypatch.setattr("autoprune.study.verify.machine", lambda device: {"id": "elsewhere"})
    monkeypatch.setattr("autoprune.study.evaluation.task_worker.machine", lambda device: {"id": "elsewhere"})
    autoprune.verify_study("s", runs=runs, rounds=1)
    point = Record(runs / "s").points[1]
    machines = [found.machine for found in point.candidate.measurements]
    assert machines == [machine()["id"], machine()["id"], "elsewhere"]
    assert point.verified["quality"] == before["quality"]
    monkeypatch.undo()
    autoprune.verify_study("s", runs=runs, rounds=2)
    assert Record(runs / "s").points[1].verified == before, "back here, what was measured here counts again"


def test_a_study_goes_on_after_it_was_verified(verified: Path, planted: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(verified, tmp_path / "runs"))
    count = len(Record(runs / "s").points)
    words = [word for word in WORDS if not word.startswith("study.looks")]
    autoprune.search(*words, "study.looks=120", f"task.data.path={planted}", f"study.dir={runs}")
    record = Record(runs / "s")
    assert len(record.points) > count
    assert record.baseline.verified
    assert not record.points[-1].verified


def test_changed_data_is_refused(runs: Path, planted: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(planted, tmp_path / "other"))
    lines = (other / "test.txt").read_text().splitlines()
    (other / "test.txt").write_text("\n".join(lines[:-1]) + "\n")  # one user's test items are gone
    point_to(runs, other)
    before = (runs / "s" / "archive.jsonl").read_bytes()
    with pytest.raises(AutopruneError, match=r"the data of study 's' in '.*other' has changed"):
        autoprune.verify_study("s", runs=runs, rounds=1)
    assert (runs / "s" / "archive.jsonl").read_bytes() == before


def test_moved_data_is_found_where_the_overrides_say(runs: Path, planted: Path, tmp_path: Path) -> None:
    point_to(runs, tmp_path / "nowhere")
    with pytest.raises(AutopruneError, match=r"(?s)cannot read its data again.*nowhere.*task\.data\.path=…"):
        autoprune.verify_study("s", runs=runs, rounds=1)
    point_to(runs, Path(shutil.copytree(planted, tmp_path / "moved here")), quote="'")
    autoprune.verify_study("s", runs=runs, rounds=1)
    assert Record(runs / "s").baseline.verified


def point_to(runs: Path, data: Path, *, quote: str = "") -> None:
    path = runs / "s" / "study.yaml"
    content = yaml.safe_load(path.read_text())
    kept = [word for word in content["overrides"] if not word.startswith("task.data.path=")]
    content["overrides"] = [*kept, f"task.data.path={quote}{data}{quote}"]
    if not quote:
        content["places"] = {"task.data.path": str(data)}
    else:
        content.pop("places", None)  # as older versions wrote it
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_damaged_artifact_gets_a_message_with_the_way_out(runs: Path) -> None:
    point = Record(runs / "s").points[1]
    path = point.folder / "model" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AutopruneError, match=r"(?s)candidate 1 cannot be verified: .*truncated") as caught:
        autoprune.verify_study("s", runs=runs, rounds=1)
    message = str(caught.value)
    assert f"study.name=s-1 study.dir={runs}" in message
    assert f"cp -r {runs}/s-1/artifacts/{point.candidate.key} {point.folder}" in message
    assert not any(point.verified for point in Record(runs / "s").points), "the baseline comes last"


def test_the_commands_that_mend_an_artifact_keep_a_name_in_one_piece(searched: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(searched, tmp_path / "my runs"))
    point = Record(runs / "s").points[1]
    (point.folder / "artifact.json").unlink()
    with pytest.raises(AutopruneError) as caught:
        autoprune.verify_study("s", runs=runs, rounds=1)
    (mend,) = [line for line in str(caught.value).splitlines() if line.startswith("  rm ")]
    made = f"{runs}/s-1/artifacts/{point.candidate.key}"
    assert shlex.split(mend) == ["rm", "-rf", str(point.folder), "&&", "cp", "-r", made, str(point.folder)]


def test_a_damaged_baseline_is_made_again_by_the_search(runs: Path, planted: Path) -> None:
    shutil.rmtree(Record(runs / "s").baseline.folder)
    with pytest.raises(
        AutopruneError, match=r"(?s)candidate 0 cannot be verified: .*Running the study's own command again rebuilds"
    ):
        autoprune.verify_study("s", runs=runs, rounds=1)
    autoprune.search(*WORDS, f"task.data.path={planted}", f"study.dir={runs}")
    autoprune.verify_study("s", runs=runs, rounds=1)
    assert Record(runs / "s").baseline.verified


def test_a_study_that_is_driven_is_not_verified(runs: Path) -> None:
    code = f"import autoprune; autoprune.verify_study('s', runs={str(runs)!r})"
    with driving(runs / "s"):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "is being run by another process" in ended.stderr


def test_rounds_are_added_by_other_processes(verified: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(verified, tmp_path / "runs"))
    before = {point.number: point for point in Record(runs / "s").points if point.verified}
    autoprune.verify_study("s", runs=runs, rounds=4)
    for point in Front(Record(runs / "s")).finalists:
        first, now = before[point.number].candidate.latest("verify"), point.candidate.latest("verify")
        for name, timed in now.latency.items():
            assert timed.rounds[:2] == first.latency[name].rounds
            assert len(timed.rounds) == 4
            assert timed.pairs > first.latency[name].pairs
        assert now.quality == first.quality
        assert point.verified["latency_ms"].interval is not None or not point.number


def test_a_process_that_fails_says_why_and_loses_nothing(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    autoprune.verify_study("s", runs=runs, rounds=1)
    point = Record(runs / "s").points[1]
    path = point.folder / "model" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AutopruneError, match=r"candidate 1 cannot be verified: .*truncated"):
        autoprune.verify_study("s", runs=runs, rounds=2)
    assert not capfd.readouterr().err
    assert Record(runs / "s").points[1].verified


def test_artifacts_that_cannot_win_are_evicted_and_made_again_as_they_were(runs: Path, tmp_path: Path) -> None:
    front = Front(Record(runs / "s"), Limits(floors=["quality=9x"]))
    finalists = numbers(front.finalists)
    losing = [point for point in front.record.points if point.number not in finalists]
    assert losing
    before = {point.number: files(point.folder) for point in front.record.points}
    evict(front, limit_bytes=1e9)
    assert all(point.folder.exists() for point in losing), "there is room"
    evict(front, limit_bytes=0)
    assert {point.number for point in front.record.points if point.folder.exists()} == finalists
    picked = typed(tmp_path, "pick", "s", str(losing[0].number), "--to", "picked", "--runs", str(runs))
    assert picked.returncode == 0, picked.stderr
    assert files(tmp_path / "picked").items() >= before[losing[0].number].items()
    verify(runs / "s", everything=True, rounds=1)
    record = Record(runs / "s")
    assert all(point.verified for point in record.points)
    assert {point.number: files(point.folder) for point in record.points} == before


def files(folder: Path) -> dict[str, bytes]:
    """What an artifact answers from."""
    return {path.name: path.read_bytes() for path in (folder / "model").iterdir()}


def test_a_search_ends_with_a_verification(planted: Path, tmp_path: Path) -> None:
    words = [word for word in WORDS if not word.startswith(("study.looks", "study.verify"))]
    words += ["study.looks=5", "study.verify_rounds=2", f"task.data.path={planted}", f"study.dir={tmp_path}"]
    front = autoprune.search(*words)
    assert front.verified
    assert all(point.verified for point in front.finalists)
    content = (tmp_path / "s" / "archive.jsonl").read_bytes()
    autoprune.search(*words)
    assert (tmp_path / "s" / "archive.jsonl").read_bytes() == content, "what was verified is not measured again"
    facts = Record(tmp_path / "s").machines
    assert facts[str(machine()["id"])]["cpu"] == machine()["cpu"]


def test_verified_again_everything_is_measured_anew(verified: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(verified, tmp_path / "runs"))
    before = Front(Record(runs / "s")).finalists
    autoprune.verify_study("s", runs=runs, again=True, rounds=1)
    for old, new in zip(before, Front(Record(runs / "s")).finalists, strict=True):
        assert new.candidate.latest("verify").latency != old.candidate.latest("verify").latency
        assert new.verified["quality"] == old.verified["quality"]
        assert len(new.candidate.measurements) == 2
