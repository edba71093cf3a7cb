"""The best rows of a table for some queries: exact, by the kernel that is fastest on this machine.

Which kernel that is depends on the processor, the encoding and the number of queries, so it is measured: once for a
machine and a shape of table, in tens of milliseconds, and remembered in a file of the user's cache. Small tables are
not worth measuring; they are scored in full.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.machine import machine
from autoprune.packing import PackedTable
from autoprune.packing.ids import Draw
from autoprune.packing.rows import FEW_QUERIES
from autoprune.recommender.kernels import (
    HalfPrecision,
    Hidden,
    IntegerScan,
    Kernel,
    faiss_version,
    has_plain_codes,
    multiplies_exactly,
)
from autoprune.recommender.ties import Best, Ordering, by_place
from autoprune.version import VERSION

LARGE = 2**22
"""Values of a table from which on kernels are measured; below, scoring in full takes about a millisecond or less."""

SIZES = (1, FEW_QUERIES)
"""Numbers of queries that are measured; any number goes by the largest of these that it reaches."""

ROUNDS, K = 4, 100
CLEARLY = 0.9
"""Of the plain time: what a kernel must stay below to be used. Ties go to the plain path."""

SPARE = 32
"""Candidates beyond k and a half: too few, and the k-th best score does not reach the bound on what is left out."""

PLAIN = "plain"
VARIABLE = "AUTOPRUNE_KERNELS"
"""Environment variable: `fastest` (the default) or `plain`."""


class Search:
    """Exact top-k over a packed table.

    Args:
        table: what is searched.
        queries: gives n typical queries, float32 [n, dim]; asked only where kernels are measured.
        draw: as `Ordering` takes it.
    """

    def __init__(
        self, table: PackedTable, queries: Callable[[int], Tensor], *, draw: Callable[[Tensor], Draw] = by_place
    ) -> None:
        self._ordering = Ordering(table, draw)
        self._kernels: dict[str, Kernel] = {}
        self._choice: dict[int, str] = dict.fromkeys(SIZES, PLAIN)
        makers = _makers(table)
        if not makers:
            return
        key = _key(table, makers)
        remembered = _recall(key, {PLAIN, *makers})
        if remembered is None:
            with torch.inference_mode():
                self._kernels = {name: make(table) for name, make in makers.items()}
                remembered = {n: self._fastest(queries(n)) for n in SIZES}
            _remember(key, remembered)
        self._choice = remembered
        self._kernels = {
            name: self._kernels[name] if name in self._kernels else makers[name](table)
            for name in dict.fromkeys(remembered.values())
            if name != PLAIN
        }

    @property
    def memory_bytes(self) -> int:
        """Bytes held beside the table."""
        return sum(kernel.memory_bytes for kernel in self._kernels.values())

    def kernel(self, count: int) -> str:
        """The name of what answers so many queries at once."""
        return self._choice[max(size for size in SIZES if size <= max(count, 1))]

    def topk(self, queries: Tensor, k: int, hidden: Hidden) -> Best:
        """The k best rows of each query (float32 [n, dim]) that are not hidden."""
        kernel = self._kernels.get(self.kernel(len(queries))) if self._kernels else None
        if kernel is None or len(queries) == 0:
            return plain(self._ordering, queries, k, hidden)
        return rescored(self._ordering, kernel, queries, k, hidden)

    def _fastest(self, queries: Tensor) -> str:
        nothing = Hidden(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long))
        calls: dict[str, Callable[[], object]] = {PLAIN: lambda: plain(self._ordering, queries, K, nothing)}
        for name, kernel in self._kernels.items():
            if len(queries) > 1 and not kernel.for_many:
                continue
            # mypy cannot infer the default
            calls[name] = lambda kernel=kernel: rescored(self._ordering, kernel, queries, K, nothing)  # type: ignore[misc]
        return fastest(calls)


def plain(ordering: Ordering, queries: Tensor, k: int, hidden: Hidden) -> Best:
    """Scores every row."""
    scores = ordering.table.scores(queries)
    if len(queries) == 1:
        scores[0].index_fill_(0, hidden.row, float("-inf"))
    else:
        scores[hidden.query, hidden.row] = float("-inf")
    return ordering.best(queries, scores, min(k, ordering.table.rows))


def rescored(ordering: Ordering, kernel: Kernel, queries: Tensor, k: int, hidden: Hidden) -> Best:
    """Scores what a kernel proposes; a query whose proposal may lack one of the best is answered by `plain`.

    The k-th score found is compared with the kernel's bound on all other rows. So the answers are those of `plain`:
    the same rows in the same order.
    """
    table = ordering.table
    k = min(k, table.rows)
    rows, bound = kernel.propose(queries, k + k // 2 + SPARE, hidden)
    if rows.shape[1] < k:
        return plain(ordering, queries, k, hidden)
    scores = torch.empty(rows.shape)
    out = torch.zeros(table.rows + 1, dtype=torch.bool)  # row -1, which stands for none, is the last
    out[-1] = True
    order = hidden.query.argsort(stable=True)
    ends = torch.searchsorted(hidden.query[order], torch.arange(len(queries) + 1)).tolist()
    for at in range(len(queries)):
        own = hidden.row[order[ends[at] : ends[at + 1]]]
        out[own] = True
        torch.mv(table.decode(rows[at].clamp_min(0)), queries[at], out=scores[at])
        scores[at].masked_fill_(out[rows[at]], float("-inf"))
        out[own] = False
    best = ordering.best(queries, scores, k, rows=rows)
    # what is left out may be as good as the last, and come before it
    (missed,) = torch.where((best.scores[:, -1] - ordering.doubts(queries) <= bound) & (bound > -torch.inf))
    if len(missed):
        place = torch.full((len(queries),), -1)
        place[missed] = torch.arange(len(missed))
        concerned = place[hidden.query] >= 0
        again = plain(ordering, queries[missed], k, Hidden(place[hidden.query[concerned]], hidden.row[concerned]))
        best.scores[missed], best.rows[missed] = again
    return best


def fastest(calls: Mapping[str, Callable[[], object]], *, clock: Callable[[], float] = time.perf_counter) -> str:
    """The name of the fastest call by its least time, or `plain` where none is clearly faster.

    In turns, so that a machine's mood hits all alike. Whatever disturbs a call makes it slower: of a few times on a
    busy machine the least says most, and the first turn, which fills caches, does no harm.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    least = {name: min(taken) for name, taken in times.items()}
    best = min(least, key=lambda name: least[name])
    return best if least[best] < CLEARLY * least[PLAIN] else PLAIN


