"""A collection of many long documents, as BEIR keeps one: Cranfield's abstracts, each followed by others of it.

    python studies/long_documents/make.py ../shared/data/cranfield OUT [--documents 5000] [--words 230]

Of Cranfield's 1,398 abstracts and 225 queries, with its judgements: a document is relevant where the abstract that it
begins with is. What follows, drawn without regard to anything, makes it long, and harder to find. 230 words are about
300 tokens of MiniLM.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from autoprune.encoder.benchmarks.judgements import JUDGED
from autoprune.encoder.benchmarks.trec import read_trec


def main() -> None:
    """Writes corpus.jsonl, queries.jsonl and qrels/test.tsv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cranfield", type=Path, help="the folder with cran.all.1400.xml")
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--words", type=int, default=230)
    told = parser.parse_args()
    draw = np.random.default_rng(0)
    collection = read_trec(told.cranfield)
    texts = collection.documents
    told.out.mkdir(parents=True)
    with (told.out / "corpus.jsonl").open("w") as file:
        for at in range(told.documents):
            words = texts[at].split() if at < len(texts) else []
            while len(words) < told.words:
                words += texts[draw.integers(len(texts))].split()
            file.write(json.dumps({"_id": f"d{at}", "text": " ".join(words[: told.words])}) + "\n")
    asked = [
        (text, grades)
        for split in JUDGED
        for text, grades in zip(collection.queries[split], collection.grades[split], strict=True)
    ]
    with (told.out / "queries.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": f"q{at}", "text": text}) + "\n" for at, (text, _) in enumerate(asked))
    lines = [
        f"q{at}\td{of}\t{gain:g}"
        for at, (_, grades) in enumerate(asked)
        for of, gain in grades.items()
        if of < told.documents
    ]
    (told.out / "qrels").mkdir()
    (told.out / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


if __name__ == "__main__":
    main()
