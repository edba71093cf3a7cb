"""What a terminal shows while work goes on, and when it ends badly."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.live import Live
from rich.text import Text

from autoprune.errors import AutopruneError, reason_of
from autoprune.fronts.requirements import OBJECTIVES
from autoprune.record.archive import TRIAL
from autoprune.study.progress import Progress
from autoprune.views.phrases import cell

QUIET_S = 30.0
"""Longest silence of a search that works."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Ends the process with one message where a person can mend what is wrong."""
    try:
        yield
    except AutopruneError as error:
        _complain(str(error))
    except BrokenPipeError:  # `| head` has seen enough
        _complain("the output was closed before all of it was written.")
    except OSError as error:
        what = "the output" if error.filename is None else "a file"
        _complain(f"{what} could not be read or written: {reason_of(error)}.")
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. What is finished is kept; the same command goes on from here.")
        sys.exit(130)


def _complain(message: str) -> NoReturn:
    console = Console(stderr=True)
    console.print(f"autoprune: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


class Watch:
    """Shows a running search: a line for every finished candidate, and one that changes while work goes on.

    Where the output is no terminal, what is being done becomes a line of its own every `QUIET_S` seconds.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._message = "starting"
        self._latest: Progress | None = None
        self._printed_at = time.monotonic()
        self._live = Live(Text(), console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Watch:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def opening(self, message: str) -> None:
        """Prints what the data is."""
        self._print(message)

    def working(self, message: str) -> None:
        """Shows what is being done."""
        self._message = message
        self._refresh()
        if not self.console.is_terminal and time.monotonic() - self._printed_at > QUIET_S:
            self._print(f"     {_counts(self._latest)}{message}")

    def report(self, progress: Progress) -> None:
        """Prints a line for the latest candidate."""
        self._latest = progress
        self._print(_line(progress))
        self._refresh()

    def _print(self, line: str | Text) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)
        self._printed_at = time.monotonic()

    def _refresh(self) -> None:
        if self.console.is_terminal:
            self._live.update(
                Text(f"{_counts(self._latest)}{self._message}", style="dim", overflow="ellipsis"), refresh=True
            )


def _counts(progress: Progress | None) -> str:
    if progress is None:
        return ""
    counts = [
        f"{progress.trials}/{progress.of} trials",
        f"{len(progress.front.feasible)} feasible",
        f"{progress.rejected} rejected",
        f"front {len(progress.front)}",
        f"hypervolume {progress.front.hypervolume:.3f}",
    ]
    if progress.seconds_left is not None:
        minutes, seconds = divmod(max(0, round(progress.seconds_left)), 60)
        counts.append(f"about {minutes}:{seconds:02d} left")
    return " | ".join(counts) + " | "


def _line(progress: Progress) -> Text:
    candidate = progress.latest
    point = progress.front.record.point(candidate.number)
    line = Text(f"{candidate.number:>4} ", style="bold")
    summary = candidate.summary if candidate.name == TRIAL else candidate.name
    line.append(f"{summary:<44} ")
    if candidate.rejected:
        return line.append(f"rejected: {candidate.rejected}", style="dim")
    for objective in OBJECTIVES:
        line.append(f" {cell(OBJECTIVES[objective][0], point.found)}", style="cyan")
    missed = [text for text, by in progress.front.requirements.violations(point.found).items() if by > 0]
    if missed:
        return line.append(f"  misses {', '.join(missed)}", style="yellow")
    on_front = any(other.candidate.number == candidate.number for other in progress.front)
    return line.append("  on the front" if on_front else "  feasible", style="green")
