"""Takes looks: those that are known from the study's file, all others from whoever is free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from statistics import median
from typing import Any

from autoprune.deadline import Deadline
from autoprune.fronts.promises import Promises
from autoprune.record.looks import Look, Looks
from autoprune.study.evaluate import Evaluator
from autoprune.study.executor import Executor
from autoprune.study.looker import Asked
from autoprune.study.sampler import Outcome

CHUNK_S = 1.0
"""Looks that are asked for together take about so long: then they are written down, and said."""

MOST_IN_CHUNK = 64


class Lookout:
    """Takes looks at recipes, several at a time if there are processes for it.

    Args:
        evaluator: looks at recipes of the study, wherever the executor asks it to.
        executor: runs it.
        looks: of the study, on disk.
        promises: what they promise.
        tell: called with this whenever some were taken.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        executor: Executor,
        looks: Looks,
        promises: Promises,
        *,
        tell: Callable[[Lookout], None] = lambda lookout: None,
    ) -> None:
        self._evaluator, self._executor, self._tell = evaluator, executor, tell
        self.looks, self.promises = looks, promises
        self._number = max((look.number for look in looks.found.values()), default=0)

    @property
    def pace(self) -> float:
        """Seconds that an untrained look takes, as the latest ones did; 0 while none is known."""
        taken = [look.seconds for look in self.looks.found.values() if not look.epochs]
        return median(taken[-200:]) if taken else 0.0

    def take(
        self,
        recipes: Sequence[Mapping[str, Any]],
        *,
        epochs: Sequence[int] | int = 0,
        until: Deadline,
        apart: bool = False,
    ) -> list[Look | None]:
        """A look at each recipe, in their order; None where the time was over before.

        Promises hear of looks when they are asked for, not when they are read from the file: so a search that is gone
        on with decides what an undisturbed one decides.

        Args:
            epochs: that each is trained for; one number for all, or one for each.
            apart: whether each is handed out on its own, because it takes long.
        """
        each = [epochs] * len(recipes) if isinstance(epochs, int) else list(epochs)
        plans = [self._evaluator.plan(recipe) for recipe in recipes]
        names = [(plan.key, min(most, plan.epochs)) for plan, most in zip(plans, each, strict=True)]
        missing = {name: recipe for name, recipe in zip(names, recipes, strict=True) if name not in self.looks.found}
        self.promises.add(*(self.looks.found[name] for name in names if name not in missing))
        asked = []
        for (_, trained), recipe in missing.items():
            self._number += 1
            asked.append(Asked(number=self._number, recipe=recipe, epochs=trained, seconds=until.left))
        size = 1 if apart or any(one.epochs for one in asked) else self._chunk(len(asked))
        self._collect([asked[at : at + size] for at in range(0, len(asked), size)], until)
        return [self.looks.found.get(name) for name in names]

    def outcome(self, look: Look | None) -> Outcome | None:
        """What a sampler is told of a look; None of one that failed, or was not taken."""
        if look is None or look.failed:
            return None
        return Outcome(gains=self.promises.gains(look), violations=self.promises.violations(look))

    def _chunk(self, count: int) -> int:
        share = -(-count // (2 * self._executor.slots))  # who is done first takes one more
        return max(1, min(share, MOST_IN_CHUNK, int(CHUNK_S / self.pace) if self.pace else 1))

    @property
    def _ahead(self) -> int:
        """Chunks that are handed out at a time: who is done first finds one waiting."""
        slots = self._executor.slots
        return 1 if slots == 1 else 2 * slots

    def _collect(self, chunks: Sequence[Sequence[Asked]], until: Deadline) -> None:
        """Hands chunks out, as many at a time as there are slots, and keeps what comes back in their order."""
        flying: list[Future[list[Look]]] = []
        left = list(chunks)
        while left or flying:
            while left and len(flying) < self._ahead and until.left > 0:
                flying.append(self._executor.submit(self._evaluator.looks, left.pop(0)))
            if not flying:
                return
            found = flying.pop(0).result()
            self.looks.add(*found)
            self.promises.add(*found)
            self._tell(self)
