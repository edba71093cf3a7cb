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

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.errors import AutopruneError, RecipeError, nearest

Recipe = dict[str, Any]
"""A decided recipe: nested mappings of plain values."""

MOST_CORNERS = 1_000
"""A space of more extreme recipes is not tried corner by corner, …"""

DRAWN_CORNERS = 100
"""… but in so many drawn ones: enough for any two ends to meet, almost surely."""

_UNSAID = object()


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The values one parameter may take: `options` (a list), or `low` … `high` for numbers."""

    path: str
    kind: str
    options: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False

    def ends(self) -> tuple[Any, ...]:
        """The values a corner of the space can have here: each option, or both ends of a range."""
        if self.kind in ("any_of", "choose"):
            return self.options
        return (self.low,) if self.low == self.high else (self.low, self.high)

    def listed(self) -> list[Any]:
        """Every value; none where there are too many to list."""
        if self.options:
            return list(self.options)
        if self.low == self.high:
            return [self.low]
        step = self.step or (1 if self.kind == "int" else None)
        if step is None or self.log:
            return []
        values = [self.low + at * step for at in range(round((self.high - self.low) / step) + 1)]
        return [int(value) for value in values] if self.kind == "int" else [round(value, 10) for value in values]

    def holds(self, value: Any) -> bool:
        """Whether the sampler could have asked for `value`."""
        if self.kind in ("any_of", "choose"):
            return any(type(value) is type(option) and value == option for option in self.options)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.kind == "int" and value != int(value):
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-6)


class Space:
    """A parsed space.

    Args:
        tree: the mapping, as it stands in YAML.
        root: the name that paths begin with.

    Raises:
        AutopruneError: a domain is malformed; the message names its path.
    """

    def __init__(self, tree: Mapping[str, Any], *, root: str = "space") -> None:
        if not isinstance(tree, Mapping):
            raise AutopruneError(f"{root}: a space is a mapping of stages, but got {tree!r}.")
        self.tree = tree
        self.root = root
        self.domains: dict[str, Domain] = {domain.path: domain for domain in _domains(tree, root)}

    def resolve(self, decide: Callable[[Domain], Any]) -> Recipe:
        """The recipe that `decide` gives; it is asked once for each open value that is reached, in order."""

        def walk(node: Any, path: str) -> Any:
            if not isinstance(node, Mapping):
                return list(node) if isinstance(node, list | tuple) else node
            domain = self.domains.get(path)
            if domain is None:
                return {str(key): walk(child, f"{path}.{key}") for key, child in node.items()}
            value = decide(domain)
            if domain.kind != "choose":
                return value
            return {value: walk(_option(node, value), f"{path}.choose.{value}")}

        recipe: Recipe = walk(self.tree, self.root)
        return recipe

    def completions(self, partial: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Recipe]]:
        """The recipes of the space that say what `partial` says, with the open values that give them.

        What `partial` leaves out takes each of its ends in turn; nothing is yielded where it lies outside the space.
        """

        def walk(node: Any, given: Any, path: str) -> Iterator[tuple[dict[str, Any], Any]]:
            domain = self.domains.get(path)
            if domain is None and isinstance(node, Mapping):
                said = {} if given is _UNSAID else given
                if not isinstance(said, Mapping) or not set(said) <= set(node):
                    return
                keys = list(node)

                def held(at: int) -> Iterator[tuple[dict[str, Any], Any]]:
                    return walk(node[keys[at]], said.get(keys[at], _UNSAID), f"{path}.{keys[at]}")

                # One after the other: of many tables there are far more completions than anybody asks for.
                def joined(at: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
                    if at == len(keys):
                        yield {}, {}
                        return
                    for parameters, value in held(at):
                        for more, values in joined(at + 1):
                            yield {**parameters, **more}, {str(keys[at]): value, **values}

                if all(next(held(at), None) is not None for at in range(len(keys))):
                    yield from joined(0)
            elif domain is None:
                if given is _UNSAID or given == node:
                    yield {}, node
            elif domain.kind == "choose":
                options = domain.options if given is _UNSAID else tuple(given) if isinstance(given, Mapping) else ()
                for name in options if given is _UNSAID or len(options) == 1 else ():
                    if domain.holds(name):
                        inner = _UNSAID if given is _UNSAID else {} if given[name] is None else given[name]
                        for parameters, value in walk(_option(node, name), inner, f"{path}.choose.{name}"):
                            yield {path: name, **parameters}, {name: value}
            else:
                for value in domain.ends() if given is _UNSAID else (given,):
                    if domain.holds(value):
                        yield {path: value}, value

        yield from walk(self.tree, partial, self.root)

    def corners(self, *, seed: int = 0) -> Iterator[Recipe]:
        """Every extreme recipe, or a seeded sample where there are more than `MOST_CORNERS`."""
        if self.count_corners() <= MOST_CORNERS:
            yield from self._all_corners(self.tree, self.root)
            return
        draw = random.Random(seed)
        # Every single end is visited at least once, then random combinations of ends.
        for domain in self.domains.values():
            for end in domain.ends():
                yield self.resolve(
                    lambda other, fixed=domain, value=end: (
                        value  # type: ignore[misc]  # mypy cannot infer defaults
                        if other.path == fixed.path
                        else self._toward(other, fixed.path) or draw.choice(other.ends())
                    )
                )
        for _ in range(DRAWN_CORNERS):
            yield self.resolve(lambda domain: draw.choice(domain.ends()))

    def check(self, build: Callable[[Recipe], object]) -> None:
        """Builds every corner, so that a bad bound fails before the first trial.

        Raises:
            AutopruneError: `build` refused a corner; the message carries the parameter's path in the YAML.
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
        """Where a path of a recipe stands in the YAML of the space: `choose` is put back in."""
        path, node = self.root, self.tree
        for key in recipe_path:
            if isinstance(node, Mapping) and path in self.domains and "choose" in node:
                path, node = f"{path}.choose", node["choose"]
            path = f"{path}.{key}"
            node = node.get(key, {}) if isinstance(node, Mapping) else {}
        return path

    def count_corners(self) -> int:
        """How many recipes `corners` would visit without a limit."""

        def count(node: Any, path: str) -> int:
            domain = self.domains.get(path)
            if domain is None:
                children = node.items() if isinstance(node, Mapping) else ()
                return math.prod(count(child, f"{path}.{key}") for key, child in children)
            if domain.kind == "choose":
                return sum(count(_option(node, name), f"{path}.choose.{name}") for name in domain.options)
            return len(domain.ends())

        return count(self.tree, self.root)

    def _all_corners(self, node: Any, path: str) -> Iterator[Any]:
        domain = self.domains.get(path)
        if domain is None and isinstance(node, Mapping):
            keys = [str(key) for key in node]
            children = [list(self._all_corners(child, f"{path}.{key}")) for key, child in node.items()]
            for values in itertools.product(*children):
                yield dict(zip(keys, values, strict=True))
        elif domain is None:
            yield list(node) if isinstance(node, list | tuple) else node
        elif domain.kind == "choose":
            for name in domain.options:
                for inner in self._all_corners(_option(node, name), f"{path}.choose.{name}"):
                    yield {name: inner}
        else:
            yield from domain.ends()

    @staticmethod
    def _toward(domain: Domain, target: str) -> str | None:
        """The option of a `choose` that leads to the parameter at `target`, if one does."""
        if domain.kind == "choose" and target.startswith(f"{domain.path}.choose."):
            return target.removeprefix(f"{domain.path}.choose.").split(".")[0]
        return None


