"""The exam that every task must pass, including users' own tasks.

    python -m autoprune.testing my_task.py

or, in a test file:

    from autoprune.testing import TaskExam, examinee

    class TestMine(TaskExam):
        examinee = examinee("my_task.py")
"""

from __future__ import annotations

import copy
import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served, serve
from autoprune.errors import AutopruneError
from autoprune.families import FAMILIES
from autoprune.measure.judge import Judge
from autoprune.measure.measurement import WHOLE
from autoprune.models.model import Model
from autoprune.study.definition import make_task
from autoprune.tasks.content import CannotTell, digest_of
from autoprune.tasks.task import Task

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Examinee:
    """A task under test.

    Attributes:
        again: makes the same task again.
        model: the model to judge; tests must change only a copy.
        other: makes the same task on other data; None: the fingerprint is not compared.
    """

    task: Task[Any, Any]
    again: Callable[[], Task[Any, Any]]
    model: Model
    other: Callable[[], Task[Any, Any]] | None = None

    def served(self, runtime: str = "") -> Served:
        """The served model."""
        return serve(self.task.parts(self.model, runtime))


def examinee(file: str | Path, *, data: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Examinee:
    """The task in a user's file, as `task=module task.file=FILE` makes it.

    Args:
        data: like `task.data.path`.
        options: like `task.options`.

    Raises:
        AutopruneError: the task cannot be made.
    """
    section = {"name": "module", "file": str(file), "options": dict(options or {})}
    if data is not None:
        section["data"] = {"path": str(data)}
    task = make_task(section)
    return Examinee(task, lambda: make_task(section), task.model({}, seed=0))


class TaskExam:
    """Tests that every task must pass; a subclass sets the task.

    Attributes:
        examinee: the task under test.
    """

    examinee: Examinee

    # --- what it learns from

    def test_what_a_task_says_of_itself(self) -> None:
        task = self.examinee.task
        assert task.name
        assert task.describe(), "describe() must not be empty"
        assert "\n" not in task.describe(), "describe() must be one line"
        assert task.metric in task.metrics, f"metric {task.metric!r} must be one of {list(task.metrics)}"
        assert task.runtimes
        assert task.workload_names
        json.dumps([dict(task.base), task.metric, task.slices, task.perturbations])
        task.training.check()

    def test_the_fingerprint_is_stable(self) -> None:
        task, again = self.examinee.task, self.examinee.again()
        assert task.fingerprint() == task.fingerprint() == again.fingerprint(), "fingerprint() must not change"

    def test_the_fingerprint_changes_with_the_data(self) -> None:
        other = self.examinee.other
        assert other is None or other().fingerprint() != self.examinee.task.fingerprint()

    def test_a_model_is_made_from_the_seed_alone(self) -> None:
        task = self.examinee.task
        first = task.model({}, seed=3)
        torch.rand(3)
        for other in (task.model({}, seed=3), task.model(dict(task.base), seed=3)):
            before, after = first.state_dict(), other.state_dict()
            assert before.keys() == after.keys()
            changed = [name for name, tensor in _tensors(after).items() if not torch.equal(before[name], tensor)]
            assert not changed, f"{changed} differ between two models made with the same seed"
            assert all(first.tables[name] is not table for name, table in other.tables.items())

    def test_batches_are_drawn_from_torchs_generator_alone(self) -> None:
        drawn = [self._drawn(seed) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1], "the same seed must give the same batches"
        assert drawn[0] != drawn[2] or None in drawn[0], "another seed must give other batches"
        assert len({len(self._drawn(seed)) for seed in range(3)}) == 1, "all epochs must be equally long"

    def _drawn(self, seed: int) -> list[str | None]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.default_rng().random()
            random.random()
            return [_digest(batch) for batch in self.examinee.task.batches()]

    def test_the_loss_is_finite_and_has_a_slope(self) -> None:
        task, model = self.examinee.task, copy.deepcopy(self.examinee.model).train()
        with torch.no_grad():
            for table in model.tables.values():
                generator = torch.Generator().manual_seed(0)
                table.weight.add_(0.01 * torch.randn(table.weight.shape, generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            loss = task.loss(model, task.batches()[0])
        assert loss.shape == (), f"the loss must be a scalar, but has the shape {list(loss.shape)}"
        assert loss.isfinite(), f"the loss is {loss.item()}"
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        gradients = {name: table.weight.grad for name, table in model.tables.items() if table.weight.requires_grad}
        without = [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
        assert not without, f"the loss has no finite gradient with respect to {without}"
        assert not gradients or any(bool(gradient.any()) for gradient in gradients.values() if gradient is not None)

    def test_starting_weights_and_settling_are_deterministic(self) -> None:
        states = []
        for _ in range(2):
            model = self.examinee.task.model({}, seed=0)
            self.examinee.task.initialize(model, seed=0)
            self.examinee.task.settle(model)
            states.append(_tensors(model.state_dict()))
        assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
        with_nan = [name for name, tensor in states[0].items() if tensor.is_floating_point() and tensor.isnan().any()]
        assert not with_nan, f"{with_nan} contain NaN"

    def test_settling_what_is_settled_changes_no_quality(self) -> None:
        model = copy.deepcopy(self.examinee.model)
        self.examinee.task.settle(model)
        after, before = (self.examinee.task.validate(each) for each in (model, self.examinee.model))
        np.testing.assert_allclose(after, before, rtol=1e-6)

    def test_the_context_speaks_of_the_models_axes(self) -> None:
        model = self.examinee.model
        context = self.examinee.task.context(seed=5, device=torch.device("cpu"))
        assert context.seed == 5
        for name, counts in context.frequency.items():
            assert len(counts) == model.tables[model.axes[name].pairs[0][0]].original_rows
        if context.calibration:
            inputs = context.calibration[:3]
            assert model.calibrate(inputs).shape[0] == len(inputs)

    def test_original_numbers_of_an_axis_outlive_a_cut(self) -> None:
        model = copy.deepcopy(self.examinee.model)
        for axis in [axis for axis in model.axes.values() if axis.kind != "dim"]:
            assert model.numbers(axis) == list(range(model.size(axis)))
            keep = torch.arange(1, model.size(axis))
            model.cut(axis, keep)
            assert model.numbers(axis) == keep.tolist()
            if axis.kind == "layers":
                return  # cutting a layer also removes axes inside it

    def test_what_is_validated_is_the_metric_of_what_is_served(self) -> None:
        task = self.examinee.task
        validated = task.validate(self.examinee.model)
        assert np.isfinite(validated)
        served = [self.examinee.served(each) for each in task.runtimes]
        values = [task.metrics[task.metric](task.score(each, "validation")) for each in served]
        assert np.isclose(values, validated, rtol=1e-5).any(), f"validate() gives {validated}, served models {values}"

    # --- how it is judged

    def test_rows_have_the_columns_that_are_declared(self) -> None:
        task, served = self.examinee.task, self.examinee.served()
        for split in SPLITS:
            whole = task.score(served, split)
            assert len(whole), f"score() returned no rows for {split}"
            variants = [*task.perturbations, *(task.asides if split == "test" else ())]
            for rows in (whole, *(task.score(served, split, name) for name in variants)):
                assert isinstance(rows, pd.DataFrame)
                assert {task.unit, *task.slices} <= set(rows.columns), f"columns are missing: got {list(rows.columns)}"
                assert list(rows.columns) == list(whole.columns)
                assert rows.index.is_unique
            for column, names in task.slices.items():
                assert set(whole[column].unique()) <= set(names), f"slices does not name all values of {column}"
        slices = [name for names in task.slices.values() for name in names]
        all_names = [WHOLE, *task.perturbations, *task.asides, *slices]
        assert len(all_names) == len(set(all_names)), "slices, perturbations and asides must have different names"

    def test_metrics_are_finite_and_rest_on_units(self) -> None:
        task, served = self.examinee.task, self.examinee.served()
        for split in SPLITS:
            rows = task.score(served, split)
            for name, metric in task.metrics.items():
                assert np.isfinite(metric(rows)), f"{name} on {split} is {metric(rows)}"
                assert 0 < metric.units(rows) <= rows[task.unit].nunique()
                assert np.isfinite(metric.influence(rows)).all()
                assert abs(metric.influence(rows).sum()) < 1e-6, f"the influences on {name} must sum to 0"

    def test_scoring_draws_nothing(self) -> None:
        task, before = self.examinee.task, torch.random.get_rng_state()
        first, second = (task.score(self.examinee.served(), "validation") for _ in range(2))
        assert torch.equal(torch.random.get_rng_state(), before), "scoring must not change torch's generator"
        pd.testing.assert_frame_equal(first, second)

    def test_splits_are_not_the_same(self) -> None:
        served, task = self.examinee.served(), self.examinee.task
        validation, test = (task.score(served, split) for split in SPLITS)
        assert not validation.equals(test), "validation and test must have different data"

    def test_a_baseline_judged_against_itself_is_even(self) -> None:
        task, served = self.examinee.task, self.examinee.served()
        judge = Judge(task, "validation", served)
        judged = judge.judge(judge.rows(served))
        np.testing.assert_equal(judged.quality, judge.baseline.quality)  # treats two NaN as equal
        assert set(judged.quality) == set(task.metrics)
        slices = [WHOLE, *(name for names in task.slices.values() for name in names), *task.perturbations]
        assert all(list(by_slice) == slices for by_slice in judged.quality.values())
        draws = np.array(judged.draws)
        assert set(draws[np.isfinite(draws)]) == {1.0}, "the same units must be drawn for both"

    # --- how it is served

    def test_workloads_are_those_declared_and_can_be_asked_again(self) -> None:
        for runtime in self.examinee.task.runtimes:
            requests = self.examinee.task.workloads(self.examinee.served(runtime))
            assert tuple(requests) == self.examinee.task.workload_names
            for name, request in requests.items():
                assert all(request() is not None for _ in range(2)), f"workload {name} must return an answer each time"

    def test_what_is_saved_and_loaded_answers_the_same(self) -> None:
        task = self.examinee.task
        for runtime in task.runtimes:
            parts = task.parts(self.examinee.model, runtime)
            assert parts.manifest["kind"] in FAMILIES
            assert json.loads(json.dumps(parts.manifest)) == parts.manifest
            with tempfile.TemporaryDirectory() as folder:
                artifact.save(parts, Path(folder) / "artifact", provenance={})
                loaded = artifact.load(Path(folder) / "artifact")
            assert loaded.memory_bytes > 0
            for split in SPLITS:
                pd.testing.assert_frame_equal(task.score(loaded, split), task.score(serve(parts), split))

    def test_what_lies_beside_is_the_same_for_every_model(self) -> None:
        saved, expected = self.examinee.task.parts(self.examinee.model).beside, self.examinee.task.beside()
        assert saved.values == expected.values
        assert saved.tensors.keys() == expected.tensors.keys()
        assert all(np.array_equal(saved.tensors[name], tensor) for name, tensor in expected.tensors.items())


def _tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a state, without what a module stores with `get_extra_state`."""
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _digest(batch: Any) -> str | None:
    """The digest of a batch; None if it has none, and the task's own `fingerprint()` accounts for its content."""
    try:
        return digest_of(batch)
    except CannotTell:
        return None


def main(arguments: list[str]) -> int:
    """Examines the task in a file, prints the result of each test, and returns the number of failures."""
    if len(arguments) not in (1, 2):
        print("python -m autoprune.testing FILE [DATA]", file=sys.stderr)
        return 2
    exam = TaskExam()
    try:
        exam.examinee = examinee(arguments[0], data=arguments[1] if len(arguments) > 1 else None)
    except AutopruneError as error:
        print(f"autoprune: {error}", file=sys.stderr)
        return 2
    failed = 0
    for name in [name for name in vars(TaskExam) if name.startswith("test_")]:
        try:
            getattr(exam, name)()
            result = "holds"
        except Exception as error:
            message = " ".join(str(error).split()) or "see autoprune/testing.py"
            kind = "" if isinstance(error, AssertionError | AutopruneError) else f"{type(error).__name__}: "
            failed, result = failed + 1, f"FAILS: {kind}{message}"
        print(f"{name.removeprefix('test_').replace('_', ' ')}: {result}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
