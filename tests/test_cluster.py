"""A search on a Ray cluster: nodes that share no files, one of which is killed, find what one process finds."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_driver import EARLY, SPACE, in_a_hurry, looked, outcome, search  # noqa: F401  # a fixture

from autoprune.artifacts import artifact
from autoprune.errors import AutopruneError
from autoprune.record.record import Record
from autoprune.study import making
from autoprune.study.executors.executor import Serial
from autoprune.study.progress.progress import Watching
from autoprune.study.sampling import scan

ray = pytest.importorskip("ray")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of one CPU each beside a head that has none; each is processes of its own."""
    from ray.cluster_utils import Cluster

    kept = tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True)
    with kept as short, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", short)  # names of sockets must be
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        cluster.extra = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.usefixtures("in_a_hurry")
def test_a_node_that_is_killed_changes_nothing(
    nodes: Any, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training of the dense model is cut short, which the nodes must know too."""
    monkeypatch.setattr(making, "MADE", 3)
    monkeypatch.setattr(scan, "ALONE", 10)
    monkeypatch.setattr("autoprune.study.sampling.lookout.CHUNK_S", 0.05)
    limited = [*EARLY, "study.minutes=600"]
    serial = search(planted, tmp_path / "serial", Serial(), *limited, space=SPACE)
    assert serial.cut_short
    killed: list[int] = []

    def say(message: str) -> None:
        if message.startswith("scan: ") and not killed:
            killed.append(1)
            threading.Thread(target=lambda: (time.sleep(0.1), nodes.remove_node(nodes.extra.pop(), False))).start()

    words = ["study.workers=2", "executor=ray", f"executor.address={nodes.address}", "executor.cpus=1"]
    found = search(planted, tmp_path / "ray", None, *limited, *words, space=SPACE, watch=Watching(working=say))
    assert killed
    assert outcome(found) == outcome(serial)
    assert {look[1:3]: look[3] for look in looked(found)} == {look[1:3]: look[3] for look in looked(serial)}
    assert not Record(tmp_path / "ray" / "s").failed
    for point in found.points:
        assert artifact.read(point.folder)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://localhost:1", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_named_at_once(address: str, planted: Path, tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match=rf"executor\.address: there is no Ray cluster at '{address}'"):
        search(planted, tmp_path, None, "executor=ray", f"executor.address={address}")
