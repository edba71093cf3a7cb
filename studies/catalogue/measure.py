"""Top 100 of a catalogue of a million items: torch in float32 against packed tables as they are served.

The catalogue is made, not taken: items sit in clusters of all sizes, directions matter less and less (the spectrum
falls as 1 / sqrt(rank)), lengths differ as popularity does; users are a few tastes each. All encodings answer the
same users in turns, one request of each after another, on one thread.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoprune.packing import PackedTable, restore
from autoprune.packing.codes import best_shares, quantize_rows
from autoprune.packing.packed import StoredTable
from autoprune.packing.writing import pack
from autoprune.recommender.ties import Hidden
from autoprune.recommender.topk import Search

DIM, CLUSTERS, USERS, K = 64, 3000, 512, 100
NOTHING = Hidden(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

# name → dimensions kept (by PCA), bits, share of weights kept
ENCODINGS = {
    "float32": (64, 32, 1.0),
    "8 bits": (64, 8, 1.0),
    "4 bits": (64, 4, 1.0),
    "half the weights": (64, 32, 0.5),
    "5 % of the weights": (64, 32, 0.05),
    "dim 32": (32, 32, 1.0),
    "dim 32, 8 bits": (32, 8, 1.0),
    "dim 32, 4 bits": (32, 4, 1.0),
    "dim 16, 8 bits": (16, 8, 1.0),
}


@dataclass
class Served:
    """An encoding that answers: `turn` takes users to its own dimensions."""

    stored: StoredTable
    table: PackedTable
    search: Search
    turn: Tensor

    def topk(self, users: Tensor) -> Tensor:
        return torch.from_numpy(self.search.topk((users @ self.turn).numpy(), K, NOTHING).rows)


def catalogue(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Items float32 [rows, DIM] and users float32 [USERS, DIM]."""
    draw = torch.Generator().manual_seed(seed)
    spectrum = torch.arange(1, DIM + 1).rsqrt()
    basis = torch.linalg.qr(torch.randn(DIM, DIM, generator=draw)).Q
    centres = torch.randn(CLUSTERS, DIM, generator=draw) * spectrum
    # a few large clusters, many small ones
    sizes = 1 / torch.arange(1, CLUSTERS + 1)
    cluster = torch.multinomial(sizes, rows, replacement=True, generator=draw)
    items = centres[cluster].add_(0.7 * torch.randn(rows, DIM, generator=draw) * spectrum)
    items.mul_(torch.exp(0.2 * torch.randn(rows, 1, generator=draw)))
    tastes = torch.multinomial(sizes.sqrt(), 3 * USERS, replacement=True, generator=draw).view(USERS, 3)
    users = centres[tastes].mean(1) + 0.3 * torch.randn(USERS, DIM, generator=draw) * spectrum
    return items @ basis, users @ basis


def encode(items: Tensor, users: Tensor, dim: int, bits: int, kept: float) -> Served:
    """Packs a table as an artifact would and loads it as a process does that serves it."""
    turn = torch.eye(DIM)
    if dim < DIM:  # the directions that carry most of all items
        turn = torch.linalg.eigh(items.T @ items).eigenvectors.flip(1)[:, :dim].contiguous()
    values = items @ turn if dim < DIM else items
    mask = None
    if kept < 1:
        sample = values.flatten()[:: max(values.numel() // 2**20, 1)].abs()
        mask = values.abs() > sample.quantile(1 - kept)
    widths = torch.full((len(values),), bits, dtype=torch.uint8)
    coded = quantize_rows(values, widths, best_shares(values, widths)) if bits < 32 else None
    stored = pack(values, mask=mask, coded=coded)
    table = restore(stored.entry, stored.tensors)
    search = Search(table, lambda count: (users @ turn)[-count:].numpy())
    return Served(stored, table, search, turn)


def in_turns(
    calls: dict[str, Callable[[Tensor], Tensor]], users: Tensor, size: int, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of each call in each round; everyone gets the same users, and a round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        asked = users[torch.arange(turn * size, (turn + 1) * size) % len(users)]
        for name, call in calls.items():
            start = time.perf_counter()
            call(asked)
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: taken[1:] for name, taken in times.items()}


def overlap(found: Tensor, exact: Tensor) -> float:
    """The share of the exact rows that were found."""
    both = [len(set(own) & set(true)) for own, true in zip(found.tolist(), exact.tolist(), strict=True)]
    return sum(both) / exact.numel()


def main() -> None:
    """Measures every encoding and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="items (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=21, help="timed rounds (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.csv")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    items, users = catalogue(wanted.rows)
    served = {name: encode(items, users, *parts) for name, parts in ENCODINGS.items()}
    calls: dict[str, Callable[[Tensor], Tensor]] = {"torch": lambda asked: (asked @ items.T).topk(K, dim=1).indices}
    calls |= {name: one.topk for name, one in served.items()}
    with torch.inference_mode():
        tried = users[:64]
        exact = torch.cat([(user.double() @ items.T.double()).topk(K).indices[None] for user in tried])
        found = {name: torch.cat([call(tried[:32]), *map(call, tried[32:, None])]) for name, call in calls.items()}
        times = {size: in_turns(calls, users, size, wanted.rounds) for size in (1, 32)}
    with wanted.out.open("w", newline="") as file:
        write = csv.writer(file, lineterminator="\n")
        write.writerow(
            ["encoding", "file_mb", "memory_mb", "overlap"]
            + [f"{what}_{size}" for size in times for what in ("kernel", "median_ms", "q1_ms", "q3_ms", "speedup")]
        )
        for name in calls:
            one = served.get(name)
            row: list[object] = [name]
            row += [
                f"{size / 1e6:.1f}"
                for size in (
                    (one.stored.size_bytes, one.table.memory_bytes + one.search.memory_bytes)
                    if one
                    else (items.nbytes,) * 2
                )
            ]
            row.append(f"{overlap(found[name], exact):.4f}")
            for size, taken in times.items():
                low, median, high = statistics.quantiles(taken[name], n=4)
                gain = statistics.median(a / b for a, b in zip(taken["torch"], taken[name], strict=True))
                kernel = one.search.kernel(size) if one else "torch"
                row += [kernel, f"{median:.2f}", f"{low:.2f}", f"{high:.2f}", f"{gain:.2f}"]
            write.writerow(row)
            print(*row, sep="  ")


if __name__ == "__main__":
    main()
