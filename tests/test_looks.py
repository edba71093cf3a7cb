"""Looks at planted data: a file that survives, and what a look has in common with the artifact that is made later."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_looks import made_look

from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.deadline import OutOfTime
from autoprune.errors import AutopruneError
from autoprune.measure.judge import Judge
from autoprune.measure.reading import readings
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.recommender.task import RecommenderTask
from autoprune.record.looks import Look, Looks
from autoprune.study.definition import Definition, make_task
from autoprune.study.evaluation.looker import Asked, Looker
from autoprune.study.executors.executor import FreshProcess
from autoprune.study.job import study_config

RECIPES: dict[str, dict[str, Any]] = {
    "int8": {"encode": {"method": {"quantize": {"bits": 8}}}},
    "dims": {
        "prune": {"method": {"dims": {"sparsity": 0.5, "importance": "pca"}}},
        "encode": {"quantize": {"bits": 4}},
    },
    "rows": {"prune": {"rows": {"sparsity": {"item": 0.3, "user": 0.0}}}, "encode": {"mixed": {"head": 0.2}}},
    "zeros": {"prune": {"method": {"magnitude": {"sparsity": 0.7}}}},
    "product": {"encode": {"product": {"width": 4, "entries": 16}}},
    "trained": {"prune": {"method": {"dims": {"sparsity": 0.5}}, "epochs": 2}},
}


def looker(planted: Path, folder: Path, *words: str) -> Looker:
    overrides = ["task=interactions", f"task.data.path={planted}", "task.dim=8", "task.training.epochs=3"]
    overrides += ["presets=none", "requirements=none", f"study.dir={folder}", "study.name=s", *words]
    content = sections(compose_config(overrides))
    task = make_task(content["task"])
    definition = Definition.of_sections(content, study_config(content), task)
    definition.folder.mkdir(parents=True, exist_ok=True)
    return Looker(definition, task)


@pytest.fixture(scope="module")
def one(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Looker:
    return looker(planted, tmp_path_factory.mktemp("runs"), "++requirements.worst_slice.drop=20%")


def test_a_file_of_looks_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    looks = Looks(path)
    assert looks.dense is None
    looks.add(made_look(0, 1.0, 1.0), made_look(1, 0.9, 0.5, recipe={"quantize": {"bits": 8}}))
    looks.add(made_look(2, 0.0, 0.0, failed="a step refused"), made_look(3, 0.9, 0.5, epochs=1, of_epochs=2))
    assert Looks(path).found == looks.found
    assert len(looks) == 4
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for torn in (1, len(last) // 2, len(last) - 1):
        path.write_bytes(whole[: -len(last)] + last[:torn])
        assert len(Looks(path)) == 3
        assert path.read_bytes().endswith(last[:torn]), "who only reads leaves it alone"
        mended = Looks(path)
        mended.add(looks.found["key3", 1])
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "null", '{"number":1}', "no json", '{"number":"1","key":"a","recipe":{},"summary":""}', "[" * 10_000],
)
def test_a_damaged_line_is_refused_with_its_place(line: str, tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    Looks(path).add(made_look(0, 1.0, 1.0))
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(AutopruneError, match=r"looks\.jsonl:2: the line is not a look .* remove it"):
        Looks(path)


def test_what_a_line_holds_comes_back(tmp_path: Path) -> None:
    look = dataclasses.replace(
        made_look(7, 0.9, 0.3, recipe={"a": {"b": [1, 2.5, None, "x"]}}, epochs=1, of_epochs=3, error=0.01), seconds=0.5
    )
    Looks(tmp_path / "looks.jsonl").add(look)
    assert list(Looks(tmp_path / "looks.jsonl").found.values()) == [look]
    held = json.loads((tmp_path / "looks.jsonl").read_text())
    assert "failed" not in held, "what is as always is not written down"
    assert not look.done
    assert math.isnan(look.value("recall@20"))


def test_a_look_is_read_as_measurements_are() -> None:
    dense, look = made_look(0, 1.0, 1.0), made_look(1, 0.95, 0.25, error=0.01)
    found = readings(look.measurement(), dense.measurement(), metrics=["ndcg@20"])
    assert found["quality"].ratio == pytest.approx(0.95)
    assert found["quality"].error == 0.01
    assert found["size_bytes"].ratio == 0.25
    assert found["worst_slice"].ratio == found["quality"].ratio, "there are no slices"
    assert not any(name.startswith("latency") for name in found)


@pytest.mark.parametrize("name", RECIPES)
def test_a_look_is_what_the_artifact_weighs_and_scores(name: str, one: Looker, tmp_path: Path) -> None:
    """On planted data validation is small, and looked at whole."""
    dense = one.look(Asked(number=0, recipe={}))
    look = one.look(Asked(number=1, recipe=RECIPES[name], epochs=one.plan(RECIPES[name]).epochs))
    assert not look.failed
    made = one.plan(RECIPES[name])
    assert look.key == made.key
    assert look.done
    model = run(made, one.task, one.context, trainer=one.trainer, store=one.store)
    artifact.save(one.task.parts(model, made.runtime), tmp_path / "made", provenance={})
    assert artifact.size_bytes(tmp_path / "made") == look.size_bytes
    served = serve(artifact.read(tmp_path / "made"), device=one.context.device)
    before = serve(one.task.parts(run(one.plan({}), one.task, one.context, trainer=one.trainer, store=one.store)))
    judge = Judge(one.task, "validation", before)
    judged = judge.judge(judge.rows(served))
    for metric, slices in look.quality.items():
        for of, value in slices.items():
            assert value == pytest.approx(judged.quality[metric][of], rel=1e-5), (metric, of)
    # Measurements add what users would add that happen to be missing; a look says what those do that are there.
    assert look.errors["ndcg@20"] == pytest.approx(np.std(judged.draws, ddof=1), rel=0.15)
    assert 0 < look.errors["ndcg@20"] < 1.05 * judged.errors["ndcg@20"]
    assert look.units == judge.baseline.units["ndcg@20"]["all"]
    assert {of for of in look.quality["ndcg@20"] if of != "all"} >= {"head", "tail"}, "something is required of slices"
    assert dense.counts["ndcg@20"]["tail"] == judge.baseline.units["ndcg@20"]["tail"]


def test_what_is_not_required_is_not_looked_for(planted: Path, tmp_path: Path) -> None:
    plain = looker(planted, tmp_path, "study.seed=0")
    look = plain.look(Asked(number=1, recipe=RECIPES["int8"]))
    assert {metric: set(slices) for metric, slices in look.quality.items()} == {"ndcg@20": {"all"}}


def test_a_look_at_the_dense_model_is_even(one: Looker) -> None:
    dense, same = one.look(Asked(number=0, recipe={})), one.look(Asked(number=1, recipe={}))
    assert dense.quality == same.quality
    assert dense.errors == {"ndcg@20": 0.0, **dense.errors}
    assert same.errors["ndcg@20"] == pytest.approx(0.0, abs=1e-12)
    assert dense.products > 0


def test_an_untrained_look_is_what_its_recipe_does_at_once(one: Looker) -> None:
    trained = one.look(Asked(number=1, recipe=RECIPES["trained"], epochs=0))
    at_once = {"prune": {"method": RECIPES["trained"]["prune"]["method"]}}
    plain = one.look(Asked(number=1, recipe=at_once))
    assert (trained.epochs, trained.of_epochs, trained.done) == (0, 2, False)
    assert trained.quality == plain.quality
    assert trained.size_bytes == plain.size_bytes
    assert trained.key != plain.key
    part = one.look(Asked(number=2, recipe=RECIPES["trained"], epochs=1))
    assert (part.epochs, part.done) == (1, False)
    assert part.quality != trained.quality


def test_a_recipe_of_which_nothing_comes_has_a_look_that_says_why(one: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"encode": {"product": {"width": 4, "entries": 256}}}
    failed, fine = one.looks([Asked(number=1, recipe=bad), Asked(number=2, recipe=RECIPES["int8"])])
    assert "a codebook of 256 entries is larger than table" in failed.failed
    assert not failed.quality
    assert failed.size_bytes == 0
    assert not fine.failed
    metric = type(one.task.metrics["ndcg@20"])
    monkeypatch.setattr(metric, "__call__", lambda self, rows: math.nan)
    (nothing,) = one.looks([Asked(number=3, recipe=RECIPES["int8"])])
    assert nothing.failed == "ndcg@20 is nan"


def test_what_the_recipe_is_not_to_blame_for_is_no_look(one: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise AutopruneError("the checkpoint holds NaN; delete the file, and its model is trained again.")

    asked = Asked(number=1, recipe=RECIPES["trained"], epochs=1)
    monkeypatch.setattr(Trainer, "tune", damaged)
    with pytest.raises(AutopruneError, match="delete the file"):
        one.looks([asked])
    monkeypatch.undo()
    monkeypatch.setattr(type(one.task), "loss", lambda self, model, batch: torch.tensor(math.nan))
    trained = {"prune": {"method": {"dims": {"sparsity": 0.25}}, "epochs": 1}}
    (diverged,) = one.looks([dataclasses.replace(asked, recipe=trained)])
    assert diverged.failed.startswith("training diverged")


def test_a_score_that_is_no_number_is_not_written(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric that no look asks for has no rows; the dense model's own must be above 0."""
    two = looker(planted, tmp_path, "++requirements.recall@20.drop=5%")
    recall, ndcg = (two.task.metrics[name] for name in ("recall@20", "ndcg@20"))
    called = type(ndcg).__call__
    monkeypatch.setattr(type(ndcg), "__call__", lambda self, rows: math.nan if self is recall else called(self, rows))
    dense, look = two.looks([Asked(number=0, recipe={}), Asked(number=1, recipe=RECIPES["int8"])])
    assert dense.quality["recall@20"] == look.quality["recall@20"] == {}
    assert dense.value("ndcg@20") > 0
    assert "NaN" not in json.dumps([vars(dense), vars(look)])
    assert look.errors.keys() == {"ndcg@20"}
    found = readings(look.measurement(), dense.measurement(), metrics=["ndcg@20"])
    assert "recall@20" not in found
    for value in (0.0, -0.1, math.nan):
        monkeypatch.setattr(type(ndcg), "__call__", lambda self, rows, value=value: value)
        (refused,) = two.looks([Asked(number=0, recipe={})])
        assert "so it must be above 0" in refused.failed


