"""Exact top-k search over the rows of a table, by the kernel that is fastest on this machine.

The fastest kernel depends on the processor, the encoding and the number of queries, so kernels are timed: once for each
machine and shape of table, in tens of milliseconds. A file in the user's cache keeps the result. Small tables are not
worth timing; all their rows are scored.
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
from autoprune.machine import at_once, processor, threads, version_of
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
"""Kernels are timed for tables of at least so many values; scoring all of a smaller one takes at most about 1 ms."""

SIZES = (1, FEW_QUERIES)
"""Numbers of queries to time; other numbers use the kernel of the largest size that is not larger."""

ROUNDS, K = 4, 100
CLEARLY = 0.9
"""A kernel is used only if it takes less than this share of the plain path's time."""

QUERIES, SCORES = 256, 2**24
"""Queries per block on a CPU: QUERIES, or as many as SCORES scores (64 MB) allow if that is more."""

SPARE = 32
"""Candidates beyond 1.5 k. With too few, the k-th best score is often below the bound on the rows left out."""

PLAIN, TORCH = "plain", "torch"
"""Both score every row: the table as it is, or the same table in torch."""

KERNELS = (TORCH, "integer_scan", "half_precision")

VARIABLE = "AUTOPRUNE_KERNELS"
"""Environment variable: `fastest` (the default) or `plain`."""


class Search:
    """Exact top-k over a packed table.

    Args:
        table: the table to search.
        queries: returns n typical queries, float32 [n, dim]; called only if kernels are timed.
        draw: see `Ordering`.
        kernels: whether kernels other than the plain path may be used.
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
        self._torch_ordering: Ordering | None = None
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
        """Keeps exactly the named kernels, as far as they can serve the table; creates those that are missing."""
        if not names:
            self._kernels = {}
            return
        from autoprune.recommender.kernels import makers  # imported here, because it imports torch

        if self._torch_ordering is None:
            self._torch_ordering = self._ordering.of(self._ordering.table.to("cpu"))
        table = self._torch_ordering.table
        wanted = {name: make for name, make in makers(table).items() if name in names}
        self._kernels = {name: self._kernels.get(name) or make(table) for name, make in wanted.items()}

    def __getstate__(self) -> dict[str, Any]:
        """State for another process, which creates its own kernels if it can use any."""
        return {**self.__dict__, "_kernels": {}, "_torch_ordering": None}

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
        """The name of the kernel for so many queries; in a fork the plain path, because kernels have threads."""
        if self._threads.gone:
            return PLAIN
        return self._choice[max(size for size in SIZES if size <= max(count, 1))]

    def topk(self, queries: Array, k: int, hidden: Hidden) -> Best:
        """The k best rows that are not hidden for each query (float32 [n, dim]), computed in blocks of queries."""
        table = self._ordering.table
        step = at_once(table.like.device, 4 * table.rows, usual=max(QUERIES, SCORES // max(table.rows, 1)))
        if len(queries) <= step:
            return self._block(queries, k, hidden)
        blocks = []
        for start in range(0, len(queries), step):
            blocks.append(self._block(queries[start : start + step], k, hidden.block(start, step)))
        return Best(*map(namespace(queries).concatenate, zip(*blocks, strict=True)))

    def _block(self, queries: Array, k: int, hidden: Hidden) -> Best:
        return self._answer(self.kernel(len(queries)) if len(queries) else PLAIN, queries, k, hidden)

    def _answer(self, name: str, queries: Array, k: int, hidden: Hidden) -> Best:
        if name == PLAIN:
            return plain(self._ordering, queries, k, hidden)
        import torch  # imported here, because only kernels need it

        assert self._torch_ordering is not None, "kernels are created with the table in torch"
        queries, hidden = tensor_of(queries), Hidden(*map(tensor_of, hidden))
        with torch.inference_mode():
            if name in self._kernels:
                best = rescored(self._torch_ordering, self._kernels[name], queries, k, hidden)
            else:
                best = plain(self._torch_ordering, queries, k, hidden)
        return Best(*map(numpy_of, best))

    def _fastest(self, queries: Array) -> str:
        nothing = Hidden(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        kernels = [name for name, kernel in self._kernels.items() if len(queries) == 1 or kernel.for_many]
        return fastest(
            {name: functools.partial(self._answer, name, queries, K, nothing) for name in (PLAIN, TORCH, *kernels)}
        )


def plain(ordering: Ordering, queries: Array, k: int, hidden: Hidden) -> Best:
    """The best rows by the scores of all rows."""
    scores = ordering.table.scores(queries)
    if len(queries) == 1:
        scores[0, hidden.row] = -math.inf
    else:
        scores[hidden.query, hidden.row] = -math.inf
    return ordering.best(queries, scores, min(k, ordering.table.rows))


def rescored(ordering: Ordering, kernel: Kernel, queries: Array, k: int, hidden: Hidden) -> Best:
    """Scores a kernel's candidates exactly; `plain` answers queries whose candidates may lack one of the best rows.

    These are the queries whose k-th best score does not clearly exceed the bound on all other rows. So the result is
    that of `plain`: the same rows in the same order. All arrays are torch tensors.
    """
    torch, table = namespace(queries), ordering.table
    k = min(k, table.rows)
    rows, bound = kernel.propose(queries, k + k // 2 + SPARE, hidden)
    if rows.shape[1] < k:
        return plain(ordering, queries, k, hidden)
    scores = torch.empty(rows.shape)
    is_excluded = torch.zeros(table.rows + 1, dtype=torch.bool)  # the last entry is for row -1, an empty place
    is_excluded[-1] = True
    order = hidden.query.argsort(stable=True)
    ends = torch.searchsorted(hidden.query[order], torch.arange(len(queries) + 1)).tolist()
    for query in range(len(queries)):
        hidden_rows = hidden.row[order[ends[query] : ends[query + 1]]]
        is_excluded[hidden_rows] = True
        torch.mv(table.decode(rows[query].clamp_min(0)), queries[query], out=scores[query])
        scores[query].masked_fill_(is_excluded[rows[query]], -math.inf)
        is_excluded[hidden_rows] = False
    best = ordering.best(queries, scores, k, rows=rows)
    # a row that was not proposed may score as high as the k-th and precede it in the order of ties
    (missed,) = torch.where((best.scores[:, -1] - ordering.doubts(queries) <= bound) & (bound > -math.inf))
    if len(missed):
        place = torch.full((len(queries),), -1)
        place[missed] = torch.arange(len(missed))
        of_missed = place[hidden.query] >= 0
        exact = plain(ordering, queries[missed], k, Hidden(place[hidden.query[of_missed]], hidden.row[of_missed]))
        best.scores[missed], best.rows[missed] = exact
    return best


def fastest(calls: Mapping[str, Callable[[], object]], *, clock: Callable[[], float] = time.perf_counter) -> str:
    """The name of the call with the shortest time, or `plain` if none is clearly faster.

    Calls take turns, so that changes in the machine's load affect all. Disturbances only make a call slower, so the
    shortest of a few times is the most reliable one; and the first round, which fills caches, does no harm.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    shortest = {name: min(seconds) for name, seconds in times.items()}
    best = min(shortest, key=lambda name: shortest[name])
    return best if shortest[best] < CLEARLY * shortest[PLAIN] else PLAIN


