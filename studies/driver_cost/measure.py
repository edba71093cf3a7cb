"""How busy a search keeps 64 and 512 workers: the driver works for real, its workers by a clock that is made up.

    .venv/bin/python studies/driver_cost/measure.py studies/driver_cost/busy.csv

The scan and the training of a search run as they are (sampler, neighbours, promises, the file of looks); a look is a
formula, and is said to take so many seconds, half as many to one and a half times as many. Workers are busy for the sum
of these; the search lasts as long as the driver's own time, and the waiting for workers, add up to.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.deadline import NEVER
from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import parse_requirements
from autoprune.recipes.recipe import Plan, plan
from autoprune.recipes.space import Space
from autoprune.record.looks import LOOKS, Look, Looks
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Executor
from autoprune.study.sampling import dispatcher
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.rungs import Rungs
from autoprune.study.sampling.scan import Scan

METRIC, BYTES = "ndcg@20", 1_000_000

SHARE = {"float": [0.0, 0.9], "step": 0.01}

SPACE: dict[str, Any] = {
    "prune": {
        "rows": {"sparsity": {"item": SHARE, "user": SHARE}},
        "dims": {"sparsity": SHARE},
    },
    "encode": {
        "method": {"choose": {"none": {}, "quantize": {"bits": {"any_of": [8, 6, 4, 3, 2]}}}},
        "epochs": {"any_of": [0, 4, 8, 16]},
    },
}
"""Six values are open, as in the spaces of conf/, in steps so small that hardly anything is asked for twice."""


@dataclass
class Clock:
    """The time of a search of which only the driver's part passes: that of its processor, whatever else runs here.

    Attributes:
        waited: seconds that the driver has waited for its workers.
        left_out: seconds that passed here and would not in a search.
    """

    began: float = field(default_factory=time.process_time)
    waited: float = 0.0
    left_out: float = 0.0

    @property
    def driving(self) -> float:
        """Seconds that the driver has worked."""
        return time.process_time() - self.began - self.left_out

    @property
    def now(self) -> float:
        """Seconds since the search began."""
        return self.driving + self.waited

    def wait_until(self, moment: float) -> None:
        """Passes the time until then."""
        self.waited += max(0.0, moment - self.now)


class Workers(Executor):
    """Workers that do nothing, for as long as it is said to take; the first that is free takes the next call."""

    def __init__(self, count: int, *, seconds: float) -> None:
        self.slots, self.seconds, self.busy = count, seconds, 0.0
        self.clock = Clock()
        self._free = [0.0] * count
        self._draw = random.Random(0)

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        begun = time.process_time()
        result = function(argument)
        self.clock.left_out += time.process_time() - begun
        lasts = sum(self._draw.uniform(0.5, 1.5) * self.seconds * max(1, one.epochs) for one in argument)
        end = max(self.clock.now, heapq.heappop(self._free)) + lasts
        heapq.heappush(self._free, end)
        self.busy += lasts
        return Coming(self.clock, end, result)

    def close(self) -> None:
        pass


class Coming(Future[Any]):
    """What comes at some moment."""

    def __init__(self, clock: Clock, moment: float, result: Any) -> None:
        super().__init__()
        self._clock, self._moment = clock, moment
        self.set_result(result)

    def done(self) -> bool:
        return self._clock.now >= self._moment

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._clock.wait_until(self._moment if timeout is None else min(self._moment, self._clock.now + timeout))
        if not self.done():
            raise TimeoutError
        return super().exception()


class Formula:
    """Looks at recipes by a formula, as an evaluator does."""

    def plan(self, recipe: Any) -> Plan:
        return plan(recipe, base_defaults={"dim": 64})

    def looks(self, asked: Sequence[Asked]) -> list[Look]:
        return [self._look(one) for one in asked]

    def _look(self, one: Asked) -> Look:
        recipe = {"prune": {}, "encode": {}, **one.recipe}
        rows = recipe["prune"].get("rows", {}).get("sparsity", {"item": 0.0, "user": 0.0})
        dims = recipe["prune"].get("dims", {}).get("sparsity", 0.0)
        bits = recipe["encode"].get("method", {}).get("quantize", {}).get("bits", 32)
        share = (1 - 0.5 * rows["item"] - 0.5 * rows["user"]) * (1 - dims) * bits / 32
        lost = 0.2 * rows["item"] ** 2 + 0.3 * rows["user"] ** 2 + 0.3 * dims**2 + 0.6 / bits**2
        look = one.look(self.plan(one.recipe))
        return made(look, quality=1 - lost * 0.5 ** (look.epochs / 8), share=share)


def made(look: Look, *, quality: float, share: float) -> Look:
    """A look with what it saw."""
    values = vars(look) | {
        "units": 1024,
        "quality": {METRIC: {"all": round(0.1 * quality, 6)}},
        "counts": {} if look.number else {METRIC: {"all": 1024}},
        "errors": {METRIC: 0.002 if look.number else 0.0},
        "size_bytes": round(BYTES * share),
        "products": round(BYTES * share),
        "seconds": 1.0,
    }
    return Look(**values)


def opened(folder: Path, workers: Workers) -> Lookout:
    """Where looks are taken, with the one at the dense model."""
    dense = made(Asked(number=0, recipe={}).look(Formula().plan({})), quality=1.0, share=1.0)
    promises = Promises(
        dense,
        baseline=dense.measurement(),
        metrics=[METRIC],
        requirements=parse_requirements({"quality": {"drop": "10%"}}, [METRIC, "quality"]),
        objectives=("quality", "size", "latency"),
    )
    looks = Looks(folder / LOOKS)
    looks.add(dense)

    def tell(lookout: Lookout) -> None:
        """Finds out what a search says while it goes on."""
        lookout.promises.front()
        lookout.promises.hypervolume  # noqa: B018

    return Lookout(Formula(), workers, looks, promises, tell=tell)  # type: ignore[arg-type]


def measured(stage: str, count: int, seconds: float, *, asked: int) -> dict[str, float | str]:
    """A stage of a search under so many workers: how busy they were, and what a look cost the driver."""
    dispatcher.GLANCE_S = seconds / 20  # an instant, of such a clock
    with tempfile.TemporaryDirectory() as room:
        workers, choices = Workers(count, seconds=seconds), Choices(Space(SPACE), base={})
        lookout = opened(Path(room), workers)
        if stage == "scan":
            Scan(choices, lookout, drawn=False, seed=0, most=asked, whole=True).run([], until=NEVER)
        else:
            epochs = lambda recipe: Formula().plan(recipe).epochs  # noqa: E731
            Rungs(choices, lookout, epochs=epochs, random=False, seed=0, most=asked, scanned=False).run(until=NEVER)
        clock, looks = workers.clock, len(lookout.looks) - 1
        return {
            "stage": stage,
            "workers": count,
            "seconds": seconds,
            "looks": looks,
            "lasted_s": round(clock.now, 1),
            "driver_ms_a_look": round(1000 * clock.driving / looks, 2),
            "busy": round(workers.busy / (count * clock.now), 3),
            "driver_busy": round(clock.driving / clock.now, 3),
            "hypervolume": round(lookout.promises.hypervolume, 3),
        }


def main() -> None:
    """Measures a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, nargs="*", default=[64, 512])
    parser.add_argument("--stages", nargs="*", default=["scan", "training"])
    parser.add_argument("--seconds", type=float, default=10.0, help="of a look, and of an epoch")
    parser.add_argument("--each", type=int, default=40, help="looks, or recipes that are trained, for each worker")
    asked = parser.parse_args()
    with asked.out.open("w", newline="") as file:
        table: csv.DictWriter[str] | None = None
        for stage, count in itertools.product(asked.stages, asked.workers):
            row = measured(stage, count, asked.seconds, asked=asked.each * count)
            table = table or csv.DictWriter(file, list(row))
            if file.tell() == 0:
                table.writeheader()
            table.writerow(row)
            file.flush()
            print(*(f"{key} {value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
