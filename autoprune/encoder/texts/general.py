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
"""Where Debian's `dict-gcide` puts it: Webster's of 1913, continued by the GNU project."""

WORDS = range(4, 201)
"""Words of a text: shorter texts are synonyms, longer ones are lists."""

KINDS = ("noun", "verb", "adj", "adv")

QUOTED = re.compile(r'"([^"]+)"')

ASIDE = re.compile(r"\[[^\[\]]*\]")
"""Notes in brackets: the origin of a word, and the source of a definition."""

NOISE = re.compile(
    r"[{}|]"  # marks of references
    r"|--[A-Z][\w. ]*(?:\([^)]*\))?\.?$"  # the author of a quote
    r"|^\s*(?:\d+\.|\([a-z]\)|Note:|Syn:)|^\s*\([A-Z][^)]*\)"  # numbers and fields before a definition
)


def general_english(wordnet: Path = WORDNET, gcide: Path = GCIDE, *, where: str = WHERE) -> list[str]:
    """Distinct texts of four words or more from WordNet and GCIDE.

    Args:
        where: the config entry that names them, for errors.

    Raises:
        AutopruneError: a dictionary is missing or damaged.
    """
    texts = dict.fromkeys(_glosses(wordnet, where))
    texts.update(dict.fromkeys(_definitions(gcide, where)))
    return [text for text in texts if len(text.split()) in WORDS]


def _glosses(folder: Path, where: str) -> Iterator[str]:
    """The parts of glosses; a line ends in `... | what it means; "an example"; "another"`."""
    for kind in KINDS:
        for line in _read(folder / f"data.{kind}", where).decode(errors="replace").splitlines():
            gloss = "" if line.startswith("  ") else line.partition(" | ")[2]
            yield from (part.strip() for part in QUOTED.sub("", gloss).split(";"))
            yield from QUOTED.findall(gloss)


def _definitions(path: Path, where: str) -> Iterator[str]:
    """Sentences of paragraphs between empty lines; one at the margin begins with a word and its pronunciation."""
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
        if "\\" not in flat:  # marks of pronunciation
            yield from sentences(" ".join(flat.split()))


def _without(pattern: re.Pattern[str], text: str) -> str:
    """A text without a pattern, removed again until no match is left: matches may be nested."""
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
