"""Constants of a search that is over in seconds; test_scan.py and test_halving.py have the real ones."""

from __future__ import annotations

import pytest

MADE = 4

SHORT = {
    "recipes.space.MOST_CORNERS": 50,
    "recipes.space.DRAWN_CORNERS": 10,
    "study.sampling.scan.MODELLED": 40,  # so that neighbours are all that is asked for at its end
    "study.sampling.scan.FEWEST": 6,
    "study.sampling.scan.FEWEST_LOOKS": 0,
    "study.sampling.refinement.FEWEST": 2,
    "study.making.MADE": MADE,
    "study.making.MADE_FIRST": 2,
}


def shorten(patch: pytest.MonkeyPatch) -> None:
    for name, value in SHORT.items():
        patch.setattr(f"autoprune.{name}", value)
