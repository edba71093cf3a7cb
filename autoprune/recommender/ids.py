"""External ids (of users, items, words) in row order, in few bytes."""

from __future__ import annotations

import json
import zlib
from bisect import bisect_left
from typing import Any

import numpy as np
import torch
from torch import Tensor

Id = int | str

INLINE = 15
"""Bytes of a string that numpy keeps in the array itself; longer ones lie outside it."""


class Ids:
    """Sorted ids; the position of an id is its row.

    Args:
        values: whole numbers or strings, strictly ascending, [n].
    """

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        if values.dtype.kind == "i":
            narrow = np.int32 if len(values) == 0 or -(2**31) <= values[0] <= values[-1] < 2**31 else np.int64
            values = values.astype(narrow)
        else:  # not fixed-width: one long id would make them all long
            values = values.astype(np.dtypes.StringDType())
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, position: int) -> Id:
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
        """What tells these ids from others."""
        return self.values.tobytes() if self.numeric else json.dumps(self.values.tolist()).encode()

    def position(self, wanted: Id) -> int:
        """The row of an id; -1 if there is none."""
        kind = (int, np.integer) if self.numeric else str
        if not isinstance(wanted, kind) or isinstance(wanted, bool):
            return -1
        at = bisect_left(self.values, wanted)  # np.searchsorted would first copy all ids to the wanted one's type
        return at if at < len(self.values) and self.values[at] == wanted else -1

    def hint(self, wanted: object) -> str:
        """Words for an error about an id that is of another kind than these."""
        if len(self) == 0 or self.numeric != isinstance(wanted, str):
            return ""
        return f" Ids are {'whole numbers' if self.numeric else 'strings'} here, such as {self[0]!r}."

    def positions(self, wanted: Ids) -> Tensor:
        """The rows of many ids, int64 [len(wanted)]; -1 where there is none."""
        if len(self) == 0 or self.numeric != wanted.numeric:
            return torch.full((len(wanted),), -1)
        at = np.searchsorted(self.values, wanted.values).clip(max=len(self.values) - 1)
        return torch.from_numpy(np.where(self.values[at] == wanted.values, at, -1)).long()

    def take(self, rows: Tensor) -> Ids:
        """The ids of some rows (int64, ascending)."""
        return Ids(self.values[rows.cpu().numpy()])

    def encode(self) -> Tensor:
        """Compressed bytes, uint8 [m]: JSON under zlib, whole numbers as differences."""
        if self.numeric:
            content = {"differences": np.diff(self.values, prepend=0).tolist()}
        else:
            content = {"strings": self.values.tolist()}
        packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), level=9)
        return torch.frombuffer(bytearray(packed), dtype=torch.uint8)

    @staticmethod
    def decode(packed: Tensor) -> Ids:
        """The inverse of `encode`."""
        content = json.loads(zlib.decompress(packed.cpu().numpy().tobytes()))
        if "strings" in content:
            return Ids(np.array(content["strings"], dtype=np.dtypes.StringDType()))
        return Ids(np.array(content["differences"], dtype=np.int64).cumsum())


def _sizes(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes of each string in UTF-8."""
    return np.array([len(word.encode()) for word in words.tolist()], dtype=np.int64)
