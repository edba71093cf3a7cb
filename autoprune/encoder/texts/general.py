"""General English that installs offline: the glosses and examples of WordNet, the definitions and quotes of GCIDE."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from autoprune.encoder.texts.corpus import WHERE, sentences
from autoprune.errors import AutopruneError

WORDNET = Path("/usr/share/wordnet")
"""Where Debian's `wordnet-base` puts it (Miller 1995, "WordNet: A Lexical Database for English")."""

GCIDE = Path("/usr/share/dictd/gcide.dict.dz")
"""Where Debian's `dict-gcide` puts it: Webster's of 1913, gone on with by the GNU project."""

WORDS = range(4, 201)
"""Of a text: what is shorter is a synonym, and what is longer a list."""

KINDS = ("noun", "verb", "adj", "adv")

QUOTED = re.compile(r'"([^"]+)"')

ASIDE = re.compile(r"\[[^\[\]]*\]")
"""Where a word comes from, and whose definition it is."""

NOISE = re.compile(
    r"[{}|]"  # marks of references
    r"|--[A-Z][\w. ]*(?:\([^)]*\))?\.?$"  # who is quoted
    r"|^\s*(?:\d+\.|\([a-z]\)|Note:|Syn:)|^\s*\([A-Z][^)]*\)"  # numbers and fields before a definition
)


def general_english(wordnet: Path = WORDNET, gcide: Path = GCIDE, *, where: str = WHERE) -> list[str]:
    """Different texts of four words and more, of WordNet and of GCIDE.

    Args:
        where: the entry of the config that asks for them, for errors.

    Raises:
        AutopruneError: a dictionary is not there, or is none.
    """
    found = dict.fromkeys(_glosses(wordnet, where))
    found.update(dict.fromkeys(_definitions(gcide, where)))
    return [text for text in found if len(text.split()) in WORDS]


def _glosses(folder: Path, where: str) -> Iterator[str]:
    """`... | what it means; "an example"; "another"`, behind what a line says of a meaning's words."""
    for kind in KINDS:
        for line in _read(folder / f"data.{kind}", where).decode(errors="replace").splitlines():
            gloss = "" if line.startswith("  ") else line.partition(" | ")[2]
            yield from (part.strip() for part in QUOTED.sub("", gloss).split(";"))
            yield from QUOTED.findall(gloss)


def _definitions(path: Path, where: str) -> Iterator[str]:
    """Paragraphs between empty lines; one that begins at the margin begins with a word and how it is spoken."""
    content = _read(path, where)
    try:
        text = gzip.decompress(content).decode(errors="replace")
    except (OSError, EOFError, zlib.error) as error:
        raise AutopruneError(
            f"{where}: {path} is no dictionary as dict-gcide brings it ({error}); install that anew."
        ) from error
    for paragraph in re.split(r"\n\s*\n", text):
        head, _, rest = _without(ASIDE, paragraph).partition("\n")
        flat = _without(NOISE, " ".join((f"{head} {rest}" if head.startswith(" ") else rest).split()))
        if "\\" not in flat:  # how a word is spoken
            yield from sentences(" ".join(flat.split()))


def _without(pattern: re.Pattern[str], text: str) -> str:
    """A text without a pattern, also where it appears only then: one within another, or behind it."""
    while (bare := pattern.sub("", text)) != text:
        text = bare
    return text


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AutopruneError(
            f"{where}: general English is read from WordNet and GCIDE, but {path} cannot be read ({error.strerror}). "
            "Debian and Ubuntu have both, 21 MB: apt-get install --no-install-recommends wordnet-base dict-gcide."
        ) from error
