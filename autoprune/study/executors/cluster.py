"""The executor for Ray clusters: calls of a worker's methods become Ray tasks that return their artifacts.

The machines need to share nothing but Ray. What nodes need is packed once, and Ray keeps one copy of it on each node:
the study's data, the dense model's artifact and its checkpoint. A node unpacks it into a folder of its own, where its
processes share checkpoints. A task depends only on its definition and its argument, so Ray may rerun it if a process or
a node is lost.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import socket
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from filelock import FileLock

from autoprune.config.settings import ExecutorConfig
from autoprune.errors import AutopruneError, Ended
from autoprune.machine import cores
from autoprune.record.archive import Candidate
from autoprune.study.definition import Definition
from autoprune.study.executors.executor import (
    ONE_THREAD,
    Argument,
    Executor,
    Outcome,
    Result,
    Worker,
    at_hand,
    outcome_of,
)
from autoprune.version import VERSION


@dataclass(frozen=True, kw_only=True)
class Kit:
    """What a node needs to work for a study.

    Attributes:
        version: of the package that packed it.
        kind: the worker's class.
        definition: of the study, with the places of the machine that packed it.
        places: by place of the definition, the name of its content in `packed`.
        packed: a tar file, with the folder that the study lies in as `runs`.
        name: of the folder where a node unpacks it; equal kits share it.
    """

    version: str
    kind: type[Worker]
    definition: Definition
    places: Mapping[str, str]
    packed: bytes
    name: str


class Cluster(Executor):
    """Runs as many calls at once as the cluster has room for, on whatever node is free.

    Args:
        worker: whose methods are called.
        config: where the cluster is, and the resources that a call takes.
        slots: calls in flight at once; None: as many as the CPUs (GPUs) allow.

    Raises:
        AutopruneError: the cluster cannot be reached, or it lacks the resources for a call.
    """

    def __init__(self, worker: Worker, config: ExecutorConfig, *, slots: int | None) -> None:
        self._worker = worker
        self._started_here = not ray.is_initialized()
        if self._started_here:
            _connect(config.address, math.ceil((slots or cores()) * config.cpus))
        total = ray.cluster_resources()
        capacities = [total.get("CPU", 0.0) / config.cpus] if config.cpus else []
        capacities += [total.get("GPU", 0.0) / config.gpus] if config.gpus else []
        if not (capacity := int(min(capacities, default=0.0))):
            self.close()
            raise AutopruneError(
                f"executor: a call takes {config.cpus:g} CPUs and {config.gpus:g} GPUs, but the Ray cluster has "
                f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g}; lower executor.cpus or executor.gpus."
            )
        self.slots = min(slots or capacity, capacity)
        self._answer = ray.remote(
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            max_retries=config.retries,
            runtime_env={"env_vars": ONE_THREAD},
        )(answer)
        self._kit: Any = None

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        future: Future[Result] = Future()
        name = function.__name__
        if self._kit is None:  # by now the dense model exists: this process made it
            self._kit = ray.put(packed(self._worker))
        call = self._answer.remote(self._kit, name, argument)
        future.set_running_or_notify_cancel()
        call.future().add_done_callback(lambda done: self._settle(name, done, future))
        return future

    def close(self) -> None:
        """Leaves the cluster, and stops it if it was started here; running calls end."""
        if self._started_here:
            ray.shutdown()

    def _settle(self, name: str, done: Future[Outcome], future: Future[Any]) -> None:
        """Unpacks the artifact that came with an answer, then sets the future's result."""
        try:
            answered, error = done.result()
            if error is not None:
                raise error
            result, artifact = answered
            if artifact:
                _unpack(artifact, self._worker.definition.artifacts)
        except ray.exceptions.RayError as failed:
            future.set_exception(Ended(f"the Ray task that ran {name} did not finish ({_line(failed)})"))
        except BaseException as failed:  # raised where the future is awaited
            future.set_exception(failed)
        else:
            future.set_result(result)


