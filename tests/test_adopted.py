"""Modules of unusual kinds: masks, shared towers, frozen tables, kept answers, code in packages, odd batches."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor, nn

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.deadline import NEVER, Deadline, OutOfTime
from autoprune.errors import AutopruneError, Failed, of_recipe
from autoprune.families import task_maker
from autoprune.module.config import ModuleConfig
from autoprune.module.epoch import read_epoch, seeded
from autoprune.module.model import Adopted
from autoprune.module.served import ServedModule
from autoprune.module.source import read_source
from autoprune.module.task import AdoptedTask
from autoprune.recipes.prefixes import Prefixes
from autoprune.recipes.recipe import keys_of, plan
from autoprune.recipes.space import Space
from autoprune.recipes.stages import run
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.study.suited import suited
from autoprune.tasks.content import digest_of
from autoprune.tasks.task import Training
from autoprune.testing import TaskExam, examinee, main

CONF = Path(__file__).parents[1] / "conf"
HEAD = "import torch\nfrom tiny_module import Net, Tiny\nfrom torch import nn\n\n\n"
INPUTS = (torch.tensor([1, 2]), torch.tensor([0, 5]), torch.tensor([1, 2, 3]), torch.tensor([0, 2]))


def written(folder: Path, body: str) -> Path:
    path = folder / "mine.py"
    path.write_text(HEAD + body)
    return path


def made(file: Path, **told: Any) -> AdoptedTask:
    task = task_maker("module").make(ModuleConfig(file=str(file), **told))
    assert isinstance(task, AdoptedTask)
    return task


def task_of(folder: Path, body: str, **told: Any) -> AdoptedTask:
    """The small task with something else in it: `body` defines a class that derives from it."""
    return made(written(folder, body), **told)


def of_net(init: str, forward: str = "return super().forward(user, item, tags, starts)", **own: str) -> str:
    """The body of a task around a module that does something more than `Net`."""
    more = "".join(f"    {name} = {value}\n" for name, value in own.items())
    return (
        f"class Own(Net):\n    def __init__(self):\n        super().__init__()\n        {init}\n\n"
        f"    def forward(self, user, item, tags, starts):\n        {forward}\n\n\n"
        f"class Mine(Tiny):\n{more}    def load(self):\n        return Own()\n"
    )


def smaller(task: AdoptedTask, recipe: dict[str, Any], store: Store | None = None) -> Adopted:
    context = task.context(seed=0, device=torch.device("cpu"))
    trainer = Trainer(Training(epochs=0, learning_rate=0.01))
    model = run(plan(recipe, base_defaults=task.base), task, context, trainer=trainer, store=store)
    assert isinstance(model, Adopted)
    return model


def exam_of(file: Path) -> TaskExam:
    exam = TaskExam()
    exam.examinee = examinee(file)
    return exam


# --- what a module holds beside its tables

MASK = 'self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))'


def test_a_mask_of_minus_infinity_can_be_resumed(tmp_path: Path) -> None:
    task, store = task_of(tmp_path, of_net(MASK)), Store(tmp_path / "store")
    once, again = (smaller(task, {"tune": {"epochs": 1}}, store) for _ in range(2))
    assert torch.equal(once.tables["items"].weight, again.tables["items"].weight)
    assert bool(again.module.get_buffer("mask").isneginf().any())


def test_a_mask_of_minus_infinity_passes_the_exam(tmp_path: Path) -> None:
    exam_of(written(tmp_path, of_net(MASK))).test_starting_weights_and_settling_are_deterministic()


STATE = (
    "self.seen = 3\n\n    def get_extra_state(self):\n        return {'seen': self.seen}\n\n"
    "    def set_extra_state(self, state):\n        self.seen = state['seen']"
)


def test_a_module_may_keep_state_that_is_no_tensor(tmp_path: Path) -> None:
    task, store = task_of(tmp_path, of_net(STATE)), Store(tmp_path / "store")
    once, again = (smaller(task, {"tune": {"epochs": 1}}, store) for _ in range(2))
    assert once.content() == again.content()
    kept = Prefixes()
    kept.put("a", again)
    assert kept.longest(["a"])[1] is again
    served = serve(task.parts(again))
    assert len(task.score(served, "test")) == 100  # type: ignore[arg-type]
    exam = exam_of(tmp_path / "mine.py")
    exam.test_a_model_is_made_from_the_seed_alone()
    exam.test_starting_weights_and_settling_are_deterministic()


class Holding(nn.Module):
    """A table, and a buffer or parameter beside it."""

    def __init__(self, held: Tensor) -> None:
        super().__init__()
        self.items = nn.Embedding(9, 2)
        if isinstance(held, nn.Parameter):
            self.held = held
        else:
            self.register_buffer("held", held)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (torch.ones(2, dtype=torch.complex64), "complex64 is not supported; register it with persistent=False"),
        (nn.Parameter(torch.ones(2, dtype=torch.complex64)), "complex64 is not supported; store it as float32"),
        (torch.eye(2).to_sparse(), "sparse_coo is not supported; register it with persistent=False"),
        (torch.ones(2).bfloat16(), "bfloat16 is not supported; use module.float()"),
        (
            nn.Parameter(torch.ones(2).half()),
            "float16 is not supported where it trains; use module.float(), or freeze it with requires_grad_(False)",
        ),
        (torch.ones(2).to(torch.float8_e5m2), "float8_e5m2 is not supported; use module.float()"),
        (torch.tensor([1.0, torch.nan]), "it holds NaN"),
    ],
)
def test_what_no_artifact_can_hold_is_refused_at_once(held: Tensor, words: str) -> None:
    with pytest.raises(AutopruneError, match=re.escape(f"held of Holding cannot be taken over: {words}.")):
        Adopted(Holding(held))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int16, torch.uint16, torch.uint8, torch.bool])
def test_a_buffer_of_a_plain_type_is_taken_and_shipped(dtype: torch.dtype) -> None:
    model = Adopted(Holding(torch.ones(2).to(dtype)))
    assert len(model.content()) == 32
    assert model.around()["own:held"].tolist() == [1, 1]


def test_a_frozen_parameter_of_half_precision_is_taken() -> None:
    model = Adopted(Holding(nn.Parameter(torch.ones(2).half(), requires_grad=False)))
    assert model.around()["own:held"].dtype == np.float16


# --- tables that can lose nothing


def test_steps_that_no_table_can_have_are_left_out(tmp_path: Path) -> None:
    task = task_of(tmp_path, of_net("pass", cut="()"))
    presets, space = (yaml.safe_load((CONF / name / "module.yaml").read_text()) for name in ("presets", "space"))
    found, words = suited({"space": space, "presets": presets}, task)
    assert list(found["presets"]) == ["int8", "int4", "rated"]
    assert len(words) == len(presets) - 3
    assert not {"rows", "dims"} & {*keys_of(found["space"])}
    recipe = next(iter(Space(found["space"]).corners()))
    assert smaller(task, recipe).content()
    alone = {"prune": {"choose": {"dims": {"sparsity": 0.5}}}, "rows": {"sparsity": 0.5}}
    assert task.suited(alone) == {}


def test_what_is_merely_called_like_a_step_stays(tmp_path: Path) -> None:
    """Arguments of the user's class and tables may be."""
    task = task_of(tmp_path, of_net("pass", cut="()"))
    told = {"base": {"dims": {"any_of": [8, 4]}}, "encode": {"quantize": {"bits": {"rows": {"any_of": [8, 4]}}}}}
    assert task.suited(told) == told
    strange = {"encode": {"quantize": 8}, "quantize": None}
    assert task.suited(strange) == strange, "it is refused where recipes are checked"


