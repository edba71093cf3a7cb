"""A study in optuna-dashboard: a mirror of the archive that follows it and that nobody can change.

The mirror is made from the archive, not from the sampler's journal: the journal knows only what the sampler was told,
and Optuna 5 writes constraints (`constraints:NAME`) where optuna-dashboard 0.21 does not look (`constraints`).
"""

from __future__ import annotations

import datetime
import errno
import json
import math
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from types import ModuleType
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import setup_testing_defaults

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoprune.archive import TRIAL
from autoprune.errors import AutopruneError
from autoprune.measurement import Reading
from autoprune.pareto import coordinates
from autoprune.record import Front, Point
from autoprune.requirements import OBJECTIVES

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

STUDY = "/api/studies/0"
"""Where the dashboard asks for a study; the mirror is the only one of its storage, so its id is 0."""

READ_ONLY = "This is a read-only mirror of an autoprune study: nothing is changed here."

MOST_CHOICES = 12
"""So many different whole numbers are shown as choices; more are a range."""

UNSAID = "-"
"""Stands for what a recipe made by hand leaves out, and every trial says."""

REST = 5
"""While a search runs the mirror is not made again for so many times as long as it took to make: others work, too."""

Params = dict[str, Any]


def mirror(front: Front) -> optuna.Study:
    """The study for Optuna's eyes, in memory: every candidate is a trial of the same number.

    Values are those that the search measured; what was given up before training is pruned. A candidate is feasible by
    its constraints if and only if it is among `front.feasible`; what verification found is in the user attributes.

    Raises:
        AutopruneError: optuna-dashboard is not installed.
    """
    save_note = _package().save_note
    record = front.record
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            study_name=record.name,
            storage=optuna.storages.InMemoryStorage(),
            directions=["maximize" if OBJECTIVES[name][1] else "minimize" for name in record.objectives],
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([_objective(front, name) for name in record.objectives])
    study.set_user_attr("read-only mirror of", str(record.folder))
    study.set_user_attr("requirements", ", ".join(item.text for item in front.requirements.items) or "none")
    study.add_trials(_trials(front))
    save_note(study, note(front))
    return study


def note(front: Front) -> str:
    """What the mirror is and how to read it, in Markdown."""
    record = front.record
    rejected = sum(bool(point.candidate.rejected) for point in record.points)
    picks = "\n".join(
        f"| {name} | {_link(point) if point else 'nothing is feasible'} | {point.candidate.words if point else ''} |"
        for name, point in _picks(front).items()
    )
    fell = "".join(f"- {_link(fall.point)} {fall.words}\n" for fall in front.falls)
    return f"""\
# {record.name}

A **read-only mirror** of an autoprune study: changes made here are refused. The authority is the archive, through
`autoprune report {record.name}` and `autoprune front {record.name}`.

{len(record.points)} candidates: {len(front.feasible)} feasible, {rejected} rejected before training, {len(front)} on
the front. Required: {", ".join(item.text for item in front.requirements.items) or "nothing"}.

| profile | picks | recipe |
|---|---|---|
{picks}

{"Fell from the front when verified:" if fell else "Nothing fell from the front."}

{fell}
How to read it:

- A trial has the number of its candidate; 0 is the baseline. *Pruned* is what was rejected before training.
- Objective values are those of the search ({", ".join(_objective(front, name) for name in record.objectives)});
  the plots' own Pareto front is the search's. *Best trials* are the front that verification left.
- Feasible means that every requirement held in the search. `violation: ...` is the share of the limit that is
  missing; at most 0 if the requirement holds.
- `verified ...` was measured once more: quality on test data, latency longer. The interval is where a
  re-measurement falls in 95 cases of 100.
- What the baseline or a preset leaves unsaid, and every trial says, stands as 0 or `{UNSAID}`.
- The timeline lays the seconds of all candidates end to end, up to the last change of the archive.
"""


class Dashboard:
    """A WSGI application: optuna-dashboard on the mirror, made anew when the archive has changed.

    Args:
        read: the front as it is on disk now.
        archive: the file whose change is looked for.

    Raises:
        AutopruneError: optuna-dashboard is not installed.
    """

    def __init__(self, read: Callable[[], Front], archive: Path) -> None:
        self._wsgi = _package().wsgi
        self._read = read
        self._archive = archive
        self._lock = threading.Lock()
        self._seen = (0, 0)
        self._mirror: _Mirror | None = None
        self._rests_until = 0.0

    def current(self) -> _Mirror:
        """The mirror of the archive as it is now, or was a moment ago if making it takes long."""
        with self._lock:
            state = self._archive.stat()
            seen = (state.st_mtime_ns, state.st_size)
            began = time.monotonic()
            if self._mirror is None or (seen != self._seen and began > self._rests_until):
                front = self._read()
                application = self._wsgi(mirror(front)._storage)
                self._mirror, self._seen = _Mirror(application, _detail(application, front)), seen
                now = time.monotonic()
                self._rests_until = now + REST * (now - began)
            return self._mirror

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers a request."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start_response, "403 Forbidden", {"reason": READ_ONLY})
        found = self.current()
        query = environ.get("QUERY_STRING", "")
        after = query.removeprefix("after=") if query else "0"
        if environ["PATH_INFO"].rstrip("/") == STUDY and after.isdecimal():
            return _answer(start_response, "200 OK", {**found.detail, "trials": found.detail["trials"][int(after) :]})
        return found.application(environ, start_response)


