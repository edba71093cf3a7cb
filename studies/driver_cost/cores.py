"""What two cores do for a search: the same study with one process and with several, by turns.

    .venv/bin/python studies/driver_cost/cores.py OUT --pairs 3             # MovieLens, on a machine that is quiet
    .venv/bin/python studies/driver_cost/cores.py OUT --pairs 1 looks=40    # short; more words are study.*

Each run is a process of its own. The clock starts when the dense model is measured, and stops when the search ends:
what is counted is looks and candidates a minute. Both must find the same: the same recipes with the same qualities and
bytes, as latency does not steer what is found.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
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


def found(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What must be the same of a study: its candidates and its looks."""
    candidates = {line["key"]: line["measurements"][0] for line in read(folder / "s" / "archive.jsonl")}
    looks = {f"{line['key']} {line.get('epochs', 0)}": line for line in read(folder / "s" / "looks.jsonl")}
    return (
        {key: (measured["quality"], measured["size_bytes"]) for key, measured in candidates.items()},
        {key: look.get("quality") for key, look in looks.items()},
    )


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
            candidates, looks = found(folder)
            rates[kind].append(60 * (len(candidates) + len(looks) - 2) / seconds)
            print(f"{kind}: {len(looks)} looks, {len(candidates)} candidates in {seconds:.1f} s", flush=True)
        same = found(asked.out / f"serial{pair}") == found(asked.out / f"local{pair}")
        print(f"the same was found: {same}", flush=True)
    faster = [local / serial for local, serial in zip(rates["local"], rates["serial"], strict=True)]
    each = ", ".join(f"{one:.2f}" for one in faster)
    print(f"times as many a minute: {each}; median {statistics.median(faster):.2f}")


if __name__ == "__main__":
    main()
