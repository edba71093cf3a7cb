"""The named arrays and files of a model trained elsewhere, and the roles that their names indicate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from autoprune.errors import AutopruneError, nearest
from autoprune.readers.arrays import ALONE, UNOPENED, Array, check_opened, read_arrays, shape_of
from autoprune.readers.files import ARRAYS, ENDINGS, JSON, NPY, format_of

SIDES = ("user", "item")

WORDS = {"user": "user", "users": "user", "item": "item", "items": "item"} | {
    "id": "ids",
    "ids": "ids",
    "bias": "bias",
    "biases": "bias",
}
"""Words in a name → the part of its role that they indicate."""

GLOBAL = ("bias", "global_bias", "global_mean", "mu", "mean", "offset", "b")
"""Names of a single number that is added to all scores."""


def role_of(name: str) -> str | None:
    """The role that a name indicates: `user`, `user_ids`, `user_bias`, the same of items; None if it indicates none."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    found = {WORDS[word] for word in re.findall(r"[a-z]+", apart) if word in WORDS}
    sides, kinds = found & set(SIDES), found - set(SIDES)
    if len(sides) != 1 or len(kinds) > 1:
        return None
    return "_".join([*sides, *kinds])


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """The arrays and files that a config can name.

    Attributes:
        place: the folder or file.
        arrays: by name; in a folder, the name of the file, followed by the name in the file if it has several arrays.
        files: of tables or ids, by name.
    """

    place: Path
    arrays: dict[str, Array]
    files: dict[str, Path]

    @staticmethod
    def of(place: Path) -> Pieces:
        """The contents of a folder or file.

        Raises:
            AutopruneError: it does not exist, or a file cannot be read.
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
        """The array or file with a name.

        Raises:
            AutopruneError: there is none or more than one, or it has Python objects.
        """
        if name in self.arrays:
            check_opened(self.arrays[name], f"{self.place}: {name}")
            return self.arrays[name]
        if name in self.files:
            return self.files[name]
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
        """The names with a role: of arrays with one of the numbers of dimensions and, for tables and ids, of files.

        Arrays of Python objects are included only if nothing else has the role.
        """
        arrays = [name for name, array in self.arrays.items() if role_of(_plain(name)) == role and array.ndim in dims]
        kinds = () if role.endswith("_bias") else self.files
        tables = [name for name in kinds if role_of(_plain(name)) == role]
        found = arrays + [name for name in tables if role.endswith("_ids") or _ending(name) != JSON]
        return [name for name in found if self.arrays.get(name) is not UNOPENED] or found

    def shapes(self) -> str:
        """All arrays with their shapes and all files, for messages."""
        arrays = [f"{name} {shape_of(array)}" for name, array in self.arrays.items() if array.ndim]
        return ", ".join([*arrays, *self.files]) or "nothing"


def _is_known(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and _ending(path.name) is not None


def _ending(name: str) -> str | None:
    return ENDINGS.get(Path(name.removesuffix(".gz")).suffix.lower())


def _plain(name: str) -> str:
    """A name without the ending of a file."""
    return Path(name.removesuffix(".gz")).stem if _ending(name) else name
