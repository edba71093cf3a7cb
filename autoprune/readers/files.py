"""What a file is: by its name, or by how it begins."""

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
"""How names of files end → what they hold. Of other names, and of text, the first bytes decide."""

ARRAYS = (NPY, NPZ, SAFETENSORS, CHECKPOINT)
"""Formats that hold arrays, perhaps several by name, and no ids of their own."""

IDS = ("ids", "id", "words", "keys", "names")
"""What ids are called that lie beside a table in one file."""

FOREIGN = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file with git lfs pull",
    b"\xba\x16O/": "a model of fastText; its text, .vec beside it, is read",
    b"\x89HDF": "HDF5; save the table as .npy",
    b"ARROW1": "Feather; write it as parquet",
    b"BZh": "compressed by bzip2; unpack it",
    b"\xfd7zXZ": "compressed by xz; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
    b"<!DOCTYPE": "a web page, perhaps instead of a download; fetch the file itself",
    b"<!doctype": "a web page, perhaps instead of a download; fetch the file itself",
    b"<html": "a web page, perhaps instead of a download; fetch the file itself",
}
"""How files begin that are none of ours → what they are, and the way out."""


def format_of(path: Path) -> str:
    """What a file holds.

    Raises:
        AutopruneError: there is no file, it is empty, or it is of a kind that is not read.
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
    """What the first bytes say; None where they could be anything."""
    if head.startswith(b"\x93NUMPY"):
        return NPY
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith(b"PK\x03\x04"):  # an archive of arrays or a checkpoint of torch; its first member tells which
        return NPZ if b".npy" in head[30 : 30 + int.from_bytes(head[26:28], "little")] else CHECKPOINT
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return CHECKPOINT
    return SAFETENSORS if head[8:10] == b'{"' else None


def check_room(where: str, needed: float) -> None:
    """Refuses what would not fit into the memory, before it is read.

    Args:
        where: what to call it in messages.
        needed: bytes that reading it takes, at least.

    Raises:
        AutopruneError: with the sizes, and the way out.
    """
    if needed > memory():
        raise AutopruneError(
            f"{where}: reading it takes {needed / 1e9:,.1f} GB, and this machine has {memory() / 1e9:,.1f} GB. A .npy "
            "file of float32 whose ids ascend, or that has none, is read where it lies: write one, block by block "
            "(numpy.lib.format.open_memmap)."
        )


def open_bytes(path: Path) -> IO[bytes]:
    """A file, unpacked where gzip has compressed it, whatever it is called."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")  # type: ignore[return-value]
