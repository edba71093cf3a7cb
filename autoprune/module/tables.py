"""The lookup tables of a module: finds them and the layers that share them, and replaces them with our lookups."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoprune.errors import AutopruneError, nearest
from autoprune.module.lookup import Bag, Lookup, Rows, Tied

KINDS = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a module uses a table.

    Attributes:
        lookups: paths of the embeddings that read it; several if they share one weight.
        tied: paths of linear layers that share the weight.
        rows, dim: the table's original shape.
        padding: the `padding_idx` of the first embedding, whose vector never changes; None if it has none.
    """

    lookups: tuple[str, ...]
    tied: tuple[str, ...] = ()
    rows: int
    dim: int
    padding: int | None = None

    @property
    def name(self) -> str:
        """The table's name in recipes: from its first path, `encoder_items` for `encoder.items`."""
        return self.lookups[0].replace(".", "_")


def find_tables(module: nn.Module, named: Collection[str] | None = None) -> list[Place]:
    """The tables of a module, in the module's order.

    Args:
        named: paths of the embeddings to use; None: all.

    Raises:
        AutopruneError: there is no table, a path names none, or a table cannot be replaced.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    embeddings = {path: submodule for path, submodule in modules.items() if isinstance(submodule, KINDS)}
    kind = type(module).__name__
    if "" in embeddings:
        raise AutopruneError(
            f"{kind} is itself the table, with no module around it; wrap it in one: self.table = {kind}(…)."
        )
    if not embeddings:
        inner = {type(submodule).__name__ for path, submodule in modules.items() if path}
        raise AutopruneError(
            f"{kind} has no table inside it: no nn.Embedding or nn.EmbeddingBag was found. It holds: "
            f"{', '.join(sorted(inner)) or 'no modules'}."
        )
    for path in named or ():
        if path not in embeddings:
            raise AutopruneError(f"tables: {kind} has no embedding at {path!r}. {nearest(path, embeddings)}")
    shared: dict[int, list[str]] = {}
    for path, submodule in embeddings.items():
        shared.setdefault(id(submodule.weight), []).append(path)
    groups = [paths for paths in shared.values() if named is None or set(paths) & set(named)]
    places = [_place(kind, modules, paths) for paths in groups]
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        raise AutopruneError(f"tables: two embeddings of {kind} would have the same name: {', '.join(sorted(names))}.")
    return places


def find_linears(module: nn.Module, named: Collection[str]) -> dict[str, str]:
    """The paths of linear layers by their names in recipes: `mlp_0` for `mlp.0`.

    Raises:
        AutopruneError: a path names no linear layer, or a layer cannot be replaced.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    linears = {path: linear for path, linear in modules.items() if isinstance(linear, nn.Linear)}
    kind = type(module).__name__
    for path in named:
        if path not in linears:
            raise AutopruneError(f"linears: {kind} has no nn.Linear at {path!r}. {nearest(path, linears)}")
        linear = linears[path]
        sharing = [
            other_path
            for other_path, other in modules.items()
            if other_path != path and any(parameter is linear.weight for parameter in other._parameters.values())
        ]
        if sharing:
            raise AutopruneError(
                f"{path} of {kind} cannot be taken over: it shares its weight with {sharing[0]}; remove it from "
                "linears."
            )
        if type(linear).forward is not nn.Linear.forward or parametrize.is_parametrized(linear):
            raise AutopruneError(
                f"{path} of {kind} cannot be taken over: only a plain nn.Linear can be; remove it from linears."
            )
        if linear.weight.dtype != torch.float32 or not linear.weight.detach().isfinite().all():
            raise AutopruneError(
                f"{path} of {kind} cannot be taken over: its weight must be finite float32; module.float() converts it."
            )
    return {path.replace(".", "_"): path for path in named}


def _place(kind: str, modules: Mapping[str, nn.Module], paths: list[str]) -> Place:
    """The `Place` of the table that the embeddings at `paths` share.

    Raises:
        AutopruneError: the table cannot be replaced.
    """
    table = modules[paths[0]]
    assert isinstance(table, KINDS), "the caller passes only embeddings"
    for path in paths:
        if reason := _reason_against(modules[path]):
            raise AutopruneError(f"{path} of {kind} cannot be taken over: {reason}")
    tied = []
    for path, submodule in modules.items():
        sharing = [name for name, parameter in submodule._parameters.items() if parameter is table.weight]
        if not sharing or path in paths:
            continue
        if type(submodule) is not nn.Linear:
            raise AutopruneError(
                f"{paths[0]} of {kind} shares its weight with {sharing[0]} of {path or 'the module itself'}, a "
                f"{type(submodule).__name__}; only an nn.Linear can share the weight of an embedding. Look rows up "
                "through the embedding."
            )
        tied.append(path)
    rows, dim = table.weight.shape
    return Place(lookups=tuple(paths), tied=tuple(tied), rows=rows, dim=dim, padding=table.padding_idx)


