"""After how many epochs the training of a study's dense model was cut short to leave time for the search."""

from __future__ import annotations

import json
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.fits import fits
from autoprune.record.archive import LOST
from autoprune.whole import whole_file

CUT_SHORT = "cut_short.json"


def cut_short_after(folder: Path) -> int | None:
    """The epochs that a study's dense model is trained for at most; None if its training was not cut short.

    Raises:
        AutopruneError: the file that says so is damaged.
    """
    path = folder / CUT_SHORT
    try:
        epochs = json.loads(path.read_text(encoding="utf-8"))["epochs"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, LookupError, RecursionError):
        epochs = None
    if not fits(epochs, int) or epochs < 1:
        raise AutopruneError(f"{path}: it must say after how many epochs training was cut short. {LOST}")
    return int(epochs)


def keep_epochs(folder: Path, epochs: int) -> int:
    """Keeps for good after how many epochs a study's training was cut short; returns what was kept first."""
    if (kept := cut_short_after(folder)) is not None:
        return kept
    with whole_file(folder / CUT_SHORT) as draft:
        draft.write_text(json.dumps({"epochs": epochs}) + "\n", encoding="utf-8")
    return epochs