@dataclass(frozen=True)
class _Mirror:
    """The dashboard's application, and what it says of the study."""

    application: WSGIApplication
    detail: dict[str, Any]


def serve(dashboard: Dashboard, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answers until Ctrl-C.

    Args:
        dashboard: what answers.
        host: address to listen on.
        port: 0 takes any that is free.
        ready: called with the address to open.

    Raises:
        AutopruneError: the address cannot be listened on.
    """

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True  # a browser that is still loading holds nothing up
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = make_server(host, port, dashboard, server_class=Server, handler_class=_Quiet)
    except OSError as error:
        raise AutopruneError(_refused(error, host, port)) from error
    with server:
        dashboard.current()
        ready(f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/dashboard/studies/0")
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # the only way to end it, and a good one
            return


class _Quiet(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_message(self, format: str, *args: object) -> None:  # named as in its base
        pass


def _refused(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"--port {port} is taken on {host}; choose another, such as --port {port + 1}, or 0 for any that is free."
        )
    if error.errno == errno.EACCES:
        return f"--port {port} is not for everybody; choose one from 1024, or 0 for any that is free."
    return (
        f"--host {host}: {error.strerror or error}; this machine alone is --host 127.0.0.1, all that reach it 0.0.0.0."
    )


def _package() -> ModuleType:
    try:
        import optuna_dashboard
    except ImportError as error:
        raise AutopruneError(f"this needs optuna-dashboard ({error}): pip install 'autoprune[dashboard]'") from error
    module: ModuleType = optuna_dashboard
    return module


def _detail(application: WSGIApplication, front: Front) -> dict[str, Any]:
    """What the dashboard says of the study, with the front as its best trials.

    By itself it takes the best of all complete trials, feasible or not, and searches them anew for every request.
    """
    environ: WSGIEnvironment = {"PATH_INFO": STUDY}
    setup_testing_defaults(environ)
    body = b"".join(application(environ, lambda *_: lambda _: None))
    detail: dict[str, Any] = json.loads(body)
    detail["best_trials"] = [detail["trials"][point.number] for point in front]
    # A note of a trial would be kept in the study's attributes, which are copied whole whenever one is added.
    for trial, point in zip(detail["trials"], front.record.points, strict=True):
        trial["note"] = {"version": 1, "body": _trial_note(front, point, trial["user_attrs"])}
    return detail


def _trial_note(front: Front, point: Point, attributes: Sequence[Mapping[str, str]]) -> str:
    """What stands at the top of a candidate's page: its user attributes in a few lines, and how to make it again."""
    said = {entry["key"]: entry["value"] for entry in attributes}
    short = [
        f"misses {text} by {by:.1%} of the limit"
        for text, by in front.requirements.violations(point.found).items()
        if by > 0
    ]
    place = {"yes": "on the front", "no": ""}.get(said["front"], said["front"])
    words = [
        f"rejected before training: {said['rejected']}" if "rejected" in said else "",
        "feasible" if said["feasible"] == "yes" else "not feasible",
        *short,
        place,
        "the knee" if "knee" in said else "",
        f"picked by {said['picked by']}" if "picked by" in said else "",
    ]
    verified = [
        f"- verified {name}: {reading.ratio:.4g}x{' (' + _span(reading.interval) + ')' if reading.interval else ''}"
        for name, reading in point.verified.items()
        if f"verified {name} / baseline" in said
    ]
    lines = [
        f"**{said['recipe']}**",
        ", ".join(word for word in words if word),
        "\n".join(verified),
        f"to make it again: `{said['again']}`",
    ]
    return "\n\n".join(line for line in lines if line)


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.4g}x to {interval[1]:.4g}x"


def _answer(start_response: StartResponse, status: str, content: Mapping[str, Any]) -> list[bytes]:
    body = json.dumps(content, separators=(",", ":")).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _trials(front: Front) -> Iterator[FrozenTrial]:
    record = front.record
    params = _parameters(record.points)
    distributions = {name: _distribution([one[name] for one in params if name in one]) for name in _names(params)}
    attributes = _attributes(front)
    # No candidate carries a time of day; the last change of the archive is when the last one came.
    seconds = [point.candidate.seconds for point in record.points]
    end = datetime.datetime.fromtimestamp(record.archive.path.stat().st_mtime)
    start = end - datetime.timedelta(seconds=sum(seconds))
    for point, said, spent in zip(record.points, params, seconds, strict=True):
        values = _values(point, record.objectives)
        violations = front.requirements.violations(point.found)
        # What was not measured cannot hold.
        constraints = {item.text: violations.get(item.text, 1.0) for item in front.requirements.items}
        trial = create_trial(
            state=TrialState.COMPLETE if values else TrialState.PRUNED,
            values=values,
            params=said,
            distributions={name: distributions[name] for name in said},
            user_attrs=attributes(point),
            system_attrs={"constraints": list(constraints.values())},  # where optuna-dashboard looks
            constraints=constraints,
        )
        trial.datetime_start, start = start, start + datetime.timedelta(seconds=spent)
        trial.datetime_complete = start
        yield trial


