"""What two cores do for a search: the same study with one process and with several, by turns.

    .venv/bin/python studies/driver_cost/cores.py OUT --pairs 3             # MovieLens, on a machine that is quiet
    .venv/bin/python studies/driver_cost/cores.py OUT --pairs 1 looks=40    # short; more words are study.*

Each run is a process of its own. The clock starts when the dense model is measured, and stops when the search ends:
what is counted is looks and candidates a minute. Both must find the same: the same recipes with the same bytes, and
qualities that differ by the rounding of products on one thread and on two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {"serial": ["executor=serial"], "local": ["executor=local"]}

STUDY = ["study.looks=600", "study.trials=8", "study.verify_rounds=0", "study.name=s"]

RUN = """
import json, sys, time
import autoprune
times = []
autoprune.search(*sys.argv[1:], report=lambda progress: times.append(time.monotonic()))
print(json.dumps(time.monotonic() - times[0]))
"""


def run(folder: Path, words: list[str]) -> float:
    """Seconds of a search after its dense model."""
    command = [sys.executable, "-c", RUN, *words, f"study.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout.splitlines()[-1]))


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of a study."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class Found:
    """What must be the same of a study: measurements of candidates and qualities of looks, by what they are of."""

    candidates: dict[str, dict[str, Any]]
    looks: dict[str, dict[str, float]]

    @classmethod
    def of(cls, folder: Path) -> Found:
        """What a search left in its folder."""
        looks = read(folder / "s" / "looks.jsonl")
        return cls(
            {line["key"]: line["measurements"][0] for line in read(folder / "s" / "archive.jsonl")},
            {f"{line['key']} {line.get('epochs', 0)}": line["quality"]["ndcg@20"] for line in looks},
        )

    def __len__(self) -> int:
        return len(self.candidates) + len(self.looks) - 2  # the dense model comes before the clock

    def compared(self, other: Found) -> str:
        """How far it is the same as another."""
        if self.candidates.keys() != other.candidates.keys() or self.looks.keys() != other.looks.keys():
            return "other recipes were found"
        pairs = [(held, other.candidates[key]) for key, held in self.candidates.items()]
        if any(one["size_bytes"] != another["size_bytes"] for one, another in pairs):
            return "other sizes were found"
        values = [(one["quality"]["ndcg@20"]["all"], another["quality"]["ndcg@20"]["all"]) for one, another in pairs]
        values += [(held["all"], other.looks[key]["all"]) for key, held in self.looks.items()]
        apart = max(abs(one - another) / max(another, 1e-9) for one, another in values)
        return f"the same recipes and bytes; qualities {apart:.0e} apart at most{self._timed(other)}"

    def _timed(self, other: Found) -> str:
        """How many latencies agree, where any were timed."""
        pairs = [
            (held["latency"][name], other.candidates[key]["latency"][name])
            for key, held in self.candidates.items()
            for name in held["latency"]
        ]
        agree = [
            one["ratio_low"] <= another["ratio_high"] and another["ratio_low"] <= one["ratio_high"]
            for one, another in pairs
        ]
        return f"; of {len(pairs)} latencies {sum(agree)} agree within their intervals" * bool(pairs)


def main() -> None:
    """Measures pairs of runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--task", default="task=movielens", help="words that say what is searched, in quotes")
    parser.add_argument("study", nargs="*", help="what else is set of the study, such as trials=0")
    asked = parser.parse_intermixed_args()
    words = [*asked.task.split(), *STUDY, *(f"study.{one}" for one in asked.study)]
    asked.out.mkdir(parents=True)  # what is there from before would not be searched again
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for pair in range(asked.pairs):
        for kind in sorted(KINDS, reverse=bool(pair % 2)):
            folder = asked.out / f"{kind}{pair}"
            seconds = run(folder, [*words, *KINDS[kind]])
            found = Found.of(folder)
            rates[kind].append(60 * len(found) / seconds)
            told = f"{len(found.looks)} looks, {len(found.candidates)} candidates in {seconds:.1f} s"
            print(f"{kind}: {told}", flush=True)
        print(Found.of(asked.out / f"serial{pair}").compared(Found.of(asked.out / f"local{pair}")), flush=True)
        if pair:  # what differs without any other process
            before = Found.of(asked.out / f"serial{pair - 1}")
            print(f"serial with itself: {Found.of(asked.out / f'serial{pair}').compared(before)}", flush=True)
    faster = [local / serial for local, serial in zip(rates["local"], rates["serial"], strict=True)]
    each = ", ".join(f"{one:.2f}" for one in faster)
    print(f"times as many a minute: {each}; median {statistics.median(faster):.2f}")


if __name__ == "__main__":
    main()
