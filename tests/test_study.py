"""One real search on planted data: what it keeps, what it makes of what it found, and how it survives."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shell import typed
from short_search import MADE, shorten

import autoprune
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.recommender.task import RecommenderTask
from autoprune.record.folder import driving
from autoprune.record.looks import LOOKS, Looks
from autoprune.record.record import Record
from autoprune.study.job import run_study
from autoprune.study.progress.progress import Watching

pytestmark = pytest.mark.slow  # all of it rests on whole searches; test_driver.py has quick ones

PRESETS = ["int8", "int4", "mixed_8_4", "rated", "half_dims", "fewer_items", "half_dims_mixed", "frequency_cut"]
PRESETS += ["few_users_int4", "few_users_rated", "small", "aware"]


def words(planted: Path, runs: Path, *extra: str) -> list[str]:
    return [
        "task=interactions",
        f"task.data.path={planted}",
        "task.dim=16",
        "task.training.epochs=20",
        "space.base.dim.any_of=[16,8]",
        "space.prune.epochs.any_of=[0,2]",
        "space.prune.rows.sparsity.item.float=[0.0,0.4]",
        "space.encode.epochs={any_of:[0,2]}",
        "+presets.aware={prune:{schedule:cubic,epochs:2},encode:{method:{quantize:{bits:2}},epochs:2}}",
        "+presets.small={base:{dim:8},prune:{method:{magnitude:{sparsity:0.5,scope:table}}}}",
        "requirements=none",
        "++requirements.quality.drop=20%",
        "study.objectives=[quality,size]",
        f"study.dir={runs}",
        "study.name=s",
        "study.latency_seconds=0.001",
        "study.verify_rounds=0",
        *("study.looks=40", "study.trials=8"),
        "study.workers=1",
        *extra,
    ]


def outcome(record: Record) -> list[tuple[str, str, float, int]]:
    """What must repeat: names, keys, quality and size, in order."""
    rows = []
    for point in record.points:
        measured = point.candidate.latest()
        quality = measured.quality.get(record.metric, {}).get("all", -1.0)
        rows.append((point.candidate.name, point.candidate.key, quality, measured.size_bytes))
    return rows


def looked(folder: Path) -> list[tuple[int, str, int, dict[str, dict[str, float]]]]:
    """What must repeat of the looks of a study."""
    return [(one.number, one.key, one.epochs, one.quality) for one in Looks(folder / LOOKS).found.values()]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def runs(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        autoprune.search(*words(planted, folder))
    return folder


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def test_baseline_comes_first_then_presets_then_trials(runs: Path) -> None:
    names = [point.candidate.name for point in Record(runs / "s").points]
    assert names[0] == "baseline"
    assert names.count("trial") > MADE
    presets = list(compose_config(words(Path("data"), runs)).presets)
    assert sorted(PRESETS) == sorted(presets)
    noted = [name for name in names if name not in ("baseline", "trial")]
    assert len(noted) >= len(PRESETS) - 2, "few miss by far"
    assert set(noted) <= set(PRESETS)
    untrained = [name for name in PRESETS if name in noted and name not in ("small", "aware")]
    assert names[1 : 1 + len(untrained)] == untrained, "what needs no training comes first"


def test_what_was_looked_at_is_what_was_measured(runs: Path) -> None:
    """On planted data validation is looked at whole; sizes agree to the byte."""
    looks = {look.key: look for look in Looks(runs / "s" / LOOKS).found.values() if look.done}
    trials = [point.candidate for point in Record(runs / "s").points if point.candidate.name == "trial"]
    assert any(look.epochs for look in looks.values()), "some were trained to the end"
    for candidate in trials:
        measured, look = candidate.latest(), looks[candidate.key]
        assert measured.size_bytes == look.size_bytes
        assert measured.quality["ndcg@20"]["all"] == pytest.approx(look.value("ndcg@20"), rel=1e-4)


def test_every_point_of_the_front_is_an_artifact_that_answers(runs: Path) -> None:
    front = Front(Record(runs / "s"))
    assert len(front) > 1
    for point in front:
        assert len(autoprune.load(point.folder).recommend(user=0, k=5)) == 5
        files = sum(path.stat().st_size for path in (point.folder / "model").iterdir())
        assert files == point.candidate.latest().size_bytes


def test_quality_is_what_the_loaded_artifact_scores(runs: Path, task: RecommenderTask) -> None:
    for point in Record(runs / "s").points:
        rows = task.score(autoprune.load(point.folder), "validation")
        assert point.found["quality"].value == task.metrics["ndcg@20"](rows)


def test_another_seed_gives_another_search(runs: Path, planted: Path, tmp_path: Path) -> None:
    autoprune.search(*words(planted, tmp_path, "study.seed=1", "study.trials=0"))
    assert {key for _, key, *_ in looked(tmp_path / "s")} != {key for _, key, *_ in looked(runs / "s")}


def test_a_larger_budget_goes_on_where_the_study_stopped(runs: Path, planted: Path, tmp_path: Path) -> None:
    """What was made is kept, and what a search finds that had the larger budget from the start is found as well."""
    autoprune.search(*words(planted, tmp_path, "study.trials=0"))
    first = outcome(Record(tmp_path / "s"))
    autoprune.search(*words(planted, tmp_path))
    found = outcome(Record(tmp_path / "s"))
    assert found[: len(first)] == first
    assert len(found) > len(first)
    assert set(found) == {*first, *outcome(Record(runs / "s"))}
    seen, wanted = ({(key, epochs) for _, key, epochs, _ in looked(folder / "s")} for folder in (tmp_path, runs))
    assert seen >= wanted


def test_running_a_finished_study_again_changes_nothing(copied: Path, planted: Path) -> None:
    files = [copied / "s" / "archive.jsonl", copied / "s" / LOOKS]
    before = [file.read_bytes() for file in files]
    autoprune.search(*words(planted, copied))
    assert [file.read_bytes() for file in files] == before


def test_torn_files_are_mended(runs: Path, copied: Path, planted: Path) -> None:
    for name in ("archive.jsonl", LOOKS):
        file = copied / "s" / name
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    autoprune.search(*words(planted, copied))
    assert outcome(Record(copied / "s")) == outcome(Record(runs / "s"))
    assert looked(copied / "s") == looked(runs / "s")


def test_a_damaged_look_is_refused_with_its_place(copied: Path, planted: Path) -> None:
    file = copied / "s" / LOOKS
    file.write_bytes(b"{}\n" + file.read_bytes())
    with pytest.raises(AutopruneError, match=r"looks\.jsonl:1: the line is not a look"):
        autoprune.search(*words(planted, copied))


def test_a_study_without_looks_is_searched_on(copied: Path, planted: Path) -> None:
    """As older versions left it."""
    before = outcome(Record(copied / "s"))
    looks = looked(copied / "s")
    (copied / "s" / LOOKS).unlink()
    assert len(Front(Record(copied / "s"))) > 1
    autoprune.search(*words(planted, copied))
    assert outcome(Record(copied / "s")) == before
    assert looked(copied / "s") == looks


def test_a_changed_definition_is_refused_with_the_difference(copied: Path, planted: Path) -> None:
    with pytest.raises(AutopruneError, match=r"space\.encode\.epochs\.any_of: was \[0, 2\], is \[0, 1\]") as found:
        autoprune.search(*words(planted, copied, "space.encode.epochs={any_of:[0,1]}", "~space.prune.rows"))
    way_back = shlex.split(str(found.value).splitlines()[-1])
    assert len(way_back) == 2
    autoprune.search(*words(planted, copied, "space.encode.epochs={any_of:[0,1]}", "~space.prune.rows", *way_back))


def test_a_second_driver_is_refused(copied: Path, planted: Path) -> None:
    code = f"import autoprune; autoprune.search(*{words(planted, copied)!r})"
    with driving(copied / "s"):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "is being run by another process" in ended.stderr


def test_a_lost_baseline_is_made_again(runs: Path, copied: Path, planted: Path) -> None:
    record = Record(copied / "s")
    shutil.rmtree(copied / "s" / "artifacts")
    autoprune.search(*words(planted, copied))
    assert outcome(Record(copied / "s")) == outcome(Record(runs / "s"))
    assert record.baseline.load()
    with pytest.raises(AutopruneError, match=r"the artifact of candidate 1 is missing: .*\n  autoprune pick "):
        record.point(1).load()


def test_looking_at_a_running_study_leaves_its_files_alone(runs: Path, copied: Path) -> None:
    for name in ("archive.jsonl", LOOKS):
        file = copied / "s" / name
        file.write_bytes(file.read_bytes() + b'{"number": 99, "na')
        before = file.read_bytes()
        assert len(Record(copied / "s").points) == len(Record(runs / "s").points)
        assert looked(copied / "s") == looked(runs / "s")
        assert file.read_bytes() == before


def test_other_floors_judge_the_same_archive(runs: Path) -> None:
    record = Record(runs / "s")
    strict = Front(record, Limits(floors=["ndcg@20=0.99x"]))
    loose = Front(record, Limits(floors=["quality=0.1x"]))
    assert len(strict.feasible) < len(loose.feasible)
    assert all(point.found["quality"].ratio >= 0.99 for point in strict)


def test_an_empty_front_explains_itself(runs: Path) -> None:
    record = Record(runs / "s")
    front = Front(record, Limits(floors=["quality=2x"]))
    with pytest.raises(
        AutopruneError, match=r"quality >= 2x: missed by \d+ of \d+, by (?s:.*)Nearest misses:\n  #\d+ "
    ):
        front.pick()


def test_pick_is_the_smallest_feasible_point(runs: Path, tmp_path: Path) -> None:
    front = Front(Record(runs / "s"))
    point = front.pick(prefer="size")
    assert point.found["size_bytes"].value == min(other.found["size_bytes"].value for other in front.feasible)
    point.save(tmp_path / "deploy")
    assert autoprune.load(tmp_path / "deploy").recommend(user=3, k=3)
    with pytest.raises(AutopruneError, match="exists already"):
        point.save(tmp_path / "deploy")


def test_frame_has_a_row_a_point(runs: Path) -> None:
    front = Front(Record(runs / "s"))
    frame = front.to_frame()
    assert list(frame.index) == [point.candidate.number for point in front]
    assert {"recipe", "ndcg@20", "ndcg@20_ratio", "size_bytes", "artifact"} <= set(frame.columns)


def test_latency_is_measured_once_a_structure_where_it_is_asked_for(planted: Path, tmp_path: Path) -> None:
    alike = "+presets.again={encode:{method:{quantize:{bits:8}},epochs:2}}"
    nothing_more = ["study.objectives=[quality,size,latency]", "study.looks=0", "study.trials=0"]
    autoprune.search(*words(planted, tmp_path, alike, *nothing_more))
    by_structure: dict[str, set[float]] = {}
    points = [point for point in Record(tmp_path / "s").points if not point.candidate.rejected]
    for point in points:
        measured = point.candidate.latest()
        by_structure.setdefault(measured.structure, set()).add(measured.latency["single"].median_ms)
    assert 3 < len(by_structure) < len(points)
    assert all(len(timings) == 1 for timings in by_structure.values())


SEEN = ["front {name}", "front {name} --all", "front {name} --json", "front {name} --csv", "show {name} 0"]
SEEN += ["show {name} 1", "compare {name} {name}", "report {name}", "pick {name} --to {file}"]


@pytest.mark.parametrize("command", SEEN)
def test_what_is_not_timed_can_be_looked_at(command: str, runs: Path, tmp_path: Path) -> None:
    """Neither latency nor its ratio is there, but for the dense model's."""
    shutil.copytree(runs, tmp_path / "runs")
    told = command.format(name="s", file=tmp_path / "out")
    ended = typed(tmp_path, *told.split())
    assert ended.returncode == 0, ended.stderr
    assert "nan" not in ended.stdout.lower()
    assert "Traceback" not in ended.stderr