def _line(error: Exception) -> str:
    """An error's message on one line, shortened."""
    return " ".join(str(error).split())[:300]


def _connect(address: str | None, cpus: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    where = {"address": address} if address else {"num_cpus": cpus, "include_dashboard": False}
    try:
        if named := re.fullmatch(r"(?:ray://)?([\w.-]+):(\d+)", address or ""):
            socket.create_connection((named[1], int(named[2])), timeout=10).close()  # Ray itself would try for minutes
        ray.init(**where, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError, OverflowError) as error:
        raise AutopruneError(
            f"executor.address: there is no Ray cluster at {address!r} ({_line(error)}); start one "
            "with `ray start --head`, or leave the address out for one on this machine."
        ) from error


def packed(worker: Worker) -> Kit:
    """Packs what nodes need to run a worker's methods."""
    definition, buffer, places = worker.definition, io.BytesIO(), dict[str, str]()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for place in (Path(one).expanduser() for one in _paths(definition)):
            if place.exists():
                places[str(place)] = f"places/{len(places)}/{place.name}"
                tar.add(place, places[str(place)])
        for path in worker.files:
            if path.exists():
                tar.add(path, Path("runs") / path.relative_to(definition.folder.parent))
    content = buffer.getvalue()
    return Kit(
        version=VERSION,
        kind=type(worker),
        definition=definition,
        places=places,
        packed=content,
        name=hashlib.sha256(content).hexdigest()[:16],
    )


def answer(kit: Kit, name: str, argument: Any) -> Outcome:
    """Runs a worker's method on a node: its result and the packed artifact that it made (empty if none)."""
    return outcome_of(partial(_work, kit, name), argument)


def _work(kit: Kit, name: str, argument: Any) -> tuple[Any, bytes]:
    if kit.version != VERSION:
        raise AutopruneError(
            f"a node of the Ray cluster has autoprune {VERSION}, the driver has {kit.version}: "
            "install the same version on both."
        )
    worker = at_hand(kit.kind, _unpacked_definition(kit))
    result = getattr(worker, name)(argument)
    if not isinstance(result, Candidate) or result.rejected:
        return result, b""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(worker.definition.artifacts / result.key, result.key)
    return result, buffer.getvalue()


def _unpacked_definition(kit: Kit) -> Definition:
    """The definition of a study on this node, where its kit is unpacked once."""
    room = Path(tempfile.gettempdir()) / f"autoprune-{os.getuid() if hasattr(os, 'getuid') else 0}"
    room.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and room.stat().st_uid != os.getuid():
        raise AutopruneError(f"{room} on a node of the Ray cluster belongs to another user; set TMPDIR for Ray.")
    with FileLock(room / f"{kit.name}.lock"):
        if not (room / kit.name).exists():
            with tempfile.TemporaryDirectory(dir=room) as draft:
                _unpack(kit.packed, Path(draft) / "kit")
                (Path(draft) / "kit").rename(room / kit.name)
    folder = room / kit.name
    places = {
        key: [_place(one, kit, folder) for one in place] if isinstance(place, list) else _place(place, kit, folder)
        for key, place in kit.definition.places.items()
    }
    return replace(kit.definition, places=places, folder=folder / "runs" / kit.definition.folder.name)


def _place(place: Any, kit: Kit, room: Path) -> Any:
    """The path of a place on this node."""
    if not isinstance(place, str):
        return place
    packed_name = kit.places.get(str(Path(place).expanduser()))
    return str(room / packed_name) if packed_name else place


def _paths(definition: Definition) -> list[str]:
    """The strings among a definition's places; some may not name files."""
    values = [one for place in definition.places.values() for one in (place if isinstance(place, list) else [place])]
    return [one for one in values if isinstance(one, str)]


def _unpack(content: bytes, folder: Path) -> None:
    """Unpacks what was packed here or by `answer`, never outside of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".draft-") as draft:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(draft, filter="data")
        for unpacked in Path(draft).iterdir():
            if not (folder / unpacked.name).exists():
                unpacked.rename(folder / unpacked.name)
