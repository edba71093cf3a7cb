"""The commands that make each part of the page again."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable

from autoprune.fronts.front import Front
from autoprune.record.record import Record
from autoprune.views.commands import search_command
from autoprune.views.report.sliders import page_name


def commands(front: Front) -> dict[str, str]:
    """What makes each part of the page again; `{number}` and `{limits}` are filled in by the page."""
    record = front.record
    return {
        "search": search_command(record),
        **{verb: verb_under(front, verb) for verb in ("verify", "front", "report")},
        "limits": record.verb("report", "--for", "none") + "{limits}",
        "show": _numbered(record, "show"),
        "pick": _numbered(record, "pick", "--to", "DIR"),
    }


def verb_under(front: Front, verb: str, *looser: str) -> str:
    """A verb under the limits that the front was made with.

    Args:
        looser: flags such as `--max size_bytes=0.5x`, instead of those on the same readings.
    """
    added = [argument for flag in looser for argument in shlex.split(flag)]
    taken = {_limited(front, shlex.split(flag)[-1]) for flag in looser}

    def kept(limits: Iterable[str]) -> list[str]:
        return [limit for limit in limits if _limited(front, limit) not in taken]

    given = dataclasses.replace(front.limits, floors=kept(front.limits.floors), ceilings=kept(front.limits.ceilings))
    return front.record.verb(verb, *given.flags, *added)


def _limited(front: Front, limit: str) -> str:
    """What `ndcg@20=0.97x` is a limit on."""
    return page_name(front.record, limit.partition("=")[0])


def _numbered(record: Record, verb: str, *more: str) -> str:
    return record.verb(verb, "NUMBER", *more).replace("NUMBER", "{number}")
