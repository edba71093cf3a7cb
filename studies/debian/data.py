"""Writes which Debian package names which other one, a line each: `package,dependency`.

    apt-cache dumpavail | python studies/debian/data.py > deps.csv

Everything that a package depends on, recommends or suggests is one of its items; alternatives count each.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator

NAMING = ("Depends", "Pre-Depends", "Recommends", "Suggests")
"""The fields that name other packages."""


def pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The pairs of a listing of packages, each once."""
    package, found = "", set[tuple[str, str]]()
    for line in lines:
        field, _, content = line.partition(": ")
        if field == "Package":
            package = content.strip()
        elif field in NAMING:
            for name in re.split(r"[,|]", re.sub(r"\([^)]*\)|:\w+", "", content)):
                pair = (package, name.strip())
                if pair[1] and pair not in found:
                    found.add(pair)
                    yield pair


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["package", "dependency"])
    writer.writerows(pairs(sys.stdin))
