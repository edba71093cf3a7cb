"""Makes a cross-encoder of the packaged all-MiniLM-L6-v2, by one short epoch on pairs that people scored.

    .venv/bin/python studies/rerankers/finetune.py STSB_FOLDER OUT --pairs 1024

It is no good reranker: it shows on real weights what quantisation does to the order of one.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
import transformers

from autoprune.encoder.hub import packaged

BATCH, RATE, LONGEST = 16, 8e-5, 96


def main() -> None:
    """Trains and writes the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=1024)
    told = parser.parse_args()
    with next(told.data.glob("*train*.csv")).open(newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == 3]
    torch.manual_seed(0)
    chosen = [rows[at] for at in torch.randperm(len(rows))[: told.pairs].tolist()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(packaged())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(packaged(), num_labels=1).train()
    updates = -(-len(chosen) // BATCH)
    adam = torch.optim.AdamW(model.parameters(), lr=RATE)
    falling = transformers.get_linear_schedule_with_warmup(adam, updates // 10, updates)
    for at in range(updates):
        batch = chosen[at * BATCH : (at + 1) * BATCH]
        ids = tokenizer(
            [row[0] for row in batch],
            [row[1] for row in batch],
            padding=True,
            truncation="longest_first",
            max_length=LONGEST,
            return_tensors="pt",
        )
        wanted = torch.tensor([float(row[2]) / 5 for row in batch])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**ids).logits[:, 0], wanted)
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
        if at % 8 == 0:
            print(f"{at} of {updates}: {loss.item():.4f}", flush=True)
    model.eval().save_pretrained(told.out)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(told.out)


if __name__ == "__main__":
    main()
