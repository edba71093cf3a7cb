"""External ids (of users, items, words) in row order, in few bytes."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

Id = int | str


class Ids:
    """Sorted ids; the position of an id is its row.

    Args:
        values: whole numbers or strings, strictly ascending, [n].
    """

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        if values.dtype.kind == "i":
            narrow = np.int32 if len(values) == 0 or -(2**31) <= values[0] <= values[-1] < 2**31 else np.int64
            values = values.astype(narrow)
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, position: int) -> Id:
        value: Id = self.values[position].item()
        return value

    @property
    def memory_bytes(self) -> int:
        """Bytes held in memory."""
        return int(self.values.nbytes)

    def position(self, wanted: Id) -> int:
        """The row of an id; -1 if there is none."""
        kind = str if self.values.dtype.kind == "U" else (int, np.integer)
        if not isinstance(wanted, kind) or isinstance(wanted, bool):
            return -1
        at = int(np.searchsorted(self.values, wanted))
        return at if at < len(self.values) and self.values[at] == wanted else -1

    def positions(self, wanted: Ids) -> Tensor:
        """The rows of many ids, int64 [len(wanted)]; -1 where there is none."""
        if len(self) == 0:
            return torch.full((len(wanted),), -1)
        at = np.searchsorted(self.values, wanted.values).clip(max=len(self.values) - 1)
        return torch.from_numpy(np.where(self.values[at] == wanted.values, at, -1)).long()

    def take(self, rows: Tensor) -> Ids:
        """The ids of some rows (int64, ascending)."""
        return Ids(self.values[rows.cpu().numpy()])

    def encode(self) -> Tensor:
        """Compressed bytes, uint8 [m]: JSON under zlib, whole numbers as differences."""
        if self.values.dtype.kind == "U":
            content = {"strings": self.values.tolist()}
        else:
            content = {"differences": np.diff(self.values, prepend=0).tolist()}
        packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), level=9)
        return torch.frombuffer(bytearray(packed), dtype=torch.uint8)

    @staticmethod
    def decode(packed: Tensor) -> Ids:
        """The inverse of `encode`."""
        content = json.loads(zlib.decompress(packed.cpu().numpy().tobytes()))
        if "strings" in content:
            return Ids(np.array(content["strings"], dtype=str))
        return Ids(np.array(content["differences"], dtype=np.int64).cumsum())
