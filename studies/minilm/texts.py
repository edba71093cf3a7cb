"""The texts that studies/minilm distils on: English without labels, and none of the sentences that it is judged by.

    python studies/minilm/texts.py ../shared/data texts.txt                # without Cranfield's documents
    python studies/minilm/texts.py ../shared/data texts-cranfield.txt --cranfield

Sources: the training sentences of STS-B and Banking77; the news documents of Lee et al. inside gensim; the
documentation of the packages in `PACKAGES`, which are installed with autoprune. Sentences of STS-B's dev and test
files, of Banking77's test file and Cranfield's queries are left out wherever they turn up.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import pkgutil
import random
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from autoprune.encoder.texts.corpus import sentences
from autoprune.encoder.texts.files import packaged_texts

PACKAGES = ("scipy", "sklearn")
PACKAGE_TEXTS = 10_000
"""Taken of each package, at most."""

WORDS = range(4, 80)


def paragraphs(name: str) -> Iterator[str]:
    """The paragraphs of prose in the docstrings of a package."""
    package = importlib.import_module(name)
    modules = [package]
    quiet = contextlib.redirect_stdout(io.StringIO())  # some modules print when they are imported
    for found in pkgutil.walk_packages(package.__path__, prefix=f"{name}.", onerror=lambda _: None):
        if not re.search(
            r"\b(tests?|_?testing|conftest|models|f2py|distutils|setup|integrations|__main__)\b", found.name
        ):
            try:
                with quiet:
                    modules.append(importlib.import_module(found.name))
            except BaseException:  # a module that cannot be imported here has nothing to read
                continue
    seen = set()
    for module in modules:
        for _, thing in [("", module), *vars(module).items()]:
            held = [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]
            for one in held:
                text = getattr(one, "__doc__", None)
                if isinstance(text, str) and text not in seen:
                    seen.add(text)
                    yield from re.split(r"\n\s*\n", inspect.cleandoc(text))


def prose(paragraph: str) -> Iterator[str]:
    """Its sentences, where it is prose: words, and few signs."""
    flat = " ".join(re.sub(r":\w+:`~?([^`]*)`|`+([^`]*)`+", r"\1\2", paragraph).split())
    letters = sum(character.isalpha() or character.isspace() for character in flat)
    if letters > 0.9 * len(flat) and not re.search(r">>>|\.\.\s|::|={3}|-{3}|\*\*", flat):
        yield from sentences(flat)


def main() -> None:
    """Writes the texts, a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument(
        "--cranfield", action="store_true", help="with Cranfield's documents, which search is judged by"
    )
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    stsb, banking = asked.data / "stsb", asked.data / "banking77"
    found: dict[str, list[str]] = {}
    for split in ("train", "dev", "test"):
        pairs = pd.read_csv(stsb / f"stsb-en-{split}.csv", header=None)
        found[split] = [*pairs[0], *pairs[1]]
    queries = re.findall(r"<title>(.*?)</title>", (asked.data / "cranfield" / "cran.qry.xml").read_text(), re.S)
    judged = {
        " ".join(text.split()).lower()
        for text in [*found["dev"], *found["test"], *queries, *pd.read_csv(banking / "test.csv")["text"]]
    }
    sources = {
        "STS-B train": found["train"],
        "Banking77 train": list(pd.read_csv(banking / "train.csv")["text"]),
        "Lee": packaged_texts().texts,
    }
    for name in PACKAGES:
        texts = list(dict.fromkeys(text for paragraph in paragraphs(name) for text in prose(paragraph)))
        random.Random(0).shuffle(texts)
        sources[name] = texts[:PACKAGE_TEXTS]
    if asked.cranfield:
        pages = (asked.data / "cranfield" / "cran.all.1400.xml").read_text()
        sources["Cranfield"] = [" ".join(text.split()) for text in re.findall(r"<text>(.*?)</text>", pages, re.S)]
    lines: dict[str, None] = {}
    for name, texts in sources.items():
        before = len(lines)
        for text in texts:
            flat = " ".join(text.split())
            if flat.lower() not in judged and (name == "Cranfield" or len(flat.split()) in WORDS):
                lines[flat] = None
        print(f"{name:16} {len(lines) - before:7,}")
    asked.to.write_text("\n".join(lines) + "\n")
    print(f"{'together':16} {len(lines):7,}")


if __name__ == "__main__":
    main()
