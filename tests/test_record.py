"""A study on disk: its candidates by number, in whatever order they arrived, and its renewal while it grows."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_studies import make_study, scattered
from rich.console import Console

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.measure.measurement import RULES, VERIFY
from autoprune.record.archive import Archive
from autoprune.record.folder import open_folder
from autoprune.record.record import Record
from autoprune.record.unfinished import Unfinished
from autoprune.study.evaluation.remeasure import rounds_of
from autoprune.study.progress.progress import Progress
from autoprune.views import phrases
from autoprune.views.compare import compare
from autoprune.views.front_json import front_json
from autoprune.views.snapshot import row
from autoprune.views.terminal import Watch, print_front, print_point

MISSING = 7


def test_points_are_in_the_order_of_their_numbers_whatever_order_they_arrived_in(tmp_path: Path) -> None:
    made = make_study(tmp_path / "runs" / "s", 40)
    keys = {point.number: point.candidate.key for point in made.points}
    record = scattered(made, MISSING)
    arrived = [candidate.number for candidate in record.archive.candidates.values()]
    assert arrived != sorted(arrived)
    assert [point.number for point in record.points] == [number for number in range(40) if number != MISSING]
    assert record.baseline.number == 0
    for point in record.points:
        assert record.point(point.number) is point
        assert point.candidate.key == keys[point.number]
    with pytest.raises(AutopruneError, match="candidate 7 is unknown: study 's' has 0 to 39, some of them missing"):
        record.point(MISSING)


def test_the_baseline_is_number_0_wherever_it_stands(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 10)
    path = record.archive.path
    path.write_text("".join(f"{line}\n" for line in reversed(path.read_text().splitlines())))
    turned = Archive(path)
    assert turned.baseline is not None
    assert turned.baseline.number == 0
    assert [point.found for point in Record(record.folder).points] == [point.found for point in record.points]


def test_what_was_judged_by_other_rules_is_not_compared(tmp_path: Path) -> None:
    """Somebody verifies one candidate of a study that an older version verified."""
    record = make_study(tmp_path / "s", 12)
    verified = [point for point in record.points if point.verified]
    before, now = {}, {point.number: point.candidate for point in verified}
    for number, candidate in now.items():
        measured = candidate.latest(VERIFY)
        before[number] = candidate.with_measurement(dataclasses.replace(measured, rules=1))
        assert rounds_of(candidate, machine=measured.machine) > 0
        assert rounds_of(before[number], machine=measured.machine) == 0, "to be verified once more"

    def left(*changed: int) -> Record:
        """The study with some of its candidates verified by the rules of now."""
        for number, candidate in before.items():
            record.archive.add(now[number] if number in changed else candidate)
        return Record(record.folder)

    old, (first, second) = left(), [number for number in now if number][:2]
    assert {point.number: point.verified for point in old.points if point.verified} == {
        point.number: point.verified for point in verified
    }, "what is old throughout can be read as it was"
    assert "Verified by an older version" in phrases.judged_before(Front(old))
    assert "autoprune verify s" in phrases.judged_before(Front(old))
    newer = {number: dataclasses.replace(one.latest(VERIFY), rules=RULES + 1) for number, one in now.items()}
    for number, measured in newer.items():
        record.archive.add(now[number].with_measurement(measured))
    said = phrases.judged_before(Front(Record(record.folder)))
    assert said == "Verified by a newer version, which judged quality by other rules. Update autoprune."
    assert [bool(left(first).point(number).verified) for number in (0, first, second)] == [True, False, True]
    done = left(0, first)
    assert [bool(done.point(number).verified) for number in (0, first, second)] == [True, True, False]
    assert not phrases.judged_before(Front(done))


def test_what_the_search_judged_by_other_rules_is_named(tmp_path: Path) -> None:
    record, other = make_study(tmp_path / "s", 12), make_study(tmp_path / "other", 12)
    assert not phrases.judged_apart(Front(record))
    for made, changed in ((record, record.baseline), (other, other.baseline)):
        for found in changed.candidate.measurements:
            older = made.archive.candidates[changed.candidate.key]
            made.archive.add(older.with_measurement(dataclasses.replace(found, rules=1)))
    front = Front(Record(record.folder))
    assert phrases.judged_apart(front).startswith("Searched by other rules than the baseline")
    assert phrases.judged_apart(front) in phrases.notes(front)
    now = Front(make_study(tmp_path / "now", 12))
    notes = compare(front, now).notes
    assert any("the rules of different versions" in note for note in notes)
    assert not any(
        "the rules of different versions" in note for note in compare(front, Front(Record(other.folder))).notes
    )


@pytest.mark.parametrize("taken", ["latency", "quality", "ndcg@20", "slices"])
@pytest.mark.parametrize("whose", ["a candidate's", "the baseline's"])
def test_a_verification_that_lacks_an_objective_is_none(tmp_path: Path, taken: str, whose: str) -> None:
    record = make_study(tmp_path / "s", 12)
    point = Front(record).points[-1] if whose == "a candidate's" else record.baseline
    measured = point.candidate.latest(VERIFY)
    lacking: dict[str, Any] = {
        "latency": {"latency": {}},
        "quality": {"quality": {}},
        "ndcg@20": {"quality": {"recall@20": measured.quality["recall@20"]}},
        "slices": {"quality": {metric: {"all": found["all"]} for metric, found in measured.quality.items()}},
    }[taken]
    record.archive.add(point.candidate.with_measurement(dataclasses.replace(measured, **lacking)))
    again = Record(record.folder)
    front = Front(again)
    if whose == "a candidate's":
        assert again.point(point.number).verified == {}
    elif taken != "slices":
        assert not any(one.verified for one in again.points)
    for one in (point, front.pick()):
        print_point(Console(file=io.StringIO()), front, again.point(one.number))


def test_without_its_baseline_nothing_is_measured_yet(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=False)
    path = record.archive.path
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[1:]))
    assert Archive(path).baseline is None
    with pytest.raises(AutopruneError, match="nothing is measured yet"):
        Record(record.folder)


@pytest.mark.slow
def test_what_people_see_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    made = make_study(tmp_path / "runs" / "s", 80)
    front = Front(made)
    gone = next(number for number in range(5, 80) if number not in {point.number for point in front.finalists})
    before = {"front": front_json(front), "rows": [row(front, point) for point in front.finalists]}
    after = Front(scattered(made, gone))
    assert {"front": front_json(after), "rows": [row(after, point) for point in after.finalists]} == {
        **before,
        "front": {**before["front"], "candidates": 79, "feasible": len(after.feasible)},
    }
    file = io.StringIO()
    for point in after.record.points:
        print_point(Console(file=file), after, point)
    assert "candidate 79 of s" in file.getvalue()
    print_front(Console(file=file), after, everything=True)
    assert [side.beaten for side in compare(after, after).sides] == [{}, {}]


def test_a_candidate_that_overtook_another_is_told_by_its_own_values(tmp_path: Path) -> None:
    record = scattered(make_study(tmp_path / "s", 30, verified=False), MISSING)
    console = Console(file=io.StringIO(), width=300)
    watch = Watch(console)
    latest = record.point(29).candidate
    watch.report(
        Progress(stage="scan", looks=50, trials=1, front=Front(record), rejected=0, latest=latest, expected=None)
    )
    assert isinstance(console.file, io.StringIO)
    assert latest.rejected or f"{record.point(29).found['quality'].ratio:.3f}x" in console.file.getvalue()


def test_a_renewed_record_sees_what_came_and_reads_no_file(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 20, verified=False)
    archive = made.archive
    held = dict(archive.candidates)
    last = max(held.values(), key=lambda one: one.number)
    del archive.candidates[last.key]
    before = Record(made.folder, archive)
    points = before.points
    (made.folder / "study.yaml").unlink()
    archive.candidates[last.key] = last
    after = before.renewed()
    assert [point.number for point in before.points] == list(range(19))
    assert [point.number for point in after.points] == list(range(20))
    assert all(new is old for new, old in zip(after.points, points, strict=False)), "what is the same is taken over"
    assert after.point(19).candidate is last
    again = dataclasses.replace(held[before.point(3).candidate.key], seconds=99.0)
    archive.candidates[again.key] = again
    assert after.renewed().point(3).candidate.seconds == 99.0


def test_a_new_baseline_is_what_all_points_are_read_against(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 6, verified=False)
    baseline = record.baseline.candidate
    larger = dataclasses.replace(baseline.latest(), size_bytes=2 * baseline.latest().size_bytes)
    record.archive.candidates[baseline.key] = baseline.with_measurement(larger)
    ratios = [point.found["size_bytes"].ratio for point in record.points]
    assert [point.found["size_bytes"].ratio for point in record.renewed().points][1:] == [one / 2 for one in ratios[1:]]


def test_the_lines_of_an_archive_keep_their_keys(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 3, verified=False)
    content = record.point(2).candidate.to_json()
    keys = ["number", "name", "key", "recipe", "words", "rejected", "measurements", "seconds"]
    assert list(content) == keys
    assert content["words"] == record.point(2).candidate.summary
    assert list(json.loads(record.archive.path.read_text().splitlines()[2])) == keys


def test_a_setting_that_is_new_and_changes_nothing_is_no_other_definition(tmp_path: Path) -> None:
    task, told = {"name": "made", "metric": "ndcg@20", "data": {}}, {"overrides": []}
    begun: dict[str, Any] = {
        "task": task,
        "data": "0123456789ab",
        **{key: {} for key in ("space", "presets", "requirements")},
        "study": {"seed": 0, "objectives": ["quality"], "device": "cpu"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"definition": begun, **told}))
    (tmp_path / "archive.jsonl").write_text("{}\n")
    now = {**begun, "task": {**task, "passage_tokens": 32}}
    with pytest.raises(AutopruneError, match=r"task\.passage_tokens: was absent, is 32"):
        open_folder(tmp_path, definition={**now, "data": "ba9876543210"}, told=told)
    open_folder(tmp_path, definition=now, told=told)
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["definition"] == now, "from now on it knows it"
    with pytest.raises(AutopruneError, match=r"task\.passage_tokens: was 32, is 64"):
        open_folder(tmp_path, definition={**now, "task": {**task, "passage_tokens": 64}}, told=told)


def test_a_study_whose_data_alone_is_other_says_why(tmp_path: Path) -> None:
    task, told = {"name": "made", "metric": "ndcg@20", "dim": 8}, {"overrides": []}
    begun: dict[str, Any] = {
        "task": {**task, "data": {"seed": 0}},
        "data": "0123456789ab",
        **{key: {} for key in ("space", "presets", "requirements")},
        "study": {"seed": 0, "objectives": ["quality"], "device": "cpu"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"definition": begun, **told}))
    (tmp_path / "archive.jsonl").write_text("{}\n")
    now = {**begun, "task": {**task, "data": {"seed": 0, "header": None}}, "data": "ba9876543210"}
    with pytest.raises(AutopruneError, match=r"data: was 0123456789ab, is ba9876543210\nOnly the data has changed"):
        open_folder(tmp_path, definition=now, told=told)
    now["task"]["data"]["seed"] = 1
    now["task"]["data"]["longest"], now["space"] = 64, {"prune": {"rows": {"any_of": [1, 2]}}}
    begun["space"], begun["requirements"] = {"prune": {"rows": 3, "l1": {}}}, {"quality": {"drop": "3%"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"definition": begun, **told}))
    with pytest.raises(AutopruneError, match=r"seed: was 0, is 1\n") as found:
        open_folder(tmp_path, definition=now, told=told)
    *lines, way = str(found.value).splitlines()
    assert [line for line in lines if line.startswith("  data:")] == [], "the settings tell why"
    told_back = ["++requirements.quality={drop:'3%'}", "++space.prune.l1={}", "space.prune.rows=3"]
    assert sorted(shlex.split(way)) == [*told_back, "task.data.seed=0", "~task.data.longest"]
    with pytest.raises(AutopruneError, match=r"the old study cannot be continued\.$"):
        open_folder(tmp_path, definition=now, told={"overrides": told_back})
    now["task"] = {"name": "other", "metric": "ndcg@20"}
    with pytest.raises(AutopruneError, match=r"its own name \(study\.name=…\)$"):
        open_folder(tmp_path, definition=now, told=told)


def rows_of_two(most: float) -> dict[str, Any]:
    """A space that is open for two tables alike."""
    return {"prune": {"rows": {"sparsity": {name: {"float": [0.0, most]} for name in ("film", "user")}}}}


def begun_study(folder: Path, **more: Any) -> dict[str, Any]:
    """A study of a module that has measured something; returns its definition."""
    definition: dict[str, Any] = {
        "task": {"name": "module", "metric": "auc"},
        "data": "0123456789ab",
        "space": rows_of_two(0.5),
        **{key: {} for key in ("presets", "requirements")},
        "study": {"seed": 0, "objectives": ["quality"], "device": "cpu"},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({"definition": definition, "overrides": [], **more}))
    (folder / "archive.jsonl").write_text("{}\n")
    return definition


def test_the_way_back_names_what_is_opened_per_table_as_it_was_asked_for(tmp_path: Path) -> None:
    """The names of tables are not in the config that an override goes into."""
    begun, told = begun_study(tmp_path), {"overrides": []}
    asked = {"space": {"prune": {"rows": {"sparsity": {"per_table": {"float": [0.0, 0.9]}}}, "dims": {}}}}
    now = {**begun, "space": rows_of_two(0.9)}
    with pytest.raises(AutopruneError, match=r"per_table\.float: was \[0\.0, 0\.5\], is \[0\.0, 0\.9\]\n") as found:
        open_folder(tmp_path, definition=now, told=told, asked=asked)
    assert shlex.split(str(found.value).splitlines()[-1]) == ["space.prune.rows.sparsity.per_table.float=[0.0,0.5]"]
    assert "film" not in str(found.value)


def test_the_way_back_to_tables_that_were_told_apart_names_them(tmp_path: Path) -> None:
    begun, told = begun_study(tmp_path), {"overrides": []}
    begun["space"]["prune"]["rows"]["sparsity"]["user"] = {"float": [0.0, 0.9]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"definition": begun, **told}))
    asked = {"space": {"prune": {"rows": {"sparsity": {"per_table": {"float": [0.0, 0.9]}}}}}}
    now = {**begun, "space": rows_of_two(0.9)}
    with pytest.raises(AutopruneError) as found:
        open_folder(tmp_path, definition=now, told=told, asked=asked)
    at = "space.prune.rows.sparsity"
    back = [f"++{at}.film={{float:[0.0,0.5]}}", f"++{at}.user={{float:[0.0,0.9]}}", f"~{at}.per_table"]
    assert shlex.split(str(found.value).splitlines()[-1]) == back


def test_a_study_whose_code_is_other_says_so(tmp_path: Path) -> None:
    begun = begun_study(tmp_path, described="Net: items 9 x 2; code sha256 0123456789ab")
    now = {**begun, "data": "ba9876543210"}
    for code, words in (
        ("ba9876543210", "The code has changed: task.file, or what it imports"),
        ("0123456789ab", "Only the data"),
    ):
        told = {"overrides": [], "described": f"Net: items 9 x 2; code sha256 {code}"}
        with pytest.raises(AutopruneError, match=words):
            open_folder(tmp_path, definition=now, told=told)


@pytest.mark.parametrize("runs", ["runs", "my runs"])
def test_the_command_that_goes_on_leads_to_the_study_where_it_lies(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_study(tmp_path / "began" / "s", 3, verified=False).folder
    (tmp_path / "log.csv").write_text("")
    content = yaml.safe_load((folder / "study.yaml").read_text())
    asked = ["study.name=s", "study.minutes=5", "study.dir=began"]
    content |= {"places": {"task.data.path": "log.csv"}, "started_in": [str(tmp_path)]}
    content["overrides"] += asked
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    Unfinished(minutes=5, doing="", undone=["training did not begin"]).write(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    Path(runs).mkdir()
    folder.rename(Path(runs, "renamed"))
    offered = Record(Path(runs, "renamed")).unfinished.splitlines()[-1]
    kept = ["task=interactions", f"task.data.path={tmp_path}/log.csv", "study.minutes=5", "study.name=renamed"]
    there = [] if runs == "runs" else ["study.dir='my runs'"]
    assert shlex.split(offered) == ["autoprune", *kept, *there]
