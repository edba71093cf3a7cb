"""External ids (of users, items, words) in row order, compressed."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from bisect import bisect_left
from numbers import Number
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Id = int | str

Draw = npt.NDArray[np.uint64]
"""Pseudo-random numbers that reveal nothing about the ids they were computed from, uint64 [n]."""

Rows = npt.NDArray[np.int64]
"""Row numbers, int64 [n]."""

Packed = npt.NDArray[np.uint8]
"""Compressed bytes, uint8 [n]."""


def whole_floats(eps: float) -> float:
    """The smallest float that may stand for several whole numbers: floats from here on cannot be ids.

    Args:
        eps: the distance from 1 to the next larger float of its type.
    """
    return 2 / eps


INLINE = 15
"""Strings of at most this many bytes are kept inside numpy's array; longer ones lie outside it."""


SPARSE = 8
"""Numbers that are farther apart than this on average are stored as differences, others as a bitmap."""

FEW = 16
"""Strings are looked up one by one if there are fewer than one for every `FEW` ids."""

END, LENGTH_0, MOST_SHARED = "\n", 48, 255
"""Front coding: the end of a string, the character that stands for a length of 0, the largest length of a prefix."""


class Ids:
    """Sorted ids; the position of an id is its row.

    Args:
        values: whole numbers or strings, strictly ascending, [n].
    """

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        if values.dtype.kind == "i":
            narrow = np.int32 if len(values) == 0 or -(2**31) <= values[0] <= values[-1] < 2**31 else np.int64
            values = values.astype(narrow)
        else:  # not fixed-width: one long id would lengthen them all
            values = values.astype(np.dtypes.StringDType())
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, position: int) -> Id: ...

    @overload
    def __getitem__(self, position: slice) -> list[Id]: ...

    def __getitem__(self, position: int | slice) -> Id | list[Id]:
        if isinstance(position, slice):
            several: list[Id] = self.values[position].tolist()
            return several
        value = self.values[position]
        return int(value) if self.numeric else str(value)

    @property
    def memory_bytes(self) -> int:
        """Bytes held in memory."""
        longer = 0 if self.numeric else int(_sizes(self.values)[_sizes(self.values) > INLINE].sum())
        return int(self.values.nbytes) + longer

    @property
    def numeric(self) -> bool:
        """Whether the ids are whole numbers; strings otherwise."""
        return self.values.dtype.kind == "i"

    @property
    def content(self) -> bytes:
        """Bytes that differ for different ids."""
        return self.values.tobytes() if self.numeric else json.dumps(self.values.tolist()).encode()

    def position(self, wanted: object) -> int:
        """The row of an id; -1 if there is none.

        A whole number may have any numeric type, also one of numpy or torch; booleans are not numbers.
        """
        plain = wanted if type(wanted) in (int, str) else plain_id(wanted)
        if not isinstance(plain, int if self.numeric else str):
            return -1
        row = bisect_left(self.values, plain)  # np.searchsorted would first copy all ids to the type of `plain`
        return row if row < len(self.values) and self.values[row] == plain else -1

    def hint(self, wanted: object) -> str:
        """A hint for an error message if an id is of another kind than these; empty if it is not."""
        if len(self) == 0 or isinstance(plain_id(wanted), int if self.numeric else str):
            return ""
        return f" Ids are {'whole numbers' if self.numeric else 'strings'} here, such as {self[0]!r}."

    def positions(self, wanted: Ids) -> Rows:
        """The rows of many ids, int64 [len(wanted)]; -1 for unknown ids."""
        if wanted is self:
            return np.arange(len(self))
        if len(self) == 0 or self.numeric != wanted.numeric:
            return np.full(len(wanted), -1, dtype=np.int64)
        if not self.numeric:  # np.searchsorted of numpy 2 is wrong for strings of more than `INLINE` bytes
            if FEW * len(wanted) < len(self):
                return np.array([self.position(value) for value in wanted.values.tolist()], dtype=np.int64)
            rows = {value: row for row, value in enumerate(self.values.tolist())}
            return np.array([rows.get(value, -1) for value in wanted.values.tolist()], dtype=np.int64)
        candidates = np.searchsorted(self.values, wanted.values).clip(max=len(self.values) - 1)
        return np.where(self.values[candidates] == wanted.values, candidates, -1)

    def take(self, rows: Rows) -> Ids:
        """The ids of some rows (int64, ascending)."""
        return Ids(self.values[rows])

    def draw(self, rows: Rows) -> Draw:
        """A pseudo-random number for each of some rows (int64 [n]) that depends on nothing but its id."""
        values = self.values[rows]
        if self.numeric:
            return scrambled(values.astype(np.int64).view(np.uint64))
        return scrambled(np.array([zlib.crc32(value.encode()) for value in values.tolist()], dtype=np.uint64))

    def encode(self) -> Packed:
        """Compressed bytes, uint8 [m]: JSON under zlib; whole numbers as differences, strings without their prefixes.

        Dense numbers become a bitmap from the first to the last. A string is stored as the length of the prefix that it
        shares with the string before it, and the rest (front coding: Witten, Moffat & Bell 1999, "Managing Gigabytes").
        """
        content: dict[str, Any]
        if not self.numeric:
            content = _front_coded(self.values.tolist())
        elif len(self) and self[-1] - self[0] < SPARSE * len(self):  # type: ignore[operator]  # numbers
            content = {"first": self[0], "bits": _as_bits(self.values)}
        else:
            content = {"differences": np.diff(self.values, prepend=0).tolist()}
        written = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        level = 9 if "differences" in content else 6  # for the others, 9 saves 2 % in five times the time
        return np.frombuffer(zlib.compress(written, level=level), dtype=np.uint8)

    @staticmethod
    def decode(packed: Packed) -> Ids:
        """The inverse of `encode`; it also reads what older versions encoded."""
        content = json.loads(zlib.decompress(packed.tobytes()))
        if "bits" in content:
            bits = np.frombuffer(base64.b64decode(content["bits"]), dtype=np.uint8)
            return Ids(content["first"] + np.flatnonzero(np.unpackbits(bits)))
        if "differences" in content:
            return Ids(np.array(content["differences"], dtype=np.int64).cumsum())
        strings = content["strings"] if "strings" in content else _whole_strings(content)
        return Ids(np.array(strings, dtype=np.dtypes.StringDType()))


