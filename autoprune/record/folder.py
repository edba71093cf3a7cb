"""A study's folder: its fixed definition, its machines, and the lock that lets one process drive it at a time."""

from __future__ import annotations

import json
import os
import re
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
from autoprune.record.cut_short import CUT_SHORT
from autoprune.record.journal import whole_lines
from autoprune.whole import whole_file

CODE = re.compile(r"code sha256 \w+")
"""The part of a task's description that identifies the user's code, if the task has any."""

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
"""The entries of study.yaml and their types. Older versions did not write the entries that may be None."""


def read_study(folder: Path) -> dict[str, Any]:
    """The content of a folder's study.yaml: at least `definition`, a mapping, and `overrides`, a list.

    Raises:
        AutopruneError: the file is missing or damaged.
    """
    path = folder / "study.yaml"
    try:
        with doing(f"study {folder.name!r} cannot be read"):
            if not path.is_file():
                raise _missing(folder)
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or an invalid date
        if isinstance(error, AutopruneError):
            raise
        raise AutopruneError(f"{path}: the file is not valid YAML ({' '.join(str(error).split())}).\n{LOST}") from error
    if isinstance(content, dict) and isinstance(content.get("command"), str) and "overrides" not in content:
        raise AutopruneError(
            f"{path}: this is only a record of a study, without its candidates; to get them, search again:\n"
            f"  {content['command']}"
        )
    for name, kind in WRITTEN.items():
        value: Any = content
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not fits(value, kind):
            problem = "is missing" if value is None else "has the wrong type"
            raise AutopruneError(f"{path}: {name} {problem}, so the search cannot be reconstructed. {LOST}")
    return dict(content)


def open_folder(
    folder: Path,
    *,
    definition: Mapping[str, Any],
    told: Mapping[str, Any],
    asked: Mapping[str, Any] | None = None,
    joining: bool = False,
) -> None:
    """Starts a study in the folder, or checks that the study in it has the same definition.

    A study without measurements is replaced.

    Args:
        folder: locked by this process, see `driving`.
        definition: the study's definition.
        told: everything else that study.yaml records. It may change when a study continues; the latest is kept.
        asked: parts of the definition as the user wrote them, before the task expanded entries such as `per_table`.
        joining: whether other processes drive the study, so that it counts as started even without measurements.

    Raises:
        AutopruneError: the folder contains a study with another definition; the message shows the difference.
    """
    path = folder / "study.yaml"
    content = {
        "definition": dict(definition),
        **told,
        "started_in": [os.path.relpath(Path.cwd(), folder), str(Path.cwd())],
    }
    if path.exists() and (joining or whole_lines(folder / "archive.jsonl")):
        recorded = read_study(folder)
        earlier = recorded["definition"]
        current = _as_known(definition, earlier)
        if changes(earlier, current, labels=("was", "is")):
            codes = {code for facts in (recorded, told) for code in CODE.findall(str(facts.get("described")))}
            earlier, current = _as_asked(earlier, current, asked or {})
            other_code = len(codes) > 1
            raise _other_definition(folder.name, earlier, current, overrides=told["overrides"], other_code=other_code)
        if recorded == content:
            return
    elif not _is_defined_so(folder, definition):
        (folder / CUT_SHORT).unlink(missing_ok=True)  # it was the training of another dense model
    with whole_file(path) as draft:
        draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _is_defined_so(folder: Path, definition: Mapping[str, Any]) -> bool:
    """Whether the study in a folder has this definition."""
    try:
        return bool(read_study(folder)["definition"] == dict(definition))
    except AutopruneError:  # there is none, or its file is damaged
        return False


def seen_from_here(place: Any, folder: Path, started_in: Sequence[str]) -> Any:
    """A path that was given in the working directory of an earlier process, as seen from the current one.

    Args:
        place: a path or a list of paths. One that does not exist is returned unchanged: it may not name a file.
        folder: of the study.
        started_in: possible base folders of relative paths, absolute or relative to the study's folder; the first in
            which the path exists is used.
    """
    if isinstance(place, list):
        return [seen_from_here(path, folder, started_in) for path in place]
    if not isinstance(place, str) or place.startswith("~") or Path(place).is_absolute():
        return place
    for base in started_in:
        base_folder = (folder / base).resolve()
        if (base_folder / place).exists():
            return place if base_folder == Path.cwd().resolve() else str(base_folder / place)
    return place


