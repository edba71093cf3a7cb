"""One real search on planted data: what it keeps, what it tells the sampler, and how it survives."""

from __future__ import annotations

import json
import multiprocessing
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import autoprune
from autoprune.artifacts import artifact
from autoprune.config import compose_config, sections
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.recommender.task import RecommenderTask
from autoprune.record.folder import driving
from autoprune.record.record import Record
from autoprune.study.definition import make_task
from autoprune.study.sampler import Sampler

pytestmark = pytest.mark.slow  # all of it rests on whole searches; test_driver.py has quick ones

TRIALS = 8


def words(planted: Path, runs: Path, *extra: str) -> list[str]:
    return [
        "task=interactions",
        f"task.data.path={planted}",
        "task.dim=16",
        "task.training.epochs=30",
        "space.base.dim.any_of=[16,8]",
        "space.prune.epochs.any_of=[0,2]",
        "space.prune.rows.sparsity.item.float=[0.0,0.4]",
        "space.encode.epochs.any_of=[0,2]",
        "+presets.aware={prune:{schedule:cubic,epochs:2},encode:{method:{quantize:{bits:2}},epochs:2}}",
        "+presets.small={base:{dim:8},prune:{method:{magnitude:{sparsity:0.5,scope:table}}}}",
        "requirements=none",
        "++requirements.quality.drop=20%",
        "study.objectives=[quality,size]",
        f"study.dir={runs}",
        "study.name=s",
        "study.latency_seconds=0.001",
        "study.verify_rounds=0",
        f"study.trials={TRIALS}",
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


def sampler_study(folder: Path) -> optuna.Study:
    return optuna.load_study(
        study_name=folder.name, storage=JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    )


def searched_apart(*overrides: str) -> None:
    """A search in a process that knows nothing of fixtures."""
    pytest.MonkeyPatch().setattr("autoprune.recipes.space.DRAWN_CORNERS", 40)
    autoprune.search(*overrides)


@pytest.fixture(scope="module")
def runs(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    autoprune.search(*words(planted, folder))
    return folder


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def test_baseline_comes_first_then_presets_then_trials(runs: Path) -> None:
    names = [point.candidate.name for point in Record(runs / "s").points]
    presets = list(compose_config(["task=interactions"]).presets)
    assert names == ["baseline", *presets, *["trial"] * TRIALS]


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


def test_same_seed_gives_the_same_search(runs: Path, planted: Path, tmp_path: Path) -> None:
    autoprune.search(*words(planted, tmp_path))
    assert outcome(Record(tmp_path / "s")) == outcome(Record(runs / "s"))


def test_another_seed_gives_another_search(runs: Path, planted: Path, tmp_path: Path) -> None:
    autoprune.search(*words(planted, tmp_path, "study.seed=1", "study.trials=3"))
    assert outcome(Record(tmp_path / "s"))[7:10] != outcome(Record(runs / "s"))[7:10]


def test_a_larger_budget_goes_on_where_the_study_stopped(runs: Path, planted: Path, tmp_path: Path) -> None:
    autoprune.search(*words(planted, tmp_path, "study.trials=3"))
    autoprune.search(*words(planted, tmp_path))
    assert outcome(Record(tmp_path / "s")) == outcome(Record(runs / "s"))


def test_running_a_finished_study_again_changes_nothing(copied: Path, planted: Path) -> None:
    before = (copied / "s" / "archive.jsonl").read_bytes()
    autoprune.search(*words(planted, copied))
    assert (copied / "s" / "archive.jsonl").read_bytes() == before


def test_torn_files_are_mended(runs: Path, copied: Path, planted: Path) -> None:
    archive, journal = copied / "s" / "archive.jsonl", copied / "s" / "journal.log"
    lines = archive.read_bytes().splitlines(keepends=True)
    archive.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    entries = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(entries[:-1]) + entries[-1][:5])
    autoprune.search(*words(planted, copied))
    assert outcome(Record(copied / "s")) == outcome(Record(runs / "s"))


def test_killed_while_settling_a_finished_trial_is_still_told(
    runs: Path, copied: Path, planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = copied / "s" / "journal.log"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))  # archived, not told
    states = [trial.state for trial in sampler_study(copied / "s").trials]
    assert states.count(TrialState.RUNNING) == 1

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "_add", killed)
        with pytest.raises(KeyboardInterrupt):
            autoprune.search(*words(planted, copied))
    autoprune.search(*words(planted, copied))
    told = {
        trial.user_attrs.get("key") for trial in sampler_study(copied / "s").get_trials(states=(TrialState.COMPLETE,))
    }
    assert told == {point.candidate.key for point in Record(runs / "s").points}
    assert outcome(Record(copied / "s")) == outcome(Record(runs / "s"))


def test_front_matches_optuna_best_trials(runs: Path) -> None:
    """Where everything was told and nothing twice, our front is Optuna's."""
    record = Record(runs / "s")
    told = sampler_study(runs / "s")
    best = {trial.user_attrs["key"] for trial in told.best_trials}
    known = {trial.user_attrs["key"] for trial in told.get_trials(states=(TrialState.COMPLETE,))}
    everything = {point.candidate.key for point in record.points}
    assert everything == known, "baseline and presets lie inside the space here"
    assert {point.candidate.key for point in Front(record)} == best


