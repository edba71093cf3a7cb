"""What retrieval loses when vectors are stored in fewer bits and dimensions, searched in full and by Hamming distance.

    python studies/stored_vectors/measure.py FOLDER > studies/stored_vectors/results.csv

FOLDER holds a collection in BEIR's or TREC's form. all-MiniLM-L6-v2 reads its documents and test queries once; what
dimensions are cut to is computed from the news texts that the task calibrates on, which come inside gensim.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoprune.encoder.benchmarks.retrieval import K, ndcg, nearest_documents, read_retrieval
from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.make import make_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.similarity import normalized
from autoprune.encoder.stored import kept, stored_bytes
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

RESCORED = (20, 40, 100)
"""Documents that Hamming distance finds, and the query itself puts in order."""

SPARSITIES, BITS = (0.0, 0.5, 0.75), (32, 16, 8, 1)

Numbers = np.ndarray[Any, Any]


def measure(folder: Path) -> list[dict[str, Any]]:
    """A row for each way to store and to search."""
    task = make_encoder(EncoderConfig())
    context = task.context(seed=0, device=torch.device("cpu"))
    retrieval = read_retrieval(folder)
    places, grades = retrieval.candidates("test"), retrieval.collection.grades["test"]
    served = task._served(task.model({}, seed=0))
    documents = served.vectors([retrieval.collection.documents[at] for at in places])
    queries = served.vectors(retrieval.collection.queries["test"])

    def score(near: Any) -> float:
        values = [[known.get(int(places[at]), 0.0) for at in row[:K]] for row, known in zip(near, grades, strict=True)]
        return float(np.mean([ndcg(row, known) for row, known in zip(values, grades, strict=True)]))

    rows = []
    for sparsity in SPARSITIES:
        recipe = {"dims": {"sparsity": sparsity, "importance": "pca"}} if sparsity else {}
        model = run(plan(recipe, base_defaults={}), task, context, trainer=Trainer(task.training))
        assert isinstance(model, Encoder)
        to = model.wanted().numpy().T
        asked, found = normalized(queries @ to), normalized(documents @ to)
        dim = found.shape[1]
        for bits in BITS:
            cells = {"dimensions": dim, "bits": bits, "bytes": stored_bytes(dim, bits)}
            there = kept(found, bits)
            rows.append({**cells, "searched": "all", "ndcg@10": score(nearest_documents(asked, there, K))})
        signs = kept(asked, 1)
        for count in RESCORED:
            first = nearest_documents(signs, there, count)
            order = [row[np.argsort(-(there[row] @ one), kind="stable")] for row, one in zip(first, asked, strict=True)]
            rows.append({**cells, "searched": f"Hamming, {count} rescored", "ndcg@10": score(order)})
        rows.append({**cells, "searched": "Hamming alone", "ndcg@10": score(nearest_documents(signs, there, K))})
    return rows


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]))
    writer = csv.DictWriter(sys.stdout, list(found[0]))
    writer.writeheader()
    writer.writerows({**row, "ndcg@10": f"{row['ndcg@10']:.4f}"} for row in found)
