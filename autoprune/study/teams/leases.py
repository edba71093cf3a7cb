"""Several drivers of one study: who does what stands in PostgreSQL, as leases that end where they are not renewed.

What is found lies in the study's folder, which all of them reach; the database holds no more than who does what, and
whose turn it is to write. So a lease that ends too early costs work done twice, and nothing else.

Leases: Gray & Cheriton 1989, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency".
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psycopg

from autoprune.errors import AutopruneError
from autoprune.record.storage import without_password
from autoprune.study.teams.team import Team

LEASE_S = 30.0
"""Seconds after which the work of a driver that is heard of no more is somebody else's."""

RENEWED = 5
"""Times that a lease is renewed before it would end."""

WAIT_S = 0.1
"""Between two looks at whether others are done."""

TRIES = 4
"""Times that a database is asked which does not answer."""

DRIVING = "driving"
"""The work that every driver of a study has claimed from its beginning to its end, each under its own name."""

IDENTITY = "shared"
"""A file in the study's folder, by which drivers see that they share it."""

LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"
"""Held until the transaction ends; whoever dies loses it with its connection."""

TABLE = """
CREATE TABLE autoprune_leases (
    study text, work text, driver text NOT NULL, folder text NOT NULL, until timestamptz NOT NULL,
    PRIMARY KEY (study, work)
)"""

CLAIM = """
INSERT INTO autoprune_leases
SELECT %(study)s, work, %(driver)s, %(folder)s, clock_timestamp() + make_interval(secs => %(seconds)s)
FROM unnest(%(works)s::text[]) AS work ORDER BY work
ON CONFLICT (study, work) DO UPDATE SET driver = excluded.driver, folder = excluded.folder, until = excluded.until
WHERE autoprune_leases.until < clock_timestamp() OR autoprune_leases.driver = excluded.driver
RETURNING work"""

TAKEN = """
SELECT work FROM autoprune_leases
WHERE study = %(study)s AND work = ANY(%(works)s::text[]) AND driver <> %(driver)s
AND until >= clock_timestamp()"""

RENEW = """
UPDATE autoprune_leases SET until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE study = %(study)s AND driver = %(driver)s"""

RELEASE = (
    "DELETE FROM autoprune_leases WHERE study = %(study)s AND driver = %(driver)s AND work = ANY(%(works)s::text[])"
)

LEAVE = "DELETE FROM autoprune_leases WHERE study = %(study)s AND (driver = %(driver)s OR until < clock_timestamp())"

OTHERS = """
SELECT count(*), bool_or(folder <> %(folder)s) FROM autoprune_leases
WHERE study = %(study)s AND starts_with(work, %(driving)s) AND driver <> %(driver)s
AND until >= clock_timestamp()"""