def test_a_narrow_table_loses_dimensions_where_it_is_named() -> None:
    module = nn.Sequential(nn.Embedding(300, 3), nn.Embedding(300, 8))
    assert list(Adopted(copy.deepcopy(module)).axes_of("dim")) == ["1"]
    assert list(Adopted(module, cut=["0"]).axes_of("dim")) == ["0"]


# --- what a study is told apart by


def test_the_metric_is_part_of_the_fingerprint_where_training_ends_by_it(tmp_path: Path) -> None:
    file = written(tmp_path, of_net("pass"))
    for epochs, count in ((0, 1), (3, 2)):
        training = Training(learning_rate=0.001, epochs=epochs)
        known = {made(file, metric=metric, training=training).fingerprint() for metric in ("chance", "hit")}
        assert len(known) == count


PACKAGE = {
    "mine.py": "import autoprune\nfrom pkg import Net\n\n\nclass Mine(autoprune.ModuleTask):\n"
    "    load = batches = loss = score = workloads = None\n",
    "pkg/__init__.py": "from .model import Net\nfrom . import beside\n",
    "pkg/model.py": "from .deep.layers import WIDTH\nimport pkg.other.one\n\n\nclass Net:\n    pass\n",
    "pkg/beside.py": "",
    "pkg/deep/__init__.py": "",
    "pkg/deep/layers.py": "from ..beside import *\nfrom .. import last\n\nWIDTH = 3\n",
    "pkg/other/__init__.py": "",
    "pkg/other/one.py": "",
    "pkg/last.py": "",
    "model.py": "",
    "pkg/nobody.py": "",
}


