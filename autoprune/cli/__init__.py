"""The command line: `autoprune key=value …` searches, `autoprune VERB STUDY` reads what was found."""

from autoprune.cli.entry import main

__all__ = ["main"]
