"""Where the time of a search goes that one process does: what the engine takes beside looks, making and timing.

    .venv/bin/python studies/search_cost/overhead.py OUT [OVERRIDES]     # task=movielens by default

The time is counted from when the data is read until the last candidate is measured, without verification. Looks make a
model and ask it; candidates are trained, made, saved and judged; and the rest is the engine: samplers, archive, fronts.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autoprune
from autoprune.study.driver import Driver
from autoprune.study.evaluation.evaluate import Evaluator

PARTS = {"look": "looks", "evaluate": "candidates", "time": "timing", "restore": "candidates"}


def main() -> None:
    """Searches, and prints the share of each part."""
    spent: Counter[str] = Counter()
    for name, part in PARTS.items():
        setattr(Evaluator, name, _counted(getattr(Evaluator, name), spent, part))
    Driver.run = _counted(Driver.run, spent, "all")  # type: ignore[method-assign]
    out, overrides = Path(sys.argv[1]), sys.argv[2:] or ["task=movielens"]
    autoprune.search(*overrides, f"study.dir={out}", "study.workers=1", "study.verify_rounds=0", "executor=serial")
    whole = spent.pop("all")
    for part, seconds in spent.items():
        print(f"{part}: {seconds:.1f} s, {seconds / whole:.1%}")
    print(f"engine: {whole - spent.total():.1f} s, {1 - spent.total() / whole:.1%} of {whole:.1f} s")


def _counted(method: Callable[..., Any], spent: Counter[str], part: str) -> Callable[..., Any]:
    """A method whose seconds are added up, but for those within it that are counted elsewhere."""
    inside = [0]

    def counted(*given: Any, **named: Any) -> Any:
        start, inside[0] = time.perf_counter(), inside[0] + 1
        try:
            return method(*given, **named)
        finally:
            inside[0] -= 1
            if not inside[0]:
                spent[part] += time.perf_counter() - start

    return counted


if __name__ == "__main__":
    main()