def test_code_in_packages_beside_a_task_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.module.source._imported", imported_without_running)
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    known = read_source(tmp_path / "mine.py").digest
    changing = []
    for name, text in PACKAGE.items():
        (tmp_path / name).write_text(f"{text}\n")
        if read_source(tmp_path / "mine.py").digest != known:
            changing.append(name)
        (tmp_path / name).write_text(text)
    assert changing == [name for name in PACKAGE if name not in ("model.py", "pkg/nobody.py")]


def imported_without_running(path: Path) -> Any:
    """A module with a task in it, whatever the file says; what is imported once would never be read again."""
    found = type(torch)(path.stem)
    methods = dict.fromkeys(("load", "batches", "loss", "score", "workloads"))
    found.Mine = type("Mine", (autoprune.ModuleTask,), {**methods, "__module__": path.stem})  # type: ignore[attr-defined]
    return found


# --- shared submodules

SHARED = """class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.items = nn.Embedding(300, 8, padding_idx=0)
        self.out = nn.Linear(8, 300)
        self.out.weight = self.items.weight
        self.mix = nn.Linear(8, 8)

    def forward(self, ids):
        return self.out(torch.tanh(self.mix(self.items(ids))))


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = Tower()
        self.doc = self.query

    def forward(self, one, other):
        return self.query(one) * self.doc(other)


class Mine(Tiny):
    cut = ("query_items",)

    def load(self):
        torch.manual_seed(0)
        return Both()

    def loss(self, module, batch):
        return module(self.user[batch], self.item[batch]).square().mean()

    def score(self, module, split):
        rows = torch.arange(600)[self.split[split]]
        found = module(self.user[rows], self.item[rows])[:, 0].sigmoid()
        return {"chance": found, "hit": found, "user": ["early"] * len(rows)}

    def workloads(self, module):
        return {"single": lambda: module(self.user[:1], self.item[:1])}
"""


def test_a_submodule_of_two_names_answers_as_before(tmp_path: Path) -> None:
    task = task_of(tmp_path, SHARED)
    whole = task.own.load()
    model, ids = task.model({}, seed=0), (torch.tensor([0, 3, 299]), torch.tensor([5, 0, 7]))
    assert list(model.tables) == ["query_items"]
    torch.testing.assert_close(model.module(*ids), whole(*ids))
    small = smaller(task, {"prune": {"rows": {"sparsity": 0.5}, "epochs": 1}, "encode": {"quantize": {"bits": 8}}})
    artifact.save(task.parts(small), tmp_path / "a", provenance={})
    loaded = autoprune.load(tmp_path / "a", into=task.own.load())
    with torch.no_grad():
        torch.testing.assert_close(loaded(*ids), small.eval().module(*ids), rtol=0, atol=2e-5)  # type: ignore[operator]
    assert loaded.query is loaded.doc  # type: ignore[union-attr]
    assert len(task.score(serve(task.parts(small)), "test")) == 100  # type: ignore[arg-type]


