"""Interactions that no recommender was made for: Banking77's questions are users, and their words are items.

    python studies/codes/questions.py ../shared/data/banking77 questions.csv

Words that occur three times or more, in the order of the question, each once; questions of five such words or more.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import pandas as pd


def main() -> None:
    """Writes user, item and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banking77", type=Path, help="the folder with train.csv and test.csv")
    parser.add_argument("out", type=Path)
    told = parser.parse_args()
    texts = pd.concat([pd.read_csv(told.banking77 / f"{split}.csv") for split in ("train", "test")]).text
    questions = [list(dict.fromkeys(re.findall(r"[a-z']+", text.lower()))) for text in texts]
    counts = Counter(word for words in questions for word in words)
    known = [[word for word in words if counts[word] >= 3] for words in questions]
    rows = [(at, word) for at, words in enumerate(known) if len(words) >= 5 for word in words]
    table = pd.DataFrame(rows, columns=["user", "item"])
    table.assign(time=range(len(table))).to_csv(told.out, index=False)


if __name__ == "__main__":
    main()