def _values(point: Point, objectives: Sequence[str]) -> list[float] | None:
    """The objectives' values; None where there are none to judge: rejected, or timed on another machine alone."""
    if point.candidate.rejected or any(OBJECTIVES[name][0] not in point.found for name in objectives):
        return None
    values = coordinates(point.found, objectives)
    return None if any(map(math.isnan, values)) else values


def _objective(front: Front, name: str) -> str:
    return {"quality": front.record.metric, "size": "size_bytes", "latency": "latency_ms / baseline"}[name]


def _attributes(front: Front) -> Callable[[Point], dict[str, Any]]:
    """What people should see beside parameters and values, by candidate."""
    record, requirements = front.record, front.requirements
    feasible = {point.number for point in front.feasible}
    on_front = {point.number for point in front}
    fell = {fall.point.number: f"fell: {fall.words}" for fall in front.falls}
    knee = front.knee
    picks: dict[int, list[str]] = {}
    for name, picked in _picks(front).items():
        if picked:
            picks.setdefault(picked.number, []).append(name)
    objectives = [OBJECTIVES[name][0] for name in record.objectives]
    names = list(dict.fromkeys([*objectives, "worst_slice", *(item.reading for item in requirements.items)]))

    def attributes(point: Point) -> dict[str, Any]:
        candidate, number = point.candidate, point.number
        judged = candidate.rejected or _values(point, record.objectives)
        found = {
            "name": candidate.name,
            "recipe": candidate.words or "dense",
            "feasible": "yes" if number in feasible else "no",
            "front": "yes" if number in on_front else fell.get(number, "no"),
            "knee": "yes" if knee and number == knee.number else "",
            "picked by": ", ".join(picks.get(number, [])),
            "rejected": candidate.rejected,
            "not judged": "" if judged else "an objective was not measured beside the baseline",
            **{f"violation: {text}": by for text, by in requirements.violations(point.found).items()},
            **{f"{name} / baseline": point.found[name].ratio for name in names if name in point.found},
        }
        for name in names:
            if name in point.verified:
                found |= _verified(name, point.verified[name])
        found |= {"seconds": candidate.seconds, "again": record.command(point)}
        return {key: value for key, value in found.items() if value != ""}

    return attributes


def _verified(name: str, reading: Reading) -> dict[str, Any]:
    interval = reading.interval
    span = {f"verified {name}, interval": _span(interval)} if interval else {}
    return {f"verified {name} / baseline": reading.ratio, **span}


def _picks(front: Front) -> dict[str, Point | None]:
    return front.picks() if front.record.points[1:] else {}


def _link(point: Point) -> str:
    return f"[{point.number}](/dashboard/studies/0/trials?numbers={point.number})"


def _parameters(points: Sequence[Point]) -> list[Params]:
    """The leaves of every recipe by their paths.

    What all trials say and a recipe made by hand does not is filled in: Optuna compares only the parameters that every
    trial has, and the baseline, which has none, would leave nothing to compare.
    """
    found = [dict(leaves(point.candidate.recipe)) for point in points]
    trials = [said for said, point in zip(found, points, strict=True) if point.candidate.name == TRIAL]
    everywhere = set.intersection(*map(set, trials)) if trials else set()
    for name in sorted(everywhere):
        values = [said[name] for said in trials]
        nothing = 0 if any(value == 0 for value in values) else UNSAID
        if nothing == 0 or not isinstance(_distribution(values), FloatDistribution | IntDistribution):
            for said in found:
                said.setdefault(name, nothing)
    return found


def leaves(recipe: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a recipe by their paths; `method` has the name of what was chosen."""
    for key, value in recipe.items():
        name = f"{path}{key}"
        if not isinstance(value, Mapping):
            yield name, value if isinstance(value, bool | int | float | str | None) else json.dumps(value)
            continue
        if key == "method":
            yield name, ", ".join(value) or "none"
        elif not value and not path.endswith("method."):
            yield name, "as it is"
        yield from leaves(value, f"{name}.")


def _names(params: Sequence[Params]) -> list[str]:
    return list(dict.fromkeys(name for said in params for name in said))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """One that holds all the values that a parameter took: a range of numbers where there are many, or choices."""
    distinct = list(dict.fromkeys((type(value), value) for value in values))
    kinds = {kind for kind, _ in distinct}
    numbers = [value for kind, value in distinct if kind in (int, float) and math.isfinite(value)]
    if kinds <= {int, float} and len(numbers) == len(distinct):
        if float in kinds:
            return FloatDistribution(min(numbers), max(numbers))
        if len(numbers) > MOST_CHOICES:
            return IntDistribution(min(numbers), max(numbers))
        return CategoricalDistribution(sorted(numbers))
    return CategoricalDistribution(sorted((value for _, value in distinct), key=lambda value: str(value)))