def may_choose(table: PackedTable) -> bool:
    """Whether other kernels than the plain path may be used: for large tables on a CPU, if torch is installed."""
    wanted = os.environ.get(VARIABLE, "fastest")
    if wanted not in ("fastest", PLAIN):
        raise AutopruneError(f"{VARIABLE}: fastest or plain must be given, but got {wanted!r}.")
    large = table.rows * table.dim >= LARGE and isinstance(table.like, np.ndarray)
    return large and wanted != PLAIN and has("torch")


def _key(table: PackedTable) -> str:
    """A hash of everything that the choice of kernels depends on."""
    facts: list[object] = [processor(), threads(), VERSION, np.__version__, version_of("torch"), SIZES]
    facts += [version_of("faiss-cpu", "faiss-gpu", "faiss"), KERNELS]
    facts += [table.rows, table.dim, table.bits, table.pattern, table.memory_bytes]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _recall(key: str) -> dict[int, str] | None:
    """The remembered choice; None if there is none, or if its file is invalid."""
    try:
        content = json.loads((cache_folder("kernels") / f"{key}.json").read_bytes())
        choice = {size: content[str(size)] for size in SIZES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return choice if all(name in (PLAIN, *KERNELS) for name in choice.values()) else None


def _remember(key: str, choice: Mapping[int, str]) -> None:
    """Saves a choice. If the cache cannot be written, kernels are timed at every load."""
    content = json.dumps({str(size): name for size, name in choice.items()}).encode()
    keep(cache_folder("kernels") / f"{key}.json", lambda file: file.write(content))
