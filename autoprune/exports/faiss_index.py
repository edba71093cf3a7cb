"""A Faiss index that takes the same queries as the artifact, with codes as narrow as the artifact's if Faiss has them.

    index.faiss, ids.json       the rows that are searched, and their ids
    user.npy, user_ids.json     for a recommender: the queries

Faiss itself normalises, projects and pads the queries. Codes of product quantisation are those of the artifact, unless
it also stores a length for each row. For codes of 8 and 4 bits, the artifact has a scale per row, but Faiss one per
dimension (`IndexScalarQuantizer`). So these codes are computed again, and `settings.json` says how many of the exact
answers they find. Everything else is float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.exports.tables import WIDENED, TableFormat, listed, write_ids
from autoprune.extras import need

if TYPE_CHECKING:
    from autoprune.artifacts.exported import Exported, Numbers
    from autoprune.packing.product import PackedProduct

SCALED: dict[float, str] = {8: "SQ8", 4: "SQ4"}
"""Bits of codes → Faiss's name for them."""

ASKED, BEST = 256, 10
"""How many queries, and how many answers of each, are compared with the exact answers."""


class Faiss(TableFormat):
    """An exhaustive index, and the ids of its rows."""

    name = "faiss"

    def lost(self, exported: Exported) -> list[str]:
        kind, table = precision(exported), exported.tables[exported.searched]
        lacking = [f"the bias of the {name}" for name, other in exported.asking.items() if other.bias is not None]
        lacking += [f"the constant {exported.constant:.7g}"] if exported.constant else []
        omitted = [f"Scores lack {' and '.join(lacking)}; the order of answers is the same."] if lacking else []
        if kind in SCALED.values():
            recoded = (
                f"Codes of {table.packed.bits} bits are computed again as Faiss's {kind}, which has a scale for each "
                "dimension instead of each row. This changes answers; the card says by how much."
            )
            return [recoded, *omitted]
        return [WIDENED, *omitted] if table.coded and kind == "float32" else omitted

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        import numpy as np

        from autoprune.packing.product import load_faiss

        need("faiss", "search", "--format faiss")
        faiss, kind, table = load_faiss(), precision(exported), exported.tables[exported.searched]
        rows = _rows(exported)
        index = _index(faiss, exported, rows, kind)
        faiss.write_index(index, str(draft / "index.faiss"))
        write_ids(table, draft / "ids.json")
        for name, other in exported.asking.items():
            np.save(draft / f"{name}.npy", _queries(exported, other.vectors))
            write_ids(other, draft / f"{name}_ids.json")
        lossy = kind in SCALED.values() and len(rows)
        inside = table.bias is not None
        shapes = {name: [len(each.vectors), each.vectors.shape[1] + inside] for name, each in exported.tables.items()}
        # The bias of the rows is inside the index; other biases and the constant do not change the order of answers.
        settings: dict[str, Any] = {"tables": shapes, "biased": [], "constant": 0.0, "bias_inside": inside}
        return {**settings, "precision": kind, f"overlap@{BEST}": _overlap(index, exported, rows) if lossy else 1.0}

    def code(self, settings: Mapping[str, Any], shown: str) -> str:
        code = f"import faiss, numpy; model = faiss.read_index({f'{shown}/index.faiss'!r}); "
        asking = [name for name in settings["tables"] if name != settings["searched"]]
        if not asking:
            return code + "print(model.ntotal)"
        return code + f"print(model.search(numpy.load({f'{shown}/{asking[0]}.npy'!r})[:1], 10))"

    def files(self, settings: Mapping[str, Any]) -> str:
        rows, dim = settings["tables"][settings["searched"]]
        asking = [name for name in settings["tables"] if name != settings["searched"]]
        text = f"- `index.faiss`: {rows:,} x {dim} in {settings['precision']}, "
        text += "a row for each id of `ids.json`, in that order"
        text += "\n" + listed(settings, {name: f"`{name}.npy`, float32, queries for the index" for name in asking})
        if settings["bias_inside"]:
            text += "\n\nThe bias is one more dimension, in which queries have a 1."
        overlap = settings[f"overlap@{BEST}"]
        if settings["precision"] in SCALED.values():
            text += f"\n\nOf the {BEST} best rows in the artifact, the index finds {overlap:.1%} on average."
        return text.replace("\n\n\n", "\n\n")


