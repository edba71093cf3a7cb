"""The exam that every task takes, for tasks of one's own too.

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
from autoprune.tasks.task import Task

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Examinee:
    """A task under test.

    Attributes:
        again: makes the same task once more.
        model: of the task, in a state in which it is judged; whoever changes it works on a copy.
        other: makes the same on other data; None: its fingerprint is not examined.
    """

    task: Task[Any, Any]
    again: Callable[[], Task[Any, Any]]
    model: Model
    other: Callable[[], Task[Any, Any]] | None = None

    def served(self, runtime: str = "") -> Served:
        """What answers for the model."""
        return serve(self.task.parts(self.model, runtime))


def examinee(file: str | Path, *, data: str | Path | None = None, options: Mapping[str, Any] | None = None) -> Examinee:
    """The task in a file of one's own, as `task=module task.file=FILE` makes it.

    Args:
        data: as `task.data.path`.
        options: as `task.options`.

    Raises:
        AutopruneError: it cannot be made.
    """
    section = {"name": "module", "file": str(file), "options": dict(options or {})}
    if data is not None:
        section["data"] = {"path": str(data)}
    task = make_task(section)
    return Examinee(task, lambda: make_task(section), task.model({}, seed=0))


class TaskExam:
    """What holds for every task; a subclass says which one is examined.

    Attributes:
        examinee: the task under test.
    """

    examinee: Examinee

    # --- what it learns from

    def test_what_a_task_says_of_itself(self) -> None:
        task = self.examinee.task
        assert task.name
        assert task.describe(), "a task describes its data in a line"
        assert "\n" not in task.describe(), "a task describes its data in one line"
        assert task.metric in task.metrics, f"{task.metric} is among {list(task.metrics)}"
        assert task.runtimes
        assert task.workload_names
        json.dumps([dict(task.base), task.metric, task.slices, task.perturbations])
        task.training.check()

    def test_the_fingerprint_is_stable(self) -> None:
        known = self.examinee.task.fingerprint()
        assert known == self.examinee.task.fingerprint() == self.examinee.again().fingerprint(), "it is the same again"

    def test_the_fingerprint_changes_with_the_data(self) -> None:
        other = self.examinee.other
        assert other is None or other().fingerprint() != self.examinee.task.fingerprint()

    def test_a_model_is_made_from_the_seed_alone(self) -> None:
        task = self.examinee.task
        one = task.model({}, seed=3)
        torch.rand(3)
        for other in (task.model({}, seed=3), task.model(dict(task.base), seed=3)):
            before, now = one.state_dict(), other.state_dict()
            assert before.keys() == now.keys()
            changed = [name for name, held in _tensors(now).items() if not torch.equal(before[name], held)]
            assert not changed, f"{changed} differ between two models of one seed"
            assert all(one.tables[name] is not table for name, table in other.tables.items())

    def test_batches_are_drawn_from_torchs_generator_alone(self) -> None:
        drawn = [self._drawn(seed) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1], "one seed draws the same batches"
        assert drawn[0] != drawn[2], "another seed draws others"
        assert len({len(self._drawn(seed)) for seed in range(3)}) == 1, "a budget in epochs is one in updates"

    def _drawn(self, seed: int) -> list[Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.default_rng().random()
            random.random()
            return [_plain(batch) for batch in self.examinee.task.batches()]

    def test_the_loss_is_finite_and_has_a_slope(self) -> None:
        task, model = self.examinee.task, copy.deepcopy(self.examinee.model).train()
        with torch.no_grad():
            for table in model.tables.values():
                draw = torch.Generator().manual_seed(0)
                table.weight.add_(0.01 * torch.randn(table.weight.shape, generator=draw))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            loss = task.loss(model, task.batches()[0])
        assert loss.shape == (), f"a loss is a scalar, but has the shape {list(loss.shape)}"
        assert loss.isfinite(), f"the loss is {loss.item()}"
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        slopes = {name: table.weight.grad for name, table in model.tables.items() if table.weight.requires_grad}
        without = [name for name, slope in slopes.items() if slope is None or not slope.isfinite().all()]
        assert not without, f"the loss has no finite slope by {without}"
        assert not slopes or any(bool(slope.any()) for slope in slopes.values() if slope is not None)

    def test_starting_weights_and_settling_are_deterministic(self) -> None:
        made = []
        for _ in range(2):
            model = self.examinee.task.model({}, seed=0)
            self.examinee.task.initialize(model, seed=0)
            self.examinee.task.settle(model)
            made.append(_tensors(model.state_dict()))
        assert all(torch.equal(made[0][name], held) for name, held in made[1].items())
        without = [name for name, held in made[0].items() if held.is_floating_point() and held.isnan().any()]
        assert not without, f"{without} hold NaN"

    def test_settling_what_is_settled_changes_no_quality(self) -> None:
        model = copy.deepcopy(self.examinee.model)
        self.examinee.task.settle(model)
        found, before = (self.examinee.task.validate(one) for one in (model, self.examinee.model))
        np.testing.assert_allclose(found, before, rtol=1e-6)

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
                return  # others went with their layer

    def test_what_is_validated_is_the_metric_of_what_is_served(self) -> None:
        task = self.examinee.task
        found = task.validate(self.examinee.model)
        assert np.isfinite(found)
        served = [self.examinee.served(one) for one in task.runtimes]
        values = [task.metrics[task.metric](task.score(one, "validation")) for one in served]
        assert np.isclose(values, found, rtol=1e-5).any(), f"{found} is validated, but {values} are served"

    # --- how it is judged

    def test_rows_have_the_columns_that_are_declared(self) -> None:
        task, served = self.examinee.task, self.examinee.served()
        for split in SPLITS:
            whole = task.score(served, split)
            assert len(whole), f"{split} has rows"
            asked = [*task.perturbations, *(task.asides if split == "test" else ())]
            for rows in (whole, *(task.score(served, split, name) for name in asked)):
                assert isinstance(rows, pd.DataFrame)
                assert {task.unit, *task.slices} <= set(rows.columns), f"the columns are {list(rows.columns)}"
                assert list(rows.columns) == list(whole.columns)
                assert rows.index.is_unique
            for column, names in task.slices.items():
                assert set(whole[column].unique()) <= set(names), f"{column} holds what slices does not name"
        slices = [name for names in task.slices.values() for name in names]
        every = [WHOLE, *task.perturbations, *task.asides, *slices]
        assert len(every) == len(set(every)), "a reading is named by its slice"

    def test_metrics_are_finite_and_rest_on_units(self) -> None:
        task, served = self.examinee.task, self.examinee.served()
        for split in SPLITS:
            rows = task.score(served, split)
            for name, metric in task.metrics.items():
                assert np.isfinite(metric(rows)), f"{name} on {split} is {metric(rows)}"
                assert 0 < metric.units(rows) <= rows[task.unit].nunique()
                assert np.isfinite(metric.influence(rows)).all()
                assert abs(metric.influence(rows).sum()) < 1e-6, f"influences on {name} sum to 0"

    def test_scoring_draws_nothing(self) -> None:
        task, before = self.examinee.task, torch.random.get_rng_state()
        one, other = (task.score(self.examinee.served(), "validation") for _ in range(2))
        assert torch.equal(torch.random.get_rng_state(), before), "scoring leaves torch's generator as it was"
        pd.testing.assert_frame_equal(one, other)

    def test_splits_are_not_the_same(self) -> None:
        served, task = self.examinee.served(), self.examinee.task
        one, other = (task.score(served, split) for split in SPLITS)
        assert not one.equals(other), "validation and test are other data"

    def test_a_baseline_judged_against_itself_is_even(self) -> None:
        task, served = self.examinee.task, self.examinee.served()
        judge = Judge(task, "validation", served)
        found = judge.judge(judge.rows(served))
        np.testing.assert_equal(found.quality, judge.baseline.quality)  # which takes one nan for another
        assert set(found.quality) == set(task.metrics)
        slices = [WHOLE, *(name for names in task.slices.values() for name in names), *task.perturbations]
        assert all(list(by_slice) == slices for by_slice in found.quality.values())
        assert not any(found.errors.values())

    # --- how it is served

    def test_workloads_are_those_declared_and_can_be_asked_again(self) -> None:
        for runtime in self.examinee.task.runtimes:
            found = self.examinee.task.workloads(self.examinee.served(runtime))
            assert tuple(found) == self.examinee.task.workload_names
            for name, request in found.items():
                assert all(request() is not None for _ in range(2)), f"{name} gives an answer"

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
        one, other = self.examinee.task.parts(self.examinee.model).beside, self.examinee.task.beside()
        assert one.values == other.values
        assert one.tensors.keys() == other.tensors.keys()
        assert all(np.array_equal(one.tensors[name], held) for name, held in other.tensors.items())


def _tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What of a state is tensors, and nothing that a module keeps by `get_extra_state`."""
    return {name: held for name, held in state.items() if isinstance(held, torch.Tensor)}


def _plain(batch: Any) -> Any:
    """A batch as lists, which can be compared."""
    if isinstance(batch, torch.Tensor | np.ndarray):
        return batch.tolist()
    if isinstance(batch, Mapping):
        return {name: _plain(held) for name, held in batch.items()}
    return [_plain(held) for held in batch] if isinstance(batch, list | tuple) else batch


def main(arguments: list[str]) -> int:
    """Examines the task in a file, and says what holds; gives the number of what does not."""
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
            said = "holds"
        except (AssertionError, AutopruneError) as error:
            failed, said = failed + 1, f"FAILS: {' '.join(str(error).split()) or 'see autoprune/testing.py'}"
        print(f"{name.removeprefix('test_').replace('_', ' ')}: {said}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