def describe(domain: Domain) -> str:
    """A domain in a few words: `float [0.5, 0.9]`, `any_of [8, 4]`."""
    if domain.kind in ("any_of", "choose"):
        return f"{domain.kind} [{', '.join(map(str, domain.options))}]"
    return f"{domain.kind} [{domain.low:g}, {domain.high:g}]"


def _option(node: Mapping[str, Any], name: str) -> Any:
    """What stands under an option of a `choose`; YAML may have read its name as a number."""
    found = next(child for key, child in node["choose"].items() if str(key) == name)
    return {} if found is None else found


_KEYS = {"any_of": set(), "choose": set(), "float": {"step", "log"}, "int": {"step", "log"}}


def _domains(node: Any, path: str) -> Iterator[Domain]:
    if not isinstance(node, Mapping):
        return
    kinds = [key for key in node if key in _KEYS]
    if not kinds:
        for key, child in node.items():
            yield from _domains(child, f"{path}.{key}")
        return
    kind = kinds[0]
    strange = set(node) - {kind} - _KEYS[kind]
    if strange:
        raise AutopruneError(
            f"{path}: {kind!r} does not go with {sorted(map(str, strange))}. "
            + (nearest(sorted(map(str, strange))[0], _KEYS[kind]) if _KEYS[kind] else "Take them out.")
        )
    if kind == "choose":
        options = node["choose"]
        if not isinstance(options, Mapping) or not options:
            raise AutopruneError(f"{path}.choose: a mapping of at least one option must be given, but got {options!r}.")
        yield Domain(path=path, kind=kind, options=tuple(map(str, options)))
        for name, child in options.items():
            yield from _domains(child, f"{path}.choose.{name}")
    elif kind == "any_of":
        values = node["any_of"]
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise AutopruneError(f"{path}.any_of: a list of at least one value must be given, but got {values!r}.")
        if any(isinstance(value, Mapping | list) for value in values):
            raise AutopruneError(
                f"{path}.any_of: plain values are listed here; for alternatives with values use choose."
            )
        if len({(type(value), value) for value in values}) < len(values):
            raise AutopruneError(f"{path}.any_of: no value may stand twice, but got {list(values)}.")
        yield Domain(path=path, kind=kind, options=tuple(values))
    else:
        yield _range(node, kind, path)


def _range(node: Mapping[str, Any], kind: str, path: str) -> Domain:
    ends, step, log = node[kind], node.get("step"), bool(node.get("log", False))
    number = int if kind == "int" else (int, float)
    listed = isinstance(ends, Sequence) and not isinstance(ends, str) and len(ends) == 2
    if not listed or not all(isinstance(end, number) and not isinstance(end, bool) for end in ends):
        raise AutopruneError(f"{path}.{kind}: two numbers [low, high] must be given, but got {ends!r}.")
    low, high = ends
    if not (math.isfinite(low) and math.isfinite(high)):
        raise AutopruneError(f"{path}.{kind}: both ends must be finite, but got [{low}, {high}].")
    if low > high:
        raise AutopruneError(f"{path}.{kind}: low <= high must hold, but got [{low}, {high}]; swap the two.")
    if step is not None and (not isinstance(step, number) or isinstance(step, bool) or not 0 < step < math.inf):
        raise AutopruneError(f"{path}.step: a step above 0 must be given, but got {step!r}.")
    if log and (low <= 0 or step is not None):
        raise AutopruneError(f"{path}.log: low > 0 and no step must hold with log, but got {dict(node)}.")
    if step is not None:  # the sampler visits low + i * step only; the high end is the last of these
        high = low + math.floor((high - low) / step + 1e-9) * step
        high = int(high) if kind == "int" else round(high, 10)
    return Domain(path=path, kind=kind, low=low, high=high, step=step, log=log)
