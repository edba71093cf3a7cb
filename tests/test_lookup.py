"""Lookups of a loaded artifact: what torch itself answers where a table is whole, wherever the module is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import Beside, Parts
from autoprune.models.table import Table
from autoprune.module import lookup
from autoprune.module.lookup import Lookup
from autoprune.module.model import Adopted
from autoprune.module.served import ServedModule

ROWS, DIM, PADDED = 20, 4, 3
MODES = ("sum", "mean", "max")


class Net(nn.Module):
    """Every kind of table, none of them small enough to be told from another."""

    def __init__(self) -> None:
        super().__init__()
        self.items, self.tags = nn.Embedding(ROWS, DIM), nn.Embedding(ROWS, DIM, padding_idx=PADDED)
        self.out = nn.Linear(DIM, ROWS)
        self.out.weight = self.items.weight
        self.bags = nn.ModuleDict({mode: nn.EmbeddingBag(ROWS, DIM, mode=mode, padding_idx=PADDED) for mode in MODES})
        nn.init.normal_(self.tags.weight)  # the padding's row too


def parts_of(model: Adopted) -> Parts:
    tables, tensors = model.packed()
    manifest = {**model.settings(), "tables": tables}
    return Parts(manifest=manifest, tensors={**tensors, **model.around()}, beside=Beside(values={}, tensors={}))


def loaded(model: Adopted, folder: Path, **how: Any) -> Any:
    artifact.save(parts_of(model), folder / "a", provenance={})
    return autoprune.load(folder / "a", into=Net(), **how)


def coded(model: Adopted) -> Adopted:
    for table in model.tables.values():
        table.choose_bits(torch.full_like(table.bits, 4))
        table.code()
    return model


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def asked(module: Any, ids: Tensor) -> list[Tensor]:
    """What all of its lookups answer."""
    offsets, weights = torch.tensor([0, 2, 2]), torch.arange(1.0, len(ids) + 1)
    bags = [module.bags[mode](ids, offsets) for mode in MODES]
    bags += [module.bags["sum"](ids, offsets, weights), module.bags["mean"](ids[:4].view(2, 2))]
    return [module.items(ids), module.tags(ids.view(1, -1)), module.out(torch.eye(DIM)), *bags]


IDS = torch.tensor([1, PADDED, 7, PADDED, 19, 0])


@pytest.mark.parametrize("is_coded", [False, True])
def test_whole_tables_answer_by_torchs_own_functions(
    net: Net, is_coded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are widened too; the vector of the padding stays what it was."""
    model = Adopted(net)
    module = loaded(coded(model) if is_coded else model, tmp_path)
    slow = loaded(model, tmp_path, prefer="memory") if is_coded else model.eval().module
    calls = list[str]()

    def counted(name: str) -> Any:
        return lambda *arguments, **settings: (calls.append(name), getattr(functional, name)(*arguments, **settings))[1]

    for name in ("embedding", "embedding_bag"):
        monkeypatch.setattr(lookup, name, counted(name))
    with torch.no_grad():
        for found, expected in zip(asked(module, IDS), asked(slow, IDS), strict=True):
            torch.testing.assert_close(found, expected)
    assert sorted(calls) == ["embedding"] * 2 + ["embedding_bag"] * 5
    padding = model.module.get_submodule("tags").padding
    torch.testing.assert_close(module.tags(torch.tensor([PADDED])), padding[None], rtol=0, atol=0)


def halved(net: Net) -> Adopted:
    """Without some rows and dimensions of two tables, one of them turned; in four bits."""
    model = Adopted(net, cut=["items", "tags"])
    model.rotate(model.axes["dim.tags"], torch.linalg.qr(torch.randn(DIM, DIM))[0])
    for name in ("items", "tags"):
        model.cut(model.axes[f"rows.{name}"], torch.arange(PADDED, ROWS))
        model.cut(model.axes[f"dim.{name}"], torch.arange(1, DIM))
    return coded(model)


def test_small_tables_that_were_cut_are_laid_out_unless_memory_is_preferred(net: Net, tmp_path: Path) -> None:
    model = halved(net)
    fast, small = (loaded(model, tmp_path, prefer=prefer) for prefer in (None, "memory"))
    with torch.no_grad():
        for found, expected in zip(asked(fast, IDS), asked(small, IDS), strict=True):
            torch.testing.assert_close(found, expected)
    assert fast.items._rows.whole.shape == (ROWS, DIM)
    assert small.items._rows.whole is None
    assert fast.items._rows.memory_bytes > small.items._rows.memory_bytes
    assert autoprune.standing_rows(fast.items).tolist() == [row >= PADDED for row in range(ROWS)]


@pytest.mark.parametrize("wrong", [-1, ROWS])
@pytest.mark.parametrize("name", ["items", "tags", "bags.sum", "bags.mean", "bags.max"])
def test_an_id_without_a_row_is_refused_in_the_same_words(net: Net, tmp_path: Path, name: str, wrong: int) -> None:
    table = loaded(Adopted(net), tmp_path).get_submodule(name)
    with pytest.raises(IndexError, match=f"{name}: ids from 0 to 19 have a row, but got {wrong}"):
        table(torch.tensor([[1, wrong]]))