def precision(exported: Exported) -> str:
    """How an index stores its rows: `PQ`, `SQ8`, `SQ4` or `float32`."""
    table = exported.tables[exported.searched]
    if table.packed.pattern == "product":
        has_lengths = "scale" in table.packed.tensors  # one for each row, which `IndexPQ` cannot store
        same_codes = table.bias is None and exported.similarity != "cosine" and not has_lengths
        return "PQ" if same_codes else "float32"
    scalar = table.packed.pattern in ("full", "bitmask", "columns")
    return SCALED.get(table.packed.bits, "float32") if scalar else "float32"


def _rows(exported: Exported) -> Numbers:
    """The rows of an index, float32 [rows, dim]: normalised for cosine, with the bias as their last column."""
    import numpy as np

    table = exported.tables[exported.searched]
    rows: Any = table.vectors
    if exported.similarity == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)
    if table.bias is not None:
        rows = np.concatenate([rows, table.bias[:, None]], axis=1)
    return np.ascontiguousarray(rows, dtype=np.float32)


def _queries(exported: Exported, vectors: Numbers) -> Numbers:
    """Vectors as queries for an index, float32 [n, dim]: with a 1 as their last column if rows have a bias."""
    import numpy as np

    biased = exported.tables[exported.searched].bias is not None
    return np.concatenate([vectors, np.ones((len(vectors), 1), dtype=np.float32)], axis=1) if biased else vectors


def _index(faiss: Any, exported: Exported, rows: Numbers, kind: str) -> Any:
    """An index of some rows that takes queries of the original width."""
    dim = rows.shape[1]
    metric = faiss.METRIC_L2 if exported.similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    if kind == "PQ":
        packed: Any = exported.tables[exported.searched].packed
        index = _product(faiss, packed, metric)
    elif kind == "float32":
        index = faiss.IndexFlat(dim, metric)
    else:
        width = {"SQ8": faiss.ScalarQuantizer.QT_8bit, "SQ4": faiss.ScalarQuantizer.QT_4bit}[kind]
        index = faiss.IndexScalarQuantizer(dim, width, metric)
    if not index.is_trained:
        index.train(rows)
    index.add(rows)
    if exported.projection is not None:
        index = faiss.IndexPreTransform(_linear(faiss, exported.projection), index)
    if exported.similarity == "cosine":
        index = faiss.IndexPreTransform(faiss.NormalizationTransform(index.d, 2.0), index)
    return index


def _product(faiss: Any, packed: PackedProduct, metric: int) -> Any:
    """An empty index with the codebooks of a table that takes rows of the table's width."""
    import numpy as np

    book = packed.tensors["codebook"]
    runs, entries, width = book.shape
    bits = max(int(entries - 1).bit_length(), 1)
    centroids = np.zeros((runs, 2**bits, width), dtype=np.float32)
    centroids[:] = book[:, :1]  # missing entries repeat the first
    centroids[:, :entries] = book
    index = faiss.IndexPQ(runs * width, runs, bits, metric)
    faiss.copy_array_to_vector(centroids.ravel(), index.pq.centroids)
    index.is_trained = True
    if runs * width == packed.dim:
        return index
    return faiss.IndexPreTransform(_linear(faiss, np.eye(packed.dim, runs * width, dtype=np.float32)), index)


def _linear(faiss: Any, matrix: Numbers) -> Any:
    """A transformation that multiplies queries by a matrix, float32 [from, to]."""
    import numpy as np

    transform = faiss.LinearTransform(*matrix.shape, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix.T).ravel(), transform.A)
    transform.is_trained = True
    return transform


def _overlap(index: Any, exported: Exported, rows: Numbers) -> float:
    """The share of the exact best rows that an index finds, averaged over some queries."""
    import numpy as np

    source = next(iter(exported.asking.values()), exported.tables[exported.searched])
    vectors = source.vectors[:: -(-len(source.vectors) // ASKED)] if len(source.vectors) else rows[:1]
    wide = vectors if exported.projection is None else vectors @ exported.projection.T
    count = min(BEST, len(rows))
    found = index.search(np.ascontiguousarray(_queries(exported, wide)), count)[1]
    queries = _queries(exported, vectors)
    if exported.similarity == "euclidean":  # far from the origin, float32 has too few digits for distances
        centre = rows.mean(0)
        rows, queries = rows - centre, queries - centre
    scores = queries @ rows.T
    if exported.similarity == "euclidean":
        scores = 2 * scores - (rows**2).sum(1)
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    shared = [len(set(exact) & set(ours)) for exact, ours in zip(best.tolist(), found.tolist(), strict=True)]
    return round(float(np.mean(shared)) / count, 4)


FAISS = Faiss()