def _reason_against(table: nn.Module) -> str:
    """Why an embedding cannot be replaced, and what to do; empty if it can be."""
    assert isinstance(table, KINDS), "the caller passes only embeddings"
    plain = nn.Embedding if isinstance(table, nn.Embedding) else nn.EmbeddingBag
    weight: Tensor = table.weight
    if type(table).forward is not plain.forward:
        return (
            f"{type(table).__name__} has a forward of its own; wrap the {plain.__name__} instead of deriving from it."
        )
    if parametrize.is_parametrized(table):
        return "its weight is parametrized; remove that first, with torch.nn.utils.parametrize."
    if table.max_norm is not None:
        return "max_norm writes into the weight at each call; scale the rows once, and set it to None."
    if table.scale_grad_by_freq:
        return "scale_grad_by_freq is not supported; set it to False."
    if weight.dtype != torch.float32:
        return f"its weight is {weight.dtype}; only float32 is supported; convert it with module.float()."
    if not weight.numel():
        return f"its weight has the shape {list(weight.shape)}, and is empty."
    if not weight.detach().isfinite().all():
        row = int((~weight.detach().isfinite()).any(1).nonzero()[0])
        return f"its row {row} contains NaN or infinite values."
    return ""


def take_over(module: nn.Module, places: Collection[Place]) -> None:
    """Replaces a module's embeddings with empty lookups.

    An embedding in a submodule that has several paths is replaced at the first of them.
    """
    for place in places:
        lookups: dict[int, Lookup] = {}
        for path in place.lookups:
            old = module.get_submodule(path)
            if isinstance(old, Lookup):
                continue
            assert isinstance(old, KINDS), "find_tables found it"
            if id(old) not in lookups:
                lookups[id(old)] = Bag(path, old) if isinstance(old, nn.EmbeddingBag) else Lookup(path, old)
            put(module, path, lookups[id(old)])
        for path in place.tied:
            old = module.get_submodule(path)
            if isinstance(old, Tied):
                continue
            assert isinstance(old, nn.Linear), "find_tables found it"
            put(module, path, Tied(next(iter(lookups.values())), old))


def fill(module: nn.Module, places: Collection[Place], sources: Mapping[str, Rows | None]) -> None:
    """Sets the tables that a module's lookups read, by table name."""
    for place in places:
        for path in place.lookups:
            lookup = module.get_submodule(path)
            assert isinstance(lookup, Lookup), "take_over comes before fill"
            lookup.fill(sources[place.name])


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters and buffers outside its tables, by path, each once and not copied."""
    tensors: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):  # other state is left to the module
            tensors.setdefault(id(value), (name, value))
    return dict(tensors.values())


def refuse_views(module: nn.Module) -> None:
    """Refuses a module that keeps a view of a parameter: the view would not change when the parameter is cut.

    Raises:
        AutopruneError: the module keeps such a view.
    """
    storages = {value.untyped_storage().data_ptr() for value in module.parameters()}
    for path, submodule in module.named_modules():
        for name, value in vars(submodule).items():
            has_graph = isinstance(value, Tensor) and value.grad_fn is not None
            if has_graph and value.untyped_storage().data_ptr() in storages:
                raise AutopruneError(
                    f"{f'{path}.{name}'.lstrip('.')} is a view of a parameter, which will change; create the view in "
                    "forward()."
                )


def let_go(module: nn.Module) -> None:
    """Detaches tensors that a module keeps from its last call: torch cannot copy a tensor that is part of a graph."""
    for submodule in module.modules():
        for name, value in vars(submodule).items():
            if isinstance(value, Tensor) or type(value) is tuple:
                vars(submodule)[name] = _detached(value)
            elif isinstance(value, list | dict):
                for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                    if not isinstance(item, Tensor | None):  # for example the words of a vocabulary
                        break
                    value[key] = _detached(item)


def _detached(value: Any) -> Any:
    """A tensor, or the tensors in a tuple, detached from their graph; anything else is returned as it is."""
    if type(value) is tuple:
        return tuple(_detached(item) for item in value)
    return value.detach() if isinstance(value, Tensor) and value.grad_fn is not None else value


def put(module: nn.Module, path: str, submodule: nn.Module) -> None:
    """Replaces the submodule at a path."""
    outer, _, last = path.rpartition(".")
    module.get_submodule(outer)._modules[last] = submodule
