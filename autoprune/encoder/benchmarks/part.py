"""A part of what a benchmark asks on validation that is quickly read: by tokens, as long texts cost more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.encoder.tokenizer import Tokenizer

Positions = np.ndarray[Any, np.dtype[np.int64]]

LONGEST = 32
"""Tokens of a text that a part reads: what a model loses shows in the beginning of a text, and more texts tell more."""

SEED = 0
"""Draws parts: the same ones in every study."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much of a benchmark a part may be.

    Attributes:
        tokens: that all its texts have, each text counted once.
        tokenizer: of the dense model.
    """

    tokens: int
    tokenizer: Tokenizer

    def short(self, texts: Sequence[str]) -> list[str]:
        """The beginnings of texts, of `LONGEST` tokens at most."""
        return self.tokenizer.shortened(texts, LONGEST)

    def costs(self, texts: Sequence[str]) -> Positions:
        """Tokens of each text: int64 [n]."""
        return np.array([len(ids) for ids in self.tokenizer.encode(texts)], dtype=np.int64)

    def fitting(self, *columns: Sequence[str]) -> Positions:
        """As many units as fit, one at least, drawn at random: int64, ascending.

        Args:
            columns: the short texts of each unit, a column for each; one that is asked again costs nothing.
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
