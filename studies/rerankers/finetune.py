"""Makes a cross-encoder of the packaged all-MiniLM-L6-v2, and a collection and pairs that it has not seen.

    python studies/rerankers/finetune.py DATA TO

DATA is a folder with stsb/ and cranfield/; TO gets model/, beir/ and pairs/.
It learns from pairs of STS-B's train file, and from half of Cranfield's queries with the beginnings of documents that
are relevant and of others that BM25 finds. A few minutes of two cores make no good reranker: it shows on real weights
what codes do to the order of one.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from autoprune.encoder.benchmarks.judgements import Collection
from autoprune.encoder.benchmarks.trec import read_trec
from autoprune.encoder.hub import packaged
from autoprune.encoder.reranker.first_stage import Bm25

BATCH, RATE, LONGEST = 16, 8e-5, 128

ALIKE, RELEVANT, OTHERS = 800, 300, 2
"""Pairs of STS-B; relevant pairs of Cranfield, and others for each of them."""

WORDS = 80
"""Of a document."""

ASKED = 60
"""Queries of each half that judge, at most."""

SAME = 3.0
"""From this score on two sentences of STS-B are called the same, else not."""

Example = tuple[str, str, float]
"""Two texts, and what the score is to be, between 0 and 1."""


def sentences(data: Path, split: str) -> list[list[str]]:
    """The pairs of STS-B, and their scores from 0 to 5."""
    with next((data / "stsb").glob(f"*{split}*.csv")).open(newline="", encoding="utf-8") as file:
        return [row for row in csv.reader(file) if len(row) == 3]


def examples(data: Path, collection: Collection, draw: random.Random) -> list[Example]:
    """What is learned from, in a drawn order."""
    alike = [(one, other, float(score) / 5) for one, other, score in draw.sample(sentences(data, "train"), ALIKE)]
    search, judged = Bm25(collection.documents), list[Example]()
    for query, grades in zip(collection.queries["validation"], collection.grades["validation"], strict=True):
        found = [at for at in search.best(query, 50).tolist() if at not in grades]
        for at in grades:
            judged.append((query, collection.documents[at], 1.0))
            judged += [(query, collection.documents[other], 0.0) for other in draw.sample(found, OTHERS)]
    relevant = draw.sample(range(0, len(judged), 1 + OTHERS), RELEVANT)
    chosen = [judged[at + place] for at in relevant for place in range(1 + OTHERS)]
    return draw.sample([*alike, *chosen], ALIKE + len(chosen))


def trained(learned: Sequence[Example], to: Path) -> None:
    """One pass over the examples, at a rate that rises and falls; writes the model."""
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(packaged())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(packaged(), num_labels=1).train()
    updates = -(-len(learned) // BATCH)
    adam = torch.optim.AdamW(model.parameters(), lr=RATE)
    falling = transformers.get_linear_schedule_with_warmup(adam, updates // 10, updates)
    for at in range(updates):
        first, second, wanted = zip(*learned[at * BATCH : (at + 1) * BATCH], strict=True)
        read = tokenizer(
            list(first), list(second), padding=True, truncation="longest_first", max_length=LONGEST, return_tensors="pt"
        )
        logits = model(**read).logits[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(wanted))
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
        if at % 10 == 0:
            print(f"update {at} of {updates}: {loss.item():.4f}", flush=True)
    model.eval().save_pretrained(to)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(to)


def write_collection(collection: Collection, to: Path) -> None:
    """In BEIR's form: the half that was learned from as dev, the other one as test."""
    (to / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{at}", "text": text} for at, text in enumerate(collection.documents)]
    queries = []
    for split, name in (("validation", "dev"), ("test", "test")):
        lines = ["query-id\tcorpus-id\tscore"]
        asked = list(zip(collection.queries[split], collection.grades[split], strict=True))[:ASKED]
        for at, (query, grades) in enumerate(asked):
            queries.append({"_id": f"{name}{at}", "text": query})
            lines += [f"{name}{at}\td{there}\t{gain:g}" for there, gain in grades.items()]
        (to / "qrels" / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, held in (("corpus", documents), ("queries", queries)):
        (to / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in held), encoding="utf-8")


def write_pairs(data: Path, to: Path) -> None:
    """Pairs of STS-B's dev and test files: whether people called them the same."""
    to.mkdir(parents=True)
    for split in ("dev", "test"):
        with (to / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = ((one, other, int(float(score) >= SAME)) for one, other, score in sentences(data, split)[::4])
            csv.writer(file).writerows([("query", "document", "label"), *rows])


def main() -> None:
    """Writes all of it."""
    data, to = map(Path, sys.argv[1:])
    whole = read_trec(data / "cranfield", seed=0)
    short = [" ".join(text.split()[:WORDS]) for text in whole.documents]
    collection = Collection(documents=short, queries=whole.queries, grades=whole.grades)
    write_collection(collection, to / "beir")
    write_pairs(data, to / "pairs")
    trained(examples(data, collection, random.Random(0)), to / "model")


if __name__ == "__main__":
    main()
