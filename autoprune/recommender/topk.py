"""The best rows of a table for some queries: exact, by the kernel that is fastest on this machine.

Which kernel that is depends on the processor, the encoding and the number of queries, so it is measured: once for a
machine and a shape of table, in tens of milliseconds, and remembered in a file of the user's cache. Small tables are
not worth measuring; they are scored in full.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.artifacts.served import Threads
from autoprune.errors import AutopruneError
from autoprune.extras import has
from autoprune.machine import processor, threads, version_of
from autoprune.packing import PackedTable
from autoprune.packing.arrays import Array, namespace, numpy_of, tensor_of
from autoprune.packing.ids import Draw, Rows
from autoprune.packing.rows import FEW_QUERIES
from autoprune.recommender.ties import Best, Hidden, Ordering, by_place
from autoprune.user_cache import cache_folder, keep
from autoprune.version import VERSION

if TYPE_CHECKING:
    from autoprune.recommender.kernels import Kernel

LARGE = 2**22
"""Values of a table from which on kernels are measured; below, scoring in full takes about a millisecond or less."""

SIZES = (1, FEW_QUERIES)
"""Numbers of queries that are measured; any number goes by the largest of these that it reaches."""

ROUNDS, K = 4, 100
CLEARLY = 0.9
"""Of the plain time: what a kernel must stay below to be used. Ties go to the plain path."""

SPARE = 32
"""Candidates beyond k and a half: too few, and the k-th best score does not reach the bound on what is left out."""

PLAIN, TORCH = "plain", "torch"
"""Every row is scored: by the table as it is, or by torch, on its own memory."""

KERNELS = (TORCH, "integer_scan", "half_precision")

VARIABLE = "AUTOPRUNE_KERNELS"
"""Environment variable: `fastest` (the default) or `plain`."""


class Search:
    """Exact top-k over a packed table.

    Args:
        table: what is searched.
        queries: gives n typical queries, float32 [n, dim]; asked only where kernels are measured.
        draw: as `Ordering` takes it.
        kernels: whether others than the plain path may answer.
    """

    def __init__(
        self,
        table: PackedTable,
        queries: Callable[[int], Array],
        *,
        draw: Callable[[Rows], Draw] = by_place,
        kernels: bool = True,
    ) -> None:
        self._threads = Threads()
        self._ordering = Ordering(table, draw)
        self._twin: Ordering | None = None
        self._kernels: dict[str, Kernel] = {}
        self._choice: dict[int, str] = dict.fromkeys(SIZES, PLAIN)
        if not (may_choose(table) and kernels):
            return
        key = _key(table)
        remembered = _recall(key)
        if remembered is None:
            self._make(KERNELS)
            remembered = {n: self._fastest(queries(n)) for n in SIZES}
            _remember(key, remembered)
        self._choice = remembered
        self._make([name for name in dict.fromkeys(remembered.values()) if name != PLAIN])

    def _make(self, names: Collection[str]) -> None:
        """Has the kernels of some names, those of them that can serve the table, and no others."""
        if not names:
            self._kernels = {}
            return
        from autoprune.recommender.kernels import makers  # here, because it imports torch

        if self._twin is None:
            self._twin = self._ordering.of(self._ordering.table.to("cpu"))
        table = self._twin.table
        made = {name: make for name, make in makers(table).items() if name in names}
        self._kernels = {name: self._kernels.get(name) or make(table) for name, make in made.items()}

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which makes its own kernels where it can use any."""
        return {**self.__dict__, "_kernels": {}, "_twin": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._threads.gone:
            return
        self._make([name for name in dict.fromkeys(self._choice.values()) if name != PLAIN])

    @property
    def memory_bytes(self) -> int:
        """Bytes held beside the table."""
        return sum(kernel.memory_bytes for kernel in self._kernels.values())

    def kernel(self, count: int) -> str:
        """The name of what answers so many queries at once; in a fork the plain path, for kernels have threads."""
        if self._threads.gone:
            return PLAIN
        return self._choice[max(size for size in SIZES if size <= max(count, 1))]

    def topk(self, queries: Array, k: int, hidden: Hidden) -> Best:
        """The k best rows of each query (float32 [n, dim]) that are not hidden."""
        return self._answer(self.kernel(len(queries)) if len(queries) else PLAIN, queries, k, hidden)

    def _answer(self, name: str, queries: Array, k: int, hidden: Hidden) -> Best:
        if name == PLAIN:
            return plain(self._ordering, queries, k, hidden)
        import torch  # here, because only kernels need it

        assert self._twin is not None, "whoever has a kernel has the table in torch"
        asked, unseen = tensor_of(queries), Hidden(*map(tensor_of, hidden))
        with torch.inference_mode():
            if name in self._kernels:
                best = rescored(self._twin, self._kernels[name], asked, k, unseen)
            else:
                best = plain(self._twin, asked, k, unseen)
        return Best(*map(numpy_of, best))

    def _fastest(self, queries: Array) -> str:
        nothing = Hidden(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        kernels = [name for name, kernel in self._kernels.items() if len(queries) == 1 or kernel.for_many]
        return fastest(
            {name: functools.partial(self._answer, name, queries, K, nothing) for name in (PLAIN, TORCH, *kernels)}
        )


def plain(ordering: Ordering, queries: Array, k: int, hidden: Hidden) -> Best:
    """Scores every row."""
    scores = ordering.table.scores(queries)
    if len(queries) == 1:
        scores[0, hidden.row] = -math.inf
    else:
        scores[hidden.query, hidden.row] = -math.inf
    return ordering.best(queries, scores, min(k, ordering.table.rows))


def rescored(ordering: Ordering, kernel: Kernel, queries: Array, k: int, hidden: Hidden) -> Best:
    """Scores what a kernel proposes; a query whose proposal may lack one of the best is answered by `plain`.

    The k-th score found is compared with the kernel's bound on all other rows. So the answers are those of `plain`:
    the same rows in the same order. All arrays are torch's.
    """
    torch, table = namespace(queries), ordering.table
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
        scores[at].masked_fill_(out[rows[at]], -math.inf)
        out[own] = False
    best = ordering.best(queries, scores, k, rows=rows)
    # what is left out may be as good as the last, and come before it
    (missed,) = torch.where((best.scores[:, -1] - ordering.doubts(queries) <= bound) & (bound > -math.inf))
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


def may_choose(table: PackedTable) -> bool:
    """Whether a table is large enough for a choice, on the CPU, and torch is there to choose."""
    wanted = os.environ.get(VARIABLE, "fastest")
    if wanted not in ("fastest", PLAIN):
        raise AutopruneError(f"{VARIABLE}: fastest or plain must be given, but got {wanted!r}.")
    large = table.rows * table.dim >= LARGE and isinstance(table.like, np.ndarray)
    return large and wanted != PLAIN and has("torch")


def _key(table: PackedTable) -> str:
    """Names what the choice depends on."""
    facts: list[object] = [processor(), threads(), VERSION, np.__version__, version_of("torch"), SIZES]
    facts += [version_of("faiss-cpu", "faiss-gpu", "faiss"), KERNELS]
    facts += [table.rows, table.dim, table.bits, table.pattern, table.memory_bytes]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _recall(key: str) -> dict[int, str] | None:
    """What was chosen before; None if nothing was, or if the file does not say so plainly."""
    try:
        found = json.loads((cache_folder("kernels") / f"{key}.json").read_bytes())
        choice = {size: found[str(size)] for size in SIZES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return choice if all(name in (PLAIN, *KERNELS) for name in choice.values()) else None


def _remember(key: str, choice: Mapping[int, str]) -> None:
    """Writes a choice down. A cache that cannot be written costs a measurement at every load."""
    content = json.dumps({str(size): name for size, name in choice.items()}).encode()
    keep(cache_folder("kernels") / f"{key}.json", lambda file: file.write(content))