def test_on_another_machine_what_is_asked_for_alone_is_timed_again(
    runs: Path, copied: Path, planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Record(runs / "s").points
    monkeypatch.setattr("autoprune.study.session.machine", lambda device: {"id": "elsewhere"})
    monkeypatch.setattr("autoprune.study.evaluation.task_worker.machine", lambda device: {"id": "elsewhere"})
    autoprune.search(*words(planted, copied))
    after = Record(copied / "s").points
    assert [point.candidate.key for point in after] == [point.candidate.key for point in before]
    first, second = after[0].candidate.measurements
    assert second.machine == "elsewhere"
    assert (first.quality, first.size_bytes, first.structure) == (second.quality, second.size_bytes, second.structure)
    for old, new in zip(before[1:], after[1:], strict=True):
        assert new.candidate == old.candidate, "latency is nothing that this study steers by"
        assert {name: new.found[name] for name in ("quality", "size_bytes")} == {
            name: old.found[name] for name in ("quality", "size_bytes")
        }
    assert after[0].found["latency_ms"] != before[0].found["latency_ms"], "of the machine where it was last"
    content = (copied / "s" / "archive.jsonl").read_bytes()
    autoprune.search(*words(planted, copied))
    assert (copied / "s" / "archive.jsonl").read_bytes() == content, "timed once"


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def children(of: int) -> list[int]:
    """Processes that were started by one, on Linux."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == of and b"multiprocessing" not in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_same_seed_gives_the_same_search_though_workers_are_killed(
    runs: Path, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills of whoever drives are in test_faults.py, Ctrl-C is in test_cli.py."""
    monkeypatch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", 0.0)
    monkeypatch.setattr("autoprune.study.sampling.lookout.CHUNK_S", 0.05)
    looks, killed = tmp_path / "s" / LOOKS, list[int]()

    def say(message: str) -> None:
        if message.startswith("scan: ") and lines(looks) > 20 and len(killed) < 4:
            for process in children(os.getpid()):
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    told = words(planted, tmp_path, "study.workers=2")
    run_study(sections(compose_config(told)), told, watch=Watching(working=say))
    assert len(killed) >= 4
    assert looked(tmp_path / "s") == looked(runs / "s")
    assert outcome(Record(tmp_path / "s")) == outcome(Record(runs / "s"))
