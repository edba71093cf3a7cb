"""The next film: what is learned, how it is judged, what is asked."""

import pandas as pd
import torch
from sequence_model import SASRec, hide_seen, padded, read_sequences, up_to_some_film
from torch.nn.functional import cross_entropy

import autoprune


class NextFilm(autoprune.ModuleTask):
    """The last film of each user is for test, the one before it for validation; ranked among all that are unseen."""

    metrics = {"ndcg@10": autoprune.metrics.Mean("gain"), "hit_rate@10": autoprune.metrics.Mean("hit")}
    linears = tuple(f"blocks.layers.{layer}.linear{one}" for layer in (0, 1) for one in (1, 2))

    def __init__(self, dim=32):
        (self.sequences, self.films), self.dim = read_sequences(), dim

    def load(self):
        return SASRec(self.films, dim=self.dim)

    def batches(self):
        return torch.randperm(len(self.sequences)).split(128)

    def loss(self, module, batch):
        seen = padded([up_to_some_film(self.sequences[user][:-2]) for user in batch])
        return cross_entropy(module.scores(module(seen[:, :-1])).flatten(0, 1), seen[:, 1:].flatten(), ignore_index=0)

    def score(self, module, split):
        last = {"validation": -2, "test": -1}[split]
        seen, target = [one[:last] for one in self.sequences], torch.stack([one[last] for one in self.sequences])
        scores = module.scores(module(padded(seen))[:, -1])
        scores[:, ~autoprune.standing_rows(module.film)] = -torch.inf
        best = hide_seen(scores, seen).topk(10)
        found = (best.indices == target[:, None]) & best.values.isfinite()
        return pd.DataFrame({"hit": found.any(1).float(), "gain": (found / torch.arange(2, 12).log2()).sum(1)})

    def workloads(self, module):
        return {"single": lambda: module.scores(module(padded(self.sequences[:1]))[:, -1]).topk(10)}