# --- what a module keeps of its answers

KEEPS = """self.mixed = self.tags(tags, starts)
        self.each = [self.mixed * 2, None]
        self.pair = (self.mixed, 3)
        self.named = {"mixed": self.mixed * 2}
        self.words = ["a", "b"]
        return super().forward(user, item, tags, starts)"""


def test_a_module_that_keeps_what_it_computed_can_be_trained(tmp_path: Path) -> None:
    task = task_of(tmp_path, of_net("self.register_buffer('last', None, persistent=False)", KEEPS))
    model = smaller(task, {"tune": {"epochs": 2}, "encode": {"quantize": {"bits": 8}, "epochs": 1}})
    kept: Any = model.module
    assert [kept.mixed.grad_fn, kept.each[0].grad_fn, kept.pair[0].grad_fn, kept.named["mixed"].grad_fn] == [None] * 4
    assert kept.words == ["a", "b"]
    assert not torch.equal(model.tables["tags"].weight, task.model({}, seed=0).tables["tags"].weight), "it has learned"


def test_a_module_that_comes_with_what_it_computed_is_taken(tmp_path: Path) -> None:
    body = of_net("self.kept = self.mix.weight * 2")
    assert task_of(tmp_path, body).model({}, seed=0).module.kept.grad_fn is None


def test_a_module_that_keeps_a_view_of_a_table_is_refused(tmp_path: Path) -> None:
    """It would answer from the whole table however much of that is cut."""
    body = of_net("self.scores_by = self.mix.weight.T")
    with pytest.raises(AutopruneError, match=r"scores_by is a view of a parameter.* create the view in forward\(\)"):
        task_of(tmp_path, body).model({}, seed=0)


# --- frozen tables

FROZEN = "self.items.weight.requires_grad_(False), self.mix.weight.requires_grad_(False)"


def test_frozen_tables_are_not_trained(tmp_path: Path) -> None:
    task = task_of(tmp_path, of_net(FROZEN, linears='("mix",)', cut='("items", "users_0")'))
    recipe = {"prune": {"dims": {"sparsity": 0.25, "importance": "norm"}, "rows": {"sparsity": 0.25}}}
    cut, tuned = smaller(task, recipe), smaller(task, {**recipe, "tune": {"epochs": 1}})
    for name, frozen in {"items": True, "mix": True, "users_0": False, "tags": False}.items():
        assert tuned.tables[name].weight.requires_grad is not frozen
        assert torch.equal(cut.tables[name].weight, tuned.tables[name].weight) is frozen
    assert cut.tables["items"].weight.shape == (45, 6)
    exam_of(tmp_path / "mine.py").test_the_loss_is_finite_and_has_a_slope()


def test_a_frozen_bias_stays_frozen_when_rows_go() -> None:
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3))
    module[1].bias.requires_grad_(False)
    table = Adopted(module, linears=["1"]).tables["1"]
    table.cut_rows(torch.arange(2))
    assert table.weight.requires_grad
    assert table.bias is not None
    assert not table.bias.requires_grad


def test_frozen_tables_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    assert '"frozen": ["items"]' in task_of(tmp_path, of_net(FROZEN)).fingerprint()
    assert "frozen" not in task_of(tmp_path, of_net("pass")).fingerprint()


def test_a_module_of_which_all_is_frozen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match=r"mine\.py: load\(\): every parameter of Own is frozen"):
        task_of(tmp_path, of_net("self.requires_grad_(False)"))


# --- what fails for one recipe


PICKY = """
class Mine(Tiny):
    def loss(self, module, batch):
        if module.items.weight[:, 0].eq(0).sum() > 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().loss(module, batch)

    def look(self, module):
        return super().score(module, "validation")

    def score(self, module, split):
        if module.items.weight[:, 0].eq(0).sum() > 40:
            raise {error}
        return super().score(module, split)
"""


def of_few_items(task: AdoptedTask) -> Adopted:
    model = task.model({}, seed=0)
    model.cut(model.axes["rows.items"], torch.arange(10))
    return model


