"""Codes of linear maps that are fitted to their answers, and a rate that is shared out, against oracles."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoder import TEXTS
from torch import Tensor

from autoprune.encoder.model import Encoder
from autoprune.encoder.task import EncoderTask
from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Linear, Table
from autoprune.packing.codes import RowCodes, best_shares, quantize_rows
from autoprune.packing.compensated import compensated
from autoprune.packing.rated import RATES
from autoprune.recipes.prefixes import Prefixes
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.steps import compensation, sharing
from autoprune.steps.compensation import felt
from autoprune.steps.quantize import Quantize
from autoprune.steps.sharing import CALIBRATION as WATCHED
from autoprune.steps.sharing import PROBE, rounding_effects, share_out

CALIBRATION, OTHERS = TEXTS[:100], TEXTS[100:140]


@pytest.fixture
def model(encoder_task: EncoderTask) -> Encoder:
    made = encoder_task.model({}, seed=0)
    assert isinstance(made, Encoder)
    return made


def made(model: Model, step: Quantize) -> Model:
    """The model with codes; the one given stays as it is."""
    found, context = model.own(), Context(calibration=CALIBRATION)
    step.check(found)
    step.advance(found, context, 1.0)
    step.convert(found, context)
    return found


def vectors(model: Model) -> Tensor:
    with torch.no_grad():
        return model.calibrate(OTHERS)


def moved(model: Model, dense: Model) -> float:
    return float((vectors(model) - vectors(dense)).square().sum())


def fed_and_map(seed: int, *, rows: int, dim: int) -> tuple[Tensor, Tensor]:
    """Inputs whose dimensions say much the same, as those of real maps do, and weights."""
    draw = torch.Generator().manual_seed(seed)
    fed = torch.randn(400, dim // 2, generator=draw) @ torch.randn(dim // 2, dim, generator=draw)
    return fed + 0.3 * torch.randn(400, dim, generator=draw), torch.randn(rows, dim, generator=draw)


def nearest(values: Tensor, bits: int) -> Tensor:
    widths = torch.full((len(values),), bits, dtype=torch.uint8)
    shares = best_shares(values, widths, symmetric=True)
    return quantize_rows(values, widths, shares, symmetric=True).values()


@pytest.mark.parametrize("bits", [4, 2])
def test_compensated_answers_are_nearer_than_those_of_nearest_codes(bits: int) -> None:
    fed, values = fed_and_map(0, rows=40, dim=150)  # more columns than are rounded at a time
    fed, unseen = fed[:300], fed[300:]
    levels, _ = compensated(values, fed.double().T @ fed.double() / len(fed), bits=bits)
    errors = [float((unseen @ (held - values).T).square().sum()) for held in (levels, nearest(values, bits))]
    assert errors[0] < 0.7 * errors[1]


def test_compensated_codes_come_near_the_best_of_all() -> None:
    """Against brute force over all codes of two bits, each set of them with its own best step."""
    every = torch.tensor(list(itertools.product([-1.0, 0.0, 1.0], repeat=6)))
    ratios = []
    for seed in range(20):
        fed, values = fed_and_map(seed, rows=1, dim=6)
        moments = fed.double().T @ fed.double() / len(fed)
        answers, wanted = fed @ every.T, fed @ values[0]
        steps = (answers * wanted[:, None]).sum(0) / answers.square().sum(0).clamp_min(1e-9)
        best = (answers * steps - wanted[:, None]).square().sum(0).min()
        errors = [
            float((fed @ (held - values)[0]).square().sum() / best)
            for held in (compensated(values, moments, bits=2)[0], nearest(values, 2))
        ]
        ratios.append(errors)
    ours, plain = np.median(ratios, axis=0)
    assert ours < 2.5
    assert ours < 0.6 * plain


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_levels_are_their_own_codes(bits: int, masked: bool) -> None:
    fed, values = fed_and_map(1, rows=30, dim=24)
    values[3] = 0
    values[4] *= 1e-3
    mask = torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) > 0.4 if masked else None
    values = values if mask is None else values * mask
    step = 0.1 * values.abs().amax(1).clamp_min(1e-30) if bits == 8 else None  # not all levels are in use
    levels, shares = compensated(values, fed.double().T @ fed.double(), bits=bits, step=step, mask=mask)
    widths = torch.full((len(values),), bits, dtype=torch.uint8)
    assert torch.equal(quantize_rows(levels, widths, shares, mask=mask, symmetric=True).values(), levels)
    assert len(set(levels[5].tolist())) <= 2**bits - 1
    assert not levels[3].any()
    assert mask is None or not levels[~mask].any()


def test_a_bias_takes_up_what_is_off_in_the_mean() -> None:
    fed, values = fed_and_map(2, rows=8, dim=20)
    fed = fed + 2.0
    table = Linear(8, 20)
    with torch.no_grad():
        table.weight.copy_(values)
    wanted = table(fed).detach()
    table.choose_bits(torch.full_like(table.bits, 2))
    table.compensate(fed)
    table.code()
    torch.testing.assert_close(table(fed).mean(0), wanted.mean(0), atol=1e-4, rtol=0)


def test_rows_of_zeros_and_hidden_rows_stay_zero() -> None:
    fed, values = fed_and_map(4, rows=8, dim=16)
    values[2] = 0
    table = Linear(8, 16)
    with torch.no_grad():
        table.weight.copy_(values)
    table.row_mask = torch.arange(8) != 5
    wanted = table(fed).detach()
    table.choose_rate(4.0)
    table.compensate(fed)
    answers = table(fed).detach()
    assert not answers[:, [2, 5]].any()
    assert float((answers - wanted).norm() / wanted.norm()) < 0.1


@pytest.mark.parametrize("fed", [0, 3])
def test_dimensions_that_are_never_fed_do_not_stop_it(fed: int) -> None:
    values = fed_and_map(3, rows=5, dim=12)[1]
    levels, _ = compensated(values, torch.diag((torch.arange(12) < fed).double()), bits=4)
    assert torch.isfinite(levels).all()
    off = (levels - values)[:, : fed or None]
    assert float(off.norm() / values[:, : fed or None].norm()) < 0.15


def test_vectors_move_less_by_compensated_codes(model: Encoder) -> None:
    bits = {"word": 4, "body": 4}
    plain, fitted = (moved(made(model, Quantize(bits=bits, compensate=on)), model) for on in (False, True))
    assert fitted < 0.8 * plain


def test_a_map_that_is_fed_nothing_keeps_its_codes(model: Encoder) -> None:
    """Of neurons that never answer, as where weights before them were cut to zero."""
    with torch.no_grad():
        for name in ("up_1.weight", "up_1.bias"):
            model.get_parameter(f"_tables.{name}").zero_()
    plain, fitted = (made(model, Quantize(bits={"word": 8, "body": 4}, compensate=on)) for on in (False, True))
    torch.testing.assert_close(fitted.tables["down_1"].values(), plain.tables["down_1"].values())
    assert not torch.equal(fitted.tables["down_2"].values(), plain.tables["down_2"].values())


def test_each_map_is_fitted_to_what_the_codes_before_it_feed(model: Encoder) -> None:
    """Against one map fitted by hand, to what the finished model feeds it."""
    found, fed = made(model, Quantize(bits={"word": 4, "body": 4}, compensate=True)), list[Tensor]()

    def watch(name: str, values: Tensor) -> Tensor:
        if name == "maps.up_2":
            fed.extend(text[text.any(dim=1)] for text in values)  # what is fed of padding is zero
        return values

    with torch.no_grad():
        found.calibrate(CALIBRATION, watch)
    alone = model.own().tables["up_2"]
    assert isinstance(alone, Linear)
    alone.choose_bits(torch.full_like(alone.bits, 4))
    alone.compensate(torch.cat(fed))
    assert float((alone.weight == found.tables["up_2"].weight).float().mean()) > 0.99  # sums come in another order


def test_no_other_rates_of_the_same_mean_do_less() -> None:
    draw = np.random.default_rng(0)
    sizes = {"a": 100, "b": 400, "c": 50, "d": 200}
    weights = np.array(list(sizes.values())) / sum(sizes.values())
    for mean in (RATES[0], 2.2, 4.0, 5.7, RATES[1]):
        effects = np.exp(draw.normal(0, 3, 4))
        shared = np.array(list(share_out(dict(zip(sizes, effects, strict=True)), sizes, mean).values()))
        assert shared @ weights == pytest.approx(mean)
        assert (shared >= RATES[0] - 1e-9).all()
        assert (shared <= RATES[1] + 1e-9).all()
        others = shared + draw.normal(0, 0.3, (4000, 4))
        others += (mean - others @ weights)[:, None]
        others = others[((others >= RATES[0]) & (others <= RATES[1])).all(1)]
        assert (effects @ 4.0**-shared) <= (4.0**-others @ effects).min(initial=np.inf) * (1 + 1e-9)


@pytest.mark.slow
def test_effects_are_how_far_vectors_move_by_errors_as_large_as_those_of_codes(
    model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against errors of one map alone, each of a sign of its own, made small: a mean over many draws of signs."""
    monkeypatch.setattr(sharing, "DIRECTIONS", 100)
    names, small = ["query_0", "down_2", "up_3"], 0.1
    inputs = CALIBRATION[:WATCHED]
    effects = rounding_effects(model, names, inputs, Context(calibration=inputs))
    draw, vectors = torch.Generator().manual_seed(0), vectors_of(model)
    for name in names:
        coded, alone = model.twin(), model.twin()
        table, dense = coded.tables[name], model.tables[name].weight.detach()
        assert isinstance(table, Linear)
        table.choose_rate(PROBE)
        wrong, moves = small * (table.values().detach() - dense), list[float]()
        for _ in range(100):
            signs = torch.randint(0, 2, wrong.shape, generator=draw) * 2 - 1
            alone.tables[name].weight.data = dense + wrong * signs
            moves.append(float((vectors_of(alone) - vectors).square().sum()) / small**2)
        assert effects[name] == pytest.approx(np.mean(moves), rel=0.1)


