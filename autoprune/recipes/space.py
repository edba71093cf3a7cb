"""What may be tried: a recipe in which some values are still open.

A space is a mapping; wherever a recipe has a value, a space may have a *domain*:

    {any_of: [16, 32, 64]}                      one of a list
    {float: [0.5, 0.9], step: 0.05}             a number between two ends (log: true for orders of magnitude)
    {int: [1, 8]}                               a whole number between two ends
    {choose: {none: {}, dims: {sparsity: …}}}   exactly one of these, with its own open values

A parameter is named by its path in the YAML (`space.prune.method.choose.dims.sparsity`). The space knows
nothing of samplers: `resolve` asks a function for each open value and returns the decided recipe.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autoprune.errors import AutopruneError, RecipeError
from autoprune.recipes.domain import Domain, describe
from autoprune.recipes.nodes import UNSAID, Node, Recipe, parse

MOST_CORNERS = 200
"""A space with more corners is not tried corner by corner, …"""

DRAWN_CORNERS = 100
"""… but in so many random ones: almost surely enough for any two ends to meet."""


class Space:
    """A parsed space.

    Args:
        tree: the mapping from the YAML.
        root: the name with which paths begin.

    Raises:
        AutopruneError: a domain is malformed; the message names its path.
    """

    def __init__(self, tree: Mapping[str, Any], *, root: str = "space") -> None:
        if not isinstance(tree, Mapping):
            raise AutopruneError(f"{root}: a space is a mapping of stages, but got {tree!r}.")
        self.root = root
        self._node: Node = parse(tree, root)
        self.domains: dict[str, Domain] = {domain.path: domain for domain in self._node.domains()}

    def resolve(self, decide: Callable[[Domain], Any]) -> Recipe:
        """The recipe with values from `decide`, which is called once for each open value that is reached, in order."""
        recipe: Recipe = self._node.resolve(decide)
        return recipe

    def completions(self, partial: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Recipe]]:
        """The recipes of the space that agree with `partial`, each after its open values.

        Values that `partial` leaves out take each of their ends in turn. Outside of the space nothing is yielded.
        """
        return self._node.completions(partial)

    def corners(self, *, seed: int = 0) -> Iterator[Recipe]:
        """Every corner of the space, or a seeded sample if there are more than `MOST_CORNERS`."""
        if self.count_corners() <= MOST_CORNERS:
            yield from (recipe for _, recipe in self._node.completions(UNSAID))
            return
        draw = random.Random(seed)
        # Every single end is visited at least once, then random combinations of ends.
        for domain in self.domains.values():
            for end in domain.ends():
                yield self.resolve(
                    lambda other, fixed=domain, value=end: (
                        value  # type: ignore[misc]  # mypy cannot infer defaults
                        if other.path == fixed.path
                        else other.toward(fixed.path) or draw.choice(other.ends())
                    )
                )
        for _ in range(DRAWN_CORNERS):
            yield self.resolve(lambda domain: draw.choice(domain.ends()))

    def check(self, build: Callable[[Recipe], object]) -> None:
        """Builds every corner, or those of `corners`, so that a bad bound fails before the first trial.

        Raises:
            AutopruneError: `build` refused a corner; the message gives the parameter's path in the YAML.
        """
        for recipe in self.corners():
            try:
                build(recipe)
            except RecipeError as error:
                where = self.path_of(error.path)
                domain = self.domains.get(where)
                bounds = f" This value is an end of {describe(domain)}." if domain else ""
                raise AutopruneError(f"{where}: {error.message}{bounds}") from error

    def path_of(self, recipe_path: Sequence[str]) -> str:
        """The path in the YAML of the space for a path in a recipe: `choose` is put back in."""
        return ".".join([self.root, *self._node.path_of(recipe_path)])

    def count_corners(self) -> int:
        """The number of recipes that `corners` would visit without a limit."""
        return self._node.count_corners()
