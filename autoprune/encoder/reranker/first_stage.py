"""Which documents a reranker is given: BM25's, or those of a run file that another first stage wrote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from autoprune.encoder.benchmarks.judgements import Collection
from autoprune.encoder.benchmarks.retrieval import order_of
from autoprune.encoder.benchmarks.tables import is_number, read_text
from autoprune.encoder.reranker.lists import Lists, Positions
from autoprune.errors import AutopruneError

K1, B = 1.2, 0.75
"""Parameters of BM25: how soon repeated words stop counting, and how much long documents are penalised."""

UNSPACED = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf"  # Thai, Lao
    "\u1000-\u103f\u1050-\u108f\u1780-\u17d3"  # Burmese, Khmer
)
"""Characters, as a class of a pattern, of scripts whose words have no spaces between them."""

WORD = re.compile(rf"[{UNSPACED}]+|[^\W{UNSPACED}]+")

RUN_OF_WORDS = re.compile(f"[{UNSPACED}]{{2,}}")

RUN = "query Q0 document rank score tag"
"""A line of a run file in TREC's form."""


def listed(
    documents: Sequence[str], queries: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[Positions]]
) -> Lists:
    """The documents that a first stage found, in a neutral order by the hash of each document.

    Args:
        documents: texts.
        queries, found: by split, the queries, and for each the positions of the documents found.
    """
    rank = np.argsort(order_of(documents))
    neutral = {split: [one[np.argsort(rank[one])] for one in lists] for split, lists in found.items()}
    return Lists(documents=documents, queries=queries, found=neutral)


class Bm25:
    """Search by words (Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework"), idf as in Lucene.

    Args:
        documents: texts; a document without words is never found.
    """

    def __init__(self, documents: Sequence[str]) -> None:
        self._words: dict[str, int] = {}
        rows, columns, counts = list[int](), list[int](), list[int]()
        lengths = np.zeros(len(documents))
        for row, text in enumerate(documents):
            words = _words(text)
            lengths[row] = len(words)
            for word, count in Counter(words).items():
                rows.append(row)
                columns.append(self._words.setdefault(word, len(self._words)))
                counts.append(count)
        frequency = np.array(counts, dtype=np.float64)
        holding = np.bincount(columns, minlength=len(self._words))
        idf = np.log1p((len(documents) - holding + 0.5) / (holding + 0.5))
        saturated = frequency + K1 * (1 - B + B * lengths[rows] / max(lengths.mean(), 1e-9))
        weights = idf[columns] * frequency * (K1 + 1) / saturated
        shape = len(documents), len(self._words)
        self._weights: Any = scipy.sparse.csc_matrix((weights, (rows, columns)), shape=shape)

    def best(self, query: str, count: int, *, without: int = -1) -> Positions:
        """Positions of the documents that share words with a query, best first: int64, `count` or fewer.

        Args:
            without: the position of a document that is not an answer.
        """
        columns = [self._words[word] for word in dict.fromkeys(_words(query)) if word in self._words]
        scores = np.asarray(self._weights[:, columns].sum(axis=1)).ravel()
        if without >= 0:
            scores[without] = 0
        holding = np.flatnonzero(scores > 0)
        found: Positions = holding[np.argsort(-scores[holding], kind="stable")[:count]]
        return found


def _words(text: str) -> list[str]:
    """Words in lower case; in scripts without spaces, pairs of characters, as in Lucene's analyser of Chinese."""
    return [part for word in WORD.findall(text.lower()) for part in _parts(word)]


def _parts(word: str) -> list[str]:
    if not RUN_OF_WORDS.match(word):
        return [word]
    return [word[at : at + 2] for at in range(len(word) - 1)]


def read_run(file: Path, collection: Collection, depth: int, where: str) -> dict[str, list[Positions]]:
    """The documents found for each query in a run file, by split, best first.

    Args:
        file: lines of `RUN`, or of query, document, score; larger scores are better.
        collection: the collection whose ids it names. Documents that it lacks, and the query itself, are left out.
        depth: the most documents of a query.
        where: the config entry that names the file.

    Raises:
        AutopruneError: a line is not a line of a run, or nothing was found for any judged query.
    """
    place = {name: at for at, name in enumerate(collection.ids)}
    held: dict[str, dict[int, float]] = {}
    for number, line in enumerate(read_text(file, where).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (3, 6) or not is_number(fields[-1 if len(fields) == 3 else 4]):
            raise AutopruneError(f"{file}, line {number:,}: {RUN!r}, or query document score, is expected: {line!r}.")
        query, name = fields[0], fields[1 if len(fields) == 3 else 2]
        if name in place:
            held.setdefault(query, {})[place[name]] = float(fields[-1 if len(fields) == 3 else 4])
    found = {
        split: [
            _top(held.get(query, {}), depth, without=itself)
            for query, itself in zip(names, collection.itself(split), strict=True)
        ]
        for split, names in collection.query_ids.items()
    }
    for split, lists in found.items():
        if not any(map(len, lists)):
            named, asked = next(iter(held), "nothing that is there"), collection.query_ids[split][0]
            raise AutopruneError(
                f"{where}: {str(file)!r} has nothing for any {split} query: it names {named!r}, say, but the "
                f"queries are called {asked!r} and so on."
            )
    return found


def _top(scores: dict[int, float], depth: int, *, without: int) -> Positions:
    best = [at for at in sorted(scores, key=lambda at: -scores[at]) if at != without]
    return np.array(best[:depth], dtype=np.int64)
