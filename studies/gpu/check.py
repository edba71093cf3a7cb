"""Checks a machine with a GPU: that milliseconds are of work that is done, and that a search finds what it should.

    .venv/bin/python studies/gpu/check.py OUT --minutes 2
    .venv/bin/python studies/gpu/check.py OUT --data ratings.csv   # where autoprune[movielens] is missing

Prints a line for each check, and ends with 1 if one fails.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

import autoprune
from autoprune.artifacts.served import Beside, serve
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.served import BATCH, SentenceEncoder
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.machine import find_device, machine
from autoprune.measure.timing import own_latency
from autoprune.recommender import loss
from autoprune.recommender.loss import SOFTMAX_USERS

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from tiny_encoder import TEXTS, write_tiny_bert  # where the small models are described

SIZE = 4096
"""Of matrices whose products take a GPU some milliseconds, and whoever asks for them some microseconds."""


def devices() -> Iterator[tuple[str, bool, str]]:
    """What is known of the GPU, and that another one is refused."""
    facts = machine("cuda")
    yield "fingerprint has the device", facts.get("device") == "cuda" and "gpu" in facts, str(facts.get("gpu"))
    yield "it is another machine than the CPU's", facts["id"] != machine("cpu")["id"], str(facts["id"])
    try:
        find_device(f"cuda:{torch.cuda.device_count()}")
        refused = "not refused"
    except AutopruneError as error:
        refused = str(error)
    yield "a GPU that is not there is refused", refused.startswith("study.device"), refused


def timing() -> Iterator[tuple[str, bool, str]]:
    """Whether latency is that of work that is done."""
    left = torch.randn(SIZE, SIZE, device="cuda")

    def product() -> None:
        for _ in range(4):
            left @ left

    product()
    torch.cuda.synchronize()
    start = time.perf_counter()
    product()
    asked = 1e3 * (time.perf_counter() - start)
    torch.cuda.synchronize()
    start = time.perf_counter()
    product()
    torch.cuda.synchronize()
    done = 1e3 * (time.perf_counter() - start)
    timed = own_latency({"product": product}, seconds=0.2)["product"].median_ms
    told = f"{timed:.3f} ms timed; {asked:.3f} ms to ask, {done:.3f} ms until it is done"
    yield "latency waits for the GPU", 0.5 * done < timed < 2 * done, told


def blocks() -> Iterator[tuple[str, bool, str]]:
    """Whether blocks as large as the memory allows are quicker than those of a CPU, and give the same."""
    users, items = (torch.randn(count, 64, device="cuda") / 8 for count in (1024, 57_000))
    weights = torch.ones(len(users), device="cuda")
    found = {}
    with patch.object(loss, "at_once", lambda device, row_bytes, usual: usual):
        found["as a CPU's"] = _partition(users, items, weights)
    found["of the memory"] = _partition(users, items, weights)
    (usual, before), (large, now) = found.values()
    told = f"{now:.2f} ms an update of 1,024 users and 57,000 items; in blocks of {SOFTMAX_USERS} users {before:.2f} ms"
    yield "a softmax is the same in large blocks", abs(large / usual - 1) < 1e-5, f"{large:.6g} and {usual:.6g}"
    yield "and no slower", now < 1.1 * before, told
    with tempfile.TemporaryDirectory() as folder:
        shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        model = read_encoder(str(write_tiny_bert(Path(folder) / "bert", config=shape)))
        served = serve(encoder_parts(model, "torch", Beside(values={}, tensors={})), device="cuda")
    assert isinstance(served, SentenceEncoder)
    texts = [f"{one} {other}" for one in TEXTS for other in TEXTS[:40]]
    by_size = {size: _seconds(lambda size=size: served.vectors(texts, batch_size=size)) for size in (BATCH, None)}  # type: ignore[misc]
    apart = abs(served.vectors(texts[:500], batch_size=BATCH) - served.vectors(texts[:500])).max()
    told = ", ".join(f"{len(texts) / seconds:,.0f} texts/s with batch_size={size}" for size, seconds in by_size.items())
    yield "vectors are the same in large batches", bool(apart < 1e-4), f"{apart:.1e} apart at most"
    yield "and sooner there", by_size[None] < by_size[BATCH], told


def _partition(users: Tensor, items: Tensor, weights: Tensor) -> tuple[float, float]:
    """The loss, and the milliseconds that it and its gradient take, the median of 20."""
    users, items = (held.clone().requires_grad_() for held in (users, items))

    def once() -> Tensor:
        found = loss.log_partition(users, items, weights)
        found.backward()  # type: ignore[no-untyped-call]
        return found

    return float(once()), 1e3 * _seconds(once, times=20)


def _seconds(what: Callable[[], object], *, times: int = 3) -> float:
    """The median of so many, after one that is not timed."""
    taken = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        what()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def searches(out: Path, words: list[str], minutes: float) -> Iterator[tuple[str, bool, str]]:
    """Whether a search on the GPU finds what is sane, and is gone on with."""
    told = [*words, f"study.dir={out}", "study.name=gpu", "study.device=cuda", "study.verify_rounds=1"]
    start = time.monotonic()
    front = autoprune.search(*told, f"study.minutes={minutes:g}")
    seconds = time.monotonic() - start
    yield "a search ends in time", seconds < 60 * minutes + 60, f"{seconds:.0f} s"
    yield "something beats the dense model", len(front) > 1, f"{len(front)} points of {len(front.record.points)}"
    yield "nothing came to nothing", not front.record.failed, front.record.failed
    found = {"size": front.pick(prefer="size").known["size_bytes"].ratio}
    yield "the smallest is smaller", found["size"] < 0.5, f"{1 / found['size']:.1f}x smaller"
    latency = [point.known["latency_ms"].value for point in front if "latency_ms" in point.known]
    yield "milliseconds are there", bool(latency) and min(latency) > 0.005, f"{sorted(latency)[:3]} ms"
    again = autoprune.search(*told, "study.minutes=1")
    kept = [point.candidate.key for point in front.record.points]
    yield "it is gone on with", [point.candidate.key for point in again.record.points][: len(kept)] == kept, ""
    yield from _as_on_cpu(out, words, front)


def _as_on_cpu(out: Path, words: list[str], front: Front) -> Iterator[tuple[str, bool, str]]:
    told = [*words, f"study.dir={out}", "study.name=cpu", "study.looks=0", "study.trials=0", "presets=none"]
    dense = autoprune.search(*told, "study.verify_rounds=0").record.baseline.found["quality"].value
    gpu = front.record.baseline.found["quality"].value
    yield "the dense model is as good as on the CPU", abs(gpu / dense - 1) < 0.05, f"{gpu:.4f}, on the CPU {dense:.4f}"
    served = front.pick(prefer="size").load()
    yield "an artifact answers on the CPU", served is not None, type(served).__name__


def main() -> int:
    """Returns the number of checks that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0)
    asked = parser.parse_args()
    words = ["task=movielens"] if asked.data is None else ["task=interactions", f"task.data.path={asked.data}"]
    failed = 0
    for checks in (devices(), timing(), blocks(), searches(asked.out, words, asked.minutes)):
        for what, holds, told in checks:
            failed += not holds
            print(f"{'ok    ' if holds else 'FAILS '} {what}: {told}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main()))
