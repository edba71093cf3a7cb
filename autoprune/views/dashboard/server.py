"""The server: optuna-dashboard's application on a read-only mirror that follows the archive."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import setup_testing_defaults

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.views.dashboard.mirror import mirror, package
from autoprune.views.dashboard.notes import trial_note

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

STUDY = "/api/studies/0"
"""The path at which the dashboard requests a study; the mirror is the only study of its storage, so its id is 0."""

READ_ONLY = "This is a read-only mirror of an autoprune study: nothing is changed here."

REST = 5
"""After making the mirror, wait so many times as long before making it again, to leave the processor to the search."""


class Dashboard:
    """A WSGI application: optuna-dashboard on the mirror, which is made again when the archive has changed.

    Args:
        read: reads the current front from disk.
        archive: the file that is checked for changes.

    Raises:
        AutopruneError: optuna-dashboard is not installed.
    """

    def __init__(self, read: Callable[[], Front], archive: Path) -> None:
        self._wsgi = package().wsgi
        self._read = read
        self._archive = archive
        self._lock = threading.Lock()
        self._seen = (0, 0)
        self._mirror: _Mirror | None = None
        self._rests_until = 0.0

    def current(self) -> _Mirror:
        """The current mirror of the archive, or a slightly older one if making it takes long."""
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
        current = self.current()
        query = environ.get("QUERY_STRING", "")
        after = query.removeprefix("after=") if query else "0"
        if environ["PATH_INFO"].rstrip("/") == STUDY and after.isdecimal():
            return _answer(
                start_response, "200 OK", {**current.detail, "trials": current.detail["trials"][int(after) :]}
            )
        return current.application(environ, start_response)


@dataclass(frozen=True)
class _Mirror:
    """The dashboard's application, and its answer about the study."""

    application: WSGIApplication
    detail: dict[str, Any]


def serve(dashboard: Dashboard, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answers until Ctrl-C.

    Args:
        dashboard: the application.
        host: address to listen on.
        port: 0 takes any free one.
        ready: called with the address to open.

    Raises:
        AutopruneError: the address cannot be listened on.
    """

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True  # a browser that is still loading does not block the end
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
        except KeyboardInterrupt:  # the usual way to stop it
            return


class _Quiet(WSGIRequestHandler):
    """Does not log requests."""

    def log_message(self, format: str, *args: object) -> None:  # named as in its base
        pass


def _refused(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port} is in use on {host}; choose another, such as --port {port + 1}, or 0 for any free one."
    if error.errno == errno.EACCES:
        return f"--port {port} is reserved for the system; choose one from 1024 on, or 0 for any free one."
    return f"--host {host}: {error.strerror or error}; 127.0.0.1 serves this machine only, 0.0.0.0 others too."


def _detail(application: WSGIApplication, front: Front) -> dict[str, Any]:
    """The dashboard's answer about the study, with the front as its best trials.

    By default it takes the best of all complete trials, feasible or not, and computes them for every request.
    """
    environ: WSGIEnvironment = {"PATH_INFO": STUDY}
    setup_testing_defaults(environ)
    body = b"".join(application(environ, lambda *_: lambda _: None))
    detail: dict[str, Any] = json.loads(body)
    detail["best_trials"] = [detail["trials"][point.number] for point in front]
    # Stored notes of trials would be slow: Optuna copies all attributes of the study whenever one is added.
    for point in front.record.points:
        trial = detail["trials"][point.number]
        trial["note"] = {"version": 1, "body": trial_note(front, point, trial["user_attrs"])}
    return detail


def _answer(start_response: StartResponse, status: str, content: Mapping[str, Any]) -> list[bytes]:
    body = json.dumps(content, separators=(",", ":")).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
