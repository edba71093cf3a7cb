"""The report of a study: one interactive HTML file that opens anywhere, offline.

content.py   the data of the page; sliders.py its movable limits, commands.py the commands to repeat its parts
page.html    the structure of the page; page.css its style
judge.js     the front and the pick under any limits, as `autoprune.fronts.front.Front` computes them
charts.js    the plots: fills the figures of `autoprune.views.plots` with the candidates that meet the limits
details.js   one candidate, the list of candidates
sections.js  the static sections: verification, machines, missed requirements, commands
page.js      connects all of these
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
from autoprune.whole import whole_file

SCRIPTS = ("judge.js", "charts.js", "details.js", "sections.js", "page.js")
"""The scripts of the page, in the order in which they run."""


def write(front: Front, to: str | os.PathLike[str] | None = None) -> Path:
    """Writes the report of a front.

    Args:
        to: the file; by default `report.html` in the study's folder.

    Returns:
        The file.

    Raises:
        AutopruneError: plotly is not installed.
        OSError: the file cannot be written; an earlier one is left as it was.
    """
    path = front.record.folder / "report.html" if to is None else Path(to)
    html = page(front)
    if path.exists() and not path.is_file():  # such as /dev/stdout
        path.write_text(html, encoding="utf-8")
        return path
    if path.exists():
        path.open("a").close()  # a file that must not be written to must not be replaced either
    with whole_file(path.resolve()) as draft:  # a link stays a link
        draft.write_text(html, encoding="utf-8")
    return path


def page(front: Front) -> str:
    """The report as HTML that loads nothing from anywhere.

    Texts of the study (names, recipes, slices) are escaped in the HTML and packed in the data, so a browser never reads
    them as HTML.

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
    """The text as gzip in base64: a quarter of plotly's size, and without characters that are special in HTML."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()
