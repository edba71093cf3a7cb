import numpy as np
import pandas as pd
import torch
from click_model import DeepFM, Log
from torch.nn.functional import binary_cross_entropy_with_logits

import autoprune
from autoprune import metrics


class Clicks(autoprune.ModuleTask):
    metrics = {"auc": metrics.Auc("liked", "score"), "likelihood": metrics.Likelihood("liked", "score")}
    slices = {"film": ("popular", "rare")}
    workload_names = ("single", "batch")

    def __init__(self, dim=16):
        self.log, self.dim = Log(), dim
        seen = torch.bincount(self.log.film[self.log.rows("train")], minlength=self.log.sizes()[1])
        self.popular = seen >= 20

    def load(self):
        return DeepFM(*self.log.sizes(), dim=self.dim)

    def batches(self):
        train = self.log.rows("train")
        return train[torch.randperm(len(train))].split(1024)

    def loss(self, module, batch):
        return binary_cross_entropy_with_logits(module(*self.log.fields(batch)), self.log.liked[batch])

    def score(self, module, split):
        rows = self.log.rows(split)
        score = torch.sigmoid(module(*self.log.fields(rows)))
        film = np.where(self.popular[self.log.film[rows]], "popular", "rare")
        return pd.DataFrame({"unit": self.log.user[rows], "liked": self.log.liked[rows], "score": score, "film": film})

    def workloads(self, module):
        one, many = (self.log.fields(self.log.rows("validation")[:count]) for count in (1, 256))
        return {"single": lambda: module(*one), "batch": lambda: module(*many)}
