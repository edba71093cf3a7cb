"""The base class of all loaded artifacts, and the parts that an artifact consists of."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.artifacts.exported import Exported
from autoprune.errors import AutopruneError, unknown
from autoprune.extras import need
from autoprune.families import what_serves
from autoprune.packing import PackedTable, restore

if TYPE_CHECKING:
    from torch import nn

    from autoprune.packing.blocks import StoredBlocks  # imports torch

Tensors = dict[str, np.ndarray[Any, Any]]
"""Arrays by name."""

PREFERENCES = ("latency", "memory")
"""What loading an artifact can optimise."""

DEVICES = ("cpu", "cuda")
"""Where an artifact can answer."""

IMPORTED_BY = os.getpid()
"""The process that imported this module; any other process with it in memory is a fork."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The content of an artifact in memory.

    Attributes:
        manifest: JSON values; `kind` decides which class serves it.
        tensors: the content of `model/tensors.safetensors`.
        files: the other files in `model/`, such as a graph or a tokenizer: by name, their content or path.
        beside: useful data that is not needed to answer, such as the catalogue and histories.
        blocks: tables, by name, whose tensors are computed while they are written; empty in a loaded artifact.
        entropy: whether files are entropy-coded.
    """

    manifest: dict[str, Any]
    tensors: Tensors
    beside: Beside
    files: dict[str, bytes | Path] = field(default_factory=dict)
    blocks: dict[str, StoredBlocks] = field(default_factory=dict)
    entropy: bool = False

    def content(self, name: str) -> bytes:
        """The content of one of the files."""
        content = self.files[name]
        return content if isinstance(content, bytes) else content.read_bytes()

    def tables(self) -> dict[str, PackedTable]:
        """The packed tables that the manifest names, without their biases."""
        tables = {}
        for name, entry in self.manifest["tables"].items():
            if name in self.blocks:
                tables[name] = self.blocks[name].table
                continue
            prefix = f"{name}."
            arrays = {key.removeprefix(prefix): array for key, array in self.tensors.items() if key.startswith(prefix)}
            arrays.pop("bias", None)
            tables[name] = restore(entry, arrays)
        return tables


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The content of `beside/`: not counted in the model's size, the same for every artifact of a task."""

    values: dict[str, Any]
    tensors: Tensors


class Threads:
    """Remembers the process in which torch and Faiss started their threads.

    A fork has none of these threads, and code that waits for them there waits forever.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __setstate__(self, state: object) -> None:
        self._process = IMPORTED_BY  # a fork lacks the threads even if this object was sent to it

    @property
    def gone(self) -> bool:
        """Whether this process is a fork."""
        return self._process != os.getpid()

    def do_without(self) -> None:
        """Makes torch use one thread if the threads are gone; a later torch.set_num_threads still has effect."""
        if self.gone:
            import torch  # imported here because serving on the CPU does not need it

            torch.set_num_threads(1)
            self._process = os.getpid()


class Served(ABC):
    """A model that answers; made from `Parts` alone, in a process that need not have run any training code.

    Attributes:
        pause: called between the batches of a long answer, so that a measurement can check the time.
    """

    pause: Callable[[], None] = staticmethod(lambda: None)

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes of memory that the model needs to answer, without `beside/`."""

    @property
    def history_bytes(self) -> int:
        """Bytes of the data in `beside/` that is nevertheless read for answers; 0 by default."""
        return 0

    @property
    def vector_bytes(self) -> int | None:
        """Bytes of the vector that users store for each text; None by default, if they store none."""
        return None

    @property
    @abstractmethod
    def example(self) -> str:
        """Python that calls `model` with valid arguments, as an example of use."""

    @property
    def advice(self) -> str:
        """Further uses, for the card, as Markdown; empty by default."""
        return ""

    @property
    def inside(self) -> str:
        """What its files contain, for use without autoprune, as Markdown; empty by default."""
        return ""

    def exported(self) -> Exported:
        """The tables to export to other libraries.

        Raises:
            AutopruneError: its family exports none.
        """
        raise AutopruneError("--format: artifacts of this kind export no tables.")

    def into(self, module: nn.Module) -> nn.Module:
        """Fills a fresh module of the class that the artifact was made from, and returns it.

        Raises:
            AutopruneError: the artifact was not made from a user's module, or from a different one.
        """
        raise AutopruneError("into: this artifact answers by itself; load it without a module.")


def serve(parts: Parts, *, device: Any = "cpu", prefer: str | None = None) -> Served:
    """Makes the served model from an artifact's parts.

    Args:
        device: `cpu`, where numpy or onnxruntime answers; on any other device torch does.
        prefer: one of `PREFERENCES`; None: the family decides by the size of the model.

    Raises:
        AutopruneError: the kind is unknown to this version, there is no such device, or a library is not installed.
    """
    make = what_serves(parts.manifest.get("kind"))
    if prefer is not None and prefer not in PREFERENCES:
        raise unknown("prefer", prefer, PREFERENCES)
    if str(device) != "cpu":
        _check_device(str(device))
    served: Served = make(parts, device=str(device), prefer=prefer)
    return served


def _check_device(device: str) -> None:
    need("torch", "search", f"what answers on the device {device!r}")
    import torch  # here, as in do_without

    unheard_of = AutopruneError(f"device {device!r} is unknown; {' and '.join(DEVICES)} are known.")
    try:
        parsed = torch.device(device)
    except RuntimeError:
        raise unheard_of from None
    if parsed.type not in DEVICES:
        raise unheard_of
    if parsed.type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"device {device!r} was requested, but torch sees no CUDA device here; use cpu.")
    count = torch.cuda.device_count() if parsed.type == "cuda" else 1
    if (parsed.index or 0) >= count:
        raise AutopruneError(f"device {device!r} was requested, but torch sees {count} of its kind, counted from 0.")
