"""Which neurons and heads are missed least once others make up for them: against brute force, and in stages."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoder import TEXTS, write_tiny_bert
from torch import Tensor

from autoprune.deadline import Deadline, OutOfTime
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.task import EncoderTask
from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.table import Linear
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.steps import surgeon
from autoprune.steps.fed import DAMPING, Moments, moments
from autoprune.steps.importance import width_taylor
from autoprune.steps.surgeon import Behind, _added, _costs, width_surgeon
from autoprune.steps.width import Ffn, Heads, Width

CONTEXT = Context(calibration=TEXTS[:60], whole=TEXTS[:60])


@pytest.fixture
def model(encoder_task: EncoderTask) -> Encoder:
    made = encoder_task.model({}, seed=0)
    assert isinstance(made, Encoder)
    return made


def fed(dim: int) -> Moments:
    draw = torch.Generator().manual_seed(3)
    values = torch.randn(300, dim, generator=draw) @ torch.randn(dim, dim, generator=draw) + 1
    return Moments(torch.cov(values.T, correction=0), values.mean(0))


def a_map(dim: int, *, bias: bool) -> Linear:
    table = Linear(5, dim, bias=bias)
    with torch.no_grad():
        table.weight.copy_(torch.randn(5, dim, generator=torch.Generator().manual_seed(4)))
    return table


def least(table: Linear, known: Moments, gone: list[int]) -> float:
    """By how much answers move at least, squared, when columns are zero and the others are free."""
    spread = known.spread.double()
    if table.bias is None:
        spread = spread + torch.outer(known.mean.double(), known.mean.double())
    spread = spread + DAMPING * spread.diagonal().mean() * torch.eye(table.dim)
    weights, stays = table.weight.detach().double(), [at for at in range(table.dim) if at not in gone]
    moved = torch.linalg.solve(spread[stays][:, stays], spread[stays] @ weights.T).T
    error = weights.clone()
    error[:, stays] -= moved
    return float((error @ spread @ error.T).trace())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", [1, 2])
def test_what_goes_costs_what_least_squares_says(bias: bool, width: int) -> None:
    table, known, gone = a_map(8, bias=bias), fed(8), list[int]()
    behind, standing, spent = Behind.of(table, known, width), list(range(8 // width)), 0.0
    while standing:
        costs = behind.costs()
        expected = [least(table, known, [*gone, *range(at * width, (at + 1) * width)]) - spent for at in standing]
        torch.testing.assert_close(costs, torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-6)
        place = int(costs.argmin())
        spent += float(costs[place])
        behind.remove(torch.tensor([place]))
        gone += range(standing[place] * width, (standing[place] + 1) * width)
        del standing[place]


def test_several_that_go_together_are_made_up_for_together() -> None:
    table, known = a_map(8, bias=True), fed(8)
    behind = Behind.of(table, known, 1)
    behind.remove(torch.tensor([1, 4, 6]))
    left = [0, 2, 3, 5, 7]
    expected = [least(table, known, [1, 4, 6, at]) - least(table, known, [1, 4, 6]) for at in left]
    torch.testing.assert_close(behind.costs(), torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-6)


def costs(model: Encoder, kind: str, number: int, context: Context = CONTEXT) -> Tensor:
    axis = model.axes[f"{kind}.{number}"]
    felt = width_taylor(model, {axis.name: axis}, TEXTS[:60])
    return width_surgeon(model, axis, felt[axis.name], context)


def test_of_two_that_tell_the_same_one_goes_first(model: Encoder) -> None:
    up, down = model.tables["up_2"], model.tables["down_2"]
    assert up.bias is not None
    with torch.no_grad():
        up.weight[7], up.bias[7] = up.weight[3], up.bias[3]
        down.weight[:, [3, 7]] *= 10  # the strongest of all
    assert set(down.weight.square().sum(0).topk(2).indices.tolist()) == {3, 7}
    one, other = sorted(costs(model, "ffn", 2)[[3, 7]].tolist())
    assert one < 0.2 * other


@pytest.mark.parametrize("width", [1, 2])
def test_rounds_of_many_do_not_lose_both_of_two(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 positions, of which each but for some noise tells what another does; a round takes half of them."""
    draw = torch.Generator().manual_seed(5)
    halves = torch.randn(500, 12 * width, generator=draw)
    values = torch.cat([halves, halves + 0.05 * torch.randn(500, 12 * width, generator=draw)], 1)
    known = Moments(torch.cov(values.T, correction=0), values.mean(0))
    table = a_map(24 * width, bias=True)
    found = {}
    for rounds in (24, 2):
        monkeypatch.setattr(surgeon, "ROUNDS", rounds)
        found[rounds] = _costs([Behind.of(table, known, width)], 24, CONTEXT)
        gone = found[rounds].argsort()[:12]
        assert len(set((gone % 12).tolist())) == 12, "one of each two"
    torch.testing.assert_close(found[2], found[24])


