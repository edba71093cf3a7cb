"""A baseline without a transformer: a table of word pieces, distilled from the same MiniLM, whose rows are averaged.

    python studies/minilm/static.py ../shared/data texts.txt                # minutes on one core; prints two rows

As model2vec does it (Tulkens & van Dongen 2024): each piece alone goes through the dense model, the vectors are centred
and turned into their principal dimensions, and weighted by SIF (Arora et al. 2017), a / (a + p), so that the mean of a
text's rows is its vector. Then the table learns the dense embeddings of the texts. Ratios are to fp32 torch, on test
data, by the benchmarks of the study. The first row is the table without learning, the second the one with.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Beside, Parts, serve
from autoprune.encoder.config import EncoderConfig, EncoderData
from autoprune.encoder.functional import padded
from autoprune.encoder.make import make_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.served import SentenceEncoder, Vectors
from autoprune.encoder.task import EncoderTask
from autoprune.encoder.texts.corpus import split_texts
from autoprune.encoder.texts.files import read_texts
from autoprune.encoder.tokenizer import Tokenizer, Tokens
from autoprune.measure.judge import Judge
from autoprune.measure.timing import paired_latency
from autoprune.models.table import Table
from autoprune.packing import restore

SIF = 1e-3
"""Pieces that are more frequent than this share of all weigh less than half."""

BATCH = 256
SIMILARITIES = 10.0
"""Weight of the squared error of the similarities within a batch, as in `EncoderConfig`."""


class StaticEncoder(SentenceEncoder):
    """The mean of a text's rows."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._table = restore(parts.manifest["table"], parts.tensors)

    @property
    def memory_bytes(self) -> int:
        return self._table.memory_bytes

    @torch.inference_mode()
    def forward(self, ids: Tensor, there: Tensor) -> Vectors:
        rows = self._table.decode(ids.flatten()).view(*ids.shape, -1)
        found: Vectors = normalize(torch.einsum("btd,bt->bd", rows, there.float())).numpy()
        return found


def kept_pieces(tokenizer: Tokenizer, counts: Tensor, pieces: int) -> Tensor:
    """Ids of the most frequent pieces, with those that every part keeps: int64, ascending."""
    ranked = counts.clone()
    ranked[tokenizer.protected] = counts.max() + 1
    return ranked.argsort(descending=True, stable=True)[:pieces].sort().values


@torch.inference_mode()
def alone(dense: Encoder, ids: Tensor) -> Tensor:
    """The dense model's vectors of single pieces, framed as a text is: float32 [n, out]."""
    first, last = dense.tokenizer.encode([""])[0].tolist()
    framed = torch.stack([torch.full_like(ids, first), ids, torch.full_like(ids, last)], dim=1)
    there = torch.ones(BATCH, 3, dtype=torch.bool)
    return torch.cat([dense(part, there[: len(part)]) for part in framed.split(BATCH)])


def static_parts(table: Tensor, tokenizer: Tokenizer) -> Parts:
    """The table in int8 and its tokenizer, as an artifact."""
    held = Table(*table.shape)
    with torch.no_grad():
        held.weight.copy_(table)
    held.choose_bits(torch.full((len(table),), 8, dtype=torch.uint8))
    held.code()
    stored = held.packed()
    manifest = {"kind": "static", "out": table.shape[1], "max_tokens": tokenizer.max_tokens, "table": stored.entry}
    files = {"tokenizer.json": tokenizer.to_json().encode()}
    return Parts(manifest=manifest, tensors=stored.tensors, beside=Beside(values={}, tensors={}), files=files)


def learn(table: Tensor, tokens: list[Tokens], wanted: Tensor, *, epochs: int) -> Tensor:
    """The table after distillation: 1 - cosine, and the squared error of the similarities within a batch."""
    weight = torch.nn.Parameter(table.clone())
    steps = max(1, epochs * (len(tokens) // BATCH))
    optimiser = torch.optim.Adam([weight], lr=2e-3 * float(table.std()) / 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        losses = []
        for batch in torch.randperm(len(tokens), generator=generator).split(BATCH):
            if len(batch) < BATCH and len(tokens) >= BATCH:
                continue
            ids, there = padded([tokens[at] for at in batch.tolist()])
            lengths = there.sum(1)
            offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])
            ours = normalize(embedding_bag(ids[there], weight, offsets, mode="mean"))
            theirs = wanted[batch]
            apart = (1 - (ours * theirs).sum(1)).mean()
            loss = apart + SIMILARITIES * (ours @ ours.T - theirs @ theirs.T).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"  epoch: loss {np.mean(losses):.4f}", flush=True)
    return weight.detach()


