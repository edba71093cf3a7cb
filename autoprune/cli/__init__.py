"""The command line: `autoprune key=value …` searches, `autoprune VERB STUDY` shows and uses the results."""

from __future__ import annotations

import sys

from autoprune.errors import AutopruneError
from autoprune.extras import need

__all__ = ["main"]


def main() -> None:
    """Entry point: exits with 0, with 2 after an error that the user can fix, with 130 after Ctrl-C."""
    try:
        need("rich", "search", "the command line")
    except AutopruneError as error:
        sys.stderr.write(f"autoprune: {error}\n")
        sys.exit(2)
    from autoprune.cli.entry import main as answer  # here, because it needs the packages of an extra

    answer()
