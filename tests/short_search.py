"""Constants of a search that is over in seconds; test_scan.py and test_halving.py have the real ones."""

from __future__ import annotations

import pytest

MADE = 4

SHORT = {
    "recipes.space.DRAWN_CORNERS": 40,
    "study.scan.POPULATION": 10,
    "study.scan.MODELLED": 30,  # so that both samplers are asked
    "study.scan.FEWEST": 5,
    "study.driver.MADE": MADE,
    "study.driver.MADE_LATER": 2,
    "study.driver.BASE_LOOKS": 20,
}


def shorten(patch: pytest.MonkeyPatch) -> None:
    for name, value in SHORT.items():
        patch.setattr(f"autoprune.{name}", value)