@pytest.mark.parametrize("width", [1, 2])
def test_what_positions_add_is_their_part_of_the_answers(width: int) -> None:
    table, values = a_map(8, bias=True), torch.randn(50, 8, generator=torch.Generator().manual_seed(6)) + 1
    found = _added(table, Moments(torch.cov(values.T, correction=0), values.mean(0)), width)
    parts = [values[:, at : at + width] @ table.weight.detach()[:, at : at + width].T for at in range(0, 8, width)]
    expected = torch.tensor([float(part.square().sum(1).mean()) for part in parts], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_how_large_answers_are_does_not_matter_where_a_norm_undoes_it(model: Encoder) -> None:
    before = costs(model, "ffn", 1)
    norm = model.norms["attention_1"]
    with torch.no_grad():
        for table in (model.tables["down_1"], norm):
            table.weight *= 10
            table.bias *= 10  # type: ignore[operator]
        model.tables["up_1"].weight /= 10
    torch.testing.assert_close(costs(model, "ffn", 1), before, rtol=1e-2, atol=1e-3 * float(before.max()))


def cut(task: EncoderTask, model: Encoder, steps: dict[str, Any], context: Context) -> Encoder:
    found: Any = model
    for stage in plan({"cut": steps}, base_defaults=task.base).stages:
        found = run_stage(found, stage, task, context, trainer=Trainer(task.training), key="")
    assert isinstance(found, Encoder)
    return found


def moved(model: Encoder, dense: Encoder) -> float:
    with torch.no_grad():
        return float((model.calibrate(TEXTS[60:]) - dense.calibrate(TEXTS[60:])).square().sum())


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_neurons_that_others_tell_of_go_before_weak_ones(encoder_task: EncoderTask, model: Encoder, scope: str) -> None:
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, table in model.tables.items():
            if name.startswith("up_"):  # half of the neurons are one of a few, by different names
                table.weight[::2] = table.weight[:8:2].repeat(table.rows // 8, 1)
                table.weight[::2] += 0.01 * torch.randn(table.rows // 2, table.dim, generator=draw)
    found = {}
    for importance in ("surgeon", "taylor", "norm"):
        ffn = {"sparsity": 0.4, "importance": importance, "scope": scope, "refit": True}
        found[importance] = moved(cut(encoder_task, model, {"ffn": ffn}, CONTEXT), model)
    assert found["surgeon"] < 0.7 * min(found["taylor"], found["norm"])


def test_every_sparsity_of_a_stage_asks_once(
    encoder_task: EncoderTask, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = list[str](), surgeon.width_surgeon

    def counted(model: Encoder, axis: Axis, felt: Tensor, context: Context) -> Tensor:
        asked.append(axis.name)
        return real(model, axis, felt, context)

    monkeypatch.setattr("autoprune.steps.width.width_surgeon", counted)
    context = Context(whole=CONTEXT.whole)
    for sparsity, layers in itertools.product((0.2, 0.4), (0.0, 0.25)):  # the second has layers fewer
        ffn = {"sparsity": sparsity, "importance": "surgeon", "refit": True}
        found = cut(encoder_task, model, {"layers": {"sparsity": layers}, "ffn": ffn}, context)
        assert {table.dim for name, table in found.tables.items() if name.startswith("down_")} == {
            round(model.tables["down_0"].dim * (1 - sparsity))
        }
    assert asked == [axis.name for axis in model.axes_of("ffn").values()]


def test_a_stage_that_trains_asks_the_model_as_it_is(model: Encoder) -> None:
    axis = model.axes["ffn.1"]
    model.hide(axis, torch.arange(5, model.size(axis)))
    step = Ffn(sparsity=0.5, importance="surgeon")
    found = step._importance(model, CONTEXT)["1"]
    assert found[:5].max() == 0 < found[5:].min()


KINDS: dict[str, dict[str, Any]] = {
    "albert": {},
    "t5": {"feed_forward_proj": "gated-gelu"},
    "modernbert": {},
    "qwen3": {},
}


@pytest.mark.parametrize("step", [Heads, Ffn])
@pytest.mark.parametrize("kind", KINDS)
def test_encoders_of_other_kinds(kind: str, step: type[Width], encoder_task: EncoderTask, tmp_path: Path) -> None:
    model = read_encoder(str(write_tiny_bert(tmp_path, family=kind, config=KINDS[kind])))
    found: dict[str, float] = {}
    for importance in ("surgeon", "norm"):
        steps = {step.name: {"sparsity": 0.5, "importance": importance, "refit": True}}
        found[importance] = moved(cut(encoder_task, model, steps, CONTEXT), model)
    assert found["surgeon"] < 1.05 * found["norm"]  # whose order is chance


def test_without_inputs_weights_are_asked(model: Encoder) -> None:
    found, norm = (Ffn(sparsity=0.5, importance=of)._importance(model, Context()) for of in ("surgeon", "norm"))
    for name, values in found.items():
        torch.testing.assert_close(values, norm[name])


def test_it_ends_with_the_time(model: Encoder) -> None:
    with pytest.raises(OutOfTime):
        costs(model, "heads", 0, Context(whole=TEXTS[:4], deadline=Deadline.after(0.0)))


def test_costs_rise_and_none_is_negative(model: Encoder) -> None:
    table = model.tables["down_0"]
    assert isinstance(table, Linear)
    behind, spent = Behind.of(table, moments(model, CONTEXT)["down_0"], 1), list[float]()
    for _ in range(table.dim):
        found = behind.costs()
        assert found.isfinite().all()
        spent.append(float(found.min()))
        behind.remove(found.argmin()[None])
    assert 0 <= spent[0] < spent[len(spent) // 2] < spent[-1]
