"""Makes the task around a user's own module, from a config."""

from __future__ import annotations

import hashlib
from pathlib import Path

from autoprune.errors import AutopruneError, doing
from autoprune.module.config import ModuleConfig
from autoprune.module.source import read_source
from autoprune.module.task import AdoptedTask
from autoprune.tasks.task import TaskMaker

READ_AT_ONCE = 2**20


def make_module(config: ModuleConfig) -> AdoptedTask:
    """Runs the user's file, and tries the task in it on one batch and one request.

    Raises:
        AutopruneError: no file is given, or something in it cannot be used; the message names the line.
    """
    config.check()
    if not config.file:
        raise AutopruneError(
            "task.file: the Python file with your task must be named, as in task=module task.file=my_task.py; "
            "docs/own_model.md shows one."
        )
    source = read_source(Path(config.file))
    with doing("task.data.path"):
        data = "" if config.data.path is None else _digest(Path(config.data.path))
    task = AdoptedTask(config, source, source.make(config.arguments()), data=data)
    task.rehearse()
    return task


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of all files in a folder with their relative paths."""
    if not path.exists():
        raise AutopruneError(f"task.data.path: there is no {str(path)!r}.")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path) if path.is_dir() else ''} {file.stat().st_size} ".encode())
            with file.open("rb") as content:
                while block := content.read(READ_AT_ONCE):
                    digest.update(block)
    return digest.hexdigest()


MODULE = TaskMaker(config=ModuleConfig, make=make_module, idle=ModuleConfig.idle, located=("file", "data.path"))
