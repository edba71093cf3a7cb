"""Which machine this is (latencies are only compared where the fingerprint is the same), and its memory."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

GPU_SHARE = 16
"""The part of a GPU's memory that a block of a computation may take up is the whole divided by this."""

THREADS = 1
"""That everything is timed on: whoever times on two shares them with whatever else the machine does."""


@functools.cache
def machine(device: str = "cpu") -> dict[str, str | int]:
    """What a latency depends on beside the artifact, and `id`, ten digits that stand for all of it.

    Args:
        device: that the artifacts answer on, as `study.device` names it.
    """
    import torch  # here, because what serves is not timed by it

    facts: dict[str, str | int] = {
        "cpu": processor(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "faiss": version_of("faiss-cpu", "faiss-gpu", "faiss"),
        "onnxruntime": version_of("onnxruntime", "onnxruntime-gpu"),
        "threads": THREADS,
        "kernels": os.environ.get("AUTOPRUNE_KERNELS", "chosen"),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    if device != "cpu":  # the same machine is another one to what answers on its CPU
        facts["device"] = device
        if torch.cuda.is_available():
            facts["gpu"] = torch.cuda.get_device_name(device)
    facts["id"] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
    return facts


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Threads that a computation may take: those of torch where it is in use, else of OpenMP, else all cores."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else cores()


def memory() -> int:
    """Bytes of memory that this machine, or the container on it, has in all; 2**63 where nobody knows."""
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # no POSIX
        limits = [2**63]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):  # no such file, or the word max
            continue
    return min(limits)


def at_once(device: str | torch.device, row_bytes: int, *, usual: int) -> int:
    """How many rows of a block a device computes at a time, at least one.

    Args:
        device: on a GPU as many as take up 1/`GPU_SHARE` of its memory, few or many: it is slow with little to do, and
            nothing can be computed with what does not fit. All of its memory is meant, not what is free: results differ
            by rounding where blocks do.
        row_bytes: that a row takes.
        usual: the number on a CPU, where a block is to stay in the caches.
    """
    if str(device).partition(":")[0] != "cuda":
        return usual
    import torch  # as above

    return max(1, torch.cuda.get_device_properties(device).total_memory // (GPU_SHARE * max(row_bytes, 1)))


def give_back_memory() -> None:
    """Gives memory that was freed back to the system.

    glibc keeps what tensors of ever other sizes leave between those that stay: over a search, gigabytes.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def fastest_products(device: torch.device) -> torch.dtype:
    """What a device multiplies matrices in fastest while training: bfloat16 or float32.

    Measured on a CPU, and not looked up: with the instructions for it bfloat16 is several times as fast as float32,
    without them several times as slow.
    """
    import torch  # as above

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    seconds = {}
    for precision in (torch.float32, torch.bfloat16):
        left, right = torch.ones(256, 384, dtype=precision), torch.ones(384, 1024, dtype=precision)
        taken = []
        for _ in range(7):
            start = time.perf_counter()
            left @ right
            taken.append(time.perf_counter() - start)
        seconds[precision] = sorted(taken)[len(taken) // 2]
    # What is converted to and fro costs time too.
    return torch.bfloat16 if 1.5 * seconds[torch.bfloat16] < seconds[torch.float32] else torch.float32


def version_of(*names: str) -> str:
    """The version of the first of these distributions that is installed, found without importing it; or `none`."""
    from importlib import metadata  # here, because it takes as long to import as a small artifact

    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "none"


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
