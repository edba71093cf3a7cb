"""What a scan of 400 looks covers: as shipped, without niches, and with mixed widths in the space.

    .venv/bin/python studies/ablation/scan.py OUT --seeds 0 1 2 3                         # MovieLens
    .venv/bin/python studies/ablation/scan.py OUT --seeds 0 1 task=interactions task.data.path=DATA task.temperature=0.1

Prints the hypervolume after 100, 200, 300 and 400 looks, of which quality above 0.95x counts. A seed trains a dense
model of its own, so that ways are compared within a seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import autoprune
from autoprune.study import making
from autoprune.study.sampling import niches

MIXED = (
    "+space.encode.method.choose.mixed={head:{float:[0.1,0.9],step:0.1},head_bits:{any_of:[8,4,3.4,3.0,2.6]},"
    "tail_bits:{any_of:[4,3.0,2.6,2.2,1.8]},levels:normal,entropy:true}"
)

WAYS: dict[str, tuple[float, list[str]]] = {
    "as shipped": (niches.WHOLE, []),
    "the whole front alone": (1.0, []),
    "mixed widths too": (niches.WHOLE, [MIXED]),
}
"""The share of neighbours that are drawn of the whole front, and overrides."""

ALIKE = [
    *("study.looks=400", "study.trials=0", "study.verify_rounds=0", "study.objectives=[quality,size]"),
    *("presets=none", "requirements=none", "requirements.quality.drop=5%", "space.base.dim=64"),
]


def main() -> None:
    """Prints a line for each seed and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where the studies are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("overrides", nargs="*", default=["task=movielens"])
    arguments = parser.parse_intermixed_args()
    for seed in arguments.seeds:
        for way in WAYS:
            covered = scanned(way, seed, arguments.overrides, arguments.out)
            print(seed, way, *(f"{volume:.2f}" for volume in covered), sep=",")
            sys.stdout.flush()


def scanned(way: str, seed: int, overrides: Sequence[str], out: Path) -> list[float]:
    """The hypervolume after each hundred looks."""
    whole, more = WAYS[way]
    name = f"{way.replace(' ', '_')}-{seed}"
    own = [f"study.name={name}", f"study.seed={seed}", f"study.dir={out}"]
    with patch.object(niches, "WHOLE", whole), patch.object(making, "MADE", 1):
        front = autoprune.search(*overrides, *ALIKE, *more, *own)
    promises = front.promises
    assert promises is not None, "it was scanned"
    return [promises.covered(promises.front(among=promises.looks[:count])) for count in (100, 200, 300, 400)]


if __name__ == "__main__":
    main()
