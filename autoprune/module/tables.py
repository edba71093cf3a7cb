"""The lookup tables of a module: which there are, what shares them, and lookups of ours in their places."""

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
    """Where a table stands in a module.

    Attributes:
        lookups: paths of the embeddings that look it up; several share one weight.
        tied: paths of linear maps that multiply by the same weight.
        rows, dim: its shape, before anything is cut.
        padding: the `padding_idx` of the first embedding, whose vector stays as it is; None: it has none.
    """

    lookups: tuple[str, ...]
    tied: tuple[str, ...] = ()
    rows: int
    dim: int
    padding: int | None = None

    @property
    def name(self) -> str:
        """What recipes call the table: its first path, `encoder_items` for `encoder.items`."""
        return self.lookups[0].replace(".", "_")


def find_tables(module: nn.Module, named: Collection[str] | None = None) -> list[Place]:
    """The tables of a module, in the order in which they stand in it.

    Args:
        named: paths of the embeddings that are meant; None: all that there are.

    Raises:
        AutopruneError: there is none, a path names none, or one cannot be taken over as it is.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    there = {path: one for path, one in modules.items() if isinstance(one, KINDS)}
    kind = type(module).__name__
    if not there or "" in there:
        held = ", ".join(sorted({type(one).__name__ for path, one in modules.items() if path})) or "no modules"
        raise AutopruneError(
            f"{kind} has no table inside it: no nn.Embedding or nn.EmbeddingBag was found. It holds: {held}."
        )
    for path in named or ():
        if path not in there:
            raise AutopruneError(f"tables: {kind} has no embedding at {path!r}. {nearest(path, there)}")
    shared: dict[int, list[str]] = {}
    for path, one in there.items():
        shared.setdefault(id(one.weight), []).append(path)
    groups = [paths for paths in shared.values() if named is None or set(paths) & set(named)]
    found = [_place(kind, modules, paths) for paths in groups]
    names = [place.name for place in found]
    if len(set(names)) < len(names):
        raise AutopruneError(f"tables: two embeddings of {kind} would go by one name: {', '.join(sorted(names))}.")
    return found


def find_linears(module: nn.Module, named: Collection[str]) -> dict[str, str]:
    """The linear maps of some paths, by the names that recipes call them by: `mlp_0` for `mlp.0`.

    Raises:
        AutopruneError: a path names none, or one cannot be taken over as it is.
    """
    modules = dict(module.named_modules(remove_duplicate=False))
    there = {path: one for path, one in modules.items() if isinstance(one, nn.Linear)}
    kind = type(module).__name__
    for path in named:
        if path not in there:
            raise AutopruneError(f"linears: {kind} has no nn.Linear at {path!r}. {nearest(path, there)}")
        one = there[path]
        sharing = [
            place
            for place, other in modules.items()
            if place != path and any(held is one.weight for held in other._parameters.values())
        ]
        if sharing:
            raise AutopruneError(
                f"{path} of {kind} cannot be taken over: it shares its weight with {sharing[0]}; leave it out."
            )
        if type(one).forward is not nn.Linear.forward or parametrize.is_parametrized(one):
            raise AutopruneError(
                f"{path} of {kind} cannot be taken over: only an nn.Linear as torch makes it can be; leave it out."
            )
        if one.weight.dtype != torch.float32 or not one.weight.detach().isfinite().all():
            raise AutopruneError(
                f"{path} of {kind} cannot be taken over: its weight must be finite, and float32 as module.float() "
                "makes it."
            )
    return {path.replace(".", "_"): path for path in named}


def _place(kind: str, modules: Mapping[str, nn.Module], paths: list[str]) -> Place:
    """The place of the table that embeddings share, if it can be taken over."""
    table = modules[paths[0]]
    assert isinstance(table, KINDS), "only embeddings are asked about"
    for path in paths:
        if reason := _reason_against(modules[path]):
            raise AutopruneError(f"{path} of {kind} cannot be taken over: {reason}")
    tied = []
    for path, one in modules.items():
        held = [name for name, parameter in one._parameters.items() if parameter is table.weight]
        if not held or path in paths:
            continue
        if type(one) is not nn.Linear:
            raise AutopruneError(
                f"{paths[0]} of {kind} shares its weight with {held[0]} of {path or 'the module itself'}, a "
                f"{type(one).__name__}; only an nn.Linear can share one here. Look rows up through the embedding."
            )
        tied.append(path)
    rows, dim = table.weight.shape
    return Place(lookups=tuple(paths), tied=tuple(tied), rows=rows, dim=dim, padding=table.padding_idx)


def _reason_against(table: nn.Module) -> str:
    """Why an embedding cannot be taken over, and the way out; empty where it can."""
    assert isinstance(table, KINDS), "only embeddings are asked about"
    plain = nn.Embedding if isinstance(table, nn.Embedding) else nn.EmbeddingBag
    weight: Tensor = table.weight
    if type(table).forward is not plain.forward:
        return (
            f"{type(table).__name__} has a forward of its own; wrap the {plain.__name__} instead of deriving from it."
        )
    if parametrize.is_parametrized(table):
        return "its weight is parametrized; remove that first, with torch.nn.utils.parametrize."
    if table.max_norm is not None:
        return "max_norm writes into the weight while it answers; scale the rows once, and set it to None."
    if table.scale_grad_by_freq:
        return "scale_grad_by_freq is not known here; set it to False."
    if weight.dtype != torch.float32:
        return f"its weight is {weight.dtype}; only float32 is taken, as module.float() makes it."
    if not weight.numel():
        return f"its weight has the shape {list(weight.shape)}, and holds nothing."
    if not weight.detach().isfinite().all():
        row = int((~weight.detach().isfinite()).any(1).nonzero()[0])
        return f"its row {row} holds NaN or infinite values."
    return ""


def take_over(module: nn.Module, places: Collection[Place]) -> None:
    """Puts lookups in the places of a module's embeddings; they are still to be filled.

    What stands under several paths, in a submodule that has two names, is replaced at the first.
    """
    for place in places:
        made: dict[int, Lookup] = {}
        for path in place.lookups:
            stood = module.get_submodule(path)
            if isinstance(stood, Lookup):
                continue
            assert isinstance(stood, KINDS), "as it was found"
            if id(stood) not in made:
                made[id(stood)] = Bag(path, stood) if isinstance(stood, nn.EmbeddingBag) else Lookup(path, stood)
            put(module, path, made[id(stood)])
        for path in place.tied:
            stood = module.get_submodule(path)
            if isinstance(stood, Tied):
                continue
            assert isinstance(stood, nn.Linear), "as it was found"
            put(module, path, Tied(next(iter(made.values())), stood))


def fill(module: nn.Module, places: Collection[Place], sources: Mapping[str, Rows | None]) -> None:
    """Gives the lookups of a module the tables that they look up, by name."""
    for place in places:
        for path in place.lookups:
            lookup = module.get_submodule(path)
            assert isinstance(lookup, Lookup), "taken over before it is filled"
            lookup.fill(sources[place.name])


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What a module holds beside its tables, by path, each once: parameters and buffers, themselves and no copies."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, held in module.state_dict(keep_vars=True).items():
        if isinstance(held, Tensor):  # other state than tensors is the module's own affair
            found.setdefault(id(held), (name, held))
    return dict(found.values())


def refuse_views(module: nn.Module) -> None:
    """Refuses a module that keeps a view of a parameter, which would stay as it is while the parameter is cut.

    Raises:
        AutopruneError: it does.
    """
    owned = {held.untyped_storage().data_ptr() for held in module.parameters()}
    for path, one in module.named_modules():
        for name, held in vars(one).items():
            if isinstance(held, Tensor) and held.grad_fn is not None and held.untyped_storage().data_ptr() in owned:
                raise AutopruneError(
                    f"{f'{path}.{name}'.lstrip('.')} is a view of a parameter, which will change; take it in forward()."
                )


def let_go(module: nn.Module) -> None:
    """Takes what a module keeps of its last answer out of its graph: torch copies no tensor that is in one."""
    for one in module.modules():
        for name, held in vars(one).items():
            if isinstance(held, Tensor) or type(held) is tuple:
                vars(one)[name] = _without_graph(held)
            elif isinstance(held, list | dict):
                for at, kept in held.items() if isinstance(held, dict) else enumerate(held):
                    if not isinstance(kept, Tensor | None):  # such as the words of a vocabulary
                        break
                    held[at] = _without_graph(kept)


def _without_graph(held: Any) -> Any:
    """A tensor, or all in a tuple, without the graph that it was computed in; itself where there is none."""
    if type(held) is tuple:
        return tuple(_without_graph(one) for one in held)
    return held.detach() if isinstance(held, Tensor) and held.grad_fn is not None else held


def put(module: nn.Module, path: str, one: nn.Module) -> None:
    """Puts a submodule in the place of another."""
    outer, _, last = path.rpartition(".")
    module.get_submodule(outer)._modules[last] = one
