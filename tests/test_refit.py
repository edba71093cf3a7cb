"""What stays takes over from what goes: least squares against an oracle, and whole stages of an encoder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoder import LONGEST, TEXTS, write_tiny_bert
from torch import Tensor

from autoprune.deadline import Deadline, OutOfTime
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.task import EncoderTask
from autoprune.encoder.texts.lengths import first_of, joined
from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.remembered import Remembered
from autoprune.models.table import Linear
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import rehearse, run_stage, sketch
from autoprune.recipes.train import Trainer
from autoprune.steps import fed
from autoprune.steps.fed import DAMPING, Moments, moments
from autoprune.steps.refit import refit
from autoprune.steps.width import Ffn, Heads

WHOLE, OTHERS = TEXTS[:140], TEXTS[140:]
CUTS: dict[str, Any] = {
    "ffn": {"ffn": {"sparsity": 0.4, "scope": "global"}},
    "heads": {"heads": {"sparsity": 0.25}},
    "both": {"layers": {"sparsity": 0.25}, "heads": {"sparsity": 0.25}, "ffn": {"sparsity": 0.4}},
}


@pytest.fixture
def model(encoder_task: EncoderTask) -> Encoder:
    made = encoder_task.model({}, seed=0)
    assert isinstance(made, Encoder)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, table in made.tables.items():
            if name.startswith("up_"):  # neurons that tell of one another, as those of trained models do
                mixed = torch.randn(table.rows, 12, generator=draw) @ torch.randn(12, table.dim, generator=draw)
                table.weight.copy_(mixed * table.weight.std() / mixed.std())
    return made


def refitted(cut: dict[str, Any]) -> dict[str, Any]:
    return {name: {**held, "refit": True} if name in ("heads", "ffn") else held for name, held in cut.items()}


def cut_down(task: EncoderTask, model: Encoder, recipe: dict[str, Any], context: Context) -> Encoder:
    found: Model = model
    for stage in plan(recipe, base_defaults=task.base).stages:
        found = run_stage(found, stage, task, context, trainer=Trainer(task.training), key="")
    assert isinstance(found, Encoder)
    return found


def moved(model: Encoder, dense: Encoder) -> float:
    with torch.no_grad():
        return float((model.calibrate(OTHERS) - dense.calibrate(OTHERS)).square().sum())


@pytest.mark.parametrize("bias", [True, False])
def test_refit_is_least_squares(bias: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    before = Linear(5, 8, bias=bias)
    values = torch.randn(400, 8, generator=draw) @ torch.randn(8, 8, generator=draw) + 1
    columns, goes = torch.tensor([0, 2, 3, 6, 7]), [1, 4, 5]
    with torch.no_grad():
        before.weight.copy_(torch.randn(5, 8, generator=draw))
        if before.bias is not None:
            before.bias.copy_(torch.randn(5, generator=draw))
    table = copy.deepcopy(before)
    refit(table, before, Moments(torch.cov(values.T, correction=0), values.mean(0)), columns)

    about = (values - values.mean(0) if bias else values).double().numpy()
    kept, gone = about[:, columns], about[:, goes] @ before.weight.detach().double().numpy()[:, goes].T
    ridge = np.sqrt(DAMPING * (kept**2).mean() * len(kept)) * np.eye(5)
    told = np.linalg.lstsq(np.vstack([kept, ridge]), np.vstack([gone, np.zeros((5, 5))]), rcond=None)[0].T
    expected = before.weight.detach().numpy()[:, columns] + told
    np.testing.assert_allclose(table.weight.detach()[:, columns].numpy(), expected, rtol=1e-3, atol=1e-4)
    assert not table.weight[:, goes].any()
    if bias:  # the mean answer stays as it was
        with torch.no_grad():
            torch.testing.assert_close(table(values).mean(0), before(values).mean(0), rtol=1e-4, atol=1e-4)


def test_what_is_fed_is_weighed_by_the_sums_and_blind_to_padding(
    model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = moments(model, Context(whole=WHOLE))["down_1"]
    held, sums = list[Tensor](), list[Tensor]()

    def watch(name: str, values: Tensor) -> Tensor:
        if name in ("maps.down_1", "sums.down_1"):
            (held if name.startswith("maps") else sums).append(values[0])
        return values

    with torch.no_grad():
        for text in WHOLE:  # one at a time: there is no padding
            model.calibrate([text], watch)
    values, weight = torch.cat(held), 1 / torch.cat(sums).var(1)
    expected = (values.T * weight) @ values / weight.sum()
    torch.testing.assert_close(found.second().float(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.mean, weight @ values / weight.sum(), rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(fed, "AT_ONCE", 3)
    again = moments(model, Context(whole=WHOLE))["down_1"]
    torch.testing.assert_close(again.second(), found.second(), rtol=1e-4, atol=1e-6)


def test_what_lies_far_from_zero_is_known_as_well_as_the_rest() -> None:
    """A mean of a thousand times the spread: a difference of sums in float32 would tell nothing of that."""
    values = torch.randn(30, 64, 8, generator=torch.Generator().manual_seed(2))
    values[..., 5] += 1000

    class Showing:
        def calibrate(self, inputs: Any, watch: Any, *, batch: int) -> None:
            for block in values:
                watch("maps.down", block)

    (found,) = fed._measured(Showing(), {"down"}, [], Context()).values()  # type: ignore[arg-type]
    expected = np.cov(values.double().flatten(0, 1).numpy().T, bias=True)
    np.testing.assert_allclose(found.spread.numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(found.mean.numpy(), values.double().mean((0, 1)).numpy(), rtol=1e-6, atol=1e-6)


def test_a_map_that_is_fed_nothing_is_left_out() -> None:
    class Silent:
        def calibrate(self, inputs: Any, watch: Any, *, batch: int) -> None:
            watch("maps.down", torch.zeros(3, 5, 8))

    assert fed._measured(Silent(), {"down"}, [], Context()) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_refit_model_is_nearer_to_the_dense_one(encoder_task: EncoderTask, model: Encoder, cut: Any) -> None:
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    plain = cut_down(encoder_task, model, {"cut": cut}, context)
    better = cut_down(encoder_task, model, {"cut": refitted(cut)}, context)
    shapes = [{name: table.weight.shape for name, table in one.tables.items()} for one in (plain, better)]
    assert shapes[0] == shapes[1]
    assert moved(better, model) < 0.8 * moved(plain, model)


def test_the_model_that_a_stage_began_with_stays_as_it_was(encoder_task: EncoderTask, model: Encoder) -> None:
    before, context = model.content(), encoder_task.context(seed=0, device=torch.device("cpu"))
    cut_down(encoder_task, model, {"cut": refitted(CUTS["both"])}, context)
    assert model.content() == before


def test_a_recipe_without_refit_is_what_it_was() -> None:
    assert "refit" not in Ffn(sparsity=0.4).parameters()
    assert Ffn(sparsity=0.4, refit=True).parameters()["refit"] is True
    assert Ffn(sparsity=0.4, scope="global", refit=True).summary() == "ffn refit global -40%"


def test_what_maps_are_fed_is_measured_once(
    encoder_task: EncoderTask, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, measured = list[Any](), fed._measured

    def counted(model: Model, names: Any, inputs: Any, context: Context) -> dict[str, Moments]:
        passes.append(inputs)
        return measured(model, names, inputs, context)

    monkeypatch.setattr(fed, "_measured", counted)
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    for sparsity in (0.2, 0.4):
        cut_down(encoder_task, model, {"cut": refitted({**CUTS["both"], "ffn": {"sparsity": sparsity}})}, context)
    assert passes == [context.whole]
    lengths = [len(ids) for ids in encoder_task._dense.tokens(context.whole)]
    assert max(lengths) == LONGEST > max(len(ids) for ids in encoder_task._dense.tokens(TEXTS))
    assert sum(length < LONGEST for length in lengths) > 0


TRAINS: list[dict[str, Any]] = [
    {"epochs": 2, "schedule": "cubic"},
    {"schedule": "iterative"},
    {"epochs": 2, "l1": {"strength": 1.0}},
]


@pytest.mark.parametrize("stage", TRAINS, ids=["gradual", "iterative", "beside-l1"])
def test_nothing_is_refit_while_the_model_trains(stage: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="only in a stage that does not train") as refused:
        plan({"cut": {"ffn": {"sparsity": 0.4, "refit": True}, **stage}}, base_defaults={})
    assert refused.value.path == ("cut", "ffn", "refit")
    plan({"cut": {"ffn": {"sparsity": 0.4, "refit": True}, "epochs": 2}}, base_defaults={})  # one stage, then another


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"ffn": {"sparsity": 0.4, "refit": "yes"}}, "true or false"),
    ({"ffn": {"sparsity": 0.4, "refit": True}, "magnitude": {"sparsity": 0.5}}, "weights or bits of down_0"),
    ({"heads": {"sparsity": 0.25, "refit": True}, "quantize": {"bits": 4}}, "weights or bits of output_0"),
]


@pytest.mark.parametrize(("cut", "reason"), REFUSED, ids=["no-boolean", "magnitude", "quantize"])
def test_what_cannot_be_refit_is_refused_before_a_study(
    encoder_task: EncoderTask, cut: dict[str, Any], reason: str
) -> None:
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    recipe, trainer = plan({"cut": cut}, base_defaults=encoder_task.base), Trainer(encoder_task.training)
    with pytest.raises(RecipeError, match=reason):
        rehearse(recipe, sketch(encoder_task, {}), encoder_task, context, trainer=trainer)


def test_without_inputs_it_is_refused(encoder_task: EncoderTask) -> None:
    recipe = plan({"cut": refitted(CUTS["ffn"])}, base_defaults=encoder_task.base)
    with pytest.raises(RecipeError, match="no inputs"):
        rehearse(recipe, sketch(encoder_task, {}), encoder_task, Context(), trainer=Trainer(encoder_task.training))


def test_a_measurement_ends_with_the_time(model: Encoder) -> None:
    with pytest.raises(OutOfTime):
        moments(model, Context(whole=WHOLE, deadline=Deadline.after(0.0)))


KINDS: dict[str, dict[str, Any]] = {
    "albert": {},
    "distilbert": {},
    "t5": {"feed_forward_proj": "gated-gelu"},
    "modernbert": {},
    "qwen3": {},
    "gemma3_text": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_of_other_kinds_are_refit(kind: str, encoder_task: EncoderTask, tmp_path: Path) -> None:
    model = read_encoder(str(write_tiny_bert(tmp_path, family=kind, config=KINDS[kind])))
    context = Context(calibration=WHOLE, whole=WHOLE)
    for cut in (CUTS["ffn"], {"heads": {"sparsity": 0.5}}):
        plain = cut_down(encoder_task, model, {"cut": cut}, context)
        better = cut_down(encoder_task, model, {"cut": refitted(cut)}, context)
        assert moved(better, model) < moved(plain, model)


@pytest.mark.parametrize("step", [Heads, Ffn])
def test_nothing_cut_is_nothing_to_refit(model: Encoder, step: type[Ffn]) -> None:
    before = model.content()
    held = step(sparsity=0.0, refit=True)
    held.convert(model, Context())
    assert model.content() == before


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], ["", *TEXTS[:3]]], ids=["many", "one", "few"])
def test_joined_texts_reach_every_place(encoder_task: EncoderTask, texts: list[str]) -> None:
    tokenizer = encoder_task._dense.tokenizer
    found = joined(tokenizer, texts, tokens=1000)
    assert [len(ids) for ids in tokenizer.encode([text for _, text in found])] == [LONGEST] * (1000 // LONGEST)
    assert all(text.startswith(texts[at][:10]) for at, text in found)
    assert len(texts) <= 4 or len({at for at, _ in found}) == len(found)


def test_the_first_texts_fit_into_a_number_of_tokens(encoder_task: EncoderTask) -> None:
    tokenizer = encoder_task._dense.tokenizer
    found = first_of(tokenizer, ["", *TEXTS], tokens=300)
    assert found == TEXTS[: len(found)]
    assert 270 < sum(map(len, tokenizer.encode(found))) <= 300
    assert first_of(tokenizer, TEXTS, tokens=1) == TEXTS[:1]
    assert first_of(tokenizer, [""], tokens=10) == [] == joined(tokenizer, [""], tokens=10)


def test_what_is_remembered_has_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.models.remembered.MOST_BYTES", 1000)
    known = Remembered()
    for number in range(5):
        known.get(number, lambda: {"held": Moments(torch.zeros(100), torch.zeros(0))})
    assert len(known) == 3  # the largest, and two beside it
    known.get("large", lambda: torch.zeros(1000))
    known.get("small", lambda: torch.zeros(1))
    known.get("large", lambda: pytest.fail("it is still known"))
    known.get("larger", lambda: torch.zeros(2000))
    assert len(known) == 1
