"""Reads a model trained elsewhere: two tables and perhaps biases, found by their names or shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.readers.arrays import Array
from autoprune.readers.ids import ids_beside, ids_of, read_ids
from autoprune.readers.named import NamedRows, as_float32, check_finite, named_rows
from autoprune.readers.table import read_table
from autoprune.recommender.config import ModelFiles
from autoprune.recommender.pieces import GLOBAL, SIDES, Pieces
from autoprune.recommender.sides import Numbers, Side, Trained, of_length_one, unfolded


def read_trained(config: ModelFiles, *, counts: Mapping[str, int]) -> Trained:
    """The model in a folder or a file.

    Args:
        config: the files and names of the model.
        counts: numbers of users and items in the data, which identify tables whose names do not.

    Raises:
        AutopruneError: something is missing, ambiguous or damaged.
    """
    assert config.path is not None, "a trained model has a path"
    pieces = Pieces.of(Path(config.path))
    names, notes = _tables(config, pieces, counts)
    sides = {side: _side(config, pieces, side, names[side]) for side in SIDES}
    _check_widths(sides)
    _check_rest(config, pieces, names)
    constant = _constant(config, pieces)
    if config.score == "cosine":
        sides = {name: of_length_one(side) for name, side in sides.items()}
        notes.append("rows are brought to length 1, so that dot products are the cosines")
    else:
        sides, unfolded_notes = unfolded(sides)
        notes += unfolded_notes
    biases = [f"biases of {name}s" for name, side in sides.items() if side.bias is not None]
    biases += ["a bias of all"] if constant else []
    notes += [f"{', '.join(biases)} are added to scores"] if biases else []
    return Trained(user=sides["user"], item=sides["item"], constant=constant, notes=tuple(notes))


def _tables(config: ModelFiles, pieces: Pieces, counts: Mapping[str, int]) -> tuple[dict[str, str], list[str]]:
    """The names of both tables, and notes on how they were found."""
    found: dict[str, str] = {}
    for side in SIDES:
        given = getattr(config, side)
        alike = [given] if given else pieces.alike(side, dims=(2,))
        if len(alike) > 1:
            raise AutopruneError(
                f"task.model: {pieces.place} holds several tables of {side}s: {', '.join(alike)}. Name one: "
                f"task.model.{side}={alike[0]}"
            )
        found |= dict.fromkeys([side] if alike else [], *alike)
    if len(found) == len(SIDES):
        return found, []
    sought = [side for side in SIDES if side not in found]
    for side in sought:
        ids = pieces.alike(f"{side}_ids", dims=(1,))
        rows = len(_ids(pieces, ids[0])) if len(ids) == 1 else counts[side]
        fit = [
            name
            for name, array in pieces.arrays.items()
            if array.ndim == 2 and len(array) == rows and array.shape[1] > 1
        ]
        if len(fit) != 1 or fit[0] in found.values():
            raise AutopruneError(
                f"task.model: no name in {pieces.place} says which is the table of {side}s, and "
                f"{len(fit) or 'no'} arrays have {rows:,} rows. It holds: {pieces.shapes()}. Name it: "
                f"task.model.{side}=NAME"
            )
        found[side] = fit[0]
    return found, [f"{found[side]} is taken for the {side}s by its number of rows" for side in sought]


def _side(config: ModelFiles, pieces: Pieces, side: str, name: str) -> Side:
    """The table of users or items with its ids and biases."""
    key, where = f"task.model.{side}", f"{pieces.place}: {name}"
    piece, ids_name = pieces.named(name, key), getattr(config, f"{side}_ids")
    if ids_name is None:
        alike = pieces.alike(f"{side}_ids", dims=(1,))
        if len(alike) > 1:
            raise AutopruneError(f"{key}_ids: {pieces.place} holds several: {', '.join(alike)}; name one.")
        ids_name = alike[0] if alike else None
    if isinstance(piece, Path):
        ids = pieces.named(ids_name, f"{key}_ids") if ids_name else None
        if ids is not None and not isinstance(ids, Path):
            raise AutopruneError(
                f"{key}_ids: {name} is a file of its own, so its ids must be a file too, but got {ids_name!r}."
            )
        table = read_table(piece, ids=ids)
    else:
        beside = ids_beside(pieces.place / name) if pieces.place.is_dir() and not ids_name else None
        ids_where = str(beside or (pieces.files.get(ids_name or "") or f"{pieces.place}: {ids_name}"))
        row_ids = read_ids(beside) if beside else _ids(pieces, ids_name) if ids_name else None
        table = named_rows(piece, row_ids, where=where, ids_where=ids_where)
    return Side(table=table, bias=_bias(config, pieces, side, table))


def _ids(pieces: Pieces, name: str) -> list[str]:
    piece = pieces.named(name, "task.model: ids")
    return read_ids(piece) if isinstance(piece, Path) else ids_of(piece, f"{pieces.place}: {name}")


def _bias(config: ModelFiles, pieces: Pieces, side: str, table: NamedRows) -> Numbers | None:
    """The biases of a table's rows; None if it has none."""
    key, given = f"task.model.{side}_bias", getattr(config, f"{side}_bias")
    alike = [given] if given else pieces.alike(f"{side}_bias", dims=(1, 2))
    if len(alike) > 1:
        raise AutopruneError(f"{key}: {pieces.place} holds several: {', '.join(alike)}; name one.")
    if not alike:
        return table.bias
    if table.bias is not None:
        raise AutopruneError(f"{key}: {table.where} has a column of biases, and {alike[0]} holds others; keep one.")
    array, where = _array(pieces, alike[0], key), f"{pieces.place}: {alike[0]}"
    if array.size != len(table) or array.shape[0] != len(table):
        raise AutopruneError(
            f"{where}: it must have one bias for each of the {len(table):,} rows of {table.where}, but it has the "
            f"shape {list(array.shape)}."
        )
    bias = as_float32(array, where).reshape(-1)
    check_finite(bias, table.ids, where=where)
    return bias