@pytest.mark.parametrize(
    ("error", "words", "kind"),
    [
        ("ValueError('Input contains NaN.')", r"mine\.py:\d+: score.* failed with ValueError: Input", Failed),
        ("MemoryError('1 GB')", r"mine\.py:\d+: score.* failed with out of memory: 1 GB", Failed),
        ("FileNotFoundError(2, 'No such file')", "score.* failed with FileNotFoundError", AutopruneError),
    ],
)
def test_what_fails_on_what_a_recipe_made_is_blamed_on_the_recipe(
    tmp_path: Path, error: str, words: str, kind: type[AutopruneError]
) -> None:
    """Others go on, but where the system refuses."""
    task = task_of(tmp_path, PICKY.replace("{error}", error))
    model = of_few_items(task)
    with pytest.raises(AutopruneError, match=words) as raised, of_recipe():
        task.score(ServedModule(task.parts(model)), "validation")
    assert type(raised.value) is kind
    with pytest.raises(Failed, match=r"mine\.py:\d+: loss\(\) failed with out of memory"), of_recipe():
        task.loss(model, torch.arange(3))


def test_rows_that_no_slice_names_are_blamed_on_the_recipe(tmp_path: Path) -> None:
    body = PICKY.replace("raise {error}", "return super().score(module, split).assign(user='nobody')")
    task = task_of(tmp_path, body)
    with pytest.raises(Failed, match="does not name 'nobody'"):
        task.score(ServedModule(task.parts(of_few_items(task))), "validation")


BARE = """
class Mine(Tiny):
    def score(self, module, split):
        if module.items.weight[:, 0].eq(0).any():
            {then}
        return super().score(module, split)
"""


def test_a_score_that_fails_after_a_cut_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    words = r"mine\.py:\d+: score\(.*ValueError: zeros\. This happened with half of the rows"
    with pytest.raises(AutopruneError, match=words):
        task_of(tmp_path, BARE.replace("{then}", "raise ValueError('zeros')"))


def test_scores_that_are_no_numbers_after_a_cut_are_for_each_recipe_to_answer(tmp_path: Path) -> None:
    task_of(tmp_path, BARE.replace("{then}", "return super().score(module, split).assign(chance=float('nan'))"))


# --- batches


DRAWN = """
class Lazy:
    live = most = 0

    def __init__(self):
        self.rows = torch.randperm(400)[:100]
        Lazy.live += 1
        Lazy.most = max(Lazy.most, Lazy.live)

    def __del__(self):
        Lazy.live -= 1


class Mine(Tiny):
    drawn = 0
    lazy = Lazy

    def batches(self):
        for _ in range(20):
            Mine.drawn += 1
            yield Lazy()

    def loss(self, module, batch):
        return super().loss(module, batch.rows)
"""


def test_an_epoch_is_read_once_and_never_held(tmp_path: Path) -> None:
    task = task_of(tmp_path, DRAWN)
    kind: Any = type(task.own)
    assert kind.drawn == 21, "and the first batch once more"
    assert task.context(seed=0, device=torch.device("cpu")).frequency["rows.tags"].sum() == 20 * 2 * 100
    assert kind.lazy.most <= 3
    assert task.describe().find("20 training batches") > 0


def test_counting_lookups_is_told_and_ends_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.module.task.COUNTED", 3)
    task, told = task_of(tmp_path, DRAWN), list[str]()

    def stop(message: str) -> None:
        told.append(message)
        (NEVER if len(told) < 2 else Deadline.after(-1)).check(message)

    task.report = stop
    with pytest.raises(OutOfTime, match="counting lookups: 1 of 3 batches"):
        task.context(seed=0, device=torch.device("cpu"))
    task.report = told.append
    found = task.context(seed=0, device=torch.device("cpu")).frequency
    assert found["rows.tags"].sum() == 3 * 2 * 100
    assert len(told) == 2 + 3


@pytest.mark.parametrize("batches", [[torch.arange(3), {"a": 1}], (1, 2), np.eye(3), []])
def test_an_epoch_has_the_digest_of_its_batches(batches: Any) -> None:
    found = read_epoch(batches)
    assert found.digest == digest_of(list(batches))
    assert found.count == len(batches)


