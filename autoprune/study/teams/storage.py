"""Who drives a study, by the database that it was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoprune.extras import need
from autoprune.study.teams.team import ALONE, Team


@contextmanager
def team_of(storage: str | None, folder: Path) -> Iterator[Team]:
    """Who drives the study in a folder: this process alone, or those that share a database.

    Raises:
        AutopruneError: psycopg is not installed, or the database does not do what it is asked.
    """
    if storage is None:
        yield ALONE
        return
    need("psycopg", "postgresql", "study.storage")
    from autoprune.study.teams.leases import Leases  # here, because who does not use it need not have it

    with Leases(storage, folder=folder) as leases:
        yield leases
