"""Progress in a terminal, and the messages and exit codes of failures."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.live import Live
from rich.text import Text

from autoprune.errors import AutopruneError, reason_of
from autoprune.fronts.requirements import OBJECTIVES, USUAL
from autoprune.record.archive import TRIAL
from autoprune.study.progress.progress import Expected, Progress
from autoprune.views.phrases import cell

QUIET_S = 30.0
"""The longest time without output during work."""

TICK_S = 1.0
"""How often a terminal updates the remaining time."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Ends the process with one message after an error that the user can fix."""
    try:
        yield
    except AutopruneError as error:
        _complain(str(error))
    except BrokenPipeError:  # for example by `| head`
        _complain("the output was closed before everything was written.")
    except OSError as error:
        subject = "the output or a file" if error.filename is None else "a file"
        _complain(f"{subject} could not be read or written: {reason_of(error)}.")
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. Finished work is kept; the same command continues it.")
        sys.exit(130)


def _complain(message: str) -> NoReturn:
    console = Console(stderr=True)
    console.print(f"autoprune: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


class Watch:
    """Shows a running search: a line for every finished candidate, and a status line that changes.

    A separate thread updates the status line while other threads are busy. If the output is not a terminal, the status
    is printed as a new line after `QUIET_S` seconds without output.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._message = "starting"
        self._counts: list[str] = []
        self._expected: Expected | None = None
        self._expected_at = self._printed_at = time.monotonic()
        self._live = Live(Text(), console=console, transient=True, auto_refresh=False)
        self._ended = threading.Event()
        self._ticking = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Watch:
        if self.console.is_terminal:
            self._live.start()
        self._ticking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._ticking.join()
        self._live.stop()

    def note(self, message: str) -> None:
        """Prints a message that stays visible, such as a description of the data."""
        self._print(message)

    def working(self, message: str) -> None:
        """Sets the message of the status line."""
        self._message = message

    def expect(self, expected: Expected | None) -> None:
        """Sets the expected remaining time of the status line."""
        self._expected, self._expected_at = expected, time.monotonic()

    def report(self, progress: Progress) -> None:
        """Prints a line about the latest candidate."""
        self._counts = _counts(progress)  # computed once per candidate: it can take a second in a large study
        self.expect(progress.expected)
        self._print(_line(progress))

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            if self.console.is_terminal:
                self._live.update(Text(self._now(), style="dim", overflow="ellipsis"), refresh=True)
            elif time.monotonic() - self._printed_at > QUIET_S - TICK_S:
                self._print(f"     {self._now()}")

    def _now(self) -> str:
        """The text of the status line."""
        counts = list(self._counts)
        if self._expected is not None:
            counts.append(self._expected.text(time.monotonic() - self._expected_at))
        return " | ".join([*counts, self._message])

    def _print(self, line: str | Text) -> None:
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        self._printed_at = time.monotonic()


def _counts(progress: Progress) -> list[str]:
    return [
        f"{len(progress.front.record.points)} candidates",
        f"{len(progress.front.feasible)} feasible",
        f"{progress.rejected} rejected",
        f"front {len(progress.front)}",
        f"hypervolume {progress.front.searched_hypervolume:.3f}",
    ]


def _line(progress: Progress) -> Text:
    candidate = progress.latest
    point = progress.front.record.point(candidate.number)
    line = Text(f"{candidate.number:>4} ", style="bold")
    summary = candidate.summary if candidate.name == TRIAL else candidate.name
    line.append(f"{summary:<44} ")
    if candidate.rejected:
        return line.append(f"rejected: {candidate.rejected}", style="dim")
    for objective in dict.fromkeys([*USUAL, *progress.front.record.objectives]):
        line.append(f" {cell(OBJECTIVES[objective][0], point.found)}", style="cyan")
    if candidate.latest().busy:
        line.append("  timed under load", style="yellow")
    misses = progress.front.requirements.misses(point.found)
    missed = [f"{miss.item.text}{', in doubt' * miss.doubted}" for miss in misses]
    if missed and not candidate.number:
        return line  # the baseline meets every requirement that is relative to it
    if missed:
        return line.append(f"  misses {', '.join(missed)}", style="yellow")
    on_front = any(other.candidate.number == candidate.number for other in progress.front)
    return line.append("  on the front" if on_front else "  feasible", style="green")