def tables(task: EncoderTask, dense: Encoder, given: argparse.Namespace) -> tuple[dict[str, Tensor], Tokenizer]:
    """The table before and after learning, and the tokenizer whose ids are its rows."""
    texts = split_texts(read_texts(given.texts).texts, seed=task.config.seed)["train"]
    keep = kept_pieces(dense.tokenizer, torch.from_numpy(dense.tokenizer.frequency(texts)), given.pieces)
    tokenizer = dense.tokenizer.restricted(keep.numpy())
    print(f"{len(texts):,} texts; {len(keep):,} pieces alone through the dense model", flush=True)
    vectors = alone(dense, keep)
    vectors = vectors - vectors.mean(0)
    counts = torch.from_numpy(tokenizer.frequency(texts)).float() + 1
    weights = SIF / (SIF + counts / counts.sum())
    weights[tokenizer.encode([""])[0]] = 0  # what frames a text is in all of them
    # By the pieces' own principal dimensions as model2vec has it; to learn, by those of the texts.
    own = torch.linalg.svd(vectors, full_matrices=False).Vh[: given.dims]
    found = {"not trained": weights[:, None] * (vectors @ own.T)}
    if given.epochs:
        teacher = torch.from_numpy(task.teacher.vectors(texts))  # from the cache that the study filled
        basis = torch.linalg.eigh(teacher.T @ teacher).eigenvectors.flip(1)[:, : given.dims]
        start = weights[:, None] * (vectors @ basis)
        found["distilled"] = learn(start, tokenizer.encode(texts), normalize(teacher @ basis), epochs=given.epochs)
    return found, tokenizer


def main() -> None:
    """Makes, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, help="the folder that holds stsb, cranfield and banking77; those that are there"
    )
    parser.add_argument("texts", help="as studies/minilm/texts.py wrote them")
    parser.add_argument("--pieces", type=int, default=15_000)
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10, help="of learning; 0: none")
    given = parser.parse_args()
    places = {"pairs": "stsb", "retrieval": "cranfield", "classification": "banking77"}
    there = {name: str(given.data / place) for name, place in places.items() if (given.data / place).is_dir()}
    torch.set_num_threads(1)
    task = make_encoder(EncoderConfig(texts=given.texts, data=EncoderData(**there)))
    dense = task.model({}, seed=0)
    assert isinstance(dense, Encoder), "an encoder task has an encoder"
    found, tokenizer = tables(task, dense, given)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "dense"
        artifact.save(task.parts(dense, "torch"), place, provenance={})
        dense_bytes = artifact.size_bytes(place)
        baseline = serve(artifact.read(place))
        judge = Judge(task, "test", baseline)
        for name, table in found.items():
            place = Path(folder) / name
            artifact.save(static_parts(table, tokenizer), place, provenance={})
            served = StaticEncoder(artifact.read(place))
            judged = judge.judge(judge.rows(served))
            size = artifact.size_bytes(place)
            rows[name] = {"MB": f"{size / 1e6:.2f}", "smaller": f"{dense_bytes / size:.1f}x"}
            for metric, by_slice in judged.quality.items():
                ratio = by_slice["all"] / judge.baseline.quality[metric]["all"]
                rows[name][metric] = (
                    f"{by_slice['all']:.4f} ({ratio:.4f} ±{1.96 * judged.errors.get(metric, np.nan):.4f})"
                )
            timed = paired_latency(task.workloads(served), task.workloads(baseline), seconds=2.0)
            rows[name] |= {f"faster {workload}": f"{1 / one.ratio:.1f}x" for workload, one in timed.items()}
    heads = next(iter(rows.values()))
    print(f"| static table | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(row.values())} |")


if __name__ == "__main__":
    main()