def test_every_trial_is_told_every_constraint_in_one_order(runs: Path) -> None:
    record = Record(runs / "s")
    expected = [item.text for item in Limits().requirements(record).items]
    for trial in sampler_study(runs / "s").get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)):
        assert list(trial.constraints) == expected


def test_parameters_are_named_by_their_path_in_the_yaml(runs: Path) -> None:
    names = {name for trial in sampler_study(runs / "s").trials for name in trial.params}
    assert "space.encode.method.choose.quantize.bits.item" in names
    assert all(name.startswith("space.") for name in names)


def test_presets_outside_a_narrowed_space_are_references_only(planted: Path, tmp_path: Path) -> None:
    eight_bits = [f"space.encode.method.choose.quantize.bits.{table}=8" for table in ("user", "item")]
    others = [f"~space.encode.method.choose.{method}" for method in ("none", "mixed")]
    autoprune.search(*words(planted, tmp_path, *eight_bits, *others, "study.trials=1"))
    record = Record(tmp_path / "s")
    keys = {point.candidate.name: point.candidate.key for point in record.points}
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    told = {trial.user_attrs["key"] for trial in sampler_study(tmp_path / "s").get_trials(states=finished)}
    assert keys["int8"] in told
    assert not {keys["baseline"], keys["int4"], keys["half_dims"]} & told
    assert {"int4", "half_dims"} <= set(keys)


def test_a_ceiling_rejects_before_training(planted: Path, tmp_path: Path) -> None:
    extra = ["++requirements.size_bytes.max=0.3x", "~space.encode", "space.base.dim=16", "presets=none"]
    extra += ["space.prune.epochs=2"]
    dropped = ("presets.", "space.encode", "space.prune.epochs.any_of")
    kept = [word for word in words(planted, tmp_path, *extra) if not word.startswith(dropped)]
    autoprune.search(*kept)
    record = Record(tmp_path / "s")
    rejected = [point for point in record.points if point.candidate.rejected]
    assert rejected
    for point in rejected:
        assert point.candidate.rejected == "size_bytes <= 0.3x"
        assert point.found["size_bytes"].ratio > 0.3
        assert not point.folder.exists()
    states = [trial.state for trial in sampler_study(tmp_path / "s").trials]
    assert states.count(TrialState.PRUNED) == len(rejected)


def test_rehearsed_size_is_the_real_size(runs: Path, planted: Path, tmp_path: Path) -> None:
    """The early verdict on size is no estimate: an untrained artifact weighs the same to the byte."""
    task = make_task(sections(compose_config(words(planted, tmp_path)))["task"])
    context, trainer = task.context(seed=0, device=torch.device("cpu")), Trainer(task.training)
    seen = 0
    for point in Record(runs / "s").points:
        made = plan(point.candidate.recipe, base_defaults=task.base)
        if made.sized:
            untrained = run(made, task, context, trainer=trainer, train=False)
            artifact.save(task.parts(untrained), tmp_path / made.key, provenance={})
            assert artifact.size_bytes(tmp_path / made.key) == point.candidate.latest().size_bytes, made.summary()
            seen += 1
    assert seen > 8


def test_a_changed_definition_is_refused_with_the_difference(copied: Path, planted: Path) -> None:
    with pytest.raises(AutopruneError, match=r"space\.encode\.epochs\.any_of: was \[0, 2\], is \[0, 1\]") as found:
        autoprune.search(*words(planted, copied, "space.encode.epochs.any_of=[0,1]", "~space.prune.rows"))
    way_back = shlex.split(str(found.value).splitlines()[-1])
    assert len(way_back) == 2
    autoprune.search(*words(planted, copied, "space.encode.epochs.any_of=[0,1]", "~space.prune.rows", *way_back))


def test_a_second_driver_is_refused(copied: Path, planted: Path) -> None:
    code = f"import autoprune; autoprune.search(*{words(planted, copied)!r})"
    with driving(copied / "s"):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "is being run by another process" in ended.stderr


def test_an_exhausted_space_ends(planted: Path, tmp_path: Path) -> None:
    fixed = ["prune.method=null", "prune.epochs=0"]
    coded = ["encode.epochs=0", "encode.method.choose.quantize.bits.user=8"]
    dropped = ["~space.prune.rows", "~space.encode.method.choose.mixed"]
    extra = [*(f"space.{word}" for word in [*fixed, *coded]), *dropped, "study.trials=50"]
    autoprune.search(*words(planted, tmp_path, *extra))
    trials = [point for point in Record(tmp_path / "s").points if point.candidate.name == "trial"]
    assert len(trials) == 2 * (1 + 3) - 2, "two dims by floats or three widths of items' codes, less baseline and int8"


