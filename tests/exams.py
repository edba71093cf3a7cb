"""What the exam of every step is made of: the steps with what they declare, and the families of models they meet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tiny_encoder import LAYERS, TEXTS
from torch import nn

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.encoder.architecture import MAPS
from autoprune.encoder.model import Encoder
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.stored import kept
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.module.model import Adopted
from autoprune.module.served import ServedModule
from autoprune.module.task import AdoptedTask
from autoprune.recipes.recipe import Stage, plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.recommender.served import Recommender
from autoprune.recommender.strangers import STEP
from autoprune.recommender.task import RecommenderTask
from autoprune.steps import CANNOT_FOLLOW, make_step
from autoprune.steps.step import Step
from autoprune.tasks.task import Task, Training

if TYPE_CHECKING:
    from autoprune.encoder.task import EncoderTask

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Exam:
    """A step under test, and what it declares to do.

    Attributes:
        removes: fraction by what it is a fraction of: `weights` (of all tables together), `weights.item`, `dim`,
            `rows.item`, `ffn` (of all layers together), `ffn.2`, …; structure that is not named must stay whole.
            None: something, but how much shows only when it trains.
        bits: the widths of all tables afterwards.
        family: of models, the name of a fixture in `conftest.py`.
    """

    name: str
    parameters: dict[str, Any]
    removes: Mapping[str, float | None] = field(default_factory=dict)
    bits: frozenset[int] = frozenset({32})
    family: str = "recommenders"

    def __str__(self) -> str:
        values = [str(value).translate(str.maketrans("", "", "{}' ")) for value in self.parameters.values()]
        name = self.name if self.family == "recommenders" else f"{self.family}-{self.name}"
        return "-".join([name, *values])

    @property
    def step(self) -> Step:
        return make_step(self.name, self.parameters)

    def removed(self, name: str, size: int, *, epochs: int) -> range:
        """How much of `size` may be gone after so many epochs."""
        fraction = self.removes[name]
        if fraction is None:
            return range(1, size) if epochs else range(1)
        return range(round(fraction * size), round(fraction * size) + 1)


RECOMMENDER_EXAMS = [
    Exam("magnitude", {"sparsity": 0.9}, {"weights": 0.9}),
    Exam("magnitude", {"sparsity": 0.6, "scope": "table"}, {"weights.user": 0.6, "weights.item": 0.6}),
    Exam("magnitude", {"sparsity": {"item": 0.7}, "scope": "table"}, {"weights.item": 0.7}),
    Exam("magnitude", {"sparsity": 0.37, "min_per_row": 3}, {"weights": 0.37}),
    Exam("dims", {"sparsity": 0.5}, {"dim": 0.5}),
    Exam("dims", {"sparsity": 0.3, "importance": "pca"}, {"dim": 0.3}),
    Exam("rows", {"sparsity": {"item": 0.3}}, {"rows.item": 0.3}),
    Exam("quantize", {"bits": {"user": 1.6, "item": 2.5}, "entropy": True}, bits=frozenset({4})),
    Exam("dims", {"sparsity": 0.4, "importance": "activation"}, {"dim": 0.4}),
    Exam("rows", {"sparsity": 0.45}, {"rows.item": 0.45, "rows.user": 0.45}),
    Exam(
        "rows", {"sparsity": {"item": 0.25, "user": 0.6}, "importance": "norm"}, {"rows.item": 0.25, "rows.user": 0.6}
    ),
    Exam("rows", {"sparsity": {"user": 0.3}, "importance": "both"}, {"rows.user": 0.3}),
    Exam("l1", {"strength": 15.0}, {"weights": None}),
    Exam("l1", {"strength": 50.0, "groups": "dims"}, {"dim": None}),
    Exam("l1", {"strength": 90.0, "groups": "rows"}, {"rows.item": None, "rows.user": None}),
    Exam(
        "quantize",
        {"bits": {"user": 1.6, "item": 1.6}, "by_frequency": {"item": 0.5}, "entropy": True},
        bits=frozenset({4}),
    ),
    Exam("quantize", {"bits": 8}, bits=frozenset({8})),
    Exam("quantize", {"bits": {"user": 4, "item": 3}}, bits=frozenset({4, 3})),
    Exam("quantize", {"bits": {"user": 2, "item": 1}, "entropy": True}, bits=frozenset({2, 1})),
    Exam("quantize", {"bits": {"user": 3, "item": 1.6}, "levels": "normal"}, bits=frozenset({3, 1.6})),
    Exam("mixed", {"head": 0.2, "head_bits": 8, "tail_bits": 2}, bits=frozenset({8, 2})),
    Exam("mixed", {"head": 0.2, "head_bits": 4, "tail_bits": 1.6, "levels": "normal"}, bits=frozenset({4, 1.6})),
    Exam("quantize", {"bits": {"user": 3.0, "item": 2.5}, "levels": "normal", "entropy": True}, bits=frozenset({4})),
    Exam("product", {"width": 4, "entries": 16, "lengths": True}, bits=frozenset({4})),
    Exam("tiers", {"head": 0.2, "middle": 0.3, "middle_bits": 2, "width": 4, "entries": 16}, bits=frozenset({8, 2, 4})),
]

BODY = ["position", *(f"{name}_{layer}" for layer in range(LAYERS) for name in MAPS if name != "gate")]
EACH = [str(layer) for layer in range(LAYERS)]

ENCODER_EXAMS = [
    replace(exam, family="encoders")
    for exam in (
        Exam("layers", {"sparsity": 0.5}, {"layers": 0.5}),
        Exam("layers", {"sparsity": 0.25, "importance": "influence"}, {"layers": 0.25}),
        Exam("layers", {"sparsity": 0.5, "importance": "fidelity"}, {"layers": 0.5}),
        Exam("layers", {"keep": [0, 1, 3]}, {"layers": 0.25}),
        Exam("heads", {"sparsity": 0.3, "importance": "norm", "scope": "global"}, {"heads": 0.3}),
        Exam("heads", {"sparsity": 0.5}, {f"heads.{layer}": 0.5 for layer in EACH}),
        Exam(
            "heads", {"sparsity": {"1": 0.5, "3": 0.75}, "importance": "activation"}, {"heads.1": 0.5, "heads.3": 0.75}
        ),
        Exam("heads", {"sparsity": 0.6, "scope": "global"}, {"heads": 0.6}),
        Exam("ffn", {"sparsity": 0.4, "importance": "norm"}, {f"ffn.{layer}": 0.4 for layer in EACH}),
        Exam("ffn", {"sparsity": 0.7, "importance": "activation", "scope": "global"}, {"ffn": 0.7}),
        Exam("ffn", {"sparsity": {"0": 0.25}}, {"ffn.0": 0.25}),
        Exam("rows", {"sparsity": 0.2}, {"vocab": 0.2}),
        Exam("rows", {"sparsity": {"vocab": 0.35}, "importance": "norm"}, {"vocab": 0.35}),
        Exam("rows", {"sparsity": 0.4, "importance": "both"}, {"vocab": 0.4}),
        Exam("dims", {"sparsity": 0.5, "importance": "pca"}, {"out": 0.5}),
        Exam("dims", {"sparsity": {"out": 0.25}}, {"out": 0.25}),
        Exam("dims", {"sparsity": 0.4, "importance": "activation"}, {"out": 0.4}),
        Exam("magnitude", {"sparsity": 0.5}, {"weights": 0.5}),
        Exam("magnitude", {"sparsity": 0.3, "scope": "table"}, {f"weights.{name}": 0.3 for name in ("word", *BODY)}),
        Exam("magnitude", {"sparsity": {"word": 0.6}, "scope": "table"}, {"weights.word": 0.6}),
        Exam("magnitude", {"sparsity": {"body": 0.4}, "scope": "table"}, {f"weights.{name}": 0.4 for name in BODY}),
        Exam("l1", {"strength": 30.0}, {"weights": None}),
        Exam("l1", {"strength": 60.0, "groups": "rows"}, {"vocab": None}),
        Exam("quantize", {"bits": 8}, bits=frozenset({8})),
        Exam("quantize", {"bits": {"word": 4, "body": 8}}, bits=frozenset({8, 4})),
        Exam("quantize", {"bits": {"word": 3, "body": 4}, "compensate": True}, bits=frozenset({3, 4})),
        Exam("quantize", {"bits": {"word": 2, "body": 3}, "entropy": True}, bits=frozenset({2, 3})),
        Exam(
            "quantize",
            {"bits": {"word": 2.2, "body": 4.0}, "entropy": True, "compensate": True},
            bits=frozenset({4, 8}),
        ),
        Exam("quantize", {"bits": {"word": 1}}, bits=frozenset({1, 32})),
        Exam("store", {"bits": 1}),
    )
]

MODULE_EXAMS = [
    replace(exam, family="modules")
    for exam in (
        Exam("magnitude", {"sparsity": 0.8}, {"weights": 0.8}),
        Exam("magnitude", {"sparsity": {"items": 0.5}, "scope": "table"}, {"weights.items": 0.5}),
        Exam("dims", {"sparsity": 0.5}, {"dim.items": 0.5, "dim.users_0": 0.5}),
        Exam("dims", {"sparsity": {"items": 0.25}, "importance": "pca"}, {"dim.items": 0.25}),
        Exam("dims", {"sparsity": 0.5, "importance": "activation"}, {"dim.items": 0.5, "dim.users_0": 0.5}),
        Exam("rows", {"sparsity": {"items": 0.3}}, {"rows.items": 0.3}),
        Exam("rows", {"sparsity": 0.4, "importance": "both"}, {"rows.items": 0.4, "rows.users_0": 0.4}),
        Exam("l1", {"strength": 15.0}, {"weights": None}),
        Exam("l1", {"strength": 40.0, "groups": "dims"}, {"dim.items": None, "dim.users_0": None}),
        Exam("l1", {"strength": 90.0, "groups": "rows"}, {"rows.items": None, "rows.users_0": None}),
        Exam("quantize", {"bits": 8}, bits=frozenset({8})),
        Exam("quantize", {"bits": {"items": 2, "users_0": 1}}, bits=frozenset({2, 1, 32})),
        Exam("quantize", {"bits": 3.0, "by_frequency": 1.0, "entropy": True}, bits=frozenset({4, 8})),
        Exam("mixed", {"head": 0.2, "head_bits": 8, "tail_bits": 4}, bits=frozenset({8, 4})),
        Exam("product", {"width": 4, "entries": 8}, bits=frozenset({4})),
    )
]

EXAMS = [*RECOMMENDER_EXAMS, *ENCODER_EXAMS, *MODULE_EXAMS]

REFUSED = [
    (Exam("l1", {"strength": 1.0, "groups": "dims"}, family="encoders"), "choose groups=weights or groups=rows"),
    (Exam("mixed", {"head": 0.2}, family="encoders"), "use quantize"),
    (Exam("product", {"entries": 16}, family="encoders"), "use quantize"),
    (Exam("tiers", {"head": 0.2}, family="encoders"), "use quantize"),
    (Exam("quantize", {"bits": 1}, family="encoders"), "take 8, 4, 3 or 2 bits"),
    (
        Exam("quantize", {"bits": {"word": 2.5}, "by_frequency": 1.0, "entropy": True}, family="encoders"),
        "need rows of one width",
    ),
    (Exam("quantize", {"bits": 4, "levels": "normal"}, family="encoders"), "need even levels"),
    (
        Exam("quantize", {"bits": 1.6}),
        "one of 32, 8, 4, 3, 2, 1 must be given, but got 1.6; 1.6 bits take levels=normal",
    ),
    (Exam("quantize", {"bits": 2.5, "levels": "normal"}), "requires an entropy-coded file; set entropy=true"),
    (
        Exam("mixed", {"head": 0.2, "head_bits": 4, "tail_bits": 3.9, "levels": "normal", "entropy": True}),
        "from 1.5 to 3.6, but got 3.9",
    ),
    (Exam("quantize", {"bits": 3, "levels": "gaussian"}), "'gaussian' is unknown"),
    (Exam("store", {"bits": 4}, family="encoders"), "one of 32, 16, 8, 1 must be given, but got 4"),
    (Exam("store", {"bits": 8}), "users do not store the vectors of this model"),
    (Exam("quantize", {"bits": 3, "entropy": 1}), "true or false must be given"),
    (Exam("quantize", {"bits": 2.5, "entropy": True, "by_frequency": 3}), "0 <= by_frequency <= 2 must hold"),
    (Exam("quantize", {"bits": 2.5, "entropy": True, "by_frequency": {"item": "yes"}}), "must hold, but got 'yes'"),
    (
        Exam("quantize", {"bits": 2.5, "entropy": True, "by_frequency": 1.0, "levels": "normal"}),
        "by_frequency needs even levels",
    ),
    (Exam("layers", {"sparsity": 0.5}), "the model has no layers"),
    (Exam("heads", {"sparsity": 0.5}), "the model has no heads"),
    (Exam("ffn", {"sparsity": 0.5}), "the model has no ffn"),
]
"""What a family of models cannot have, and words of the reason."""


@dataclass(frozen=True)
class Family:
    """Models of one kind, made by one task, and how the exam asks them.

    Attributes:
        dense: trained; whoever changes it works on a copy.
        answers: of what is served, to the exam's questions; -inf where something cannot be answered any more.
        expected: what a model whose parts are hidden, not cut, must answer to the same questions.
        assert_whole: what ships answers all that stands in the model.
    """

    task: Task
    context: Context
    trainer: Trainer
    dense: Model
    answers: Callable[[Served], Array]
    expected: Callable[[Model], Array]
    assert_whole: Callable[[Served, Model], None]
    _made: dict[tuple[str, int], Model] = field(default_factory=dict)

    def make(self, exam: Exam, *, epochs: int = 0) -> Model:
        """What a step makes of the dense model."""
        made = self._made[str(exam), epochs] = self.run(stage_of(exam, epochs=epochs))
        return made

    def made(self, exam: Exam, *, epochs: int = 0) -> Model:
        """The same, made before if it was; whoever changes it works on a copy."""
        known = self._made.get((str(exam), epochs))
        return self.make(exam, epochs=epochs) if known is None else known

    def run(self, stage: Stage, model: Model | None = None, **changed: Any) -> Model:
        """The stage, from the dense model or another."""
        arguments = {"trainer": self.trainer, "key": "", **changed}
        return run_stage(model or self.dense, stage, self.task, self.context, **arguments)

    def train_through(self, recipe: Mapping[str, Any]) -> Model:
        model = self.dense
        for stage in plan(recipe, base_defaults=self.task.base).stages:
            model = self.run(stage, model)
        return model

    def served(self, model: Model, folder: Path, runtime: str = "") -> Served:
        """The model after it was saved and loaded."""
        artifact.save(self.task.parts(model, *filter(None, [runtime])), folder, provenance={})
        return autoprune.load(folder)

    def tolerance(self, model: Model, runtime: str) -> float:
        """How far answers may be from those expected, as a share of the largest.

        onnxruntime multiplies coded linear maps by activations that it rounds to 8 bits, a range a batch: vectors of
        length 1, whose mean distance is 0.7 here, move by 0.05 at most. Everything else differs by rounding alone.
        """
        rounded = runtime == "onnx" and any(table.symmetric and table.coded for table in model.tables.values())
        return 0.08 if rounded else 2e-5


def stage_of(exam: Exam, *, epochs: int = 0) -> Stage:
    return Stage(name="under_test", steps=(exam.step,), paths=(("under_test",),), epochs=epochs, schedule="cubic")


def state_of(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_state(left: Mapping[str, torch.Tensor | Array], right: Mapping[str, torch.Tensor | Array]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if left[name].dtype != right[name].dtype] == []
    assert [name for name in left if not np.array_equal(left[name], right[name])] == []


def removed_parts(model: Model, dense: Model) -> dict[str, int]:
    """How much is gone, by the names that `Exam.removes` uses."""
    zeros = {
        f"weights.{name}": int(((table.values() == 0) & (~table.mask | table.mask.all())).sum())
        for name, table in model.tables.items()
        if name in dense.tables
    }
    # A layer that is gone took its axes with it: that is the layer's loss, not that of its neurons.
    gone = {name: dense.size(axis) - model.size(axis) for name, axis in model.axes.items()}
    return {"weights": sum(zeros.values()), **zeros, **_kinds(gone), **gone}


def _kinds(counts: Mapping[str, int]) -> dict[str, int]:
    """What all axes of a kind have together (`ffn` of `ffn.0`, `ffn.1`, …)."""
    found: dict[str, int] = {}
    for name, count in counts.items():
        kind = name.partition(".")[0]
        if kind != name:
            found[kind] = found.get(kind, 0) + count
    return found


def widths_of(model: Model) -> set[int]:
    entries = [table.packed().entry for table in model.tables.values()]
    return {part["bits"] for entry in entries for part in entry.get("parts", [entry])}


def sizes_of(dense: Model) -> dict[str, int]:
    weights = {f"weights.{name}": table.weight.numel() for name, table in dense.tables.items()}
    sizes = {name: dense.size(axis) for name, axis in dense.axes.items()}
    return {"weights": sum(weights.values()), **weights, **_kinds(sizes), **sizes}


def recommender_family(task: RecommenderTask, context: Context, trainer: Trainer, dense: Model) -> Family:
    def assert_whole(served: Served, model: Model) -> None:
        found = all_scores(served, task, every=24)
        stands = np.zeros(len(task.data.items), dtype=bool)
        stands[model.tables["item"].index.numpy()] = True
        assert np.isfinite(found[:, stands]).all()
        assert np.isneginf(found[:, ~stands]).all()

    return Family(
        task=task,
        context=context,
        trainer=trainer,
        dense=dense,
        answers=lambda served: all_scores(served, task),
        expected=lambda masked: expected_scores(masked, task),
        assert_whole=assert_whole,
    )


def encoder_family(task: EncoderTask) -> Family:
    context = task.context(seed=0, device=torch.device("cpu"))
    texts = TEXTS[::3]

    def answers(served: Served) -> Array:
        assert isinstance(served, SentenceEncoder)
        return served.widened(served.encode(texts))

    def expected(masked: Model) -> Array:
        assert isinstance(masked, Encoder)
        with torch.no_grad():
            vectors = masked.calibrate(texts)[:, masked.standing(masked.axes["out"])].numpy()
        return kept(vectors, masked.stored_bits)

    def assert_whole(served: Served, model: Model) -> None:
        found = answers(served)
        assert found.shape == (len(texts), model.size(model.axes["out"]))
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
        assert len(np.unique(found.round(4), axis=0)) > 0.9 * len(texts), "texts are told apart"

    return Family(
        task=task,
        context=context,
        trainer=Trainer(task.training),
        dense=task.model({}, seed=0),
        answers=answers,
        expected=expected,
        assert_whole=assert_whole,
    )


def module_family(task: AdoptedTask) -> Family:
    inputs = task.own.inputs(torch.arange(0, 600, 7))

    def asked(module: nn.Module) -> Array:
        with torch.no_grad():
            found: Array = module(*inputs).numpy()
        return found

    def answers(served: Served) -> Array:
        assert isinstance(served, ServedModule)
        return asked(served.fill(copy.deepcopy(task.skeleton({}))))

    def expected(masked: Model) -> Array:
        assert isinstance(masked, Adopted)
        return asked(masked.eval().module)

    def assert_whole(served: Served, model: Model) -> None:
        assert isinstance(model, Adopted)
        found = answers(served)
        np.testing.assert_allclose(found, asked(model.eval().module), rtol=0, atol=2e-5 * np.abs(found).max())

    return Family(
        task=task,
        context=task.context(seed=0, device=torch.device("cpu")),
        trainer=Trainer(Training(epochs=0, learning_rate=0.01, warmup=5)),
        dense=task.model({}, seed=0),
        answers=answers,
        expected=expected,
        assert_whole=assert_whole,
    )


def all_scores(served: object, task: RecommenderTask, *, every: int = 5) -> Array:
    """Scores of one user in `every` x all items of the task."""
    assert isinstance(served, Recommender)
    users = range(0, len(task.data.users), every)
    return np.stack([served.scores(task.data.users[user]) for user in users])


def expected_scores(masked: Model, task: RecommenderTask) -> Array:
    """What a model whose rows are hidden, not cut, must answer; in numpy, float64."""
    user, item = (masked.tables[name].values().detach().double().numpy() for name in ("user", "item"))
    user_stays, item_stays = (masked.tables[name].row_mask.numpy() for name in ("user", "item"))
    vectors, catalogue = user.copy(), item[item_stays]
    # Parts that are hidden are not there for the ridge either: it spans the dimensions that stay.
    dims = masked.tables["item"].dim_mask.numpy()
    covariance = np.cov(catalogue.T, bias=True)
    penalty = covariance + task.config.fold_in.ridge * np.diag(covariance)[dims].mean() * np.eye(len(dims))
    length, known = np.linalg.norm(catalogue, axis=1).mean(), np.linalg.norm(user[user_stays], axis=1).mean()
    history = task.data.train.joined(task.data.validation)
    # A row without a single weight left says nothing of its user: the history has to.
    for at in np.flatnonzero(~user_stays | ~user.any(1)):
        seen = history.of(int(at)).numpy()
        rows = item[seen[item_stays[seen]]]
        if not len(rows):
            vectors[at] = user[user_stays].mean(0)
            continue
        solution = np.linalg.solve(penalty, rows.mean(0) - catalogue.mean(0))
        solution /= np.linalg.norm(solution)
        for _ in range(task.config.fold_in.steps):
            likely = np.exp(catalogue @ solution / (length * task.config.temperature))
            slope = (rows.mean(0) - likely @ catalogue / likely.sum()) / length
            solution += STEP * (slope - (slope @ solution) * solution)
            solution /= np.linalg.norm(solution)
        vectors[at] = solution * known
    return np.where(item_stays, vectors[::5] @ item.T, -np.inf)


def reason_against(first: Exam, second: Exam) -> str | None:
    pairs = [(a, b) for a in first.step.aspects() for b in second.step.aspects()]
    return next((CANNOT_FOLLOW[pair] for pair in pairs if pair in CANNOT_FOLLOW), None)