def _as_bits(numbers: np.ndarray[Any, Any]) -> str:
    """A bitmap of ascending whole numbers in base 64, from the first number (there must be one) to the last."""
    present = np.zeros(int(numbers[-1]) - int(numbers[0]) + 1, dtype=np.uint8)
    present[numbers - numbers[0]] = 1
    return base64.b64encode(np.packbits(present).tobytes()).decode()


def _front_coded(strings: list[str]) -> dict[str, Any]:
    """Sorted strings, each as the length of the prefix shared with the one before (one character) and its ending."""
    if any(END in string for string in strings):
        return {"strings": strings}
    shared = [_shared(previous, string) for previous, string in zip(["", *strings], strings, strict=False)]
    endings = [string[length:] for string, length in zip(strings, shared, strict=True)]
    return {"shared": "".join(chr(LENGTH_0 + length) for length in shared), "endings": END.join(endings)}


def _whole_strings(content: dict[str, Any]) -> list[str]:
    """The inverse of `_front_coded`."""
    strings, previous = list[str](), ""
    endings = content["endings"].split(END) if content["shared"] else []
    for length, ending in zip(content["shared"], endings, strict=True):
        previous = previous[: ord(length) - LENGTH_0] + ending
        strings.append(previous)
    return strings


def _shared(first: str, second: str) -> int:
    """The length of the common prefix of two strings, at most `MOST_SHARED`."""
    length = 0
    for left, right in zip(first, second, strict=False):
        if left != right or length == MOST_SHARED:
            break
        length += 1
    return length


def scrambled(numbers: Draw) -> Draw:
    """A one-to-one mapping of numbers to numbers that look random, [n].

    Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators".
    """
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def plain_id(wanted: object) -> Id | None:
    """A value as a plain int or str; None if it is neither a whole number nor a string."""
    bound = whole_floats(np.finfo(float).eps)
    if getattr(wanted, "ndim", None) == 0 and hasattr(wanted, "item"):  # a scalar of numpy or torch
        bound = _bound(getattr(wanted, "dtype", None)) or bound
        wanted = wanted.item()
    if isinstance(wanted, str):
        return str.__str__(wanted)
    if isinstance(wanted, bool) or not isinstance(wanted, Number):
        return None
    try:
        whole = int(wanted)  # type: ignore[call-overload]  # complex numbers refuse
    except (TypeError, ValueError, OverflowError):
        return None
    exact = not isinstance(wanted, float) or abs(whole) < bound
    return whole if exact and whole == wanted else None


def _bound(dtype: Any) -> float | None:
    """`whole_floats` of a float type of numpy or torch; None for any other type."""
    if getattr(dtype, "is_floating_point", False):  # torch: it is imported already if somebody has a scalar of it
        return whole_floats(sys.modules["torch"].finfo(dtype).eps)
    return whole_floats(float(np.finfo(dtype).eps)) if getattr(dtype, "kind", "") == "f" else None


def _sizes(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes of each string in UTF-8."""
    return np.array([len(word.encode()) for word in words.tolist()], dtype=np.int64)
