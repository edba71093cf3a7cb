"""What lies in the folder or file of a model that somebody else trained, by name, and what each name says it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from autoprune.errors import AutopruneError, nearest
from autoprune.readers.arrays import ALONE, Array, read_arrays
from autoprune.readers.files import ARRAYS, ENDINGS, JSON, NPY, format_of

SIDES = ("user", "item")

WORDS = {"user": "user", "users": "user", "item": "item", "items": "item"} | {
    "id": "ids",
    "ids": "ids",
    "bias": "bias",
    "biases": "bias",
}
"""Words of a name that say what it is."""

GLOBAL = ("bias", "global_bias", "global_mean", "mu", "mean", "offset", "b")
"""What a single number that is added to all scores is called."""


def role_of(name: str) -> str | None:
    """What a name says: `user`, `user_ids`, `user_bias`, the same of items, or nothing."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    found = {WORDS[word] for word in re.findall(r"[a-z]+", apart) if word in WORDS}
    sides, kinds = found & set(SIDES), found - set(SIDES)
    if len(sides) != 1 or len(kinds) > 1:
        return None
    return "_".join([*sides, *kinds])


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What can be named.

    Attributes:
        place: the folder or file.
        arrays: by name: in a folder the name of the file, behind it that in the file where it holds several.
        files: of tables or ids, by name.
    """

    place: Path
    arrays: dict[str, Array]
    files: dict[str, Path]

    @staticmethod
    def of(place: Path) -> Pieces:
        """What lies there.

        Raises:
            AutopruneError: nothing, or a file cannot be read.
        """
        if not place.exists():
            raise AutopruneError(f"task.model: there is no {str(place)!r}; give a folder of tables, or a file of them.")
        beside = sorted(one for one in (place if place.is_dir() else place.parent).iterdir() if _is_known(one))
        if not place.is_dir():
            if format_of(place) not in ARRAYS or format_of(place) == NPY:
                raise AutopruneError(
                    f"task.model: {place} holds one table, but a model has one of users and one of items; give the "
                    "folder that holds both."
                )
            files = {one.name: one for one in beside if (role_of(one.stem) or "").endswith("_ids")}
            return Pieces(place=place, arrays=read_arrays(place), files=files)
        kinds = {one: format_of(one) for one in beside}
        several = sum(kind in ARRAYS and kind != NPY for kind in kinds.values()) > 1
        arrays = {
            one.name if name == ALONE else f"{one.name}:{name}" if several else name: array
            for one, kind in kinds.items()
            if kind in ARRAYS
            for name, array in read_arrays(one).items()
        }
        files = {one.name: one for one, kind in kinds.items() if kind not in ARRAYS}
        return Pieces(place=place, arrays=arrays, files=files)

    def named(self, name: str, key: str) -> Array | Path:
        """What has a name.

        Raises:
            AutopruneError: nothing has, or several pieces do.
        """
        if name in self.arrays or name in self.files:
            return self.arrays[name] if name in self.arrays else self.files[name]
        folder = self.place if self.place.is_dir() else self.place.parent
        if name and (folder / name).is_file():
            return folder / name
        within = [one for one in self.arrays if one.endswith((f".{name}", f":{name}", f"{name}.weight"))]
        if len(within) == 1:
            return self.arrays[within[0]]
        raise AutopruneError(
            f"{key}: there is no {name!r} in {self.place}. {nearest(name, [*self.arrays, *self.files])}"
        )

    def alike(self, role: str, *, dims: tuple[int, ...]) -> list[str]:
        """The names that say a role, of arrays of some numbers of dimensions and, for tables and ids, of files."""
        arrays = [name for name, array in self.arrays.items() if role_of(_plain(name)) == role and array.ndim in dims]
        kinds = () if role.endswith("_bias") else self.files
        tables = [name for name in kinds if role_of(_plain(name)) == role]
        return arrays + [name for name in tables if role.endswith("_ids") or _ending(name) != JSON]

    def shapes(self) -> str:
        """All that can be named, for messages."""
        arrays = [f"{name} {list(array.shape)}" for name, array in self.arrays.items() if array.ndim]
        return ", ".join([*arrays, *self.files]) or "nothing"


def _is_known(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and _ending(path.name) is not None


def _ending(name: str) -> str | None:
    return ENDINGS.get(Path(name.removesuffix(".gz")).suffix.lower())


def _plain(name: str) -> str:
    """A name without the ending of a file."""
    return Path(name.removesuffix(".gz")).stem if _ending(name) else name
