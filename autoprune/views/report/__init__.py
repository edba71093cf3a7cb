"""The report of a study: one HTML file that opens anywhere, offline, and answers to what one moves in it.

content.py   what the page knows, as plain data; sliders.py what one can move, commands.py what makes it again
page.html    its skeleton; page.css its looks
judge.js     the front and the pick under any limits, as `autoprune.fronts.front.Front` has them
charts.js    the plots: fills the figures of `autoprune.views.plots` with what the limits leave
details.js   one candidate, the list of candidates
sections.js  what does not move: verification, machines, what was missed, how to reproduce
page.js      puts them together
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from autoprune.fronts.front import Front
from autoprune.views import plots
from autoprune.views.headline import certainty, headline
from autoprune.views.report.content import content

SCRIPTS = ("judge.js", "charts.js", "details.js", "sections.js", "page.js")
"""In the order in which they are run."""


def write(front: Front, to: str | os.PathLike[str] | None = None) -> Path:
    """Writes the report of a front.

    Args:
        to: the file; by default `report.html` in the study's folder.

    Returns:
        The file.

    Raises:
        AutopruneError: plotly is not installed.
        OSError: the file cannot be written; what was there stays.
    """
    path = front.record.folder / "report.html" if to is None else Path(to)
    html = page(front)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # such as /dev/stdout
        path.write_text(html, encoding="utf-8")
        return path
    if path.exists():
        path.open("a").close()  # who may not write to it may not replace it either
    written = path.resolve()  # a link stays one
    draft = written.with_name(f"{written.name}.tmp")  # a part of a page looks like a page
    try:
        draft.write_text(html, encoding="utf-8")
        draft.replace(written)
    finally:
        draft.unlink(missing_ok=True)
    return path


def page(front: Front) -> str:
    """The report as HTML that asks for nothing from anywhere.

    What a study brings along (names, recipes, slices) is escaped where it stands as text, and packed where it is data,
    so that none of it is ever read as HTML.

    Raises:
        AutopruneError: plotly is not installed.
    """
    folder = resources.files("autoprune.views.report").joinpath("page")

    def text(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    return Template(text("page.html")).substitute(
        title=escape(front.record.name),
        headline=escape(headline(front)),
        sure=escape(certainty(front)),
        style=text("page.css"),
        plotly=_packed(plots.script()),
        data=_packed(json.dumps(content(front), separators=(",", ":"), allow_nan=False)),
        script="\n".join(text(name) for name in SCRIPTS),
    )


def _packed(text: str) -> str:
    """As gzip in base64: a quarter of plotly's size, and without a character that HTML gives a meaning."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()
