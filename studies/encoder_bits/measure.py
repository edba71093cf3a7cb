"""What all-MiniLM-L6-v2 keeps untrained, by the bits of its weights and how they are rounded.

    python studies/encoder_bits/measure.py DATA                      # a folder with stsb/, cranfield/ and banking77/
    python studies/encoder_bits/measure.py DATA --part               # the same on a tenth of the text

Everything is measured on test data, as it ships: saved, read again, asked under onnxruntime. Codes are fitted to the
news texts inside gensim, which have nothing to do with the three; nothing is trained. `lee` are pairs of other news of
that package, by which nothing was chosen. Bytes are those of the files in `model/`.
"""

from __future__ import annotations

import argparse
import html
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.encoder.benchmarks.trec import read_documents
from autoprune.encoder.config import EncoderConfig, EncoderData
from autoprune.encoder.make import make_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.served import SentenceEncoder, Vectors
from autoprune.encoder.similarity import prepared
from autoprune.encoder.task import EncoderTask
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer

LATIN = {"rows": {"sparsity": {"vocab": 0.08}}}
"""Of the vocabulary about what is no piece of a word in Latin letters: placeholders, and other scripts."""

WORDS = 20
"""Of a document that `--part` reads."""


def coded(word: float, body: float, *, cut: bool = False, **more: bool) -> dict[str, Any]:
    """The recipe of such bits."""
    quantize = {"bits": {"word": word, "body": body}, **more}
    return {**({"cut": LATIN} if cut else {}), "tune": {"quantize": quantize}, "runtime": "onnx"}


RECIPES = {
    "8 bits": coded(8, 8),
    "4 bits": coded(4, 4),
    "4 bits, compensated": coded(4, 4, compensate=True, entropy=True),
    "words 3 bits, body 4, compensated": coded(3, 4, compensate=True, entropy=True),
    "words 3.0, body 4.8, compensated": coded(3.0, 4.8, compensate=True, entropy=True),
    "words 2.2, body 4.0": coded(2.2, 4.0, entropy=True),
    "the same, compensated, rare pieces cut": coded(2.2, 4.0, compensate=True, entropy=True, cut=True),
    "words 2.0, body 3.6, compensated, rare pieces cut": coded(2.0, 3.6, compensate=True, entropy=True, cut=True),
}


def shortened(data: Path, to: Path) -> Path:
    """The same benchmarks with less to read: every fifth pair, the beginnings of documents, few texts of each class."""
    for name in ("stsb", "cranfield", "banking77"):
        (to / name).mkdir(parents=True)
    for split in ("dev", "test"):
        pairs = pd.read_csv(data / "stsb" / f"stsb-en-{split}.csv", header=None)
        pairs[::5].to_csv(to / "stsb" / f"stsb-en-{split}.csv", header=False, index=False)
    for split, count in (("train", 5), ("test", 3)):
        texts = pd.read_csv(data / "banking77" / f"{split}.csv")
        texts.groupby("category").head(count).to_csv(to / "banking77" / f"{split}.csv", index=False)
    cranfield = data / "cranfield"
    documents = read_documents(cranfield / "cran.all.1400.xml", "cranfield")
    lines = [
        f"<doc><docno>{name}</docno><text>{html.escape(' '.join(text.split()[:WORDS]))}</text></doc>"
        for name, text in documents.items()
    ]
    (to / "cranfield" / "cran.all.1400.xml").write_text("\n".join(lines))
    for name in ("cran.qry.xml", "cranqrel.trec.txt"):
        (to / "cranfield" / name).write_bytes((cranfield / name).read_bytes())
    return to


class Asked:
    """An encoder that is asked what the benchmarks want to know, and keeps every vector that it gave."""

    def __init__(self, served: SentenceEncoder) -> None:
        self._served, self.vectors = served, list[Vectors]()

    def __call__(self, texts: Sequence[str], role: str | None = None) -> Vectors:
        found = self._served.vectors(self._served.prompts.before(texts, role))
        self.vectors.append(prepared(found, self._served.similarity))
        return self.vectors[-1]


def answers(tasks: Sequence[EncoderTask], recipe: Mapping[str, Any], folder: Path) -> tuple[dict[str, float], Vectors]:
    """The metrics of a recipe on test data, as saved in a folder, and all vectors below one another."""
    plain = plan(recipe, base_defaults=tasks[0].base, runtimes=("torch", "onnx"))
    context = tasks[0].context(seed=0, device=torch.device("cpu"))
    model = run(plain, tasks[0], context, trainer=Trainer(tasks[0].training))
    assert isinstance(model, Encoder), "an encoder task has an encoder"
    artifact.save(tasks[0].parts(model, "onnx"), folder, provenance={})
    served = serve(artifact.read(folder))
    assert isinstance(served, SentenceEncoder), "as its artifact says"
    asked, found = Asked(served), dict[str, float]()
    for task in tasks:
        for benchmark in task.benchmarks:
            if benchmark.labelled:
                rows, (name, metric) = benchmark.rows(asked, "test"), next(iter(benchmark.metrics.items()))
                found[f"lee {name}" if name in found else name] = float(metric(rows))
    return found, np.concatenate(asked.vectors)


def main() -> None:
    """Prints a line for each recipe, as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds stsb, cranfield and banking77")
    parser.add_argument("--part", action="store_true", help="less text")
    parser.add_argument("--only", nargs="*", default=[], help="names of recipes, or others as JSON")
    given = parser.parse_args()
    recipes = {name: RECIPES[name] if name in RECIPES else json.loads(name) for name in given.only} or RECIPES
    with tempfile.TemporaryDirectory() as folder:
        data = shortened(given.data, Path(folder) / "data") if given.part else given.data
        stsb, cranfield, banking = (str(data / name) for name in ("stsb", "cranfield", "banking77"))
        three = EncoderData(pairs=stsb, retrieval=cranfield, classification=banking)
        tasks = [make_encoder(EncoderConfig(data=held)) for held in (three, EncoderData(pairs="lee"))]
        whole = artifact.weighed(tasks[0].parts(tasks[0].model({}, seed=0), "torch"))
        dense, wanted = answers(tasks, {"runtime": "onnx"}, Path(folder) / "dense")
        scores = ", ".join(f"{name} {value:.4f}" for name, value in dense.items())
        print(f"dense: {whole / 1e6:.1f} MB; {scores}\n", flush=True)
        print(
            f"| | MB | times smaller | {' | '.join(dense)} | 1 - cosine |\n|{' --- |' * (len(dense) + 4)}", flush=True
        )
        for number, (name, recipe) in enumerate(recipes.items()):
            place = Path(folder) / str(number)
            found, vectors = answers(tasks, recipe, place)
            size, apart = artifact.size_bytes(place), 1 - (vectors * wanted).sum(1).mean()
            kept = " | ".join(f"{found[metric] / dense[metric]:.3f}x" for metric in dense)
            print(f"| {name} | {size / 1e6:.2f} | {whole / size:.1f} | {kept} | {apart:.4f} |", flush=True)


if __name__ == "__main__":
    main()
