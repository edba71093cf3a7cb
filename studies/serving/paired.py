"""One request at a time, of two versions of autoprune in turns: what serving costs now beside what it cost.

    python studies/serving/paired.py OLD ARTIFACT... [--requests 400] [--rounds 25]

OLD is a checkout of the earlier version (`git worktree add OLD a5a5b3d; ln -s ../conf OLD/autoprune/conf`), and each
ARTIFACT the folder of a recommender that both can read, made by the earlier one. A process of each version loads it and
waits; in every round both answer the same users, one version after the other, and change places in the next. Printed
are the median of a request in microseconds, and of the rounds' ratios the median and the quartiles. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

WORKER = """
import json, sys, time
import autoprune
model = autoprune.load(sys.argv[1], **json.loads(sys.argv[2]))
print(json.dumps([autoprune.__file__, list(model.users)[:2000]], default=int), flush=True)
for line in sys.stdin:
    spent = []
    for user in json.loads(line):
        start = time.perf_counter_ns()
        model.recommend(user, k=10)
        spent.append(time.perf_counter_ns() - start)
    print(json.dumps(spent), flush=True)
"""


class Worker:
    """A process that has loaded an artifact, by one version of autoprune."""

    def __init__(self, folder: Path, checkout: Path | None, prefer: str | None = None) -> None:
        told = json.dumps({"prefer": prefer} if prefer else {})
        code = {} if checkout is None else {"PYTHONPATH": str(checkout)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER, str(folder.resolve()), told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **code},
        )
        self.file, self.users = json.loads(self._line())

    def ask(self, users: list[int | str]) -> list[int]:
        """Nanoseconds of each request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(users) + "\n")
        self._process.stdin.flush()
        spent: list[int] = json.loads(self._line())
        return spent

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def main() -> None:
    """Prints a line for each artifact and preference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of the earlier version")
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--requests", type=int, default=400, help="in a round")
    parser.add_argument("--rounds", type=int, default=25)
    told = parser.parse_args()
    print("| artifact | then, µs | now, µs | now / then, median | quartiles |\n|---|---|---|---|---|")
    for folder in told.artifacts:
        then = Worker(folder, told.old.resolve())
        for prefer in (None, "latency", "memory"):
            now = Worker(folder, None, prefer)
            assert then.file != now.file, "both are the same version"
            ratios, spent = [], {then: list[int](), now: list[int]()}
            for turn in range(told.rounds + 2):
                users = [then.users[(turn * told.requests + at) % len(then.users)] for at in range(told.requests)]
                pair = [then, now] if turn % 2 else [now, then]
                found = {worker: worker.ask(users) for worker in pair}
                if turn >= 2:  # the first two warm up
                    for worker in pair:
                        spent[worker] += found[worker]
                    ratios.append(statistics.median(found[now]) / statistics.median(found[then]))
            low, middle, high = statistics.quantiles(ratios, n=4)
            one, other = (statistics.median(spent[worker]) / 1000 for worker in (then, now))
            name = folder.name + (f", prefer={prefer}" if prefer else "")
            print(f"| {name} | {one:.1f} | {other:.1f} | {middle:.2f} | {low:.2f} to {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
