"""Several drivers of one study: who does which work is recorded in PostgreSQL, as leases that end unless renewed.

Results lie in the study's folder, which all drivers can reach; the database holds only who does which work, and whose
turn it is to write. So a lease that ends too early only causes work to be done twice.

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
"""Seconds after which the work of a silent driver may be taken over."""

RENEWED = 5
"""How often a lease is renewed within `LEASE_S`."""

WAIT_S = 0.1
"""Seconds between two checks whether others are done."""

TRIES = 4
"""Attempts to query a database that does not answer."""

DRIVING = "driving"
"""The piece of work that every driver of a study holds from start to end, each under its own name."""

IDENTITY = "shared"
"""A file in the study's folder that shows drivers that they share the folder."""

LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"
"""Held until the transaction ends; a process that dies loses it with its connection."""

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
    """The leases of one driver, renewed by a thread until `close`.

    Args:
        url: of the database, `postgresql://…`; libpq's variables and files supply what it leaves out.
        folder: of the study; its name identifies the study in the database.

    Raises:
        AutopruneError: the database does not answer, or other drivers of the study use another folder.
    """

    def __init__(self, url: str, *, folder: Path) -> None:
        self._url, self._folder = url, folder
        name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._parameters = {
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
        """The number of other drivers of the study."""
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
        self._ask("SELECT")  # reconnects if needed
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
        """Releases everything that this driver has claimed."""
        self._ended.set()
        if self._renewing.is_alive():
            self._renewing.join()
        with suppress(AutopruneError):  # then the leases end by themselves
            self._ask(LEAVE)
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _join(self) -> None:
        """Becomes one of the drivers; creates the table if needed."""
        with self.turn():
            self._ask(LOCK, lock=_lock(""))  # drivers of another study may create it too
            if self._ask("SELECT to_regclass('autoprune_leases')") == [(None,)]:
                self._ask(TABLE)
            self._ask(LEAVE)
            self._refuse_other_folder()
            self._claim([self._driving])

    @property
    def _driving(self) -> str:
        return f"{DRIVING} {self._parameters['driver']}"

    def _claim(self, works: Sequence[str]) -> list[str]:
        granted = {work for (work,) in self._ask(CLAIM, works=list(works))} if works else set()
        return [work for work in works if work in granted]

    def _refuse_other_folder(self) -> None:
        count, elsewhere = self._ask(OTHERS)[0]
        if elsewhere:
            raise AutopruneError(
                f"study.storage: {count} other drivers of a study {self._folder.name!r} use another folder than "
                f"{str(self._folder)!r}. Drivers of one study share its folder: set study.dir=… to theirs, or give "
                "this study another name (study.name=…)."
            )

    def _ask(self, query: str, **more: object) -> list[tuple[Any, ...]]:
        """The result of a query, as part of the current turn if there is one; otherwise it is retried if it fails."""
        for attempt in range(1, TRIES + 1):
            try:
                with self._connected().transaction():
                    cursor = self._connected().execute(query, {**self._parameters, **more})
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
        message = " ".join(str(error).split())[:300]
        return AutopruneError(
            f"study.storage: the database {without_password(self._url)!r} cannot be used ({message}). "
            "What is finished is kept; once it works, the same command goes on from here."
        )

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._url,
            autocommit=True,
            application_name="autoprune",
            client_encoding="utf8",  # whatever encoding the database has
            connect_timeout=10,
            prepare_threshold=None,  # so that connection poolers work
        )

    def _renew(self) -> None:
        """Renews the leases regularly; if the database does not answer, tries again the next time."""
        connection: psycopg.Connection[Any] | None = None
        while not self._ended.wait(LEASE_S / RENEWED):
            with suppress(psycopg.Error):
                if connection is None or connection.closed:
                    connection = self._connect()
                connection.execute(RENEW, self._parameters)
                connection.execute(CLAIM, {**self._parameters, "works": [self._driving]})  # if it was taken for dead
        if connection is not None:
            connection.close()


def _lock(study: str) -> int:
    """The number of a study's lock; with an empty name, that of the table's lock."""
    digest = hashlib.blake2b(f"autoprune {study}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _identity(folder: Path) -> str:
    """The content of a file in the folder, the same for all who reach it; the first driver creates it."""
    path, draft = folder / IDENTITY, folder / f".{IDENTITY}-{secrets.token_hex(4)}"
    draft.write_text(f"{secrets.token_hex(16)}\n")
    with suppress(FileExistsError):
        os.link(draft, path)  # whole or not at all, even on a network file system
    draft.unlink()
    return path.read_text().strip()
