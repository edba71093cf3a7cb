"""The address of the database that drivers of a study share, and how it is written down: without its password."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autoprune.errors import AutopruneError
from autoprune.overrides import key_of, written

KEYS = ("storage", "study.storage")
"""How people name it; the first is short for the second."""


def check_address(address: str) -> None:
    """Refuses what is no address of a PostgreSQL database.

    Raises:
        AutopruneError: with the form that one has. What was given is not repeated: a password may be in it.
    """
    if not re.match(r"postgres(ql)?://", address):
        raise AutopruneError(
            "study.storage: the address of a PostgreSQL database must be given, as in "
            "storage=postgresql://USER@HOST/DATABASE, or null."
        )


def without_password(address: str) -> str:
    """The same address as whoever reads a file or a message may see it; libpq finds a password in other places too."""
    address = re.sub(r"(?<=//)([^:/?@]*):.*@", r"\1@", address, flags=re.DOTALL)
    return re.sub(r"(ssl)?password=[^&]*&?", "", address, flags=re.IGNORECASE).rstrip("?&")


def kept(overrides: Sequence[str], address: str | None) -> list[str]:
    """Overrides as they are written down: whatever they say of a database, without its password.

    Args:
        address: what they come to.
    """
    others = [override for override in overrides if key_of(override) not in KEYS]
    return [*others, f"{KEYS[1]}={written(without_password(address))}"] if address else others
