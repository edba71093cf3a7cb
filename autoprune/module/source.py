"""The file of a user's task: its class, a hash of its code, and the line where it failed.

The file is the user's own code, named by the user, and is run. Nothing from an artifact is ever run.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
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

from autoprune.errors import AutopruneError, Failed, is_out_of_memory
from autoprune.module.own import ModuleTask

PREFIX = "autoprune_task_"
"""Prefix of the module names under which task files are imported; nothing else uses it."""

_IMPORTED_CONTENT: dict[Path, bytes] = {}
"""The content of files that task files import, as it was when this process imported them."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file with one task in it.

    Attributes:
        path: absolute.
        kind: the class of the task.
        digest: SHA-256 of the file and of what it imports from its own folder.
    """

    path: Path
    kind: type[ModuleTask]
    digest: str

    def defaults(self) -> dict[str, Any]:
        """The default arguments of the task: only numbers, texts and booleans."""
        parameters = inspect.signature(self.kind).parameters
        values = {name: parameter.default for name, parameter in parameters.items() if name != "data"}
        return {name: value for name, value in values.items() if isinstance(value, int | float | str)}

    def make(self, arguments: Mapping[str, Any]) -> ModuleTask:
        """Constructs the task.

        Raises:
            AutopruneError: it does not accept the arguments, or fails.
        """
        accepted = inspect.signature(self.kind).parameters
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in accepted.values()):
            for name in arguments:
                if name not in accepted:
                    where = "task.data.path" if name == "data" else f"task.options.{name}"
                    raise AutopruneError(
                        f"{where}: {self.kind.__name__} of {self.path.name} takes no {name!r}. Its __init__ takes: "
                        f"{', '.join(accepted) or 'nothing'}."
                    )
        with self.running(f"{self.kind.__name__}({', '.join(arguments)})"):
            return self.kind(**arguments)

    @contextmanager
    def running(self, what: str, *, of_recipe: bool = False) -> Iterator[None]:
        """Runs the user's code, and turns an exception into an error that names the line.

        Args:
            what: the call that is run, such as `loss()`.
            of_recipe: whether the model was made by a recipe, so that only this recipe fails; errors of the system,
                such as a full disk, still end the search.

        Raises:
            Failed: instead of an exception that the recipe's model caused.
            AutopruneError: instead of any other exception.
        """
        try:
            yield
        except AutopruneError:
            raise
        except Exception as error:
            kind = "out of memory" if is_out_of_memory(error) else type(error).__name__
            message = " ".join(str(error).split())[:500].rstrip(".")
            error_type = Failed if of_recipe and not isinstance(error, OSError) else AutopruneError
            raise error_type(f"{self._line(error)}: {what} failed with {kind}: {message}.") from error

    def _line(self, error: Exception) -> str:
        """The innermost line of the user's own code in the traceback of an error."""
        frames = traceback.extract_tb(error.__traceback__)
        own_frames = [
            frame
            for frame in frames
            if Path(frame.filename).is_relative_to(self.path.parent) and not _installed(frame.filename)
        ]
        return f"{Path(own_frames[-1].filename).name}:{own_frames[-1].lineno}" if own_frames else self.path.name


def read_source(path: Path) -> Source:
    """Imports a user's file; it can import modules from its own folder.

    Raises:
        AutopruneError: there is no such file, it cannot be imported, or it does not define exactly one task.
    """
    path = path.absolute()
    if not path.is_file():
        raise AutopruneError(f"task.file: there is no file {str(path)!r}; name a Python file that defines a task.")
    if path.suffix != ".py":
        raise AutopruneError(f"task.file: a Python file must be named, but got {path.name!r}.")
    module = _imported(path)
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, ModuleTask) and kind.__module__ == module.__name__
    ]
    complete = [kind for kind in kinds if not inspect.isabstract(kind)]
    if len(complete) != 1:
        incomplete = "; ".join(f"{kind.__name__} lacks {', '.join(sorted(kind.__abstractmethods__))}" for kind in kinds)
        defined = ", ".join(kind.__name__ for kind in complete) or incomplete or "none"
        raise AutopruneError(
            f"task.file: {path.name} must define one class that derives from autoprune.ModuleTask, but there is: "
            f"{defined}."
        )
    return Source(path=path, kind=complete[0], digest=_digest(path))


def _imported(path: Path) -> ModuleType:
    """Imports a file afresh, and what it imports from its own folder too if that has changed."""
    name = f"{PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as Python does for a script
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a Python file has a loader"
    assert spec.loader is not None, "a Python file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        _forget_changed(path)
        spec.loader.exec_module(module)
    except AutopruneError:
        raise
    except SyntaxError as error:
        raise AutopruneError(f"{Path(error.filename or path).name}:{error.lineno}: {error.msg}.") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own_frames = [frame for frame in frames if Path(frame.filename).parent == path.parent]
        line = f"{Path(own_frames[-1].filename).name}:{own_frames[-1].lineno}" if own_frames else path.name
        raise AutopruneError(
            f"{line}: importing it failed with {type(error).__name__}: {' '.join(str(error).split())}."
        ) from error
    return module


def _forget_changed(path: Path) -> None:
    """Makes Python reimport what a task's file imports from its own folder, unless none of it has changed.

    A module that other code imported may be older than its file, and there is no way to tell. Unchanged modules stay
    imported, since objects of their classes may be sent to other processes.
    """
    content_of = {imported: imported.read_bytes() for imported in _own_files(path) - {path}}
    if all(_IMPORTED_CONTENT.get(imported) == content for imported, content in content_of.items()):
        return
    names, files = {imported.name for imported in content_of}, {imported.resolve() for imported in content_of}
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__dict__", {}).get("__file__") or "")
        if file.name in names and file.resolve() in files:
            del sys.modules[name]
            package, _, last = name.rpartition(".")
            if package in sys.modules:
                vars(sys.modules[package]).pop(last, None)  # `from package import last` looks here first
    importlib.invalidate_caches()
    _IMPORTED_CONTENT.update(content_of)


def _digest(path: Path) -> str:
    """SHA-256 of a file and of what it imports from its own folder, directly or not.

    The imports are read from the source: what a process happens to have imported differs from process to process.
    """
    digest = hashlib.sha256()
    for file in sorted(_own_files(path)):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(path.parent)} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _own_files(path: Path) -> set[Path]:
    """A file and the files that it imports from its own folder, directly or not."""
    files, left = set[Path](), [path]
    while left:
        file = left.pop()
        if file not in files:
            files.add(file)
            left += _imports(file, path.parent)
    return files


def _imports(file_path: Path, folder: Path) -> list[Path]:
    """The files in `folder` that a file imports, including the `__init__.py` of their packages."""
    stems = set[Path]()
    for node in ast.walk(ast.parse(file_path.read_bytes(), str(file_path))):
        if isinstance(node, ast.Import):
            stems |= {folder.joinpath(*alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from ..x` starts in the parent of the file's folder
            start = file_path.parents[: node.level][-1] if node.level else folder
            stem = start.joinpath(*(node.module or "").split("."))
            stems |= {stem / alias.name for alias in node.names} | ({stem} if node.module else set())
    within = [stem for stem in stems if folder in stem.parents]
    packages = {parent for stem in within for parent in stem.parents if folder in parent.parents}
    candidates = [stem.with_suffix(".py") for stem in within] + [stem / "__init__.py" for stem in {*within, *packages}]
    return [file for file in candidates if file.is_file()]


def _installed(filename: str) -> bool:
    return "site-packages" in Path(filename).parts
