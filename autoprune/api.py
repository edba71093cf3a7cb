"""Searches and fronts from Python, with the same overrides and limits as on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from autoprune.config.compose import compose_sections
from autoprune.errors import AutopruneError, place_of
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Asked, Limits
from autoprune.overrides import OVERRIDE, at_home, written
from autoprune.record.archive import ROUNDS
from autoprune.record.record import Record
from autoprune.study.progress.progress import Progress, Watching
from autoprune.study.search import search as run_search
from autoprune.study.verify import verify


def search(
    *overrides: str,
    config_dir: str | os.PathLike[str] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    **values: object,
) -> Front:
    """Runs a study, or resumes a stopped one; verifies its finalists, and returns its front.

    Args:
        overrides: as on the command line, e.g. "task=movielens", "study.minutes=10".
        config_dir: your own folder with space/, requirements/ …, in addition to the shipped ones.
        report: called whenever a candidate is finished.
        values: overrides by key, with Python values: texts, paths, numbers, lists, mappings or None. Most keys have
            dots, so pass them as `**{"task.data.path": path}`.

    Raises:
        AutopruneError: an override is not valid, or there is no such folder; nothing is written then.

    Example:
        front = autoprune.search("task=movielens", "study.name=careful", "study.minutes=10")
        front.pick(prefer="size").save("deploy")

        autoprune.search(task="interactions", **{"task.data.path": Path("my ratings (1).csv"), "study.minutes": 10})
    """
    for override in overrides:
        _check_override(override)
    for key in values:
        if not OVERRIDE.fullmatch(f"{key}="):
            raise AutopruneError(
                f"{key!r}: only a key with dots, such as task.dim, takes a value; to remove a key, pass an override: "
                'search("~task.data.path").'
            )
    overrides = (*overrides, *(f"{key}={written(value)}" for key, value in values.items()))
    folder = None
    if config_dir is not None:
        folder = str(at_home(place_of(config_dir, "config_dir, a folder of your own configs,")))
    return run_search(
        compose_sections(overrides, folder=folder), overrides, config_dir=folder, watch=Watching(report=report)
    )


def _check_override(override: object) -> None:
    if not isinstance(override, str):
        raise AutopruneError(
            f"{override!r}: an override must be a text key=value, and each must be an argument of its own: "
            f'search("task=stsb", "task.data.path=stsb/"); but got {type(override).__name__}.'
        )
    if override.startswith("-"):
        raise AutopruneError(
            f"{override!r}: flags work only on the command line; from Python, pass overrides key=value."
        )


def open_study(name: str, *, runs: str | os.PathLike[str] = "runs") -> Record:
    """The record of a study that was run before: its definition, and every candidate.

    Raises:
        AutopruneError: there is no such study.
    """
    return Record(_study(name, runs))


def front(name: str, *, runs: str | os.PathLike[str] = "runs", **limits: Unpack[Asked]) -> Front:
    """The front of a study that was run before, under its own requirements or others; nothing is trained.

    Args:
        runs: the folder of all studies.
        limits: these replace the study's: `floors`, e.g. ["ndcg@20=0.97x"], and `ceilings`, e.g. ["latency_ms=0.5x"];
            `profile`, a whole set of requirements, e.g. "latency_sensitive"; `prefer`, the pick is the best in it:
            `quality`, `size`, `latency` or `index`; `format`, in which candidates must be writable, such as
            "sentence-transformers".

    Raises:
        AutopruneError: there is no such study, or the limits are not valid.

    Example:
        front = autoprune.front("careful", floors=["ndcg@20=0.97x"], prefer="latency")
        front.pick().save("deploy")
    """
    return Front(open_study(name, runs=runs), Limits(**limits))


def verify_study(
    name: str,
    *,
    runs: str | os.PathLike[str] = "runs",
    everything: bool = False,
    again: bool = False,
    rounds: int = ROUNDS,
    working: Callable[[str], None] = lambda message: None,
    **limits: Unpack[Asked],
) -> Front:
    """Measures the finalists of a study again, on test data that the search never saw; returns its front.

    Each point then has `verified`, its readings on test data, besides `found`, those of the search. Candidates that
    were verified on this machine before are not measured again.

    Args:
        runs: the folder of all studies.
        everything: whether every candidate is verified, not only the baseline, the presets and the front.
        again: whether earlier verifications on this machine are measured again and replaced.
        rounds: processes that time each artifact; an interval of latency needs at least 3.
        working: called with a short message about the work in progress.
        limits: they replace the study's, as in `front`.

    Raises:
        AutopruneError: there is no such study, its data has changed, or an artifact is damaged.

    Example:
        front = autoprune.verify_study("careful")
        [point.verified["quality"].ratio for point in front]
    """
    study = _study(name, runs)
    return verify(study, Limits(**limits), everything=everything, again=again, rounds=rounds, working=working)


def _study(name: str, runs: str | os.PathLike[str]) -> Path:
    """The folder of a study."""
    return at_home(place_of(runs, "runs, the folder of all studies,")) / place_of(name, "the name of a study")
