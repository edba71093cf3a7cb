"""What is judged by, read from files: similarity sets, analogies, running text, judgements, counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.extras import need
from autoprune.readers.files import open_bytes
from autoprune.vectors.words import BLOCK_TOKENS, Scored

FEWEST_PAIRS, FEWEST_BLOCKS = 20, 20
"""That a set and a running text must have; a rank correlation of fewer says nothing."""

TOKEN = re.compile(r"[^\W_]+")

SCORE = re.compile(r"score|simlex|human|mean|similarity|rating|relatedness", re.IGNORECASE)

MARKS = ("\t", ",", ";")
"""What stands between the fields of a line, the first of these that is there; else white space."""

LOOKED_AT = 10
"""Lines that tell what stands between the fields of all."""

PACKAGED_PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
PACKAGED_ANALOGIES, PACKAGED_TEXT = "questions-words.txt", "lee_background.cor"


def packaged(name: str, entry: str) -> Path:
    """A file inside the package gensim.

    Raises:
        AutopruneError: gensim is not installed.
    """
    need("gensim", "words", f"{entry}: what words are judged by", instead="name a file of your own")
    from gensim.test.utils import datapath

    return Path(datapath(name))


def read_pairs(path: Path, entry: str) -> Scored:
    """Pairs of words with scores: word, word and score, apart by tabs, commas or spaces; `#` begins a comment.

    Where the first line names columns, the score is the one that is called so; else it is the third.

    Raises:
        AutopruneError: a line is none of these, or there are too few.
    """
    column, found = 2, Scored([], [], [])
    for number, fields in _table(path, entry):
        if not found.score and len(fields) > 2 and not _is_number(fields[column]):
            named = [at for at, name in enumerate(fields) if at > 1 and SCORE.search(name)]
            if column == 2 and named:
                column = named[0]
                continue
        if len(fields) <= column or not _is_number(fields[column]):
            raise AutopruneError(
                f"{entry}: {path}, line {number:,}: two words and a score are expected, but got {' '.join(fields)!r}."
            )
        found.first.append(fields[0])
        found.second.append(fields[1])
        found.score.append(float(fields[column]))
    if len(found.score) < FEWEST_PAIRS or len(set(found.score)) < 2:
        raise AutopruneError(
            f"{entry}: {path} holds {len(found.score)} pairs of {len(set(found.score))} different scores; at least "
            f"{FEWEST_PAIRS}, not all of one score, are needed to rank them."
        )
    return found


def read_analogies(path: Path, entry: str) -> list[list[str]]:
    """Questions of four words, a line each; lines that begin with `:` name sections.

    Raises:
        AutopruneError: a line has not four words, or there are too few.
    """
    found = []
    for number, fields in _table(path, entry):
        if fields[0].startswith(":"):
            continue
        if len(fields) != 4:
            raise AutopruneError(
                f"{entry}: {path}, line {number:,}: four words are a question, but got {' '.join(fields)!r}."
            )
        found.append(fields)
    if len(found) < FEWEST_PAIRS:
        raise AutopruneError(f"{entry}: {path} holds {len(found)} questions; at least {FEWEST_PAIRS} are needed.")
    return found


def read_tokens(paths: Sequence[Path], entry: str) -> list[str]:
    """The tokens of running text: runs of letters and digits. A folder stands for the `.txt` files in it.

    Raises:
        AutopruneError: a file is missing or no text, or there are too few tokens.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]
    found = [token for file in files for _, line in _lines(file, entry) for token in TOKEN.findall(line)]
    least = FEWEST_BLOCKS * BLOCK_TOKENS
    if len(found) < least:
        where = ", ".join(str(path) for path in paths) or "nothing"
        raise AutopruneError(f"{entry}: {where} holds {len(found):,} words of text; at least {least:,} are needed.")
    return found


def read_relevant(path: Path) -> dict[str, list[str]]:
    """Which vectors are right for which query: lines of query and id, perhaps with a grade, or as TREC has them.

    A grade that is not above 0 says that it is not right.

    Raises:
        AutopruneError: a line is none of these, or there is none.
    """
    entry, found = "task.relevant", dict[str, list[str]]()
    for number, fields in _table_of_ids(path, entry):
        told = 2 <= len(fields) <= 4 and (len(fields) == 2 or _is_number(fields[-1]))
        if not found and fields[0].startswith("#") and not (told and len(fields[0]) > 1):
            continue  # a comment
        if not 2 <= len(fields) <= 4:
            raise AutopruneError(
                f"{entry}: {path}, line {number:,}: a query, an id and perhaps a grade are expected, but got "
                f"{' '.join(fields)!r}."
            )
        query, wanted = fields[0], fields[2] if len(fields) == 4 else fields[1]
        grade = fields[-1] if len(fields) > 2 else "1"
        if number == 1 and not _is_number(grade):
            continue  # names of columns
        if not _is_number(grade):
            raise AutopruneError(f"{entry}: {path}, line {number:,}: a grade is a number, but got {grade!r}.")
        if float(grade) > 0:
            found.setdefault(query, []).append(wanted)
    if not found:
        raise AutopruneError(f"{entry}: {path} says of nothing that it is right.")
    return found


def read_counts(path: Path) -> dict[str, int]:
    """How often each id is looked up: lines of id and count.

    Raises:
        AutopruneError: a line is no such, an id stands twice, or all counts are 0.
    """
    entry, found = "task.counts", dict[str, int]()
    for number, fields in _table_of_ids(path, entry):
        whole = len(fields) == 2 and fields[1].isdecimal()
        if not whole and not found and (fields[0].startswith("#") or (number == 1 and len(fields) == 2)):
            continue  # a comment, or names of columns
        if not whole or fields[0] in found:
            why = "stands twice" if whole else "an id and a whole number are expected"
            raise AutopruneError(f"{entry}: {path}, line {number:,}: {why}: {' '.join(fields)!r}.")
        found[fields[0]] = int(fields[1])
    if not any(found.values()):
        raise AutopruneError(f"{entry}: {path} counts nothing.")
    return found


def _table(path: Path, entry: str) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines as fields, without what is empty or a comment."""
    for number, line in _lines(path, entry):
        mark = next((mark for mark in MARKS if mark in line), None)
        fields = [field.strip().strip('"') for field in line.split(mark)]
        if any(fields) and not line.startswith("#"):
            yield number, fields


def _table_of_ids(path: Path, entry: str) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines as fields, without empty ones, where an id may be any text: `#`, a comma or a quote."""
    lines = [(number, line) for number, line in _lines(path, entry) if line.strip()]
    first = [line for _, line in lines if not line.startswith("#")][:LOOKED_AT] or [line for _, line in lines]
    mark = next((mark for mark in MARKS if all(mark in line for line in first)), None)
    for number, line in lines:
        fields = [_unquoted(field.strip()) for field in line.split(mark)]
        if any(fields):
            yield number, fields


def _unquoted(field: str) -> str:
    return field[1:-1] if len(field) > 2 and field[0] == field[-1] == '"' else field


def _lines(path: Path, entry: str) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise AutopruneError(f"{entry}: {str(path)!r} {what}; name a file of text.")
    with open_bytes(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AutopruneError(f"{entry}: {path} is no text in UTF-8; save it as such.") from None
    if not text.strip() or "\0" in text:
        raise AutopruneError(f"{entry}: {path} {'is empty' if not text.strip() else 'is no text'}.")
    return iter(enumerate(text.split("\n"), start=1))


def _is_number(written: str) -> bool:
    try:
        return float(written) == float(written)
    except ValueError:
        return False
