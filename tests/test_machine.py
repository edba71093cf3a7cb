"""What a machine is good at, and its memory."""

from __future__ import annotations

import ctypes
import itertools
import os
from pathlib import Path

import pytest
import torch

from autoprune import machine

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("narrow", "chosen"), [(0.25, torch.bfloat16), (0.9, torch.float32), (1.0, torch.float32), (8.0, torch.float32)]
)
def test_products_are_of_what_is_clearly_faster(
    narrow: float, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which float32 takes 1 and bfloat16 takes `narrow`."""
    looks = itertools.chain.from_iterable([(0.0, 1.0)] * 7 + [(0.0, narrow)] * 7)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(looks))
    monkeypatch.setattr(torch, "ones", lambda *_, dtype: torch.zeros(1, 1, dtype=dtype))  # quick on any clock
    assert machine.fastest_products.__wrapped__(CPU) == chosen


def test_products_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.fastest_products(CPU)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: pytest.fail("measured again"))
    assert machine.fastest_products(torch.device("cpu")) == found


def test_milliseconds_timed_by_other_rules_are_those_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    now = machine.machine.__wrapped__()
    assert now == machine.machine.__wrapped__()
    monkeypatch.setattr(machine, "TIMING", machine.TIMING - 1)
    before = machine.machine.__wrapped__()
    assert {name for name in now if now[name] != before[name]} == {"timing", "id"}


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_goes_back() -> None:
    """200 MB in pieces that are too small for pages of their own, below a piece that stays."""
    pieces = [bytearray(100_000) for _ in range(2000)]
    kept = pieces[10::500]
    del pieces
    before = _resident()
    machine.give_back_memory()
    assert before - _resident() > 100e6
    assert kept


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