def test_every_metric_that_is_looked_for_must_be_a_number(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = looker(planted, tmp_path, "++requirements.recall@20.drop=5%")
    two.prepare(None)
    recall = two.task.metrics["recall@20"]
    called = type(recall).__call__
    monkeypatch.setattr(type(recall), "__call__", lambda self, rows: math.nan if self is recall else called(self, rows))
    (nothing,) = two.looks([Asked(number=1, recipe=RECIPES["int8"])])
    assert nothing.failed == "recall@20 is nan"


def test_rounds_without_training_are_looked_at_at_once(one: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = {"prune": {"dims": {"sparsity": 0.5}, "schedule": "iterative", "floor": 1.0}}
    monkeypatch.setattr(type(one.task), "validate", None)  # it is not asked
    look = one.look(Asked(number=1, recipe=rounds))
    plain = one.look(Asked(number=1, recipe={"prune": {"dims": {"sparsity": 0.5}}}))
    assert (look.quality, look.size_bytes) == (plain.quality, plain.size_bytes)


def test_what_is_over_before_it_began_is_left_out(one: Looker) -> None:
    assert one.looks([]) == []
    assert one.looks([Asked(number=1, recipe=RECIPES["int8"], seconds=0.0)]) == []
    with pytest.raises(OutOfTime):
        one.look(Asked(number=1, recipe=RECIPES["trained"], epochs=2, seconds=0.0))


@pytest.mark.slow
def test_a_look_in_another_process_is_the_same(one: Looker) -> None:
    asked = [Asked(number=at, recipe=recipe) for at, recipe in enumerate(RECIPES.values(), start=1)]
    here = one.looks(asked)
    with FreshProcess() as process:
        there: list[Look] = process.submit(one.looks, asked).result()
    assert len(there) == len(here) == len(RECIPES)
    for mine, theirs in zip(here, there, strict=True):
        assert dataclasses.replace(theirs, seconds=mine.seconds) == mine


def test_what_is_asked_can_be_sent_anywhere(one: Looker) -> None:
    asked = Asked(number=1, recipe=RECIPES["int8"], epochs=3, seconds=2.0)
    assert pickle.loads(pickle.dumps(asked)) == asked
    assert isinstance(one.task, RecommenderTask)