def test_a_mean_is_what_codes_take_and_more_of_them_move_vectors_less(model: Encoder) -> None:
    found = {rate: made(model, Quantize(bits={"word": rate, "body": rate}, entropy=True)) for rate in (4.0, 3.0, 2.0)}
    for rate, coded in found.items():
        assert entropy(coded.tables["word"]) == pytest.approx(rate, abs=0.05)
        body = [table for table in coded.groups["body"].values() if isinstance(table, Linear)]
        sizes = [table.weight.numel() for table in body]
        assert np.average([entropy(table) for table in body], weights=sizes) == pytest.approx(rate, abs=0.1)
        assert len({round(entropy(table), 1) for table in body}) > 2
    distances = [moved(coded, model) for coded in found.values()]
    assert distances == sorted(distances)
    plain = made(model, Quantize(bits={"word": 3, "body": 3}, compensate=True))
    rated = made(model, Quantize(bits={"word": 3.0, "body": 3.0}, compensate=True, entropy=True))
    assert moved(rated, model) < moved(plain, model)


def entropy(table: Table) -> float:
    """Of the codes of a table, in bits."""
    assert isinstance(table.coded, RowCodes)
    shares = np.unique(table.coded.codes.numpy(), return_counts=True)[1] / table.coded.codes.numel()
    return float(-(shares * np.log2(shares)).sum())


