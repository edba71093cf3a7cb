"""The commands that repeat the parts of the page."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable

from autoprune.fronts.front import Front
from autoprune.record.record import Record
from autoprune.views.commands import search_command
from autoprune.views.report.sliders import page_name


def commands(front: Front) -> dict[str, str]:
    """The command for each part of the page; the page fills in `{number}` and `{limits}`."""
    record = front.record
    return {
        "search": search_command(record),
        **{verb: verb_under(front, verb) for verb in ("verify", "front", "report")},
        "limits": record.verb("report", "--for", "none") + "{limits}",
        "show": _numbered(record, "show"),
        "pick": _numbered(record, "pick", "--to", "DIR"),
    }


def verb_under(front: Front, verb: str, *looser: str) -> str:
    """A verb under the limits of the front.

    Args:
        looser: flags such as `--max size_bytes=0.5x`, which replace those on the same readings.
    """
    added = [argument for flag in looser for argument in shlex.split(flag)]
    replaced = {_limited(front, shlex.split(flag)[-1]) for flag in looser}

    def kept(limits: Iterable[str]) -> list[str]:
        return [limit for limit in limits if _limited(front, limit) not in replaced]

    given = dataclasses.replace(front.limits, floors=kept(front.limits.floors), ceilings=kept(front.limits.ceilings))
    return front.record.verb(verb, *given.flags, *added)


def _limited(front: Front, limit: str) -> str:
    """The reading that a limit such as `ndcg@20=0.97x` is on."""
    return page_name(front.record, limit.partition("=")[0])


def _numbered(record: Record, verb: str, *more: str) -> str:
    return record.verb(verb, "NUMBER", *more).replace("NUMBER", "{number}")
