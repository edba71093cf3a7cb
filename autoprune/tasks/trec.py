"""Reads documents and queries in TREC's form: SGML that is rarely well-formed, so found by its tags alone."""

from __future__ import annotations

import html
import re
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.tasks.text_tables import read_text


def is_documents(text: str) -> bool:
    """Whether a file holds documents."""
    return bool(re.search(r"<docno>", text, re.IGNORECASE))


def is_queries(text: str) -> bool:
    """Whether a file holds queries, TREC's topics."""
    return bool(re.search(r"<top>", text, re.IGNORECASE))


def read_documents(file: Path, where: str) -> dict[str, str]:
    """Id → the title and the text, once where the text begins with the title.

    Args:
        file: with `<doc>`, `<docno>`, perhaps `<title>` or `<headline>`, and `<text>`.
        where: the entry that names the file.

    Raises:
        AutopruneError: there is no such file, no document in it, or two of one id.
    """
    found: dict[str, str] = {}
    for piece in _pieces(read_text(file, where), "doc"):
        name = _tagged(piece, "docno")
        if name in found:
            raise AutopruneError(f"{file}: two documents are called {name!r}; a docno names one.")
        title, text = _tagged(piece, "title") or _tagged(piece, "headline"), _tagged(piece, "text")
        found[name] = text if text.startswith(title) else f"{title} {text}".strip()
    if not found:
        raise AutopruneError(f"{file}: there is no document: each stands in <doc>, its id in <docno>.")
    return found


def read_queries(file: Path, where: str) -> dict[str, str]:
    """`<num>` → the `<title>` of each `<top>`, which is the query.

    Raises:
        AutopruneError: there is no such file, no query in it, or two of one number.
    """
    found: dict[str, str] = {}
    for piece in _pieces(read_text(file, where), "top"):
        name = re.sub(r"^number:\s*", "", _tagged(piece, "num"), flags=re.IGNORECASE)
        if name in found:
            raise AutopruneError(f"{file}: two queries have the number {name!r}; a <num> names one.")
        found[name] = _tagged(piece, "title")
        if not found[name]:
            raise AutopruneError(f"{file}: query {name!r} has no <title>, which is what it asks.")
    if not found:
        raise AutopruneError(f"{file}: there is no query: each stands in <top>, its number in <num>.")
    return found


def _pieces(text: str, tag: str) -> list[str]:
    """What follows each opening tag, to where it closes or the next one opens."""
    found = re.split(rf"<{tag}>", text, flags=re.IGNORECASE)[1:]
    return [re.split(rf"</{tag}>", piece, maxsplit=1, flags=re.IGNORECASE)[0] for piece in found]


def _tagged(piece: str, tag: str) -> str:
    """What stands in a tag, closed or not (as in TREC's topics), with single spaces."""
    inside = re.search(rf"<{tag}>(.*?)(?=</{tag}>|<(?:num|title|desc|narr|text|docno)>|\Z)", piece, re.I | re.S)
    return " ".join(html.unescape(re.sub(r"</?[a-z]\w*>", " ", inside[1], flags=re.I)).split()) if inside else ""