class Leases(Team):
    """The leases of one driver, renewed by a thread of their own until `close`.

    Args:
        url: of the database, `postgresql://…`; what it leaves out is taken from libpq's variables and files.
        folder: of the study. Its name is that of the study in the database.

    Raises:
        AutopruneError: the database does not answer, or other drivers of the study have it in another folder.
    """

    def __init__(self, url: str, *, folder: Path) -> None:
        self._url, self._folder = url, folder
        name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._told = {
            "study": folder.name,
            "driver": name,
            "folder": _identity(folder),
            "seconds": LEASE_S,
            "driving": f"{DRIVING} ",
        }
        self._connection: psycopg.Connection[Any] | None = None
        self._in_turn = False
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        try:
            self._join()
        except BaseException:
            self.close()
            raise
        self._renewing.start()

    @property
    def others(self) -> int:
        """Drivers of the study beside this one."""
        return int(self._ask(OTHERS)[0][0])

    @property
    def sole(self) -> bool:
        return self.others == 0

    def claim(self, works: Sequence[str], *, at_once: int) -> list[str]:
        taken = {work for (work,) in self._ask(TAKEN, works=list(works))}
        return self._claim([work for work in works if work not in taken][:at_once])

    def release(self, works: Sequence[str]) -> None:
        if works:
            self._ask(RELEASE, works=list(works))

    @contextmanager
    def turn(self) -> Iterator[None]:
        assert not self._in_turn, "turns are not nested"
        self._ask("SELECT")  # connects anew where that is needed
        try:
            with self._connected().transaction():
                self._in_turn = True
                self._ask(LOCK, lock=_lock(self._folder.name))
                yield
        except psycopg.Error as error:
            raise self._explained(error) from error
        finally:
            self._in_turn = False

    def wait(self) -> None:
        time.sleep(WAIT_S)

    def close(self) -> None:
        """Gives up whatever this driver has claimed."""
        self._ended.set()
        if self._renewing.is_alive():
            self._renewing.join()
        with suppress(AutopruneError):  # then it ends by itself
            self._ask(LEAVE)
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _join(self) -> None:
        """Becomes one of the drivers; makes the table if nobody has."""
        with self.turn():
            self._ask(LOCK, lock=_lock(""))  # others may make it for another study
            if self._ask("SELECT to_regclass('autoprune_leases')") == [(None,)]:
                self._ask(TABLE)
            self._ask(LEAVE)
            self._refuse_other_folder()
            self._claim([self._driving])

    @property
    def _driving(self) -> str:
        return f"{DRIVING} {self._told['driver']}"

    def _claim(self, works: Sequence[str]) -> list[str]:
        mine = {work for (work,) in self._ask(CLAIM, works=list(works))} if works else set()
        return [work for work in works if work in mine]

    def _refuse_other_folder(self) -> None:
        count, elsewhere = self._ask(OTHERS)[0]
        if elsewhere:
            raise AutopruneError(
                f"study.storage: {count} other drivers of a study {self._folder.name!r} have it in another folder than "
                f"{str(self._folder)!r}. Drivers of one study share its folder: name theirs with study.dir=…, or give "
                "this study a name of its own (study.name=…)."
            )

    def _ask(self, query: str, **more: object) -> list[tuple[Any, ...]]:
        """What a query finds. Within a turn it is a part of it; elsewhere a database that is starting is waited for."""
        for attempt in range(1, TRIES + 1):
            try:
                with self._connected().transaction():
                    cursor = self._connected().execute(query, {**self._told, **more})
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError as error:
                if self._in_turn or attempt == TRIES:
                    raise self._explained(error) from error
                time.sleep(attempt)
            except psycopg.Error as error:
                raise self._explained(error) from error
        raise AssertionError("the last try returns or raises")

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or (self._connection.closed and not self._in_turn):
            self._connection = self._connect()
        return self._connection

    def _explained(self, error: psycopg.Error) -> AutopruneError:
        said = " ".join(str(error).split())[:300]
        return AutopruneError(
            f"study.storage: the database {without_password(self._url)!r} does not do what it is asked ({said}). "
            "What is finished is kept; once it does, the same command goes on from here."
        )

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._url,
            autocommit=True,
            application_name="autoprune",
            client_encoding="utf8",  # texts are texts, whatever the database was made for
            connect_timeout=10,
            prepare_threshold=None,  # so that what pools connections will do
        )

    def _renew(self) -> None:
        """Says again and again that this driver is there; a database that does not answer is asked again."""
        connection: psycopg.Connection[Any] | None = None
        while not self._ended.wait(LEASE_S / RENEWED):
            with suppress(psycopg.Error):
                if connection is None or connection.closed:
                    connection = self._connect()
                connection.execute(RENEW, self._told)
                connection.execute(CLAIM, {**self._told, "works": [self._driving]})  # if it was given up for dead
        if connection is not None:
            connection.close()


def _lock(study: str) -> int:
    """The number of the lock of a study; of no study, that of the table."""
    digest = hashlib.blake2b(f"autoprune {study}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _identity(folder: Path) -> str:
    """What stands in a file of a folder, the same for all who reach it; made by whoever comes first."""
    path, draft = folder / IDENTITY, folder / f".{IDENTITY}-{secrets.token_hex(4)}"
    draft.write_text(f"{secrets.token_hex(16)}\n")
    with suppress(FileExistsError):
        os.link(draft, path)  # whole or not at all, also on a file system of the network
    draft.unlink()
    return path.read_text().strip()
