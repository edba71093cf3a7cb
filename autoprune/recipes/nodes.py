"""A space as a tree of fixed values, open values, fields, and choices between alternatives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.errors import AutopruneError, nearest
from autoprune.recipes.domain import Domain, listed_domain, range_domain

Recipe = dict[str, Any]
"""A recipe without open values: nested mappings of plain values."""

UNSAID = object()
"""Stands for a value that a recipe leaves out."""

_DOMAINS = {"any_of": set(), "choose": set(), "float": {"step", "log"}, "int": {"step", "log"}}
"""The keys that mark a mapping as a domain, each with the keys that may accompany it."""


class Node(ABC):
    """A part of a space."""

    @abstractmethod
    def domains(self) -> Iterator[Domain]:
        """The domains in this part, in the order of the YAML."""

    @abstractmethod
    def resolve(self, decide: Callable[[Domain], Any]) -> Any:
        """The part of a recipe, with values from `decide`."""

    @abstractmethod
    def completions(self, given: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        """The (open values, part) pairs that agree with `given`; an `UNSAID` value takes every end."""

    @abstractmethod
    def count_corners(self) -> int:
        """The number of completions of `UNSAID`."""

    def path_of(self, keys: Sequence[str]) -> Iterator[str]:
        """The path in the YAML for a path in a recipe."""
        yield from keys


@dataclass(frozen=True)
class Fixed(Node):
    """A fixed value."""

    value: Any

    def domains(self) -> Iterator[Domain]:
        return iter(())

    def resolve(self, decide: Callable[[Domain], Any]) -> Any:
        return list(self.value) if isinstance(self.value, list | tuple) else self.value

    def completions(self, given: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        if given is UNSAID or given == self.value:
            yield {}, self.resolve(lambda domain: None)

    def count_corners(self) -> int:
        return 1


@dataclass(frozen=True)
class Open(Node):
    """An open value with its domain."""

    domain: Domain

    def domains(self) -> Iterator[Domain]:
        yield self.domain

    def resolve(self, decide: Callable[[Domain], Any]) -> Any:
        return decide(self.domain)

    def completions(self, given: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        for value in self.domain.ends() if given is UNSAID else (given,):
            if self.domain.holds(value):
                yield {self.domain.path: value}, value

    def count_corners(self) -> int:
        return len(self.domain.ends())


@dataclass(frozen=True)
class Fields(Node):
    """A mapping; a recipe has all of its fields."""

    fields: Mapping[str, Node]

    def domains(self) -> Iterator[Domain]:
        for field in self.fields.values():
            yield from field.domains()

    def resolve(self, decide: Callable[[Domain], Any]) -> Any:
        return {name: field.resolve(decide) for name, field in self.fields.items()}

    def completions(self, given: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        given_fields = {} if given is UNSAID else given
        if not isinstance(given_fields, Mapping) or not given_fields.keys() <= self.fields.keys():
            return
        entries = [(name, field, given_fields.get(name, UNSAID)) for name, field in self.fields.items()]

        # Lazily: with many tables there are far more completions than anybody reads.
        def joined(at: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
            if at == len(entries):
                yield {}, {}
                return
            name, field, value = entries[at]
            for parameters, part in field.completions(value):
                for other_parameters, other_parts in joined(at + 1):
                    yield {**parameters, **other_parameters}, {name: part, **other_parts}

        if all(any(True for _ in field.completions(value)) for _, field, value in entries):
            yield from joined(0)

    def count_corners(self) -> int:
        return math.prod(field.count_corners() for field in self.fields.values())

    def path_of(self, keys: Sequence[str]) -> Iterator[str]:
        yield from keys[:1]
        if keys:
            yield from self.fields.get(keys[0], Fixed(None)).path_of(keys[1:])


@dataclass(frozen=True)
class Choice(Node):
    """Named alternatives; a recipe has exactly one."""

    domain: Domain
    alternatives: Mapping[str, Node]

    def domains(self) -> Iterator[Domain]:
        yield self.domain
        for alternative in self.alternatives.values():
            yield from alternative.domains()

    def resolve(self, decide: Callable[[Domain], Any]) -> Any:
        name = decide(self.domain)
        return {name: self.alternatives[name].resolve(decide)}

    def completions(self, given: Any) -> Iterator[tuple[dict[str, Any], Any]]:
        if given is UNSAID:
            wanted = dict.fromkeys(self.alternatives, UNSAID)
        elif isinstance(given, Mapping) and len(given) == 1 and given.keys() <= self.alternatives.keys():
            wanted = {name: {} if inner is None else inner for name, inner in given.items()}
        else:
            return
        for name, inner in wanted.items():
            for parameters, value in self.alternatives[name].completions(inner):
                yield {self.domain.path: name, **parameters}, {name: value}

    def count_corners(self) -> int:
        return sum(alternative.count_corners() for alternative in self.alternatives.values())

    def path_of(self, keys: Sequence[str]) -> Iterator[str]:
        if keys:
            yield "choose"
            yield from Fields(self.alternatives).path_of(keys)


def parse(tree: Any, path: str) -> Node:
    """Parses what the YAML holds at a path.

    Raises:
        AutopruneError: a domain is malformed; the message names its path.
    """
    if not isinstance(tree, Mapping):
        return Fixed(tree)
    kind = next((key for key in tree if key in _DOMAINS), None)
    if kind is None:
        return Fields({str(key): parse(child, f"{path}.{key}") for key, child in tree.items()})
    unexpected = sorted(map(str, set(tree) - {kind} - _DOMAINS[kind]))
    if unexpected:
        remedy = nearest(unexpected[0], _DOMAINS[kind]) if _DOMAINS[kind] else "Take them out."
        raise AutopruneError(f"{path}: {kind!r} does not go with {unexpected}. {remedy}")
    if kind == "choose":
        return _choice(tree["choose"], path)
    return Open(listed_domain(tree["any_of"], path) if kind == "any_of" else range_domain(tree, kind, path))


def _choice(options: Any, path: str) -> Choice:
    if not isinstance(options, Mapping) or not options:
        raise AutopruneError(f"{path}.choose: a mapping of at least one option must be given, but got {options!r}.")
    named = {str(name): {} if child is None else child for name, child in options.items()}  # YAML reads 4 as a number
    alternatives = {name: parse(child, f"{path}.choose.{name}") for name, child in named.items()}
    return Choice(Domain(path=path, kind="choose", options=tuple(alternatives)), alternatives)
