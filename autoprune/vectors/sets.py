"""Readers of evaluation data: similarity sets, analogies, running text, judgements, counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.extras import need
from autoprune.readers.files import open_bytes
from autoprune.vectors.words import BLOCK_TOKENS, Scored

FEWEST_PAIRS, FEWEST_BLOCKS = 20, 20
"""The fewest pairs of a set and blocks of a text; a rank correlation of fewer says nothing."""

TOKEN = re.compile(r"[^\W_]+")

SCORE = re.compile(r"score|simlex|human|mean|similarity|rating|relatedness", re.IGNORECASE)

MARKS = ("\t", ",", ";")
"""Separators of the fields of a line: the first that occurs; if none does, white space."""

LOOKED_AT = 10
"""Lines from which the separator of the fields of all lines is chosen."""

PACKAGED_PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
PACKAGED_ANALOGIES, PACKAGED_TEXT = "questions-words.txt", "lee_background.cor"


def packaged(name: str, entry: str) -> Path:
    """A file from the package gensim.

    Raises:
        AutopruneError: gensim is not installed.
    """
    need("gensim", "words", f"{entry}: the default data", instead="name a file of your own")
    from gensim.test.utils import datapath

    return Path(datapath(name))


def read_pairs(path: Path, entry: str) -> Scored:
    """Pairs of words with scores: word, word and score, separated by tabs, commas or spaces; `#` begins a comment.

    If the first line names columns, the score is in the column whose name matches `SCORE`; else it is the third.

    Raises:
        AutopruneError: a line has another form, or there are too few.
    """
    column, pairs = 2, Scored([], [], [])
    for number, fields in _table(path, entry):
        if not pairs.score and len(fields) > 2 and not _is_number(fields[column]):
            score_columns = [position for position, name in enumerate(fields) if position > 1 and SCORE.search(name)]
            if column == 2 and score_columns:
                column = score_columns[0]
                continue
        if len(fields) <= column or not _is_number(fields[column]):
            raise AutopruneError(
                f"{entry}: {path}, line {number:,}: two words and a score are expected, but got {' '.join(fields)!r}."
            )
        pairs.first.append(fields[0])
        pairs.second.append(fields[1])
        pairs.score.append(float(fields[column]))
    if len(pairs.score) < FEWEST_PAIRS or len(set(pairs.score)) < 2:
        raise AutopruneError(
            f"{entry}: {path} holds {len(pairs.score)} pairs of {len(set(pairs.score))} different scores; at least "
            f"{FEWEST_PAIRS}, not all of one score, are needed to rank them."
        )
    return pairs


def read_analogies(path: Path, entry: str) -> list[list[str]]:
    """Questions of four words, one a line; lines that begin with `:` name sections.

    Raises:
        AutopruneError: a line does not have four words, or there are too few questions.
    """
    questions = []
    for number, fields in _table(path, entry):
        if fields[0].startswith(":"):
            continue
        if len(fields) != 4:
            raise AutopruneError(
                f"{entry}: {path}, line {number:,}: a question has four words, but got {' '.join(fields)!r}."
            )
        questions.append(fields)
    if len(questions) < FEWEST_PAIRS:
        raise AutopruneError(f"{entry}: {path} holds {len(questions)} questions; at least {FEWEST_PAIRS} are needed.")
    return questions


def read_tokens(paths: Sequence[Path], entry: str) -> list[str]:
    """The tokens of running text: runs of letters and digits. A folder stands for the `.txt` files in it.

    Raises:
        AutopruneError: a file is missing or not text, or there are too few tokens.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]
    tokens = [token for file in files for _, line in _lines(file, entry) for token in TOKEN.findall(line)]
    fewest = FEWEST_BLOCKS * BLOCK_TOKENS
    if len(tokens) < fewest:
        where = ", ".join(str(path) for path in paths) or "nothing"
        raise AutopruneError(f"{entry}: {where} holds {len(tokens):,} words of text; at least {fewest:,} are needed.")
    return tokens


def read_relevant(path: Path) -> dict[str, list[str]]:
    """The relevant vectors of each query: lines of query, id and perhaps a grade, or TREC's four columns.

    A vector with a grade of 0 or less is not relevant.

    Raises:
        AutopruneError: a line has another form, or no vector is relevant.
    """
    entry, relevant = "task.relevant", dict[str, list[str]]()
    for number, fields in _table_of_ids(path, entry):
        well_formed = 2 <= len(fields) <= 4 and (len(fields) == 2 or _is_number(fields[-1]))
        if not relevant and fields[0].startswith("#") and not (well_formed and len(fields[0]) > 1):
            continue  # a comment
        if not 2 <= len(fields) <= 4:
            raise AutopruneError(
                f"{entry}: {path}, line {number:,}: a query, an id and perhaps a grade are expected, but got "
                f"{' '.join(fields)!r}."
            )
        query, relevant_id = fields[0], fields[2] if len(fields) == 4 else fields[1]
        grade = fields[-1] if len(fields) > 2 else "1"
        if number == 1 and not _is_number(grade):
            continue  # column names
        if not _is_number(grade):
            raise AutopruneError(f"{entry}: {path}, line {number:,}: the grade must be a number, but got {grade!r}.")
        if float(grade) > 0:
            relevant.setdefault(query, []).append(relevant_id)
    if not relevant:
        raise AutopruneError(
            f"{entry}: {path} has no relevant id; at least one line must have a grade above 0, or no grade."
        )
    return relevant


def read_counts(path: Path) -> dict[str, int]:
    """How often each id is looked up: lines of id and count.

    Raises:
        AutopruneError: a line has another form, an id appears twice, or all counts are 0.
    """
    entry, counts = "task.counts", dict[str, int]()
    for number, fields in _table_of_ids(path, entry):
        whole = len(fields) == 2 and fields[1].isdecimal()
        if not whole and not counts and (fields[0].startswith("#") or (number == 1 and len(fields) == 2)):
            continue  # a comment, or column names
        if not whole or fields[0] in counts:
            problem = "the id appears twice" if whole else "an id and a whole number are expected"
            raise AutopruneError(f"{entry}: {path}, line {number:,}: {problem}: {' '.join(fields)!r}.")
        counts[fields[0]] = int(fields[1])
    if not any(counts.values()):
        raise AutopruneError(f"{entry}: {path} has no count above 0.")
    return counts


def _table(path: Path, entry: str) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines split into fields, without empty lines and comments."""
    for number, line in _lines(path, entry):
        mark = next((mark for mark in MARKS if mark in line), None)
        fields = [field.strip().strip('"') for field in line.split(mark)]
        if any(fields) and not line.startswith("#"):
            yield number, fields


def _table_of_ids(path: Path, entry: str) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines split into fields, without empty lines; an id may contain `#`, a comma or a quote."""
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
        raise AutopruneError(f"{entry}: {str(path)!r} {what}; name a text file.")
    with open_bytes(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AutopruneError(f"{entry}: {path} is not UTF-8; save it as text in UTF-8.") from None
    if not text.strip() or "\0" in text:
        raise AutopruneError(f"{entry}: {path} {'is empty' if not text.strip() else 'is not text'}.")
    return iter(enumerate(text.split("\n"), start=1))


def _is_number(written: str) -> bool:
    try:
        return float(written) == float(written)
    except ValueError:
        return False
