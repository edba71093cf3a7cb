"""A task as a user writes one, around a module of every kind of table: shared, tied, padded, in bags, of two widths."""

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import autoprune

ITEMS, USERS, TAGS, ROWS = 60, 40, 12, 600


class Net(nn.Module):
    """Which item follows."""

    def __init__(self, dim=8):
        super().__init__()
        self.items = nn.Embedding(ITEMS, dim, padding_idx=0)
        nn.init.normal_(self.items.weight)  # the padding's row too, as is often done
        self.users = nn.Sequential(nn.Embedding(USERS, 6), nn.Tanh())
        self.tags = nn.EmbeddingBag(TAGS, 4, mode="mean")
        self.mix = nn.Linear(dim + 6 + 4, dim)
        self.out = nn.Linear(dim, ITEMS)
        self.out.weight = self.items.weight

    def forward(self, user, item, tags, starts):
        mixed = self.mix(torch.cat([self.users(user), self.items(item), self.tags(tags, starts)], dim=1))
        return self.out(torch.tanh(mixed))


class Tiny(autoprune.ModuleTask):
    """Judged by the probability of the item that follows, on early and late users."""

    metrics = {"chance": autoprune.metrics.Mean("chance"), "hit": autoprune.metrics.Mean("hit")}
    slices = {"user": ("early", "late")}
    cut = ("items", "users_0")

    def __init__(self, data=None, seed=0):
        draw = np.random.default_rng(seed)
        self.user, self.item = draw.integers(USERS, size=ROWS), draw.integers(1, ITEMS, size=ROWS)
        self.next = torch.tensor((self.item + self.user % 3) % (ITEMS - 1) + 1)
        self.user, self.item = torch.tensor(self.user), torch.tensor(self.item)
        self.split = {"train": slice(0, 400), "validation": slice(400, 500), "test": slice(500, 600)}

    def inputs(self, rows):
        tags = torch.stack([self.item[rows] % TAGS, self.user[rows] % TAGS], dim=1)
        return self.user[rows], self.item[rows], tags.flatten(), torch.arange(0, tags.numel(), 2)

    def load(self):
        return Net()

    def batches(self):
        return torch.randperm(400).split(100)

    def loss(self, module, batch):
        return cross_entropy(module(*self.inputs(batch)), self.next[batch])

    def score(self, module, split):
        rows = torch.arange(ROWS)[self.split[split]]
        found = torch.softmax(module(*self.inputs(rows)), dim=1)
        chance = found.gather(1, self.next[rows, None])[:, 0]
        user = np.where(self.user[rows] < 20, "early", "late")
        return pd.DataFrame({"chance": chance, "hit": (found.argmax(1) == self.next[rows]).float(), "user": user})

    def workloads(self, module):
        one = self.inputs(torch.arange(1))
        return {"single": lambda: module(*one)}