def _array(pieces: Pieces, name: str, key: str) -> Array:
    piece = pieces.named(name, key)
    if isinstance(piece, Path):
        raise AutopruneError(f"{key}: an array must be named (.npy), but got {name!r}.")
    return piece


def _constant(config: ModelFiles, pieces: Pieces) -> float:
    """The constant added to all scores; 0 if there is none."""
    given = config.global_bias
    if given is not None and given not in pieces.arrays:
        try:
            number = float(given)
        except ValueError:
            number = _single_number(_array(pieces, given, "task.model.global_bias"), given, pieces)
        if not np.isfinite(number):
            raise AutopruneError(f"task.model.global_bias: a finite number must be given, but got {given}.")
        return number
    alike = (
        [given]
        if given
        else [
            name
            for name, array in pieces.arrays.items()
            if name.lower().removesuffix(".npy") in GLOBAL and array.size == 1
        ]
    )
    return _single_number(pieces.arrays[alike[0]], alike[0], pieces) if len(alike) == 1 else 0.0


def _single_number(array: Array, name: str, pieces: Pieces) -> float:
    where = f"{pieces.place}: {name}"
    if array.size != 1:
        raise AutopruneError(f"{where}: it must be one number, but it has the shape {list(array.shape)}.")
    number = as_float32(array, where).reshape(1)
    check_finite(number, None, where=where)
    return float(number[0])


def _check_widths(sides: Mapping[str, Side]) -> None:
    user, item = (sides[name].table for name in SIDES)
    if user.dim != item.dim:
        raise AutopruneError(
            f"task.model: users and items need vectors of one width, but {user.where} has {user.dim} dimensions and "
            f"{item.where} has {item.dim}."
        )


def _check_rest(config: ModelFiles, pieces: Pieces, names: Mapping[str, str]) -> None:
    """Raises if a file has more weights than are used, unless the config names both tables."""
    if pieces.place.is_dir() or (config.user and config.item):
        return
    used = {
        *names.values(),
        *(pieces.alike(f"{side}_bias", dims=(1, 2))[0] for side in SIDES if pieces.alike(f"{side}_bias", dims=(1, 2))),
    }
    named = {getattr(config, f"{side}_bias") for side in SIDES} | {config.global_bias}
    rest = [
        name
        for name, array in pieces.arrays.items()
        if name not in used | named and array.dtype.kind == "f" and array.size > 1
    ]
    if rest:
        raise AutopruneError(
            f"task.model: {pieces.place} holds more weights than two tables and biases: {', '.join(rest[:5])}. If its "
            f"scores are dot products of two tables all the same, name them: task.model.user={names['user']} "
            f"task.model.item={names['item']}"
        )