def vectors_of(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return model.calibrate(CALIBRATION[:WATCHED])


@pytest.mark.parametrize(
    ("step", "path", "words"),
    [
        (Quantize(bits={"word": 4.0}), "bits.word", "entropy=true"),
        (Quantize(bits={"body": 9.0}, entropy=True), "bits.body", "from 1.5 to 6.0, but got 9.0; write a whole number"),
        (Quantize(bits={"body": 1.2}, entropy=True), "bits.body", "but got 1.2"),
        (Quantize(bits=4, compensate=1), "compensate", "true or false"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused(model: Encoder, step: Quantize, path: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        step.check(model)
    assert ".".join(caught.value.path) == path


@pytest.mark.slow
def test_what_is_felt_is_how_far_vectors_move(model: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against every row moved a little, one after the other."""
    monkeypatch.setattr(compensation, "DIRECTIONS", 100)
    inputs = CALIBRATION[:12]
    (found,) = felt(model, ["word"], Context(calibration=inputs)).values()
    table, dim = model.tables["word"], model.tables["word"].dim
    found -= 0.1 / 1.1 * found.trace() / dim * torch.eye(dim)
    along, plain = torch.randn(dim, generator=torch.Generator().manual_seed(1)), model.calibrate(inputs).detach()
    right, changed = 0.0, model.twin()
    for row in range(table.rows):
        with torch.no_grad():
            changed.tables["word"].weight.data = table.weight.index_add(0, torch.tensor([row]), 1e-3 * along[None])
            right += float((changed.calibrate(inputs) - plain).square().sum()) / 1e-6
    assert float(along.double() @ found @ along.double()) / 100 == pytest.approx(right, rel=0.1)
    assert not felt(model, [], Context())
    with pytest.raises(RecipeError, match="the task has no inputs"):
        felt(model, ["word"], Context())


def test_vectors_move_less_where_codes_of_words_know_what_is_felt(model: Encoder) -> None:
    bits = {"word": 2.0}
    plain, fitted = (
        moved(made(model, Quantize(bits=bits, compensate=on, entropy=True)), model) for on in (False, True)
    )
    assert fitted < 0.9 * plain


@pytest.mark.parametrize("bits", [{"word": 2.0, "body": 4.0}, {"body": 4}])
def test_in_haste_no_codes_are_fitted(model: Encoder, bits: dict[str, float]) -> None:
    step, hasty = Quantize(bits=bits, compensate=True, entropy=True), Context(calibration=CALIBRATION, hasty=True)
    found = model.own()
    step.advance(found, hasty, 1.0)
    step.convert(found, hasty)
    plain = made(model, dataclasses.replace(step, compensate=False))
    assert torch.equal(vectors(found), vectors(plain))
    assert not torch.equal(vectors(found), vectors(made(model, step)))


def test_what_is_trained_is_never_made_in_haste(encoder_task: EncoderTask) -> None:
    """It is kept, and what is made of it later goes on from there."""
    recipe = {"tune": {"quantize": {"bits": {"body": 3}, "compensate": True}, "epochs": 1}}
    made_of = plan(recipe, base_defaults=encoder_task.base)
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    found, again = (
        run(made_of, encoder_task, one, trainer=Trainer(encoder_task.training))
        for one in (context, dataclasses.replace(context, hasty=True))
    )
    assert found.content() == again.content()


def test_what_was_made_in_haste_is_no_beginning_of_anything_else(encoder_task: EncoderTask) -> None:
    recipe = {"encode": {"quantize": {"bits": {"body": 4}, "compensate": True}}, "store": {"bits": 8}}
    made_of, trainer, prefixes = (
        plan(recipe, base_defaults=encoder_task.base),
        Trainer(encoder_task.training),
        Prefixes(),
    )
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    hasty = run(
        made_of, encoder_task, dataclasses.replace(context, hasty=True), trainer=trainer, prefixes=prefixes
    ).content()
    found = run(made_of, encoder_task, context, trainer=trainer, prefixes=prefixes).content()
    assert found == run(made_of, encoder_task, context, trainer=trainer).content()
    assert found != hasty


@pytest.mark.parametrize(
    ("bits", "fitted"), [(8, False), (4, True), ({"word": 8, "body": 8}, False), ({"word": 2.2}, True)]
)
def test_fitting_is_told_where_something_is_fitted(bits: Any, fitted: bool) -> None:
    plain = Quantize(bits=bits, entropy=True)
    asked = dataclasses.replace(plain, compensate=True)
    assert (asked.parameters() != plain.parameters()) == fitted
    assert (asked.summary() != plain.summary()) == fitted
    assert (asked.revision() != plain.revision()) == fitted


@pytest.mark.parametrize("bits", [{"word": 4, "body": 8}, {"word": 3}])
def test_whole_bits_of_words_are_not_said_to_be_fitted(model: Encoder, bits: dict[str, float]) -> None:
    plain, asked = (Quantize(bits=bits, compensate=on) for on in (False, True))
    assert asked.summary() == plain.summary()
    found = model.own()
    asked.advance(found, Context(), 1.0)  # no inputs are needed
    asked.convert(found, Context())
    assert torch.equal(vectors(found), vectors(made(model, plain)))
    assert asked.parameters()["compensate"], "the keys of recipes on record stay"
    assert (asked.revision(), plain.revision()) == (4, 1)


@pytest.mark.parametrize("rehearsal", [False, True])
def test_without_inputs_nothing_is_fitted(model: Encoder, rehearsal: bool) -> None:
    for step, path in (
        (Quantize(bits=4, compensate=True), "compensate"),
        (Quantize(bits={"word": 2.0}, compensate=True, entropy=True), "compensate"),
        (Quantize(bits={"body": 5.0}, entropy=True), "bits.body"),
    ):
        with pytest.raises(RecipeError, match="the task has no inputs") as caught:
            step.advance(model.own(), Context(rehearsal=rehearsal), 1.0)
        assert ".".join(caught.value.path) == path
