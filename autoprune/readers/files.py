"""The format of a file, told from its first bytes or its name."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO

from autoprune.errors import AutopruneError
from autoprune.machine import memory

NPY, NPZ, SAFETENSORS, CHECKPOINT, PARQUET, JSON, TEXT = (
    "npy",
    "npz",
    "safetensors",
    "checkpoint",
    "parquet",
    "json",
    "text",
)

ENDINGS = {
    ".npy": NPY,
    ".npz": NPZ,
    ".safetensors": SAFETENSORS,
    ".pt": CHECKPOINT,
    ".pth": CHECKPOINT,
    ".ckpt": CHECKPOINT,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".json": JSON,
    ".txt": TEXT,
    ".vec": TEXT,
    ".tsv": TEXT,
    ".csv": TEXT,
    ".ids": TEXT,
}
"""Ending of a file name → format. If the first bytes tell the format, they decide instead."""

ARRAYS = (NPY, NPZ, SAFETENSORS, CHECKPOINT)
"""Formats that hold arrays, perhaps several by name, and no column of ids."""

IDS = ("ids", "id", "words", "keys", "names")
"""Names of the array or column of ids in a file that also holds the table."""

FOREIGN = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file with git lfs pull",
    b"\xba\x16O/": "a model of fastText; name its text file, .vec, instead",
    b"\x89HDF": "HDF5; save the table as .npy",
    b"ARROW1": "Feather; write it as parquet",
    b"BZh": "compressed by bzip2; unpack it",
    b"\xfd7zXZ": "compressed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
    b"<!DOCTYPE": "a web page, perhaps instead of a download; fetch the file itself",
    b"<!doctype": "a web page, perhaps instead of a download; fetch the file itself",
    b"<html": "a web page, perhaps instead of a download; fetch the file itself",
}
"""First bytes of files that are not read → what the file is, and the way out."""


def format_of(path: Path) -> str:
    """The format of a file.

    Raises:
        AutopruneError: there is no file, it is empty, or its format is not read.
    """
    if not path.exists():
        raise AutopruneError(f"{path}: there is no such file.")
    if path.is_dir():
        raise AutopruneError(f"{path} is a folder; name a file in it.")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise AutopruneError(f"{path}: the file is empty.")
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            raise AutopruneError(f"{path} is {kind}.")
    return _by_content(head) or ENDINGS.get(path.suffix.lower(), TEXT)


def _by_content(head: bytes) -> str | None:
    """The format that the first bytes tell; None if they could be anything."""
    if head.startswith(b"\x93NUMPY"):
        return NPY
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith(b"PK\x03\x04"):  # a zip of arrays or of torch; its first member tells which
        return NPZ if b".npy" in head[30 : 30 + int.from_bytes(head[26:28], "little")] else CHECKPOINT
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return CHECKPOINT
    return SAFETENSORS if head[8:10] == b'{"' else None


def check_room(where: str, needed: float) -> None:
    """Refuses to read what would not fit into memory.

    Args:
        where: what to call the file in messages.
        needed: bytes that reading it takes, at least.

    Raises:
        AutopruneError: with the sizes, and the way out.
    """
    if needed > memory():
        raise AutopruneError(
            f"{where}: reading it takes {needed / 1e9:,.1f} GB, and this machine has {memory() / 1e9:,.1f} GB. A .npy "
            "file of float32 with ascending ids or none is mapped, not read into memory: write one, block by block "
            "(numpy.lib.format.open_memmap)."
        )


def open_bytes(path: Path) -> IO[bytes]:
    """An open file, unpacked if gzip has compressed it, whatever its name."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")  # type: ignore[return-value]
