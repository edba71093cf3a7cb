"""The drivers of a study, depending on its `study.storage`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoprune.extras import need
from autoprune.study.teams.team import ALONE, Team


@contextmanager
def team_of(storage: str | None, folder: Path) -> Iterator[Team]:
    """The drivers of the study in a folder: this process alone, or those that share a database.

    Raises:
        AutopruneError: psycopg is not installed, or the database cannot be used.
    """
    if storage is None:
        yield ALONE
        return
    need("psycopg", "postgresql", "study.storage")
    from autoprune.study.teams.leases import Leases  # imported here because psycopg is optional

    with Leases(storage, folder=folder) as leases:
        yield leases
