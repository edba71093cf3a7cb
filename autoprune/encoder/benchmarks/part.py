"""Parts of benchmarks that are quick to read, limited by tokens, since long texts cost more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.encoder.tokenizer import Tokenizer

Positions = np.ndarray[Any, np.dtype[np.int64]]

LONGEST = 32
"""The most tokens of a text that a part reads: losses show in the beginnings of texts, and more texts say more."""

SEED = 0
"""Seed that draws parts: the same parts in every study."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much of a benchmark a part may be.

    Attributes:
        tokens: tokens of all its texts, each text counted once.
        tokenizer: that of the dense model.
    """

    tokens: int
    tokenizer: Tokenizer

    def short(self, texts: Sequence[str]) -> list[str]:
        """The beginnings of texts, at most `LONGEST` tokens each."""
        return self.tokenizer.shortened(texts, LONGEST)

    def costs(self, texts: Sequence[str]) -> Positions:
        """Tokens of each text: int64 [n]."""
        return np.array([len(ids) for ids in self.tokenizer.encode(texts)], dtype=np.int64)

    def fitting(self, *columns: Sequence[str]) -> Positions:
        """As many units as fit, but at least one, drawn at random: int64, ascending.

        Args:
            columns: the short texts of the units, in one or more columns; a repeated text costs nothing.
        """
        costs = [self.costs(texts) for texts in columns]
        seen: set[str] = set()
        spent, chosen = 0, list[int]()
        for at in np.random.default_rng(SEED).permutation(len(columns[0])).tolist():
            asked = {texts[at]: int(cost[at]) for texts, cost in zip(columns, costs, strict=True)}
            new = {text: cost for text, cost in asked.items() if text not in seen}
            if chosen and spent + sum(new.values()) > self.tokens:
                continue
            spent += sum(new.values())
            seen |= new.keys()
            chosen.append(at)
        return np.sort(np.array(chosen, dtype=np.int64))