def test_the_epoch_of_a_task_has_the_digest_of_its_batches(tmp_path: Path) -> None:
    task = task_of(tmp_path, of_net("pass"))
    with seeded(0):
        batches = task.batches()
    assert task._epoch.digest == digest_of(batches)


@dataclass
class Batch:
    rows: Any


class Plain:
    def __init__(self, rows: Any) -> None:
        self.rows = rows


class Slotted:
    __slots__ = ("rows",)


def test_digests_of_plain_batches_are_what_they_were() -> None:
    """By them studies are told apart."""
    plain = [torch.arange(3.0), {"a": (1, "x", None, b"2", 2.5, np.float64(1.5))}, torch.tensor(3), Batch(np.eye(2))]
    assert digest_of(plain[:3]) == "21d6921b7b5ff9f25d3ffba1c563f656ebe369915c09266f66a5e8e4b8a22cf3"
    assert digest_of(plain) == "45792099ade1f3160d045cc34be6a38966476eb485cfbab535bf9d3b4df6686e"


DIFFERENT: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "bfloat16": (lambda rows: torch.tensor(rows).bfloat16(), [1.0], [2.0]),
    "coo": (lambda rows: torch.tensor(rows).to_sparse(), [0.0, 1.0], [1.0, 0.0]),
    "csr": (lambda rows: torch.tensor(rows).to_sparse_csr(), [[0.0, 1.0]], [[1.0, 0.0]]),
    "csc": (lambda rows: torch.tensor(rows).to_sparse_csc(), [[0.0, 1.0]], [[0.0, 2.0]]),
    "frame": (lambda rows: pd.DataFrame({"a": rows, "b": "x"}), [1, 2], [1, 3]),
    "texts": (lambda rows: pd.DataFrame({"a": rows}), ["x", None], ["x", "y"]),
    "columns": (lambda name: pd.DataFrame({name: [1]}), "a", "b"),
    "series": (lambda rows: pd.Series([1, 2], index=rows), [0, 1], [1, 0]),
    "categories": (pd.Categorical, ["a", "b"], ["a", "a"]),
    "nullable": (lambda rows: pd.Series(rows, dtype="Int64"), [1, None], [1, 2]),
    "objects": (lambda rows: np.array(rows, dtype=object), [[1], "x"], [[2], "x"]),
    "scalar": (np.int64, 1, 2),
    "set": (lambda rows: set(rows), ["a", "b"], ["a", "c"]),
    "object": (Plain, [1], [2]),
    "moment": (pd.Timestamp, "2020-01-01", "2020-01-02"),
    "type": (lambda name: getattr(torch, name), "float32", "float64"),
}


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")  # torch calls some layouts beta
@pytest.mark.parametrize(("make", "one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_batches_are_told_apart_whatever_they_hold(make: Callable[[Any], Any], one: Any, other: Any) -> None:
    found = [digest_of([make(held)]) for held in (one, one, other)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("batch", [Slotted(), object(), iter([1]), lambda: 1, torch.Generator()])
def test_what_cannot_be_told_is_refused(batch: Any) -> None:
    with pytest.raises(AutopruneError, match=r"cannot be digested\. Give tensors.* or define fingerprint\(\)"):
        digest_of([{"a": batch}])
    assert digest_of([batch], skip=True) == digest_of([batch], skip=True)


def test_a_batch_that_holds_itself_is_refused() -> None:
    batch = Plain(1)
    batch.rows = batch
    with pytest.raises(AutopruneError, match=r"contains itself\. .*fingerprint\(\)"):
        digest_of(batch)
    assert digest_of(batch, skip=True) == digest_of(batch, skip=True), "where fingerprint() speaks for it"


@pytest.mark.parametrize("batch", [pd.DataFrame(index=[1]), type("Empty", (), {})(), set(), []])
def test_what_is_empty_is_told(batch: Any) -> None:
    assert digest_of([batch]) == digest_of([batch])


def test_a_fingerprint_of_ones_own_speaks_for_what_cannot_be_told(tmp_path: Path) -> None:
    odd = (
        "class Odd:\n    __slots__ = ('rows',)\n\n\nclass Mine(Tiny):\n    def batches(self):\n        odd = Odd()\n"
        "        odd.rows = torch.randperm(400)[:100]\n        return [odd]\n\n"
        "    def loss(self, module, batch):\n        return super().loss(module, batch.rows)\n"
    )
    with pytest.raises(AutopruneError, match=r"mine\.py: batches\(\): the content of Odd cannot be digested"):
        task_of(tmp_path, odd)
    told = "\n    def fingerprint(self):\n        return 'mine'\n"
    assert task_of(tmp_path, odd + told).fingerprint() != task_of(tmp_path, odd + told.replace("mine", "other"))


ODD = """
class Odd:
    {slots}

    def __init__(self):
        self.rows = torch.randperm(400)[:100]


class Mine(Tiny):
    {more}

    def batches(self):
        return [Odd() for _ in range(2)]

    def loss(self, module, batch):
        return super().loss(module, batch.rows)
"""


@pytest.mark.parametrize(
    ("slots", "more"), [("pass", "pass"), ("__slots__ = ('rows',)", "fingerprint = lambda self: 'mine'")]
)
def test_batches_that_a_search_takes_pass_the_exam(tmp_path: Path, slots: str, more: str) -> None:
    file = written(tmp_path, ODD.replace("{slots}", slots).replace("{more}", more))
    exam_of(file).test_batches_are_drawn_from_torchs_generator_alone()


def test_batches_of_one_order_fail_the_exam(tmp_path: Path) -> None:
    body = ODD.replace("{slots}", "pass").replace("{more}", "pass").replace("torch.randperm", "torch.arange")
    with pytest.raises(AssertionError, match="another seed must give other batches"):
        exam_of(written(tmp_path, body)).test_batches_are_drawn_from_torchs_generator_alone()


def test_an_exam_goes_on_after_whatever_was_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, of_net("pass"))

    def fail(_: TaskExam) -> None:
        raise KeyError("oh")

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in vars(TaskExam) if name.startswith("test_")]:
            patch.delattr(TaskExam, name)
        patch.setattr(TaskExam, "test_it_fails", fail, raising=False)
        patch.setattr(TaskExam, "test_it_holds", lambda self: None, raising=False)
        assert main([str(file)]) == 1
    assert capsys.readouterr().out.splitlines() == ["it fails: FAILS: KeyError: 'oh'", "it holds: holds"]


# --- what is asked and named


def served(folder: Path) -> ServedModule:
    task = task_of(folder, of_net("pass"))
    return ServedModule(task.parts(task.model({}, seed=0)))


def test_ids_of_every_whole_type_have_their_row(tmp_path: Path) -> None:
    model = served(tmp_path)
    whole = model.vectors("items", [3, 5])
    for ids in ((3, 5), range(3, 6, 2), np.array([3, 5], "u1"), torch.tensor([3, 5]), [np.int32(3), 5.0]):
        np.testing.assert_array_equal(model.vectors("items", ids), whole)  # type: ignore[arg-type]
    assert model.vectors("items", []).shape == (0, 8)


@pytest.mark.parametrize(
    "ids",
    [
        [1.7],
        [True],
        np.array([True]),
        torch.tensor([1.5]),
        [None],
        ["1"],
        "1",
        1,
        [[1]],
        np.array(1),
        [-1],
        [60],
        [2**70],
    ],
)
def test_an_id_that_is_no_row_is_refused(tmp_path: Path, ids: Any) -> None:
    with pytest.raises(AutopruneError, match="items: a list of ids from 0 to 59 must be given, but got"):
        served(tmp_path).vectors("items", ids)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (
            {"slices": '{"age": (0, 1)}'},
            "slices or perturbations: names must be texts, but got 0; write '0', in the column",
        ),
        ({"workload_names": "(1,)"}, "workload_names: names must be texts, but got 1; write '1'."),
    ],
)
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, own: dict[str, str], words: str) -> None:
    with pytest.raises(AutopruneError, match=re.escape(words)):
        task_of(tmp_path, of_net("pass", **own))
