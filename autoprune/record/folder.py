"""A study's folder: it holds one definition for good, names the machines, and one process drives it at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from autoprune.errors import AutopruneError
from autoprune.record.archive import whole_lines


def open_folder(
    folder: Path,
    *,
    definition: Mapping[str, Any],
    overrides: list[str],
    described: str,
    metrics: Sequence[str],
    config_dir: str | None = None,
) -> None:
    """Makes a study of the folder, or sees that the study in it is the same one; what has measured nothing is none yet.

    Args:
        folder: held by this process, see `driving`.
        definition: what the study is.
        overrides: the arguments that it was started with.
        described: its data in a line, for people.
        metrics: the main ones; a study of an older version, which knew one alone, learns the others.
        config_dir: the folder of configs that it was started with, beside the shipped ones.

    Raises:
        AutopruneError: the folder holds a study with another definition; the message shows the difference.
    """
    path = folder / "study.yaml"
    if not path.exists() or not whole_lines(folder / "archive.jsonl"):
        content: dict[str, Any] = {"definition": dict(definition), "overrides": overrides, "described": described}
        content["metrics"] = list(metrics)
        if config_dir is not None:
            content["config_dir"] = config_dir
        _write(path, content)
        return
    content = yaml.safe_load(path.read_text())
    changed = changes(content["definition"], definition, labels=("was", "is"))
    if changed:
        raise AutopruneError(
            "\n".join(
                [
                    f"study {folder.name!r} was started with another definition:",
                    *changed,
                    "Give the new study a name of its own (study.name=…), or go back to the old settings to resume.",
                ]
            )
        )
    if content.get("metrics") != list(metrics):
        _write(path, {**content, "metrics": list(metrics)})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(yaml.safe_dump(dict(content), sort_keys=False))
    draft.rename(path)


def changes(one: Any, other: Any, *, labels: tuple[str, str]) -> list[str]:
    """A line for every value that differs between two trees: `  task.dim: LABEL 64, LABEL 32`.

    Args:
        labels: what stands before the value of each.
    """
    before, now = _flat(one), _flat(other)
    return [
        f"  {key}: {labels[0]} {before.get(key, 'absent')}, {labels[1]} {now.get(key, 'absent')}"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    ]


def note_machine(folder: Path, facts: Mapping[str, str | int]) -> None:
    """Writes down what the fingerprint of a machine, `facts["id"]`, stands for."""
    known = read_machines(folder)
    if str(facts["id"]) not in known:
        draft = folder / "machines.tmp"
        draft.write_text(json.dumps({**known, str(facts["id"]): dict(facts)}, indent=2) + "\n")
        draft.rename(folder / "machines.json")


def read_machines(folder: Path) -> dict[str, dict[str, str | int]]:
    """The machines that measured for the study in a folder, by fingerprint; none where nobody wrote them down."""
    try:
        found: dict[str, dict[str, str | int]] = json.loads((folder / "machines.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Holds the study for this process; makes its folder.

    Raises:
        AutopruneError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise AutopruneError(
            f"study {folder.name!r} is being run by another process; wait for it, or give a search another study.name."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping) and tree:
        branches = (_flat(child, f"{path}.{key}" if path else str(key)) for key, child in tree.items())
        return {key: value for branch in branches for key, value in branch.items()}
    return {path: tree}
