"""Several drivers of one study, on a PostgreSQL that the tests start: who does what, and what becomes of the dead."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from made_looks import CUTS, MadeUp, promises
from test_driver import TRAINED, outcome, search

from autoprune.deadline import NEVER
from autoprune.errors import AutopruneError
from autoprune.recipes.space import Space
from autoprune.record.looks import LOOKS, Looks
from autoprune.record.record import Record
from autoprune.study.evaluation.looker import Asked, Looker
from autoprune.study.executors.executor import Serial
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.scan import Scan

pytest.importorskip("psycopg")

from autoprune.study.teams import leases  # which needs psycopg
from autoprune.study.teams.leases import Leases

pytestmark = pytest.mark.slow

PASSWORD = "kept-secret"
"""Of the database; found in no file."""


def binaries() -> Path:
    """Where PostgreSQL's programs are; Debian keeps them by version."""
    found = [Path(one) for one in (shutil.which("initdb"),) if one]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].resolve().parent


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A database of its own, which takes a password alone."""
    programs, user = binaries(), "postgres" if os.geteuid() == 0 else getpass.getuser()  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as room:
        data, secret = Path(room) / "data", Path(room) / "password"
        secret.write_text(PASSWORD)
        shutil.chown(room, user)
        shutil.chown(secret, user)

        def run(program: str, *words: str) -> subprocess.Popen[bytes]:
            command = [str(programs / program), "-D", str(data), *words]
            return subprocess.Popen(command, user=user, cwd=room, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        words = ["--username=team", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync", "--locale=C"]
        assert run("initdb", *words).wait() == 0
        port = free_port()
        server = run("postgres", "-p", str(port), "-k", room, "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1")
        try:
            while subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
                assert server.poll() is None, "the server ended"
                time.sleep(0.05)
            yield f"postgresql://team:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def expire(team: Leases, of: object) -> None:
    """Ends the leases of another driver, as if time had passed since it was last heard of."""
    team._ask("UPDATE autoprune_leases SET until = now() WHERE driver LIKE %(of)s", of=f"%:{of}:%")


def test_what_one_has_claimed_another_has_not_until_its_lease_ends(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWED", leases.LEASE_S / 0.05)
    with Leases(address, folder=tmp_path) as one:
        expire(one, os.getpid())
        while one._ask("SELECT 1 FROM autoprune_leases WHERE driver = %(driver)s AND until < now()"):
            time.sleep(0.02)  # it is renewed
        monkeypatch.undo()
        with Leases(address, folder=tmp_path) as other:
            assert not one.sole
            assert one.claim(["a", "b", "c"], at_once=2) == ["a", "b"]
            assert other.claim(["a", "b", "c"], at_once=3) == ["c"]
            one.release(["a"])
            assert other.claim(["b", "a"], at_once=3) == ["a"]
            one._ended.set()  # as if it had died
            one._renewing.join()
            expire(other, os.getpid())
            with other.alone("b") as mine:
                assert mine
            assert other.claim(["b"], at_once=1) == ["b"]


def test_drivers_that_do_not_share_a_folder_are_told(address: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here" / "s", tmp_path / "there" / "s"
    for folder in (here, there):
        folder.mkdir(parents=True)
    with Leases(address, folder=here), pytest.raises(AutopruneError, match="1 other drivers of a study 's'"):
        Leases(address, folder=there)
    with Leases(address, folder=there) as later:
        assert later.sole


def test_a_database_that_does_not_answer_is_named_without_its_password(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TRIES", 1)
    for wrong in (address.replace(PASSWORD, "guessed"), address.replace("/postgres", "/nowhere")):
        with pytest.raises(AutopruneError, match=r"postgresql://team@127\.0\.0\.1") as refused:
            Leases(wrong, folder=tmp_path)
        assert "guessed" not in str(refused.value)
        assert PASSWORD not in str(refused.value)


def drive(address: str, folder: Path, log: Path) -> None:
    """Scans a made-up space as one of a team, slowly; writes down what it looks at."""
    leases.LEASE_S = 600.0

    class Slow(MadeUp):
        def looks(self, asked: Any) -> Any:
            with log.open("a") as file:
                file.writelines(f"{os.getpid()} {self.plan(one.recipe).key}\n" for one in asked)
            time.sleep(0.01 * len(asked))
            return super().looks(asked)

    with Leases(address, folder=folder) as team:
        looks, promised = Looks(folder / LOOKS, turn=team.turn), promises()
        with team.alone("look at the dense model"):
            looks.keep(promised.dense)
        taken = Lookout(Slow(), Serial(), looks, promised, team=team)  # type: ignore[arg-type]
        scanned(taken)


def scanned(taken: Lookout) -> None:
    scan = Scan(Choices(Space(CUTS), base={}), taken, drawn=False, seed=0, most=120, whole=True)
    scan.run([], until=NEVER)


def looked(folder: Path) -> dict[tuple[str, int], Mapping[str, Any]]:
    return {name: look.quality for name, look in Looks(folder / LOOKS).found.items()}


def test_two_drivers_share_a_scan_and_one_that_is_killed_is_replaced(address: str, tmp_path: Path) -> None:
    """What comes of it is what one process finds; nothing is looked at twice but what the dead one was at."""
    alone, shared = tmp_path / "alone", tmp_path / "s"
    for folder in (alone, shared):
        folder.mkdir()
    promised = promises()
    looks = Looks(alone / LOOKS)
    looks.add(promised.dense)
    scanned(Lookout(MadeUp(), Serial(), looks, promised))  # type: ignore[arg-type]
    fork, log = multiprocessing.get_context("fork"), tmp_path / "log"
    drivers = [fork.Process(target=drive, args=(address, shared, log)) for _ in range(2)]
    for driver in drivers:
        driver.start()
    while len(Looks(shared / LOOKS)) < 50:
        time.sleep(0.02)
    drivers[0].kill()
    drivers[0].join()
    with Leases(address, folder=shared) as third:
        expire(third, drivers[0].pid)
    drivers[1].join()
    assert drivers[1].exitcode == 0
    assert looked(shared) == looked(alone)
    numbers = [look.number for look in Looks(shared / LOOKS).found.values()]
    assert numbers == list(range(len(numbers)))
    lines = [line.split() for line in log.read_text().splitlines()]
    assert min(Counter(driver for driver, _ in lines).values()) >= 10, "both worked"
    again = {key for key, times in Counter(key for _, key in lines).items() if times > 1}
    assert again <= {key for driver, key in lines if driver == str(drivers[0].pid)}
    assert len(again) <= 10, "what was in the making"


def second(planted: Path, runs: Path, *words: str) -> None:
    """A search in a copy of this process, in which threads of libraries are gone."""
    torch.set_num_threads(1)
    search(planted, runs, None, *words, space=TRAINED)


def test_a_search_with_a_team_is_that_of_one_process_and_keeps_the_password_to_itself(
    address: str, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = search(planted, tmp_path / "alone", None, "study.trials=2", space=TRAINED)
    log = tmp_path / "log"
    look = Looker.look

    def noted(self: Looker, asked: Asked) -> Any:
        with log.open("a") as file:
            file.write(f"{self.plan(asked.recipe).key} {asked.epochs}\n")
        return look(self, asked)

    monkeypatch.setattr(Looker, "look", noted)
    words = ["study.trials=2", f"study.storage={address}"]
    fork = multiprocessing.get_context("fork")
    other = fork.Process(target=second, args=(planted, tmp_path, *words))
    other.start()
    found = search(planted, tmp_path, None, *words, space=TRAINED)
    other.join()
    assert other.exitcode == 0
    assert {one[1:] for one in outcome(found)} == {one[1:] for one in outcome(alone)}
    assert [one[0] for one in outcome(Record(found.folder))] == list(range(len(found.points)))
    assert looked(found.folder) == looked(alone.folder)
    assert max(Counter(log.read_text().splitlines()).values()) == 1
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
    assert any("study.storage=" in override and "team@" in override for override in found.overrides)
