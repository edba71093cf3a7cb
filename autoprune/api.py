"""The search from Python: the same words as on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from autoprune.artifacts.formats import OWN
from autoprune.config import compose_config, sections
from autoprune.fronts.front import Front
from autoprune.record.archive import ROUNDS
from autoprune.record.record import Record
from autoprune.study.job import run_study
from autoprune.study.progress import Progress
from autoprune.study.verify import verify as verify_folder


def search(*overrides: str, report: Callable[[Progress], None] = lambda progress: None) -> Front:
    """Runs a study, or goes on with one that was stopped; verifies its finalists, and returns its front.

    Args:
        overrides: as on the command line, e.g. "task=movielens", "study.trials=40".
        report: called whenever a candidate is finished.

    Raises:
        AutopruneError: an override cannot be; nothing is written then.

    Example:
        front = autoprune.search("task=movielens", "study.name=careful", "study.trials=10")
        front.pick(prefer="size").save("deploy")
    """
    content = sections(compose_config(overrides))
    record, rounds = run_study(content, overrides, report=report), content["study"]["verify_rounds"]
    return verify_folder(record.folder, rounds=rounds) if rounds else record.front()


def open_study(name: str, *, runs: str | os.PathLike[str] = "runs") -> Record:
    """A study that was run before: `open_study("careful").front()` is its front.

    Raises:
        AutopruneError: there is no such study.
    """
    return Record(Path(runs) / name)


def verify_study(
    name: str,
    *,
    runs: str | os.PathLike[str] = "runs",
    floors: Sequence[str] = (),
    ceilings: Sequence[str] = (),
    profile: str | None = None,
    prefer: str | None = None,
    format: str = OWN,
    everything: bool = False,
    again: bool = False,
    rounds: int = ROUNDS,
    working: Callable[[str], None] = lambda words: None,
) -> Front:
    """Measures the finalists of a study once more, on test data that the search never saw; returns its front.

    Each point then has `verified`, its readings on test data, beside `found`, those of the search. What was verified
    on this machine before is not measured again.

    Args:
        floors, ceilings: in place of the study's, e.g. "ndcg@20=0.97x" and "latency_ms=0.5x".
        profile: requirements in place of the study's, e.g. "latency_sensitive".
        prefer: `quality`, `size` or `latency`, in place of what the requirements prefer.
        format: what finalists must be writable in, such as `sentence-transformers`; everything is in `autoprune`.
        everything: whether every candidate is verified, not the baseline, the presets and the front alone.
        again: whether what was verified on this machine is measured anew, in place of what it was.
        rounds: processes that time each artifact; an interval of latency takes at least 2.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: there is no such study, its data is not what it was, or an artifact is damaged.

    Example:
        front = autoprune.verify_study("careful")
        [point.verified["quality"].ratio for point in front]
    """
    return verify_folder(
        Path(runs) / name,
        floors=floors,
        ceilings=ceilings,
        profile=profile,
        prefer=prefer,
        format=format,
        everything=everything,
        again=again,
        rounds=rounds,
        working=working,
    )
