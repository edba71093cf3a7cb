"""The executor that uses a Ray cluster: calls of a worker's methods become Ray tasks, artifacts come back with answers.

Nothing is shared but Ray itself. What nodes need is packed once, and Ray keeps one copy of it on each node: the study's
data, the dense model's artifact and its checkpoint. A node unpacks it into a folder of its own, where its processes
keep checkpoints for one another. Whatever a task needs follows from its definition and its argument, so that Ray may
run it again where a process or a node is lost.
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

from autoprune.errors import AutopruneError, Ended
from autoprune.machine import cores
from autoprune.record.archive import Candidate
from autoprune.record.folder import STORE
from autoprune.study.definition import Definition
from autoprune.study.evaluation.maker import Maker
from autoprune.study.executors.executor import ONE_THREAD, Argument, Executor, Outcome, Result, at_hand, outcome_of
from autoprune.study.settings import ExecutorConfig
from autoprune.version import VERSION


@dataclass(frozen=True, kw_only=True)
class Kit:
    """What a node needs to work for a study.

    Attributes:
        version: of the package that asks.
        kind: of the worker.
        definition: of the study, as it is where it was packed.
        places: names in `packed` of what lies at the definition's places, by place.
        packed: a tar file; with the study's folder as `runs/study`.
        name: of the folder where a node unpacks it; equal ones share it.
    """

    version: str
    kind: type[Maker]
    definition: Definition
    places: Mapping[str, str]
    packed: bytes
    name: str


class Cluster(Executor):
    """As many calls at once as the cluster has room for, on whatever node is free.

    Args:
        worker: whose methods are called.
        config: where the cluster is, and what a call takes of it.
        slots: calls in flight at once; None: as many as there are CPUs (GPUs) for.

    Raises:
        AutopruneError: there is no such cluster, or no node has what a call takes.
    """

    def __init__(self, worker: Maker, config: ExecutorConfig, *, slots: int | None) -> None:
        self._worker = worker
        self._own = not ray.is_initialized()
        if self._own:
            _connect(config.address, math.ceil((slots or cores()) * config.cpus))
        total = ray.cluster_resources()
        room = [total.get("CPU", 0.0) / config.cpus] if config.cpus else []
        room += [total.get("GPU", 0.0) / config.gpus] if config.gpus else []
        if not (most := int(min(room, default=0.0))):
            self.close()
            raise AutopruneError(
                f"executor: a call takes {config.cpus:g} CPUs and {config.gpus:g} GPUs, but the Ray cluster has "
                f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g}; lower executor.cpus or executor.gpus."
            )
        self.slots = min(slots or most, most)
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
        if self._kit is None:  # the dense model is there by now: it is made in this process
            self._kit = ray.put(packed(self._worker))
        call = self._answer.remote(self._kit, name, argument)
        future.set_running_or_notify_cancel()
        call.future().add_done_callback(lambda done: self._settle(name, done, future))
        return future

    def close(self) -> None:
        """Leaves the cluster, and ends it if it was started here. What still runs ends."""
        if self._own:
            ray.shutdown()

    def _settle(self, name: str, done: Future[Outcome], future: Future[Any]) -> None:
        """Unpacks the artifact that came with an answer, then gives the answer."""
        try:
            answered, error = done.result()
            if error is not None:
                raise error
            result, made = answered
            if made:
                _unpack(made, self._worker.definition.artifacts)
        except ray.exceptions.RayError as failed:
            future.set_exception(Ended(f"the Ray task that ran {name} came to no end ({_line(failed)})"))
        except BaseException as failed:  # of whoever waits for the future
            future.set_exception(failed)
        else:
            future.set_result(result)


def _line(error: Exception) -> str:
    """What an error says, in a line that is not too long."""
    return " ".join(str(error).split())[:300]


def _connect(address: str | None, cpus: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    where = {"address": address} if address else {"num_cpus": cpus, "include_dashboard": False}
    try:
        if named := re.fullmatch(r"(?:ray://)?([\w.-]+):(\d+)", address or ""):
            socket.create_connection((named[1], int(named[2])), timeout=10).close()  # Ray itself tries for minutes
        ray.init(**where, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError, OverflowError) as error:
        raise AutopruneError(
            f"executor.address: there is no Ray cluster at {address!r} ({_line(error)}); start one "
            "with `ray start --head`, or leave the address out for one on this machine."
        ) from error


def packed(worker: Maker) -> Kit:
    """What nodes need to do what a worker does."""
    definition, held, places = worker.definition, io.BytesIO(), dict[str, str]()
    baseline = definition.artifacts / worker.plan({}).key
    with tarfile.open(fileobj=held, mode="w") as tar:
        for place in (Path(one).expanduser() for one in _paths(definition)):
            if place.exists():
                places[str(place)] = f"places/{len(places)}/{place.name}"
                tar.add(place, places[str(place)])
        for there, outer in ((baseline, "runs/study/artifacts"), (worker.dense, f"runs/{STORE}")):
            if there.exists():
                tar.add(there, f"{outer}/{there.name}")
    content = held.getvalue()
    return Kit(
        version=VERSION,
        kind=type(worker),
        definition=definition,
        places=places,
        packed=content,
        name=hashlib.sha256(content).hexdigest()[:16],
    )


def answer(kit: Kit, name: str, argument: Any) -> Outcome:
    """What a method of a worker comes to on a node: its result, and the artifact that it made, packed; empty: none."""
    return outcome_of(partial(_work, kit, name), argument)


def _work(kit: Kit, name: str, argument: Any) -> tuple[Any, bytes]:
    if kit.version != VERSION:
        raise AutopruneError(f"a node of the Ray cluster has autoprune {VERSION}, this one {kit.version}: install one.")
    worker = at_hand(kit.kind, _settled(kit))
    result = getattr(worker, name)(argument)
    if not isinstance(result, Candidate) or result.rejected:
        return result, b""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.add(worker.definition.artifacts / result.key, result.key)
    return result, held.getvalue()


def _settled(kit: Kit) -> Definition:
    """The definition of a study as it is on this node, where its kit is unpacked once."""
    room = Path(tempfile.gettempdir()) / f"autoprune-{os.getuid() if hasattr(os, 'getuid') else 0}"
    room.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and room.stat().st_uid != os.getuid():
        raise AutopruneError(f"{room} on a node of the Ray cluster belongs to somebody else; give Ray another TMPDIR.")
    with FileLock(room / f"{kit.name}.lock"):
        if not (room / kit.name).exists():
            with tempfile.TemporaryDirectory(dir=room) as draft:
                _unpack(kit.packed, Path(draft) / "kit")
                (Path(draft) / "kit").rename(room / kit.name)
    there = room / kit.name
    places = {
        key: [_place(one, kit, there) for one in place] if isinstance(place, list) else _place(place, kit, there)
        for key, place in kit.definition.places.items()
    }
    return replace(kit.definition, places=places, folder=there / "runs" / "study")


def _place(place: Any, kit: Kit, room: Path) -> Any:
    """Where a place lies on this node."""
    if not isinstance(place, str):
        return place
    held = kit.places.get(str(Path(place).expanduser()))
    return str(room / held) if held else place


def _paths(definition: Definition) -> list[str]:
    """The texts among a definition's places; some may be names of what is no file."""
    held = [one for place in definition.places.values() for one in (place if isinstance(place, list) else [place])]
    return [one for one in held if isinstance(one, str)]


def _unpack(content: bytes, folder: Path) -> None:
    """Unpacks what was packed here or by `answer`; nothing lands outside of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".draft-") as draft:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(draft, filter="data")
        for made in Path(draft).iterdir():
            if not (folder / made.name).exists():
                made.rename(folder / made.name)
