"""A user's module on a device, among tensors on the CPU: where things are computed, and where they are written."""

from __future__ import annotations

import operator
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoprune.module.together import Together, together
from autoprune.module.together import _written as written_into

IN_PLACE = (operator.iand, operator.ior, operator.ixor, operator.ilshift, operator.irshift)
"""Of operators, those that torch does not hand on as functions whose names end in `_`."""


def test_what_is_given_on_the_cpu_follows_a_module_to_its_device() -> None:
    there, here = torch.device("meta"), torch.ones(2, 3)
    assert isinstance(together(torch.device("cpu")), nullcontext)
    table = nn.Embedding(5, 3, device=there)
    with together(there):
        found = torch.cat([table(torch.tensor([1, 2])), here])
        assert found.device == there, "in lists too"
        assert nn.functional.cross_entropy(found, torch.tensor([0, 1, 2, 0])).device == there
        assert torch.where(here > 0, found[:2], 0.0).device == there
        found[:2] = here
        assert found.add_(torch.ones(4, 3)).device == there
        assert (here + here).device.type == "cpu", "what meets nothing elsewhere stays"
        assert here.numpy().sum() == np.asarray(here).sum() == 6
        lengths = torch.tensor([3, 2])
        packed = nn.utils.rnn.pack_padded_sequence(torch.ones(2, 3, 4, device=there), lengths, batch_first=True)
        assert (packed.data.device, packed.batch_sizes.device.type) == (there, "cpu"), "what torch wants there"
    with pytest.raises(RuntimeError):
        torch.cat([found, here])


def test_what_is_written_into_stays_where_it_is() -> None:
    """Tensors on `meta` can be copied nowhere: it stands for the CPU, and the CPU for a device, but in the end."""
    here, there = torch.device("cpu"), torch.device("meta")
    bits, given = torch.ones(3, dtype=torch.int64, device=there), torch.ones(3, dtype=torch.int64)
    with Together(here):
        for change in (*IN_PLACE, operator.iadd, operator.ifloordiv):
            written = bits.clone()
            assert change(written, given) is written, change.__name__
            assert written.device == there
        out = torch.empty(3, dtype=torch.int64, device=there)
        assert torch.add(given, given, out=out) is out
        assert torch.add(given, bits, out=out) is out
        pair = (torch.empty(1, device=there), torch.empty(1, dtype=torch.int64, device=there))
        torch.max(torch.ones(1, 3), 1, out=pair)
        assert [held.device for held in pair] == [there, there]
        slope = nn.Parameter(torch.ones(3, device=there))
        slope.grad = torch.ones(3)
        assert slope.grad.device == there
        assert torch.add(given, given).device == here
    with pytest.raises(RuntimeError), Together(here):
        torch.max(torch.ones(1, 3), 1, out=(torch.empty(1, device=there), torch.empty(1, dtype=torch.int64)))
    table = nn.Embedding(2, 3, device=there)
    with Together(there):
        table.weight.data = torch.ones(2, 3)
    assert table.weight.device == there, "what is on the device stays there"


def test_what_writes_is_known_by_its_name() -> None:
    one, other = torch.ones(3), torch.zeros(3)
    for func in (Tensor.add_, Tensor.__ior__, Tensor.__setitem__, Tensor.data.__set__, torch.relu_):  # type: ignore[attr-defined]
        assert written_into(func, (one, other), {}) is one
    assert written_into(torch._foreach_add_, ([one], [other]), {}) is one
    assert written_into(torch.relu_, (), {"input": one}) is one
    assert written_into(torch.add, (one, one), {"out": other}) is other
    for func in (torch.add, Tensor.__and__, Tensor.__invert__, Tensor.__index__, Tensor.__init__):
        assert written_into(func, (one, other), {"out": None}) is None
