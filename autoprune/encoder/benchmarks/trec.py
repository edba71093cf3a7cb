"""Reads collections in TREC's form: SGML that is rarely well-formed, so only its tags are searched for."""

from __future__ import annotations

import html
import re
from pathlib import Path

from autoprune.encoder.benchmarks.judgements import WHERE, Collection, Found, by_split, collected, read_judgements
from autoprune.encoder.benchmarks.tables import is_number, read_text
from autoprune.errors import AutopruneError


def read_trec(folder: Path, *, seed: int = 0, where: str = WHERE) -> Collection:
    """Reads TREC's form: files with `<docno>`, one with `<top>`, one of four columns (query, 0, document, grade).

    Judgements name a query by its `<num>`. If they do not (as in Cranfield), but all their queries are whole numbers
    from 1 to the number of queries, they name it by its position.

    Args:
        folder: of these files, which may have any names; several files of judgements need dev and test in theirs.
        seed: splits the queries in halves if the judgements are in one file.
        where: the config entry that names the folder.

    Raises:
        AutopruneError: a file is missing or cannot be read, or no judged query or document exists.
    """
    kinds: dict[str, list[Path]] = {"documents": [], "queries": [], "judgements": []}
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        kind = _kind(file)
        if kind is not None:
            kinds[kind].append(file)
    missing = [kind for kind, files in kinds.items() if not files]
    if missing or len(kinds["queries"]) > 1:
        names = ", ".join(file.name for file in sorted(folder.iterdir())) or "nothing"
        what = f"no {' and no '.join(missing)}" if missing else "several files of queries"
        raise AutopruneError(
            f"{where}: {str(folder)!r} has {what}. It must be in BEIR's form (corpus.jsonl, queries.jsonl, "
            f"qrels/test.tsv) or in TREC's (<docno> in documents, <top> in queries, four columns in judgements), "
            f"but it holds: {names[:300]}."
        )
    documents: dict[str, str] = {}
    for file in kinds["documents"]:
        read = read_documents(file, where)
        repeated = documents.keys() & read.keys()
        if repeated:
            raise AutopruneError(f"{file}: document {min(repeated)!r} is in another file as well; a docno names one.")
        documents |= read
    queries = read_queries(kinds["queries"][0], where)
    judgements = {split: read_judgements(file) for split, file in by_split(kinds["judgements"], where).items()}
    found = Found(documents, queries, judgements)
    judged = {line.query for lines in judgements.values() for line in lines}
    positions = [str(at) for at in range(1, len(queries) + 1)]
    if not judged <= queries.keys() and judged <= set(positions):
        found.queries = dict(zip(positions, queries.values(), strict=True))
        found.notes.append("judgements number queries by position")
    return collected(found, seed, folder, where)


def read_documents(file: Path, where: str) -> dict[str, str]:
    """Id → title and text of each document; if the text begins with the title, the text alone.

    Args:
        file: with `<doc>`, `<docno>`, perhaps `<title>`, `<headline>` or `<head>`, and `<text>`.
        where: the config entry that names the file.

    Raises:
        AutopruneError: there is no such file, it has no document, or two documents have one id.
    """
    found: dict[str, str] = {}
    for piece in _pieces(read_text(file, where), "doc"):
        name = _tagged(piece, "docno")
        if name in found:
            raise AutopruneError(f"{file}: two documents are called {name!r}; a docno names one.")
        title = _tagged(piece, "title") or _tagged(piece, "headline") or _tagged(piece, "head")
        text = _tagged(piece, "text")
        found[name] = text if text.startswith(title) else f"{title} {text}".strip()
    if not found:
        raise AutopruneError(f"{file}: there is no document: each must be in <doc>, its id in <docno>.")
    return found


def read_queries(file: Path, where: str) -> dict[str, str]:
    """The number of each query, its `<num>` → its text, its `<title>`; each is in a `<top>`.

    Raises:
        AutopruneError: there is no such file, it has no query, or two queries have one number.
    """
    found: dict[str, str] = {}
    for piece in _pieces(read_text(file, where), "top"):
        name = re.sub(r"^number:\s*", "", _tagged(piece, "num"), flags=re.IGNORECASE)
        if name in found:
            raise AutopruneError(f"{file}: two queries have the number {name!r}; a <num> names one.")
        found[name] = re.sub(r"^topic:\s*", "", _tagged(piece, "title"), flags=re.IGNORECASE)
        if not found[name]:
            raise AutopruneError(f"{file}: query {name!r} has no <title>, which is its text.")
    if not found:
        raise AutopruneError(f"{file}: there is no query: each must be in <top>, its number in <num>.")
    return found


def _kind(file: Path) -> str | None:
    """Whether a file holds documents, queries or judgements in TREC's form; None: none of these."""
    try:
        text = file.read_bytes().decode("utf-8-sig", errors="replace")  # errors are reported when the file is read
    except OSError:
        return None
    if re.search(r"<docno>", text, re.IGNORECASE):
        return "documents"
    if re.search(r"<top>", text, re.IGNORECASE):
        return "queries"
    # Only the first line decides, so that a bad line further down is reported, and the file is not skipped.
    first = (text.strip().splitlines() or [""])[0].split()
    return "judgements" if len(first) == 4 and is_number(first[3]) else None


def _pieces(text: str, tag: str) -> list[str]:
    """The text after each opening tag, up to its closing tag or the next opening tag."""
    pieces = re.split(rf"<{tag}(?:\s[^>]*)?>", text, flags=re.IGNORECASE)[1:]
    return [re.split(rf"</{tag}>", piece, maxsplit=1, flags=re.IGNORECASE)[0] for piece in pieces]


def _tagged(piece: str, tag: str) -> str:
    """The text in all tags of a name, closed or not (as in TREC's topics), with single spaces."""
    inside = re.findall(rf"<{tag}>(.*?)(?=</{tag}>|<(?:num|title|desc|narr|text|docno)>|\Z)", piece, re.I | re.S)
    return " ".join(html.unescape(re.sub(r"</?[a-z]\w*>", " ", " ".join(inside), flags=re.I)).split())
