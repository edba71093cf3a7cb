"""Clicks on films: what is learned, how it is judged, what is asked."""

import pandas as pd
import torch
from click_model import DeepFM, Log
from torch.nn.functional import binary_cross_entropy_with_logits

import autoprune


class Clicks(autoprune.ModuleTask):
    """Judged by AUC and log loss, on popular films and on rare ones."""

    metrics = {"auc": autoprune.metrics.Auc("liked"), "likelihood": autoprune.metrics.Likelihood("liked")}
    slices = {"film": ("popular", "rare")}
    workload_names = ("single", "batch")
    linears = ("mlp.0",)

    def __init__(self, dim=16):
        self.log, self.dim = Log(), dim

    def load(self):
        return DeepFM(*self.log.sizes(), dim=self.dim)

    def batches(self):
        train = self.log.rows("train")
        return train[torch.randperm(len(train))].split(1024)

    def loss(self, module, batch):
        return binary_cross_entropy_with_logits(module(*self.log.fields(batch)), self.log.liked[batch])

    def score(self, module, split):
        rows, log = self.log.rows(split), self.log
        score, film = torch.sigmoid(module(*log.fields(rows))), log.kind[rows]
        return pd.DataFrame({"unit": log.user[rows], "liked": log.liked[rows], "score": score, "film": film})

    def workloads(self, module):
        one, many = (self.log.fields(self.log.rows("validation")[:count]) for count in (1, 256))
        return {"single": lambda: module(*one), "batch": lambda: module(*many)}