def _makers(table: PackedTable) -> dict[str, Callable[[PackedTable], Kernel]]:
    """Kernels that may serve a table, by name.

    None may hold more than the table itself: who asked for a small table has not asked for speed at any price.
    """
    wanted = os.environ.get(VARIABLE, "fastest")
    if wanted not in ("fastest", PLAIN):
        raise AutopruneError(f"{VARIABLE}: fastest or plain must be given, but got {wanted!r}.")
    values = table.rows * table.dim
    device = next(iter(table.tensors.values())).device
    if wanted == PLAIN or values < LARGE or device.type != "cpu":
        return {}
    makers: dict[str, Callable[[PackedTable], Kernel]] = {}
    beside = 20 * table.rows if has_plain_codes(table) else values + 12 * table.rows
    if multiplies_exactly() and beside <= table.memory_bytes:
        makers["integer_scan"] = IntegerScan
    if faiss_version() and 2 * values <= table.memory_bytes:
        makers["half_precision"] = HalfPrecision
    return makers


def _key(table: PackedTable, names: Mapping[str, object]) -> str:
    """Names what the choice depends on."""
    facts: list[object] = [machine()["id"], torch.get_num_threads(), VERSION, faiss_version(), sorted(names), SIZES]
    facts += [table.rows, table.dim, table.bits, table.pattern, table.memory_bytes]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def cache_folder() -> Path:
    """Where choices are remembered, one file each."""
    return platformdirs.user_cache_path("autoprune") / "kernels"


def _recall(key: str, names: set[str]) -> dict[int, str] | None:
    """What was chosen before; None if nothing was, or if the file does not say so plainly."""
    try:
        found = json.loads((cache_folder() / f"{key}.json").read_text())
        choice = {size: found[str(size)] for size in SIZES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return choice if all(isinstance(name, str) and name in names for name in choice.values()) else None


def _remember(key: str, choice: Mapping[int, str]) -> None:
    """Writes a choice down, whole or not at all. A cache that cannot be written costs a measurement at every load."""
    folder = cache_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as file:
            json.dump({str(size): name for size, name in choice.items()}, file)
        Path(file.name).replace(folder / f"{key}.json")
