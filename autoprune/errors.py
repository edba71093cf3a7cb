"""The one exception that people see: where, which rule, the values, the way out."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_REASON = 300
"""Characters that are kept of a library's error message."""


class AutopruneError(ValueError):
    """An error that a person can fix: a bad value, a missing file, a broken artifact.

    The command line prints its message and exits with code 2; tracebacks are for our own mistakes.
    """


class RecipeError(AutopruneError):
    """A recipe cannot be planned; `path` says where (keys from the root of the recipe)."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(path)}: {message}" if path else message)
        self.path = path
        self.message = message

    def within(self, *outer: str) -> RecipeError:
        """The same error with `outer` put before its path."""
        return RecipeError((*outer, *self.path), self.message)


class Failed(AutopruneError):
    """A recipe failed; others are not affected."""


class Diverged(Failed):
    """A model is unusable: its loss or its score is not a number."""


class Ended(Failed):
    """A process ended in the middle of a call.

    Args:
        how: which process ended, and how.
    """

    def __init__(self, how: str) -> None:
        super().__init__(f"{how}. What was finished is kept; the same command goes on from here.")
        self.how = how


@contextmanager
def of_recipe() -> Iterator[None]:
    """Blames the current recipe for an error of a library or of our own code.

    Raises:
        Failed: in place of a `RecipeError` or an unexpected error. Other `AutopruneError`s, which a person can fix, and
            errors of the system, such as a full disk, pass through.
    """
    try:
        yield
    except RecipeError as error:
        raise Failed(str(error)) from error
    except (AutopruneError, OSError):
        raise
    except Exception as error:
        message = " ".join(re.sub(r"\[enforce fail at .*?\] err == 0\. ", "", str(error)).split())[:LONGEST_REASON]
        frames = traceback.extract_tb(error.__traceback__)
        origin = [frames[0], *(frame for frame in frames if "site-packages" not in frame.filename)][-1]
        kind = "out of memory" if is_out_of_memory(error) else type(error).__name__
        raise Failed(f"{kind}: {message} ({Path(origin.filename).name}:{origin.lineno})") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, also on a GPU; PyTorch reports that only in the message."""
    return isinstance(error, MemoryError) or bool(re.search(r"can't allocate|out of memory|bad_alloc", str(error)))


@contextmanager
def doing(what: str, way_out: str = "") -> Iterator[None]:
    """Explains what was being done when a file or folder could not be read or written.

    Args:
        what: begins the message, such as `study 'x' cannot be opened`.
        way_out: a sentence that ends the message.

    Raises:
        AutopruneError: in place of an `OSError`.
    """
    try:
        yield
    except BrokenPipeError:  # this concerns a pipe, not a file; the pipe's owner handles it
        raise
    except OSError as error:
        raise AutopruneError(f"{what}: {reason_of(error)}. {way_out}".rstrip()) from error


def reason_of(error: OSError) -> str:
    """The system's message with the file that it is about: `Permission denied: 'runs/x'`."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):  # raised for many files
        return str(error.args[0][0][-1])
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}: {str(error.filename)!r}" if error.filename is not None else reason


def place_of(place: object, what: str) -> Path:
    """Converts a path that was given from Python.

    Raises:
        AutopruneError: `place` is not a path.
    """
    if not isinstance(place, str | os.PathLike):
        raise AutopruneError(f"{what} must be a string or a path, but got {place!r}.")
    return Path(place)


@contextmanager
def seen_from(path: tuple[str, ...]) -> Iterator[None]:
    """Puts `path` before the path of every `RecipeError` that is raised inside."""
    try:
        yield
    except RecipeError as error:
        raise error.within(*path) from None


def nearest(name: object, options: Iterable[object]) -> str:
    """A sentence that names the closest options, or all of them."""
    names = sorted(str(option) for option in options)
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}? Available: {', '.join(names)}."
    return f"Available: {', '.join(names) or 'nothing'}."


def unknown(kind: str, name: object, options: Iterable[object]) -> AutopruneError:
    """The error for a name that is not among `options`."""
    return AutopruneError(f"{kind} {name!r} is unknown. {nearest(name, options)}")
