"""What every loaded artifact has in common, and the parts it is made of."""

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

    from autoprune.packing.blocks import StoredBlocks  # which makes them, and so imports torch

Tensors = dict[str, np.ndarray[Any, Any]]
"""Arrays by name."""

PREFERENCES = ("latency", "memory")
"""What an artifact can be loaded for."""

DEVICES = ("cpu", "cuda")
"""Where an artifact can answer."""

IMPORTED_BY = os.getpid()
"""The process that imported this; another one that has it is a fork."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """An artifact's content while it is in memory.

    Attributes:
        manifest: JSON values; `kind` names the class that serves it.
        tensors: what `model/tensors.safetensors` holds.
        files: what else lies in `model/`, by name: a graph, a tokenizer. Their content, or where they lie.
        beside: what is useful but not needed to answer: catalogue, histories (JSON values and arrays by name).
        blocks: tables, by name, whose tensors are made while they are written; none once an artifact is loaded.
        entropy: whether files are to be entropy-coded.
    """

    manifest: dict[str, Any]
    tensors: Tensors
    beside: Beside
    files: dict[str, bytes | Path] = field(default_factory=dict)
    blocks: dict[str, StoredBlocks] = field(default_factory=dict)
    entropy: bool = False

    def content(self, name: str) -> bytes:
        """The content of one of the files."""
        held = self.files[name]
        return held if isinstance(held, bytes) else held.read_bytes()

    def tables(self) -> dict[str, PackedTable]:
        """The packed tables that the manifest names; a bias beside one is no part of it."""
        found = {}
        for name, entry in self.manifest["tables"].items():
            if name in self.blocks:
                found[name] = self.blocks[name].table
                continue
            prefix = f"{name}."
            held = {key.removeprefix(prefix): one for key, one in self.tensors.items() if key.startswith(prefix)}
            held.pop("bias", None)
            found[name] = restore(entry, held)
        return found


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What lies beside a model: not counted in its size, the same for every artifact of a task."""

    values: dict[str, Any]
    tensors: Tensors


class Threads:
    """The threads that torch and Faiss have in the process that something was made in.

    A fork has none of them, and whatever waits for them there waits for good.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __setstate__(self, state: object) -> None:
        self._process = IMPORTED_BY  # a fork lacks them as well where it was sent what it asks

    @property
    def gone(self) -> bool:
        """Whether this process is a fork."""
        return self._process != os.getpid()

    def do_without(self) -> None:
        """Has torch compute on one thread where they are gone; who gives it more afterwards is not overruled."""
        if self.gone:
            import torch  # here, because on the CPU nobody waits for it

            torch.set_num_threads(1)
            self._process = os.getpid()


class Served(ABC):
    """A model that answers; made from `Parts` alone, in a process that never saw the training code run.

    Attributes:
        pause: called between the batches of a long answer; whoever measures looks at the clock then.
    """

    pause: Callable[[], None] = staticmethod(lambda: None)

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes that the model holds in memory to answer, without what lies beside it."""

    @property
    def history_bytes(self) -> int:
        """Bytes of what lies beside the model and yet is asked for answers: 0 unless a family says otherwise."""
        return 0

    @property
    def vector_bytes(self) -> int | None:
        """Bytes of the vector that is stored of each text, where users store any: None unless a family says so."""
        return None

    @property
    @abstractmethod
    def example(self) -> str:
        """Python that asks `model` for something it knows, to show what can be asked."""

    @property
    def advice(self) -> str:
        """What else one can do with it, for its card, as Markdown: nothing unless a family says otherwise."""
        return ""

    @property
    def inside(self) -> str:
        """What lies in its files, for whoever runs them without autoprune, as Markdown; nothing by default."""
        return ""

    def exported(self) -> Exported:
        """Its tables, for other libraries.

        Raises:
            AutopruneError: its family hands none over.
        """
        raise AutopruneError("--format: an artifact of this kind hands no tables over.")

    def into(self, module: nn.Module) -> nn.Module:
        """Puts the artifact into a fresh module of the class that it was made from, and returns it.

        Raises:
            AutopruneError: it was made from no module of one's own, or from another one.
        """
        raise AutopruneError("into: this artifact answers by itself; load it without a module.")


def serve(parts: Parts, *, device: Any = "cpu", prefer: str | None = None) -> Served:
    """The object that answers for an artifact's parts.

    Args:
        device: `cpu`, where numpy or onnxruntime answers; on any other one torch does.
        prefer: one of `PREFERENCES`; None: what a family does by the size of the model.

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
    import torch  # as above

    unheard_of = AutopruneError(f"device {device!r} is unknown; {' and '.join(DEVICES)} are known.")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise unheard_of from None
    if found.type not in DEVICES:
        raise unheard_of
    if found.type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"device {device!r} was asked for, but torch sees no CUDA device here; use cpu.")
    count = torch.cuda.device_count() if found.type == "cuda" else 1
    if (found.index or 0) >= count:
        raise AutopruneError(f"device {device!r} was asked for, but torch sees {count} of its kind, counted from 0.")
