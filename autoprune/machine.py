"""The machine's fingerprint (only latencies with equal fingerprints are compared), its devices, threads and memory."""

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

from autoprune.errors import AutopruneError, unknown

if TYPE_CHECKING:
    import torch

GPU_SHARE = 16
"""A block of a computation may take up 1/`GPU_SHARE` of a GPU's memory."""

THREADS = 1
"""Everything is timed on one thread: more threads would share their cores with other work on the machine."""

TIMING = 2
"""The number of the current rules for timing: under other rules, the same artifact takes other milliseconds.

1. BLAS and tokenizers computed on all cores. Fingerprints of that time do not contain this number.
2. Everything computes on `THREADS`.
"""


@functools.cache
def machine(device: str = "cpu") -> dict[str, str | int]:
    """What a latency depends on besides the artifact, and `id`, a fingerprint of ten digits.

    Args:
        device: that the artifacts answer on, as `study.device` names it.
    """
    import torch  # here, because serving does not need it

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
        "timing": TIMING,
        "kernels": os.environ.get("AUTOPRUNE_KERNELS", "chosen"),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    if device != "cpu":  # so that the fingerprint differs from that of the machine's CPU
        facts["device"] = device
        if torch.cuda.is_available():
            facts["gpu"] = torch.cuda.get_device_name(device)
    facts["id"] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
    return facts


def find_device(name: str) -> torch.device:
    """The device that `study.device` names.

    Raises:
        AutopruneError: there is no such device.
    """
    import torch  # as above

    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise unknown("study.device", name, ("cpu", "cuda"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"study.device: {name} was asked for, but torch sees no CUDA device here; use cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise AutopruneError(f"study.device: {name} was asked for, but torch sees {torch.cuda.device_count()} here.")
    return device


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """The number of threads for a computation: torch's if it is loaded, else OpenMP's if it is set, else all cores."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdecimal() and int(setting) > 0 else cores()


def memory() -> int:
    """The total memory of this machine, or of the container, in bytes; 2**63 if unknown."""
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # not POSIX
        limits = [2**63]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):  # no such file, or the word max
            continue
    return min(limits)


def at_once(device: str | torch.device, row_bytes: int, *, usual: int) -> int:
    """How many rows a device computes at a time, at least one.

    On a GPU, as many as fit into 1/`GPU_SHARE` of its memory: fewer would be slow, more might not fit. The total memory
    counts, not the free memory, because the results of different blocks differ by rounding.

    Args:
        device: that computes.
        row_bytes: the bytes that a row takes.
        usual: the number on a CPU, where a block should fit into the caches.
    """
    if str(device).partition(":")[0] != "cuda":
        return usual
    import torch  # as above

    return max(1, torch.cuda.get_device_properties(device).total_memory // (GPU_SHARE * max(row_bytes, 1)))


def give_back_memory() -> None:
    """Returns freed memory to the system.

    glibc keeps the gaps between live tensors when tensors of many sizes are freed: gigabytes over a search.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def fastest_products(device: torch.device) -> torch.dtype:
    """The type in which a device multiplies matrices fastest in training: bfloat16 or float32.

    On a CPU this is measured: with instructions for bfloat16 it is several times faster than float32, without them
    several times slower.
    """
    import torch  # as above

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    seconds = {}
    for precision in (torch.float32, torch.bfloat16):
        left, right = torch.ones(256, 384, dtype=precision), torch.ones(384, 1024, dtype=precision)
        times = []
        for _ in range(7):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        seconds[precision] = sorted(times)[len(times) // 2]
    # The factor allows for the time of conversions.
    return torch.bfloat16 if 1.5 * seconds[torch.bfloat16] < seconds[torch.float32] else torch.float32


def version_of(*names: str) -> str:
    """The version of the first of these distributions that is installed, without importing it; `none` if none is."""
    from importlib import metadata  # here, because importing it takes as long as loading a small artifact

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
