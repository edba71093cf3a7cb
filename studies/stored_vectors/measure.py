"""What all-MiniLM-L6-v2 keeps when the vectors of texts are stored in fewer bits, and in fewer dimensions.

    python studies/stored_vectors/measure.py DATA                    # a folder with stsb/ and cranfield/

Test data alone. Documents of Cranfield and both sentences of a pair are stored, queries are not. Signs are searched as
whoever has an index of bits does: the nearest by Hamming distance, then put in order by the query itself. `±` is half
the width in which the ratio to float32 lies in 95 of 100 bootstrap samples of queries or pairs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.encoder.benchmarks.pairs import Pairs, read_pairs
from autoprune.encoder.benchmarks.retrieval import K, Retrieval, ndcg, nearest_documents, order_of, read_retrieval
from autoprune.encoder.config import EncoderConfig
from autoprune.encoder.make import make_encoder
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.similarity import normalized
from autoprune.encoder.stored import kept, stored_bytes
from autoprune.encoder.task import EncoderTask
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

Numbers = np.ndarray[Any, Any]

WIDTHS = {32: "float32", 16: "float16", 8: "int8", 1: "signs"}

RESCORED = (20, 40, 100)
"""Documents that Hamming distance finds, and the query then puts in order."""

DIMS: dict[str, dict[str, Any]] = {
    "384": {"runtime": "onnx"},
    "192 (PCA)": {"runtime": "onnx", "cut": {"dims": {"sparsity": 0.5, "importance": "pca"}}},
}

DRAWS = 1000

HEAD = ("dimensions", "stored as", "bytes", "a million", "Cranfield, nDCG@10", "STS-B, Spearman")


class Held:
    """The vectors that an encoder gives to the texts of both benchmarks, float32 and of length 1."""

    def __init__(self, encoder: SentenceEncoder, retrieval: Retrieval, pairs: Pairs) -> None:
        def read(texts: list[str]) -> Numbers:
            return normalized(encoder.vectors(texts))

        collection, scored = retrieval.collection, pairs.pairs["test"]
        order = order_of(collection.documents)  # that of ties
        self.places = order[np.isin(order, retrieval.candidates("test"))]
        self.documents = read([collection.documents[at] for at in self.places])
        self.queries, self.grades = read(collection.queries["test"]), collection.grades["test"]
        self.first, self.second, self.gold = read(scored.first), read(scored.second), rankdata(scored.score)

    def ndcg(self, near: Numbers) -> Numbers:
        """Of each query, for the positions of its answers among `documents`."""
        gains = [
            [known.get(int(at), 0.0) for at in self.places[row]] for row, known in zip(near, self.grades, strict=True)
        ]
        return np.array([ndcg(row, known) for row, known in zip(gains, self.grades, strict=True)])

    def nearest(self, bits: int) -> Numbers:
        """Among all, the query in float32, as a study judges: int64 [queries, K]."""
        return nearest_documents(self.queries, kept(self.documents, bits), K)

    def by_signs(self, count: int = K) -> Numbers:
        """By Hamming distance; more than `K` are rescored: the first `K` in the order of the float32 query."""
        signs = kept(self.documents, 1)
        found = nearest_documents(kept(self.queries, 1), signs, count)
        if count == K:
            return found
        scores = np.einsum("qd,qnd->qn", self.queries, signs[found])
        first: Numbers = np.take_along_axis(found, np.argsort(-scores, axis=1, kind="stable")[:, :K], axis=1)
        return first

    def likeness(self, bits: int) -> Numbers:
        """Ranks of the pairs of STS-B by their similarity."""
        ranks: Numbers = rankdata(np.round(np.einsum("nd,nd->n", kept(self.first, bits), kept(self.second, bits)), 6))
        return ranks


def against(found: Numbers, dense: Numbers, gold: Numbers | None = None) -> str:
    """The ratio of two means, or of two rank correlations with `gold`, of the same queries or pairs."""

    def value(of: Numbers, at: Numbers) -> float:
        return float(of[at].mean() if gold is None else np.corrcoef(rankdata(of[at]), rankdata(gold[at]))[0, 1])

    draw, whole = np.random.default_rng(0), np.arange(len(found))
    samples = (draw.integers(len(found), size=len(found)) for _ in range(DRAWS))
    ratios = [value(found, at) / value(dense, at) for at in samples]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return f"{value(found, whole) / value(dense, whole):.3f}x ±{(high - low) / 2:.3f}"


def encoder_of(task: EncoderTask, recipe: Mapping[str, Any], folder: Path) -> SentenceEncoder:
    """As it ships: saved, and read again."""
    made = plan(recipe, base_defaults=task.base, runtimes=("torch", "onnx"))
    model = run(made, task, task.context(seed=0, device=torch.device("cpu")), trainer=Trainer(task.training))
    artifact.save(task.parts(model, "onnx"), folder, provenance={})  # type: ignore[arg-type]
    served = serve(artifact.read(folder))
    assert isinstance(served, SentenceEncoder), "as its artifact says"
    return served


def ways(held: Held) -> Iterator[tuple[str, int, Numbers, Numbers | None]]:
    """How vectors can be stored and searched: what it is called, bits, answers, and ranks of pairs."""
    for bits, name in WIDTHS.items():
        yield name, bits, held.nearest(bits), held.likeness(bits)
    yield "signs, Hamming distance alone", 1, held.by_signs(), None
    for count in RESCORED:
        yield f"signs, the first {count} rescored", 1, held.by_signs(count), None


def main() -> None:
    """Prints a line for each way to store vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds stsb and cranfield")
    data = parser.parse_args().data
    task = make_encoder(EncoderConfig())
    retrieval, pairs = read_retrieval(data / "cranfield"), read_pairs(data / "stsb")
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}", flush=True)
    dense: tuple[Numbers, Numbers] | None = None
    for name, recipe in DIMS.items():
        with tempfile.TemporaryDirectory() as folder:
            held = Held(encoder_of(task, recipe, Path(folder) / "made"), retrieval, pairs)
        if dense is None:
            dense = held.ndcg(held.nearest(32)), held.likeness(32)
        for said, bits, near, likeness in ways(held):
            taken = stored_bytes(held.documents.shape[1], bits)
            found = against(held.ndcg(near), dense[0])
            alike = "" if likeness is None else against(likeness, dense[1], held.gold)
            print(f"| {name} | {said} | {taken} | {taken / 1000:.3g} GB | {found} | {alike} |", flush=True)
    assert dense is not None, "the first line is the whole"
    print(f"\nfloat32: nDCG@10 {dense[0].mean():.4f}, Spearman {np.corrcoef(dense[1], held.gold)[0, 1]:.4f}")


if __name__ == "__main__":
    main()
