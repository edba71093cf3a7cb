"""A search whose driver and workers are killed at random moments finds what an undisturbed one finds."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import sys
from pathlib import Path
from types import ModuleType

import pytest
from short_search import shorten

import autoprune

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc"),
]

KILLS = 50

PRELOADED = ["autoprune.api", "autoprune.study.job", "autoprune.recommender.make"]
PRELOADED += ["torch._dynamo", "moocore"]  # which training and a scan import when they begin, in seconds


def campaigns() -> ModuleType:
    """studies/faults/campaign.py, which kills more of them."""
    path = Path(__file__).parent.parent / "studies" / "faults" / "campaign.py"
    spec = importlib.util.spec_from_file_location("campaign", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["campaign"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def search(*words: str) -> None:
    patch = pytest.MonkeyPatch()
    shorten(patch)
    patch.setattr("autoprune.study.executors.staff.COPY_PAYS_S", 0.0)
    patch.setattr("autoprune.study.sampling.lookout.CHUNK_S", 0.02)
    with contextlib.redirect_stdout(io.StringIO()):
        autoprune.search(*words)


def test_fifty_kills_change_nothing(planted: Path, tmp_path: Path) -> None:
    module = campaigns()
    module.SEARCHES.set_forkserver_preload([*PRELOADED, "test_faults"])
    workers = itertools.cycle([2, 2, 1])  # what is found does not depend on them

    def start(folder: Path) -> object:
        words = "task=interactions task.dim=8 task.training.epochs=3 study.looks=60 study.trials=2 study.name=s"
        words += " study.verify_rounds=0 study.latency_seconds=0.001 requirements=none"
        words += " study.objectives=[quality,size] space.encode.epochs={any_of:[0,2]} space.prune.epochs=0"
        own = [f"task.data.path={planted}", f"study.dir={folder.parent}", f"study.workers={next(workers)}"]
        process = module.SEARCHES.Process(target=search, args=(*words.split(), *own))
        process.start()
        return process

    undisturbed = tmp_path / "undisturbed" / "s"
    first = start(undisturbed)
    first.join()
    campaign = module.Campaign(
        start=start,
        undisturbed=undisturbed,
        places=lambda study: tmp_path / f"{study}" / "s",
        kills=KILLS,
        patience=12,
        drivers=0.2,
    )
    assert campaign.run() >= 1
    assert {victim for _, _, victim, *_ in campaign.log} == {"driver", "worker"}
