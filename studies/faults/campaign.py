"""Kills a search again and again, damages what a kill can leave half-written, and compares what it finds in the end.

    .venv/bin/python studies/faults/campaign.py OUT --kills 200

Drivers and workers are killed (SIGKILL) at random moments; between two runs the files of the study are torn as a kill
may tear them, and checkpoints are damaged in any way. Whatever is killed, the same command is given again. A study that
ends is compared with one that nobody disturbed: the same candidates with the same numbers, qualities and bytes, every
artifact whole, none lost on the way, none twice; the same looks with the same qualities. Then the next study begins.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import autoprune
from autoprune.artifacts import artifact

SEARCHES = multiprocessing.get_context("forkserver")
"""Makes processes that need not import everything again."""

Running = multiprocessing.process.BaseProcess
"""A search that runs."""


@dataclass
class Campaign:
    """Kills until it is enough.

    Attributes:
        start: starts the search of a study in a folder, or goes on with it.
        undisturbed: folder of the study that nobody disturbed.
        places: makes a new folder for the study of a number.
        kills: how many.
        seed: of the moments and of what is killed.
        patience: looks until the next kill, at most.
        drivers: the share of kills that are of the driver; where there are no workers, all are.
        told: called with every kill.
        log: what was killed: study, run, victim, candidates and looks by then, damage done afterwards.
    """

    start: Callable[[Path], Running]
    undisturbed: Path
    places: Callable[[int], Path]
    kills: int
    seed: int = 0
    patience: int = 25
    drivers: float = 0.4
    told: Callable[[tuple[int, int, str, int, int, str]], None] = lambda kill: None
    log: list[tuple[int, int, str, int, int, str]] = field(default_factory=list)

    def run(self) -> int:
        """Returns how many studies were finished; each was the undisturbed one in the end."""
        draw, study = random.Random(self.seed), 0
        while len(self.log) < self.kills:
            self._study(study, draw)
            study += 1
        return study

    def _study(self, study: int, draw: random.Random) -> None:
        folder, seen, run = self.places(study), list[str](), 0
        while True:
            running = self.start(folder)
            killed = self._disturb(running, folder, study, run, draw)
            seen = checked(folder, seen)
            if not killed:
                assert running.exitcode == 0, f"study {study}, run {run} ended with {running.exitcode}"
                break
            run += 1
        assert outcome(folder) == outcome(self.undisturbed), f"study {study} differs"
        assert looked(folder) == looked(self.undisturbed), f"the looks of study {study} differ"

    def _disturb(self, running: Running, folder: Path, study: int, run: int, draw: random.Random) -> bool:
        """Kills workers, and at last the driver; False where the search was over before, or nothing is left to kill."""
        while len(self.log) < self.kills:
            known = lines(folder / "looks.jsonl"), lines(folder / "archive.jsonl")
            looks, candidates, pause = draw.randrange(self.patience), draw.randrange(1, 6), draw.uniform(0.0, 0.3)
            while running.is_alive() and not (
                lines(folder / "looks.jsonl") - known[0] >= looks
                or lines(folder / "archive.jsonl") - known[1] >= candidates
            ):
                time.sleep(0.005)
            running.join(pause)
            if not running.is_alive():
                return False
            victims = workers(running.pid or 0) if draw.random() >= self.drivers else []
            reached = lines(folder / "archive.jsonl"), lines(folder / "looks.jsonl")
            if victims:
                kill(draw.choice(victims))
                self.log.append((study, run, "worker", *reached, ""))
            else:
                running.kill()
                running.join()
                self.log.append((study, run, "driver", *reached, damage(folder, draw)))
            self.told(self.log[-1])
            if not victims:
                return True
        running.join()
        return False


def kill(process: int) -> None:
    """Kills a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def workers(driver: int) -> list[int]:
    """The processes that a driver started, on Linux."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == driver:
                found.append(int(folder.name))
    return found


def damage(folder: Path, draw: random.Random) -> str:
    """Leaves what a kill can leave half-written, or spoils what has to be checked; says what."""
    journals = [path for name in ("archive", "looks", "failed") if lines(path := folder / f"{name}.jsonl")]
    checkpoints = list((folder.parent / ".store").glob("*.pt"))
    kind = draw.choice(["nothing", "journal", "artifact", "torn checkpoint", "flipped bit"])
    if kind == "journal" and journals:
        path = draw.choice(journals)
        last = path.read_bytes().splitlines()[-1]
        with path.open("ab") as file:
            file.write(last[: draw.randrange(1, len(last))])
        return f"torn {path.name}"
    if kind == "artifact" and (folder / "artifacts").is_dir():
        draft = folder / "artifacts" / f".draft-{draw.random()}"
        (draft / "model").mkdir(parents=True)
        (draft / "model" / "manifest.json").write_text('{"half')
        return "half an artifact"
    if kind in ("torn checkpoint", "flipped bit") and checkpoints:
        path = draw.choice(checkpoints)
        content = bytearray(path.read_bytes())
        at = draw.randrange(len(content))
        content[at] ^= 1 << draw.randrange(8)
        path.write_bytes(content if kind == "flipped bit" else content[:at])
        return kind
    return ""


def lines(path: Path) -> int:
    """Whole lines of a file; 0 where there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal."""
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def checked(folder: Path, seen: Sequence[str]) -> list[str]:
    """Keys of the candidates of a study; none that was there before is lost, none is there twice."""
    keys = [line["key"] for line in read(folder / "archive.jsonl")]
    assert keys[: len(seen)] == list(seen), f"{folder}: a finished candidate was lost"
    assert len(set(keys)) == len(keys), f"{folder}: a candidate was measured twice"
    return keys


def outcome(folder: Path) -> list[tuple[int, str, str, Any, int]]:
    """What must repeat of the candidates; every artifact is whole."""
    found = []
    for one in read(folder / "archive.jsonl"):
        measured = one["measurements"][0]
        found.append((one["number"], one["name"], one["key"], measured["quality"], measured["size_bytes"]))
        if not one["rejected"]:
            artifact.read(folder / "artifacts" / one["key"])
    assert not lines(folder / "failed.jsonl"), f"{folder}: a kill was taken for the fault of a recipe"
    return found


def looked(folder: Path) -> dict[tuple[str, int], Any]:
    """What must repeat of the looks; who is killed may have them taken in another order."""
    return {(one["key"], one.get("epochs", 0)): one.get("quality") for one in read(folder / "looks.jsonl")}


def write_ratings(path: Path) -> None:
    """300 users, 150 items, planted tastes."""
    draw = np.random.default_rng(0)
    users, items = draw.normal(size=(300, 4)), draw.normal(size=(150, 4))
    scores = users @ items.T + 1.5 * draw.gumbel(size=(300, 150))
    with path.open("w") as file:
        file.write("user,item,time\n")
        for user, row in enumerate(scores):
            for place, item in enumerate(np.argsort(-row)[:24]):
                file.write(f"{user},{item},{1_600_000_000 + 100 * user + place}\n")


def search(log: str, *words: str) -> None:
    """A search whose output goes to a file."""
    with Path(log).open("a") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        autoprune.search(*words)


def main() -> None:
    """Runs a campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    write_ratings(asked.out / "ratings.csv")
    SEARCHES.set_forkserver_preload(["autoprune.api", "autoprune.study.job", "autoprune.recommender.make"])

    def start(folder: Path) -> Running:
        words = "task=interactions task.dim=16 task.training.epochs=10 study.looks=120 study.trials=4 study.name=s"
        words += " study.verify_rounds=0 study.latency_seconds=0.01 requirements=none study.objectives=[quality,size]"
        places = [f"task.data.path={asked.out / 'ratings.csv'}", f"study.dir={folder.parent}"]
        process = SEARCHES.Process(
            target=search, args=(str(asked.out / "log.txt"), *words.split(), "study.workers=2", *places)
        )
        process.start()
        return process

    undisturbed = asked.out / "undisturbed" / "s"
    first = start(undisturbed)
    first.join()
    assert first.exitcode == 0, f"{asked.out / 'log.txt'} says why"
    began = time.monotonic()
    with (asked.out / "kills.csv").open("w", newline="", buffering=1) as file:
        table = csv.writer(file)
        table.writerow(["study", "run", "killed", "candidates", "looks", "damaged"])
        campaign = Campaign(
            start=start,
            undisturbed=undisturbed,
            places=lambda study: asked.out / f"runs{study}" / "s",
            kills=asked.kills,
            seed=asked.seed,
            told=table.writerow,
        )
        studies = campaign.run()
    killed = Counter(victim for _, _, victim, *_ in campaign.log)
    damaged = Counter(done for *_, done in campaign.log if done)
    print(f"{killed['driver']} drivers and {killed['worker']} workers killed in {time.monotonic() - began:.0f} s")
    print(f"damage: {dict(damaged)}; {studies} studies finished, each as the undisturbed one")


if __name__ == "__main__":
    main()
