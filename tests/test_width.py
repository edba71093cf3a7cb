"""What matters inside a model: layers, heads and neurons."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny_encoder import HEADS, LAYERS, NEURONS, TEXTS

from autoprune.deadline import Deadline, OutOfTime
from autoprune.encoder.model import Encoder
from autoprune.encoder.task import EncoderTask
from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run, run_stage
from autoprune.recipes.train import Trainer
from autoprune.steps.importance import layer_influence, width_activation, width_taylor
from autoprune.steps.layers import Layers, even
from autoprune.steps.width import Ffn, Heads, _rank_together

CALIBRATION = TEXTS[:40]


@pytest.fixture
def model(encoder_task: EncoderTask) -> Encoder:
    made = encoder_task.model({}, seed=0)
    assert isinstance(made, Encoder)
    return made


def without(model: Encoder, axis: str, part: int) -> torch.Tensor:
    """The vectors of texts without one part of an axis."""
    left = copy.deepcopy(model)
    keep = torch.tensor([at for at in range(model.size(model.axes[axis])) if at != part])
    left.cut(left.axes[axis], keep)
    with torch.no_grad():
        return left.calibrate(CALIBRATION)


def change(model: Encoder, axis: str, part: int) -> float:
    with torch.no_grad():
        whole = model.calibrate(CALIBRATION)
    return float((without(model, axis, part) - whole).square().sum())


@pytest.mark.parametrize(
    ("stay", "expected"), [(6, [0, 1, 2, 3, 4, 5]), (5, [0, 1, 3, 4, 5]), (4, [0, 2, 4, 5]), (3, [0, 3, 5])]
)
def test_even_keeps_the_ends_and_leans_to_the_last(stay: int, expected: list[int]) -> None:
    assert even(6, stay).tolist() == expected


@pytest.mark.parametrize("size", range(1, 30))
def test_even_keeps_different_layers(size: int) -> None:
    for stay in range(1, size + 1):
        found = even(size, stay).tolist()
        assert len(set(found)) == stay
        assert found == sorted(found)
        assert found[-1] == size - 1
        assert found[0] == 0 or stay == 1


@pytest.mark.parametrize(("kind", "least"), [("heads", 0.7), pytest.param("ffn", 0.7, marks=pytest.mark.slow)])
def test_taylor_ranks_as_brute_force_removal_does(model: Encoder, kind: str, least: float) -> None:
    step = (Heads if kind == "heads" else Ffn)(sparsity=0.5)
    found = step._importance(model, Context(calibration=CALIBRATION))
    pairs = [(name, part) for name in found for part in range(0, len(found[name]), 1 if kind == "heads" else 4)]
    real = [change(model, f"{kind}.{name}", part) for name, part in pairs]
    estimate = [float(found[name][part]) for name, part in pairs]
    assert spearmanr(estimate, real).statistic > least


def test_taylor_is_the_squared_slope(model: Encoder) -> None:
    """Against gates that are really turned, one by one, for one text after the other."""
    step, text = Ffn(sparsity=0.5), CALIBRATION[:1]
    slopes = torch.zeros(NEURONS, dtype=torch.float64)
    for part in range(NEURONS):

        def turned(name: str, values: torch.Tensor, by: float, part: int = part) -> torch.Tensor:
            if name != "ffn.1":
                return values
            gate = torch.ones(NEURONS)
            gate[part] += by
            return values * gate

        with torch.no_grad():
            more, less = (
                model.calibrate(text, lambda name, values, by=by: turned(name, values, by)) for by in (1e-2, -1e-2)
            )
        slopes[part] = ((more - less) / 2e-2).square().sum()
    # Random directions are drawn once for each text: of many copies of it the mean is the whole.
    found = step._importance(model, Context(calibration=text * 256))["1"] / 256
    np.testing.assert_allclose(found.sum(), slopes.sum(), rtol=0.2)
    assert spearmanr(found, slopes).statistic > 0.9


@pytest.mark.parametrize("importance", ["activation", "taylor"])
def test_importance_is_measured_once_of_equal_models(model: Encoder, importance: str) -> None:
    """Heads and neurons together, and with the same bits as each alone; what changes the model changes it."""
    context = Context(calibration=CALIBRATION)
    measure = width_activation if importance == "activation" else width_taylor
    alone = {kind: measure(model, model.axes_of(kind), CALIBRATION) for kind in ("heads", "ffn")}
    heads = Heads(sparsity=0.5, importance=importance)._importance(model, context)
    ffn = Ffn(sparsity=0.5, importance=importance, scope="global")._importance(copy.deepcopy(model), context)
    assert len(context.known) == 1
    for found, kind in ((heads, "heads"), (ffn, "ffn")):
        shares = (
            {n: v / v.sum() * len(v) for n, v in alone[kind].items()} if importance == "activation" else alone[kind]
        )
        assert all(torch.equal(found[name], shares[name]) for name in shares)
    model.hide(model.axes["layers"], torch.tensor([0, 3]))
    assert Ffn(sparsity=0.5, importance=importance)._importance(model, context).keys() == {"0", "3"}
    assert len(context.known) == 2


@pytest.mark.parametrize("importance", ["norm", "activation", "taylor"])
def test_a_unit_that_does_nothing_goes_first(model: Encoder, importance: str) -> None:
    with torch.no_grad():
        model.tables["down_2"].weight[:, 7] = 0
        model.tables["output_1"].weight[:, 8:16] = 0
        if importance == "norm":
            model.tables["up_2"].weight[7] = 0
            for name in ("query_1", "key_1", "value_1"):
                model.tables[name].weight[8:16] = 0
    context = Context(calibration=CALIBRATION)
    assert Ffn(sparsity=0.5, importance=importance)._importance(model, context)["2"].argmin() == 7
    assert Heads(sparsity=0.5, importance=importance)._importance(model, context)["1"].argmin() == 1


def test_padding_says_nothing(model: Encoder) -> None:
    """What is beside a text in a batch, and so how far it is padded, changes nothing."""
    texts, axes = [*TEXTS[:3], " ".join(TEXTS[3:7])], model.axes_of("ffn") | model.axes_of("heads")
    each = [width_activation(model, axes, [text]) for text in texts]
    for name, found in width_activation(model, axes, texts).items():
        torch.testing.assert_close(found, torch.stack([one[name] for one in each]).sum(0), rtol=1e-4, atol=1e-5)
    alone = np.sum([layer_influence(model, model.axes["layers"], [text]) for text in texts], axis=0)
    np.testing.assert_allclose(layer_influence(model, model.axes["layers"], texts), alone, rtol=1e-4)


def test_global_ranking_leaves_one_of_every_layer_whatever_is_asked_for() -> None:
    values = {"0": torch.tensor([3.0, 1.0]), "1": torch.tensor([2.0]), "2": torch.tensor([5.0])}
    assert {name: keep.tolist() for name, keep in _rank_together(values, 3).items()} == {"0": [0], "1": [0], "2": [0]}


@pytest.mark.parametrize(
    "step",
    [
        Layers(sparsity=0.5, importance="fidelity"),
        Layers(sparsity=0.5, importance="influence"),
        Ffn(sparsity=0.5, importance="taylor"),
        Heads(sparsity=0.5, importance="activation"),
    ],
    ids=lambda step: step.importance,
)
def test_measuring_what_matters_ends_with_the_time(model: Encoder, step: Layers | Ffn | Heads) -> None:
    before = {name: model.standing(axis).tolist() for name, axis in model.axes.items()}
    with pytest.raises(OutOfTime):
        step.advance(model, Context(calibration=CALIBRATION, deadline=Deadline.after(0.0)), 1.0)
    assert {name: model.standing(axis).tolist() for name, axis in model.axes.items()} == before


def test_global_ranking_keeps_the_best_of_every_layer() -> None:
    values = {"0": torch.tensor([1.0, 2.0, 3.0]), "1": torch.tensor([30.0, 20.0, 10.0])}
    assert {name: keep.tolist() for name, keep in _rank_together(values, 4).items()} == {"0": [2], "1": [0]}
    assert {name: keep.tolist() for name, keep in _rank_together(values, 3).items()} == {"0": [2], "1": [0, 1]}
    assert values["0"].tolist() == [1.0, 2.0, 3.0]


def test_most_of_all_heads_leave_one_in_every_layer(encoder_task: EncoderTask) -> None:
    gone = 1 - 1 / HEADS
    recipe = plan({"heads": {"sparsity": gone, "scope": "global"}}, base_defaults={})
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    made = run(recipe, encoder_task, context, trainer=Trainer(encoder_task.training))
    assert [made.size(axis) for axis in made.axes_of("heads").values()] == [1] * LAYERS


@pytest.mark.parametrize("kind", ["heads", "ffn"])
def test_more_than_can_go_is_refused(model: Encoder, kind: str) -> None:
    step = Heads if kind == "heads" else Ffn
    with pytest.raises(RecipeError, match="at least one of") as caught:
        step(sparsity=0.99).check(model)
    assert caught.value.path == ("sparsity",)
    with pytest.raises(RecipeError, match="to name layers, set scope: layer"):
        step(sparsity={"0": 0.5}, scope="global").check(model)
    with pytest.raises(RecipeError, match="the model has no '9'"):
        step(sparsity={"9": 0.5}).check(model)


def test_layers_may_be_named_by_numbers(encoder_task: EncoderTask) -> None:
    """As YAML reads `{0: 0.5}`."""
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    recipe = plan({"ffn": {"sparsity": {0: 0.5, 2: 0.25}, "importance": "norm"}}, base_defaults={})
    made = run(recipe, encoder_task, context, trainer=Trainer(encoder_task.training))
    assert [made.size(axis) for axis in made.axes_of("ffn").values()] == [24, 48, 36, 48]


def test_units_of_hidden_layers_do_not_count(encoder_task: EncoderTask) -> None:
    """Beside a step that cuts layers, a share is one of what is left."""
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    for unit, size in (("heads", HEADS), ("ffn", NEURONS)):
        steps = {"layers": {"sparsity": 0.5}, unit: {"sparsity": 0.5, "scope": "global"}}
        [stage] = plan({"both": {"method": steps}}, base_defaults={}).stages
        dense = encoder_task.model({}, seed=0)
        made = run_stage(dense, stage, encoder_task, context, trainer=Trainer(encoder_task.training), key="")
        assert len(made.axes_of(unit)) == 2
        assert sum(made.size(axis) for axis in made.axes_of(unit).values()) == size


def test_weights_of_hidden_layers_do_not_count(encoder_task: EncoderTask) -> None:
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    [stage] = plan(
        {"both": {"method": {"layers": {"sparsity": 0.5}, "magnitude": {"sparsity": 0.5}}}}, base_defaults={}
    ).stages
    dense = encoder_task.model({}, seed=0)
    made = run_stage(dense, stage, encoder_task, context, trainer=Trainer(encoder_task.training), key="")
    zeros = sum(int((table.values() == 0).sum()) for table in made.tables.values())
    assert zeros == round(sum(table.weight.numel() for table in made.tables.values()) / 2)


def test_layer_influence_is_how_far_a_layer_turns_what_flows(model: Encoder) -> None:
    with torch.no_grad():
        for name in ("output_2", "down_2"):
            model.tables[name].weight.mul_(0.01)
            model.tables[name].bias.zero_()
    found = layer_influence(model, model.axes["layers"], CALIBRATION)
    assert len(found) == LAYERS
    assert min(found) == found[2]
    context = Context(calibration=CALIBRATION)
    step = Layers(sparsity=0.25, importance="influence")
    step.advance(model, context, 1.0)
    assert model.layer_mask.tolist() == [True, True, False, True]
    again = layer_influence(model, model.axes["layers"], CALIBRATION)
    assert again[2] == 0.0, "a hidden layer turns nothing"
    assert all(value > 0 for at, value in enumerate(again) if at != 2)


def test_fidelity_cuts_what_is_missed_least(model: Encoder) -> None:
    step = Layers(sparsity=0.25, importance="fidelity")
    with torch.no_grad():
        whole = model.calibrate(CALIBRATION)
        kept = []
        for layer in range(LAYERS):
            left = copy.deepcopy(model)
            left.hide(left.axes["layers"], torch.tensor([at for at in range(LAYERS) if at != layer]))
            kept.append(float((left.calibrate(CALIBRATION) * whole).sum(1).mean()))
    step.advance(model, Context(calibration=CALIBRATION), 1.0)
    assert model.layer_mask.tolist() == [at != int(np.argmax(kept)) for at in range(LAYERS)]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"keep": [0, 9]}, r"the model has the layers \[0, 1, 2, 3\]"),
        ({"keep": [2, 1]}, "ascending numbers"),
        ({"keep": 3}, "such as .0, 2, 5. must be given, but got 3"),
        ({"keep": "02"}, "such as .0, 2, 5. must be given, but got '02'"),
        ({"keep": []}, "ascending numbers"),
        ({"keep": [True, 2]}, "ascending numbers"),
        ({"keep": [0], "sparsity": 0.5}, "but got both"),
        ({"sparsity": 0.9}, "at least one of 4 layers must stay"),
        ({"sparsity": None}, "0 <= sparsity < 1"),
        ({"sparsity": 0.5, "importance": "evn"}, "'evn' is unknown"),
    ],
)
def test_layers_that_cannot_be(model: Encoder, parameters: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Layers(**parameters).check(model)  # type: ignore[arg-type]


def test_layers_that_go_one_by_one_do_not_come_back(encoder_task: EncoderTask) -> None:
    model = copy.deepcopy(encoder_task.model({}, seed=0))
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    step, before = Layers(sparsity=0.5), {0, 1, 2, 3}
    for reached in (0.0, 0.5, 1.0):
        step.advance(model, context, reached)
        standing = set(model.standing(model.axes["layers"]).tolist())
        assert standing <= before
        before = standing
    assert standing == {0, 3}


def test_of_all_layers_together_one_of_each_stays(model: Encoder) -> None:
    """0.79 of 4 heads are 3, but 0.79 of 16 are 13."""
    Heads(sparsity=0.79).check(model)
    Heads(sparsity=0.75, scope="global").check(model)
    with pytest.raises(RecipeError, match=r"of each of 4 layers must stay, but 0.79 leaves 3 of 16"):
        Heads(sparsity=0.79, scope="global").check(model)
