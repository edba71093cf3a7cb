"""The file of a user's task: its class, a hash of all code beside it, and where in it something failed.

It is the user's own code, named by the user, and is run; nothing that comes from an artifact ever is.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.module.own import ModuleTask

PREFIX = "autoprune_task_"
"""Of the names under which files of tasks are imported, which nothing else has."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file with one task in it.

    Attributes:
        path: absolute.
        kind: the class of the task.
        digest: SHA-256 of the file and of what it imported from its own folder.
    """

    path: Path
    kind: type[ModuleTask]
    digest: str

    def defaults(self) -> dict[str, Any]:
        """What the task is made with where nothing else is said: numbers, texts and truth values alone."""
        found = {one.name: one.default for one in inspect.signature(self.kind).parameters.values()}
        return {name: value for name, value in found.items() if isinstance(value, int | float | str) and name != "data"}

    def make(self, arguments: Mapping[str, Any]) -> ModuleTask:
        """The task itself.

        Raises:
            AutopruneError: it does not take the arguments, or fails.
        """
        taken = inspect.signature(self.kind).parameters
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values()):
            for name in arguments:
                if name not in taken:
                    where = "task.data.path" if name == "data" else f"task.options.{name}"
                    raise AutopruneError(
                        f"{where}: {self.kind.__name__} of {self.path.name} takes no {name!r}. Its __init__ takes: "
                        f"{', '.join(taken) or 'nothing'}."
                    )
        with self.running(f"{self.kind.__name__}({', '.join(arguments)})"):
            return self.kind(**arguments)

    @contextmanager
    def running(self, what: str, so: str = "") -> Iterator[None]:
        """Says where the user's code failed.

        Args:
            what: was run, such as `loss()`.
            so: ends the message: a sentence.

        Raises:
            AutopruneError: in place of whatever it raised.
        """
        try:
            yield
        except AutopruneError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:500]
            raise AutopruneError(
                f"{self._line(error)}: {what} failed with {type(error).__name__}: {said.rstrip('.')}. {so}".rstrip()
            ) from error

    def _line(self, error: Exception) -> str:
        """The last line of the user's own that an error came through."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [
            one
            for one in frames
            if Path(one.filename).is_relative_to(self.path.parent) and not _installed(one.filename)
        ]
        return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else self.path.name


def read_source(path: Path) -> Source:
    """Imports a user's file; modules beside it can be imported by it.

    Raises:
        AutopruneError: there is no such file, it cannot be imported, or it does not hold exactly one task.
    """
    path = path.absolute()
    if not path.is_file():
        raise AutopruneError(f"task.file: there is no file {str(path)!r}; a Python file with a task in it is named.")
    if path.suffix != ".py":
        raise AutopruneError(f"task.file: a Python file must be named, but got {path.name!r}.")
    module = _imported(path)
    kinds = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, ModuleTask) and one.__module__ == module.__name__
    ]
    whole = [one for one in kinds if not inspect.isabstract(one)]
    if len(whole) != 1:
        lacks = "; ".join(f"{one.__name__} lacks {', '.join(sorted(one.__abstractmethods__))}" for one in kinds)
        found = ", ".join(one.__name__ for one in whole) or lacks or "none"
        raise AutopruneError(
            f"task.file: {path.name} must define one class that derives from autoprune.ModuleTask, but there is: "
            f"{found}."
        )
    return Source(path=path, kind=whole[0], digest=_digest(path))


def _imported(path: Path) -> ModuleType:
    name = f"{PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as Python does for a script
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None, "a file of Python has a loader"
    assert found.loader is not None, "as above"
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except AutopruneError:
        raise
    except SyntaxError as error:
        raise AutopruneError(f"{Path(error.filename or path).name}:{error.lineno}: {error.msg}.") from error
    except Exception as error:
        own = [one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).parent == path.parent]
        line = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else path.name
        raise AutopruneError(
            f"{line}: importing it failed with {type(error).__name__}: {' '.join(str(error).split())}."
        ) from error
    return module


def _digest(path: Path) -> str:
    """SHA-256 of a file and of what it imports from its own folder, directly or not.

    By what is written in it: what this process has imported besides is the same in no other.
    """
    found, places, left = hashlib.sha256(), set[Path](), [path]
    while left:
        place = left.pop()
        if place not in places:
            places.add(place)
            left += _imports(place, path.parent)
    for place in sorted(places):
        content = place.read_bytes()
        found.update(f"{place.relative_to(path.parent)} {len(content)} ".encode() + content)
    return found.hexdigest()


def _imports(place: Path, folder: Path) -> list[Path]:
    """The files in a folder that a file of it imports, with those of the packages that they lie in."""
    stems = set[Path]()
    for node in ast.walk(ast.parse(place.read_bytes())):
        if isinstance(node, ast.Import):
            stems |= {folder.joinpath(*alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from ..x` begins in the folder above that of the file
            start = place.parents[: node.level][-1] if node.level else folder
            stem = start.joinpath(*(node.module or "").split("."))
            stems |= {stem / alias.name for alias in node.names} | ({stem} if node.module else set())
    within = [stem for stem in stems if folder in stem.parents]
    packages = {parent for stem in within for parent in stem.parents if folder in parent.parents}
    candidates = [stem.with_suffix(".py") for stem in within] + [one / "__init__.py" for one in {*within, *packages}]
    return [file for file in candidates if file.is_file()]


def _installed(filename: str) -> bool:
    return "site-packages" in Path(filename).parts
