"""The address of the database that drivers of a study share, which is recorded without its password."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autoprune.errors import AutopruneError
from autoprune.overrides import key_of, written

KEYS = ("storage", "study.storage")
"""The keys for it in overrides; the first is short for the second."""


def check_address(address: str) -> None:
    """Refuses an address that is not that of a PostgreSQL database.

    Raises:
        AutopruneError: the message shows the form of an address, but not the given one, which may hold a password.
    """
    if not re.match(r"postgres(ql)?://", address):
        raise AutopruneError(
            "study.storage: the address of a PostgreSQL database must be given, as in "
            "storage=postgresql://USER@HOST/DATABASE, or null."
        )


def without_password(address: str) -> str:
    """The address without its password, for files and messages; libpq can find the password elsewhere."""
    address = re.sub(r"(?<=//)([^:/?@]*):.*@", r"\1@", address, flags=re.DOTALL)
    return re.sub(r"(ssl)?password=[^&]*&?", "", address, flags=re.IGNORECASE).rstrip("?&")


def kept(overrides: Sequence[str], address: str | None) -> list[str]:
    """Overrides as they are recorded, with the address of the database without its password.

    Args:
        overrides: as typed.
        address: of the database, after all overrides.
    """
    others = [override for override in overrides if key_of(override) not in KEYS]
    return [*others, f"{KEYS[1]}={written(without_password(address))}"] if address else others