def changes(one: Any, other: Any, *, labels: tuple[str, str]) -> list[str]:
    """A line for every value that differs between two trees: `  task.dim: LABEL 64, LABEL 32`.

    Args:
        labels: the words before the values of the two trees.
    """
    before, after = _flat(one), _flat(other)
    return [
        f"  {key}: {labels[0]} {before.get(key, 'absent')}, {labels[1]} {after.get(key, 'absent')}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _as_known(definition: Mapping[str, Any], begun: Mapping[str, Any]) -> Mapping[str, Any]:
    """A definition without task settings that are newer than the study `begun`, if they do not change its data.

    Every setting that has an effect changes the digest of the data.
    """
    if definition["data"] != begun["data"]:
        return definition
    task = {name: value for name, value in definition["task"].items() if name in begun["task"]}
    return {**definition, "task": task}


def _as_asked(begun: Any, now: Any, asked: Any) -> tuple[Any, Any]:
    """Two trees as the user wrote them: equal entries for all tables are merged again into one, such as `per_table`."""
    if not all(isinstance(tree, Mapping) for tree in (begun, now, asked)):
        return begun, now
    if len(asked) == 1 and now and now.keys().isdisjoint(asked):
        (name,) = asked
        as_asked = [tree if (same := _same(tree)) is None else {name: same} for tree in (begun, now)]
        return as_asked[0], as_asked[1]
    both = {key: _as_asked(begun[key], now[key], asked.get(key)) for key in begun if key in now}
    earlier = {**begun, **{key: pair[0] for key, pair in both.items()}}
    return earlier, {**now, **{key: pair[1] for key, pair in both.items()}}


def _same(tree: Mapping[str, Any]) -> Any:
    """The value that all entries of a tree share; None if they differ."""
    values = list(tree.values())
    return values[0] if values and all(value == values[0] for value in values) else None


def _other_definition(
    name: str,
    begun: Mapping[str, Any],
    definition: Mapping[str, Any],
    *,
    overrides: Sequence[str],
    other_code: bool,
) -> AutopruneError:
    """The error for a study that was started with another definition: the difference, and how to go on."""
    way_out = "Give the new study its own name (study.name=…)"
    changed = changes(begun, definition, labels=("was", "is"))
    settings = [line for line in changed if not line.startswith("  data: ")]
    way_back = list(_way_back(begun, definition))
    in_force = {key_of(override): override for override in overrides}.values()
    if not settings and other_code:
        way_out = f"The code has changed: task.file, or what it imports from its own folder.\n{way_out}."
    elif not settings:
        way_out = f"Only the data has changed: the files, or how this version reads and splits them.\n{way_out}."
    elif set(way_back) & set(in_force):  # already set, but without effect here
        way_out += "; this version reads some settings differently, so the old study cannot be continued."
    elif begun["task"]["name"] == definition["task"]["name"]:
        way_out += f", or continue the old one by adding the settings it was started with:\n  {shlex.join(way_back)}"
    lines = "\n".join(settings or changed)  # changed settings may explain the changed data
    return AutopruneError(f"study {name!r} was started with another definition:\n{lines}\n{way_out}")


def _way_back(begun: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The overrides that turn the definition `now` back into `begun`."""
    for name in dict.fromkeys([*begun, *now]):
        was, is_now, key = begun.get(name), now.get(name), f"{path}.{name}" if path else name
        if was == is_now or key == "data":  # no override sets it
            continue
        if isinstance(was, Mapping) and isinstance(is_now, Mapping):
            yield from _way_back(was, is_now, key)
        elif name not in begun:
            yield f"~{key}"
        else:
            yield f"{'' if name in now else '++'}{key}={written(was)}"


def note_machine(folder: Path, facts: Mapping[str, str | int]) -> None:
    """Records the facts of a machine under its fingerprint, `facts["id"]`."""
    machines = read_machines(folder)
    if str(facts["id"]) not in machines:
        with whole_file(folder / "machines.json") as draft:
            draft.write_text(json.dumps({**machines, str(facts["id"]): dict(facts)}, indent=2) + "\n")


def read_machines(folder: Path) -> dict[str, dict[str, str | int]]:
    """The machines that measured for the study in a folder, by fingerprint; empty if none were recorded."""
    try:
        content = json.loads((folder / "machines.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        number: facts
        for number, facts in (content if isinstance(content, dict) else {}).items()
        if fits(facts, dict[str, str | int]) and fits(facts.get("cores"), int) and "cpu" in facts
    }


STORE = ".store"
"""The folder of checkpoints, next to the studies that share it."""

GO_ON = "Finished work is kept: free some disk space, or fix any other cause, and the same command goes on from here."
"""The way out when the system cannot write a file."""


@contextmanager
def driving(folder: Path, *, together: bool = False) -> Iterator[None]:
    """Locks the study for this process; creates its folder.

    Args:
        together: whether other processes may drive it at the same time, if they also set `together`.

    Raises:
        AutopruneError: another process has locked it.
    """
    if together:
        with _locked_together(folder):
            yield
        return
    from filelock import FileLock, Timeout  # imported here because only driving a study needs it

    lock = FileLock(folder / "lock", timeout=0)
    with doing(f"study {folder.name!r} cannot be opened for writing", "study.dir=… chooses another folder."):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:  # a subclass of OSError
            raise _locked_error(folder) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _locked_together(folder: Path) -> Iterator[None]:
    """A shared lock on the file that `driving` locks: compatible only with other shared locks."""
    try:
        import fcntl
    except ModuleNotFoundError as error:
        raise AutopruneError("study.storage: drivers can share a study's folder only on Linux and macOS.") from error
    with doing(f"study {folder.name!r} cannot be opened for writing", "study.dir=… chooses another folder."):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked_error(folder) from None
        yield


def _locked_error(folder: Path) -> AutopruneError:
    return AutopruneError(
        f"study {folder.name!r} is being run by another process; wait for it, or give a search another study.name. "
        "Several processes can drive a study together if all set the same study.storage=…"
    )


def _missing(folder: Path) -> AutopruneError:
    """The error for a folder without a study: which study might be meant."""
    siblings = [child.parent.name for child in folder.parent.glob("*/study.yaml")]
    way_out = (
        nearest(folder.name, siblings)
        if siblings
        else "It holds no studies: name the folder of your studies with --runs, or start a search: "
        f"autoprune task=… study.name={folder.name}"
    )
    return AutopruneError(f"{str(folder.parent)!r} holds no study {folder.name!r}. {way_out}")


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping) and tree:
        branches = (_flat(child, f"{path}.{key}" if path else str(key)) for key, child in tree.items())
        return {key: value for branch in branches for key, value in branch.items()}
    return {path: tree}
