"""A study's folder: it holds one definition for good, names the machines, and one process drives it at a time."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from autoprune.errors import AutopruneError, doing, nearest
from autoprune.fits import fits
from autoprune.overrides import key_of, written
from autoprune.record.archive import LOST
from autoprune.record.journal import whole_lines

WRITTEN: dict[str, Any] = {
    "definition": dict[str, Any],
    "definition.task": dict[str, Any],
    "definition.task.name": str,
    "definition.task.metric": str,
    "definition.data": str,
    "definition.space": dict[str, Any],
    "definition.presets": dict[str, Any],
    "definition.requirements": dict[str, Any],
    "definition.study.seed": int,
    "definition.study.objectives": list[str],
    "definition.study.device": str,
    "overrides": list[str],
    "described": str | None,
    "config_dir": str | None,
    "places": dict[str, Any] | None,
    "started_in": list[str] | None,
    "latency_seconds": float | None,
    "workers": int | None,
}
"""What stands in study.yaml; what may be None is not there in those of older versions."""


def read_study(folder: Path) -> dict[str, Any]:
    """What stands in the study.yaml of a folder: at least `definition`, a mapping, and `overrides`, a list.

    Raises:
        AutopruneError: there is none, or it is damaged.
    """
    path = folder / "study.yaml"
    try:
        with doing(f"study {folder.name!r} cannot be read"):
            if not path.is_file():
                raise _missing(folder)
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date that is none
        if isinstance(error, AutopruneError):
            raise
        raise AutopruneError(f"{path}: the file is no YAML ({' '.join(str(error).split())}).\n{LOST}") from error
    if isinstance(content, dict) and isinstance(content.get("command"), str) and "overrides" not in content:
        raise AutopruneError(
            f"{path}: this is what was recorded of a study, without its candidates; to have them, search again:\n"
            f"  {content['command']}"
        )
    for name, kind in WRITTEN.items():
        found: Any = content
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if not fits(found, kind):
            what = "is missing" if found is None else "is not as it was written"
            raise AutopruneError(f"{path}: {name} {what}, so that nobody knows what was asked. {LOST}")
    return dict(content)


def open_folder(folder: Path, *, definition: Mapping[str, Any], told: Mapping[str, Any], joining: bool = False) -> None:
    """Makes a study of the folder, or sees that the study in it is the same one; what has measured nothing is none yet.

    Args:
        folder: held by this process, see `driving`.
        definition: what the study is.
        told: all else that `Record` knows of it. It may differ when a study goes on; the latest is kept.
        joining: whether others drive the study, so that it is one whatever was measured.

    Raises:
        AutopruneError: the folder holds a study with another definition; the message shows the difference.
    """
    path = folder / "study.yaml"
    content = {
        "definition": dict(definition),
        **told,
        "started_in": [os.path.relpath(Path.cwd(), folder), str(Path.cwd())],
    }
    if path.exists() and (joining or whole_lines(folder / "archive.jsonl")):
        known = read_study(folder)
        begun = known["definition"]
        changed = changes(begun, _as_known(definition, begun), labels=("was", "is"))
        if changed:
            raise _other(folder.name, begun, definition, changed, overrides=told["overrides"])
        if known == content:
            return
    draft = path.with_suffix(".tmp")
    draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    draft.rename(path)


def seen_from_here(place: Any, folder: Path, started_in: Sequence[str]) -> Any:
    """A place that was given where a study was started, as it is reached from the folder that this process works in.

    Args:
        place: a path, or several. One that is not found stays as it is: it may name what is no file.
        folder: of the study.
        started_in: where relative paths begin, as seen from the folder of the study or absolute; the first where
            something lies counts.
    """
    if isinstance(place, list):
        return [seen_from_here(one, folder, started_in) for one in place]
    if not isinstance(place, str) or place.startswith("~") or Path(place).is_absolute():
        return place
    for base in started_in:
        there = (folder / base).resolve()
        if (there / place).exists():
            return place if there == Path.cwd().resolve() else str(there / place)
    return place


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


def _as_known(definition: Mapping[str, Any], begun: Mapping[str, Any]) -> Mapping[str, Any]:
    """A definition without settings of its task that a study begun before did not know and that change nothing.

    The digest of its data is one of all that does.
    """
    if definition["data"] != begun["data"]:
        return definition
    task = {name: value for name, value in definition["task"].items() if name in begun["task"]}
    return {**definition, "task": task}


def _other(
    name: str,
    begun: Mapping[str, Any],
    definition: Mapping[str, Any],
    changed: Sequence[str],
    *,
    overrides: Sequence[str],
) -> AutopruneError:
    """A study was started with another definition: what is other, and how to go on."""
    way = "Give the new study a name of its own (study.name=…)"
    settings = [line for line in changed if not line.startswith("  data: ")]
    added = list(_way_back(begun, definition))
    in_force = {key_of(override): override for override in overrides}.values()
    if not settings:
        way = f"Only the data is other than it was: the files, or how this version reads and splits them.\n{way}."
    elif set(added) & set(in_force):  # options that come to the same for the task's model are left out
        way += "; this version does not take all settings as that one did, so that the old study cannot go on."
    elif begun["task"]["name"] == definition["task"]["name"]:
        way += f", or go on with this one by adding what it was started with:\n  {shlex.join(added)}"
    lines = "\n".join(settings or changed)  # settings can tell why the data is read as other than it was
    return AutopruneError(f"study {name!r} was started with another definition:\n{lines}\n{way}")


def _way_back(begun: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The overrides that make one definition, the later one, what the other is."""
    for name in dict.fromkeys([*begun, *now]):
        was, is_now, key = begun.get(name), now.get(name), f"{path}.{name}" if path else name
        if was == is_now or key == "data":  # which no override sets
            continue
        if isinstance(was, Mapping) and isinstance(is_now, Mapping):
            yield from _way_back(was, is_now, key)
        elif name not in begun:
            yield f"~{key}"
        else:
            yield f"{'' if name in now else '++'}{key}={written(was)}"


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
        found = json.loads((folder / "machines.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        number: facts
        for number, facts in (found if isinstance(found, dict) else {}).items()
        if fits(facts, dict[str, str | int]) and fits(facts.get("cores"), int) and "cpu" in facts
    }


STORE = ".store"
"""Where checkpoints are kept, beside the studies that share them."""

GO_ON = "What is finished is kept; make room, or mend what else it is, and the same command goes on from here."
"""The way out where the system refuses a file."""


@contextmanager
def driving(folder: Path, *, together: bool = False) -> Iterator[None]:
    """Holds the study for this process; makes its folder.

    Args:
        together: whether others may hold it as well, who take turns with this one.

    Raises:
        AutopruneError: another process holds it.
    """
    if together:
        with _held_together(folder):
            yield
        return
    from filelock import FileLock, Timeout  # here, because only who drives a study waits for it

    lock = FileLock(folder / "lock", timeout=0)
    with doing(f"study {folder.name!r} cannot be opened for writing", "study.dir=… names another place."):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:  # which is an OSError too
            raise _held(folder) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _held_together(folder: Path) -> Iterator[None]:
    """A lock on the same file as `driving` has on it, which stands beside others of its kind alone."""
    try:
        import fcntl
    except ModuleNotFoundError as error:
        raise AutopruneError("study.storage: drivers share a study's folder on Linux and macOS.") from error
    with doing(f"study {folder.name!r} cannot be opened for writing", "study.dir=… names another place."):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(folder) from None
        yield


def _held(folder: Path) -> AutopruneError:
    return AutopruneError(
        f"study {folder.name!r} is being run by another process; wait for it, or give a search another study.name. "
        "Several drive a study together where all are given one study.storage=…"
    )


def _missing(folder: Path) -> AutopruneError:
    """There is no study in a folder: which one might be meant."""
    siblings = [child.parent.name for child in folder.parent.glob("*/study.yaml")]
    way = (
        nearest(folder.name, siblings)
        if siblings
        else "There is none at all: name the folder they live in with --runs, or search: "
        f"autoprune task=… study.name={folder.name}"
    )
    return AutopruneError(f"{str(folder.parent)!r} holds no study {folder.name!r}. {way}")


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping) and tree:
        branches = (_flat(child, f"{path}.{key}" if path else str(key)) for key, child in tree.items())
        return {key: value for branch in branches for key, value in branch.items()}
    return {path: tree}