def test_a_recipe_is_told_once(runs: Path) -> None:
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    told = [trial.user_attrs["key"] for trial in sampler_study(runs / "s").get_trials(states=finished)]
    assert len(set(told)) == len(told)


def test_a_lost_baseline_is_made_again(runs: Path, copied: Path, planted: Path) -> None:
    record = Record(copied / "s")
    shutil.rmtree(copied / "s" / "artifacts")
    autoprune.search(*words(planted, copied, f"study.trials={TRIALS + 1}"))
    assert outcome(Record(copied / "s"))[:-1] == outcome(Record(runs / "s"))
    assert record.baseline.load()
    with pytest.raises(AutopruneError, match="there is no artifact"):
        record.point(1).load()


def test_looking_at_a_running_study_leaves_its_files_alone(copied: Path) -> None:
    archive = copied / "s" / "archive.jsonl"
    archive.write_bytes(archive.read_bytes() + b'{"number": 99, "na')
    before = archive.read_bytes()
    presets = compose_config(["task=interactions"]).presets
    assert len(Record(copied / "s").points) == 1 + len(presets) + TRIALS
    assert archive.read_bytes() == before


def test_other_floors_judge_the_same_archive(runs: Path) -> None:
    record = Record(runs / "s")
    strict = Front(record, Limits(floors=["ndcg@20=0.99x"]))
    loose = Front(record, Limits(floors=["quality=0.1x"]))
    assert len(strict.feasible) < len(loose.feasible)
    assert all(point.found["quality"].ratio >= 0.99 for point in strict)


def test_an_empty_front_explains_itself(runs: Path) -> None:
    record = Record(runs / "s")
    front = Front(record, Limits(floors=["quality=2x"]))
    with pytest.raises(AutopruneError, match=r"quality >= 2x: missed by 20 of 20, by (?s:.*)Nearest misses:\n  #\d+ "):
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
    assert {"recipe", "ndcg@20", "ndcg@20_ratio", "size_bytes", "latency_ms_ratio", "artifact"} <= set(frame.columns)


def test_latency_is_measured_once_a_structure(runs: Path) -> None:
    by_structure: dict[str, set[float]] = {}
    for point in Record(runs / "s").points:
        measured = point.candidate.latest()
        by_structure.setdefault(measured.structure, set()).add(measured.latency["single"].median_ms)
    assert all(len(timings) == 1 for timings in by_structure.values())


def test_on_another_machine_every_artifact_is_timed_again(
    runs: Path, copied: Path, planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Record(runs / "s").points
    monkeypatch.setattr("autoprune.study.driver.machine", lambda device: {"id": "elsewhere"})
    monkeypatch.setattr("autoprune.study.evaluate.machine", lambda device: {"id": "elsewhere"})
    autoprune.search(*words(planted, copied))
    after = Record(copied / "s").points
    assert [point.candidate.key for point in after] == [point.candidate.key for point in before]
    for old, new in zip(before, after, strict=True):
        measured = {found.machine: found for found in new.candidate.measurements}
        assert list(measured) == [old.candidate.latest().machine, "elsewhere"]
        first, second = measured.values()
        assert (first.quality, first.size_bytes, first.structure) == (
            second.quality,
            second.size_bytes,
            second.structure,
        )
        assert new.found["quality"] == old.found["quality"]
        assert new.found["latency_ms"] != old.found["latency_ms"], "those of the machine where the baseline was last"
    content = (copied / "s" / "archive.jsonl").read_bytes()
    autoprune.search(*words(planted, copied))
    assert (copied / "s" / "archive.jsonl").read_bytes() == content, "timed once"


def test_killed_again_and_again_nothing_is_lost_or_done_twice(runs: Path, planted: Path, tmp_path: Path) -> None:
    forks = multiprocessing.get_context("forkserver")  # fresh processes that need not import torch again
    forks.set_forkserver_preload(["test_study", "autoprune.api", "autoprune.study.job", "autoprune.recommender.make"])
    archive = tmp_path / "s" / "archive.jsonl"
    seen: list[str] = []
    for number in range(40):
        process = forks.Process(target=searched_apart, args=words(planted, tmp_path))
        process.start()
        # At uneven moments after new candidates appear, so that kills fall into every phase.
        deadline, known = time.monotonic() + 60, len(seen)
        while process.is_alive() and time.monotonic() < deadline:
            lines = archive.read_bytes().count(b"\n") if archive.exists() else 0
            if lines > known + (3 if known < 10 else number % 2):  # presets go their way, trials are asked for
                time.sleep(0.013 * (number % 7))
                break
            time.sleep(0.005)
        finished = not process.is_alive()
        process.kill()
        process.join()
        now = [json.loads(line)["key"] for line in archive.read_text().splitlines() if line.endswith("}")]
        assert now[: len(seen)] == seen, "a finished candidate was lost"
        assert len(set(now)) == len(now), "a candidate was measured twice"
        seen = now
        if finished:
            assert process.exitcode == 0
            break
    assert outcome(Record(tmp_path / "s")) == outcome(Record(runs / "s"))