def test_other_mistakes_are_told_as_torch_tells_them(net: Net, tmp_path: Path) -> None:
    module = loaded(Adopted(net), tmp_path)
    with pytest.raises(RuntimeError, match="scalar types: Long, Int"):
        module.items(torch.tensor([1.5]))
    with pytest.raises(ValueError, match=r"bags\.mean: per_sample_weights need mode sum"):
        module.bags["mean"](IDS, torch.tensor([0]), torch.ones(len(IDS)))


# --- where a loaded module is taken


@pytest.mark.parametrize("prefer", ["latency", "memory"])
def test_answers_have_the_type_that_the_module_is_taken_to(net: Net, tmp_path: Path, prefer: str) -> None:
    model = coded(Adopted(net))
    module = loaded(model, tmp_path, prefer=prefer)
    with torch.no_grad():
        before = asked(module, IDS)
        halved = [module.items(IDS), module.half().out(torch.eye(DIM).half()), *asked_of_bags(module)]
        assert {one.dtype for one in halved[1:]} == {torch.float16}
        torch.testing.assert_close(module.tags(IDS)[None], before[1].half())
        assert module.double().items.weight.dtype == torch.float64
        for found, expected in zip(asked(module.float(), IDS)[3:], before[3:], strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)  # the table itself was not halved


def asked_of_bags(module: Any) -> list[Tensor]:
    weights = torch.ones(len(IDS), dtype=module.bags["sum"]._dtype)
    return [module.bags["mean"](IDS, torch.tensor([0])), module.bags["sum"](IDS, torch.tensor([0]), weights)]


@pytest.mark.parametrize("prefer", ["latency", "memory"])
def test_tables_go_where_their_module_goes(net: Net, tmp_path: Path, prefer: str) -> None:
    module = loaded(halved(net), tmp_path, prefer=prefer).to("meta")
    held = module.items._rows
    there = [held, held._table.like, *(one for one in (held._row, held._basis) if one is not None)]
    assert {one.device.type for one in there} == {"meta"}
    assert autoprune.standing_rows(module.items).device.type == "meta"
    if prefer == "latency":  # where no id is looked at
        ids = IDS.to("meta")
        assert module.bags["sum"](ids, ids[:2]).device.type == "meta"


def test_a_served_table_answers_wherever_its_module_was_taken(net: Net) -> None:
    served = ServedModule(parts_of(Adopted(net)))
    before = served.vectors("tags", [1, PADDED])
    served.into(Net()).double()
    assert (served.vectors("tags", [1, PADDED]) == before).all()


# --- tables that are large beside what is asked


def test_a_lookup_in_training_reads_no_more_than_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Adopted(nn.Sequential(nn.Embedding(1000, DIM)), cut=["0"])
    ids = torch.tensor([5, 999, 5])
    for cut in (False, True):
        if cut:
            model.cut(model.axes["rows.0"], torch.arange(2, 1000))
        whole = model.module[0](torch.arange(1000))  # type: ignore[index]
        with model.counting() as counts, monkeypatch.context() as patch:
            patch.setattr(torch, "full", None)
            patch.setattr(torch, "bincount", None)
            torch.testing.assert_close(model.module(ids), whole[ids])
        assert counts["0"].nonzero()[:, 0].tolist() == [5, 999]
        assert counts["0"][5] == 2


def test_rows_stand_where_a_list_of_all_says() -> None:
    table = Table(2000, 2)
    table.cut_rows(torch.arange(0, 2000, 3))
    table.row_mask = torch.arange(table.rows) % 5 != 0
    several = torch.arange(2000)
    listed = torch.full((2000,), -1).index_put((table.index[table.row_mask],), table.row_mask.nonzero()[:, 0])
    assert torch.equal(table.rows_of(several), listed)
    for asked in several.split(7):
        assert torch.equal(table.rows_of(asked), listed[asked])
    table.cut_rows(torch.arange(0))
    assert table.rows_of(several[:3]).tolist() == [-1, -1, -1]
    whole = Table(9, 2)
    whole.row_mask = torch.arange(9) != 4
    assert whole.rows_of(torch.tensor([3, 4, 8])).tolist() == [3, -1, 8]


def test_lookups_that_share_a_table_count_together() -> None:
    module = nn.ModuleDict({"a": nn.Embedding(9, 2, padding_idx=0), "b": nn.Embedding(9, 2)})
    module["b"].weight = module["a"].weight
    model = Adopted(module)
    with model.counting() as counts:
        for name in ("b", "a"):
            lookup_of = model.module.get_submodule(name)
            assert isinstance(lookup_of, Lookup)
            lookup_of(torch.tensor([0, 0, 5]))
    assert counts["a"].tolist() == [2, 0, 0, 0, 0, 2, 0, 0, 0]
