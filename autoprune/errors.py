"""The one exception people see: where, which rule, the values, the way out."""

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
"""Characters of what a library says of an error."""


class AutopruneError(ValueError):
    """Something a person can mend: a bad value, a missing file, a broken artifact.

    The command line prints its message and exits with code 2; a traceback is for our own mistakes.
    """


class RecipeError(AutopruneError):
    """A recipe that cannot be planned; `path` says where in the recipe (keys from the root)."""

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(path)}: {message}" if path else message)
        self.path = path
        self.message = message

    def within(self, *outer: str) -> RecipeError:
        """The same error seen from further out, as `outer.path`."""
        return RecipeError((*outer, *self.path), self.message)


class Failed(AutopruneError):
    """Nothing comes of a recipe, and others are not concerned."""


class Diverged(Failed):
    """A model of which nothing comes: its loss or its score is no number."""


class Ended(Failed):
    """A process ended in the middle of a call.

    Args:
        how: the process, and how it ended.
    """

    def __init__(self, how: str) -> None:
        super().__init__(f"{how}. What was finished is kept; the same command goes on from here.")
        self.how = how


@contextmanager
def of_recipe() -> Iterator[None]:
    """Has an error of our own, or of a library, be that of the recipe that is in the making.

    Raises:
        Failed: in place of what is neither ours, for a person to mend, nor the system's, as a full disk is.
    """
    try:
        yield
    except RecipeError as error:
        raise Failed(str(error)) from error
    except (AutopruneError, OSError):
        raise
    except Exception as error:
        said = " ".join(re.sub(r"\[enforce fail at .*?\] err == 0\. ", "", str(error)).split())[:LONGEST_REASON]
        frames = traceback.extract_tb(error.__traceback__)
        at = [frames[0], *(frame for frame in frames if "site-packages" not in frame.filename)][-1]
        what = "out of memory" if is_out_of_memory(error) else type(error).__name__
        raise Failed(f"{what}: {said} ({Path(at.filename).name}:{at.lineno})") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of a GPU too; PyTorch says it in words."""
    return isinstance(error, MemoryError) or bool(re.search(r"can't allocate|out of memory|bad_alloc", str(error)))


@contextmanager
def doing(what: str, way_out: str = "") -> Iterator[None]:
    """Says what was being done when a file or folder could not be read or written.

    Args:
        what: begins the message, such as `study 'x' cannot be opened`.
        way_out: ends it: a sentence.

    Raises:
        AutopruneError: in place of an `OSError`.
    """
    try:
        yield
    except BrokenPipeError:  # of a pipe, not of a file: whoever owns the pipe knows what it means
        raise
    except OSError as error:
        raise AutopruneError(f"{what}: {reason_of(error)}. {way_out}".rstrip()) from error


def reason_of(error: OSError) -> str:
    """What the system says, and of which file: `Permission denied: 'runs/x'`."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):  # of many files
        return str(error.args[0][0][-1])
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}: {str(error.filename)!r}" if error.filename is not None else reason


def place_of(place: object, what: str) -> Path:
    """A path that was given from Python.

    Raises:
        AutopruneError: it is none.
    """
    if not isinstance(place, str | os.PathLike):
        raise AutopruneError(f"{what} is a text or a path, but got {place!r}.")
    return Path(place)


@contextmanager
def seen_from(path: tuple[str, ...]) -> Iterator[None]:
    """Puts `path` before that of every `RecipeError` that is raised inside."""
    try:
        yield
    except RecipeError as error:
        raise error.within(*path) from None


def nearest(name: object, options: Iterable[object]) -> str:
    """A sentence that names the closest options, or all of them."""
    names = sorted(str(option) for option in options)
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}? There is: {', '.join(names)}."
    return f"There is: {', '.join(names) or 'nothing'}."


def unknown(kind: str, name: object, options: Iterable[object]) -> AutopruneError:
    """The error for a name that is not among `options`."""
    return AutopruneError(f"{kind} {name!r} is unknown. {nearest(name, options)}")
