"""An index of Faiss that is asked as the artifact is, in codes as narrow as the artifact's where Faiss has such.

    index.faiss                 of the rows that are searched, and ids.json: what they are called
    user.npy, user_ids.json     of a recommender: the queries

Faiss normalises, projects and pads queries by itself. Codes of product quantisation are the artifact's own, unless
rows have lengths of their own. Those of 8 and 4 bits have a scale for each row there, and for each dimension in Faiss
(`IndexScalarQuantizer`): they are made anew, and `settings.json` says how much of the exact answers they find. All else
is float32.
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
"""What Faiss calls its codes of few bits."""

ASKED, BEST = 256, 10
"""Queries that tell how much of the exact answers an index finds, and answers of each."""


class Faiss(TableFormat):
    """An exhaustive index, and the ids of its rows."""

    name = "faiss"

    def lost(self, exported: Exported) -> list[str]:
        kind, table = precision(exported), exported.tables[exported.searched]
        lacking = [f"the bias of the {name}" for name, other in exported.asking.items() if other.bias is not None]
        lacking += [f"the {exported.constant:.7g} that is added to all"] if exported.constant else []
        said = [f"Scores lack {' and '.join(lacking)}, which changes no order."] if lacking else []
        if kind in SCALED.values():
            anew = (
                f"Codes of {table.packed.bits} bits are made anew as Faiss's {kind}, which has a scale for each "
                "dimension and none for each row: answers change, the card says by how much."
            )
            return [anew, *said]
        return [WIDENED, *said] if table.coded and kind == "float32" else said

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
        shapes = {name: [len(one.vectors), one.vectors.shape[1] + inside] for name, one in exported.tables.items()}
        # nothing is added to what the files give: the one bias is in the rows, and what else there is changes no order
        said: dict[str, Any] = {"tables": shapes, "biased": [], "constant": 0.0, "bias_inside": inside}
        return {**said, "precision": kind, f"overlap@{BEST}": _overlap(index, exported, rows) if lossy else 1.0}

    def code(self, said: Mapping[str, Any], shown: str) -> str:
        code = f"import faiss, numpy; model = faiss.read_index({f'{shown}/index.faiss'!r}); "
        asking = [name for name in said["tables"] if name != said["searched"]]
        if not asking:
            return code + "print(model.ntotal)"
        return code + f"print(model.search(numpy.load({f'{shown}/{asking[0]}.npy'!r})[:1], 10))"

    def files(self, said: Mapping[str, Any]) -> str:
        rows, dim = said["tables"][said["searched"]]
        asking = [name for name in said["tables"] if name != said["searched"]]
        text = (
            f"- `index.faiss`: {rows:,} x {dim} in {said['precision']}, a row for each id of `ids.json`, in that order"
        )
        text += "\n" + listed(said, {name: f"`{name}.npy`, float32, as the index is asked" for name in asking})
        if said["bias_inside"]:
            text += "\n\nThe bias is one more dimension: a query has a 1 there."
        found = said[f"overlap@{BEST}"]
        if said["precision"] in SCALED.values():
            text += f"\n\nOf the {BEST} best rows in the artifact, the index finds {found:.1%} in the mean."
        return text.replace("\n\n\n", "\n\n")


def precision(exported: Exported) -> str:
    """In what an index holds its rows: `PQ`, `SQ8`, `SQ4` or `float32`."""
    table = exported.tables[exported.searched]
    if table.packed.pattern == "product":
        lengths = "scale" in table.packed.tensors  # of each row: an index of codes has no place for them
        plain = table.bias is None and exported.similarity != "cosine" and not lengths
        return "PQ" if plain else "float32"
    known = table.packed.pattern in ("full", "bitmask", "columns")
    return SCALED.get(table.packed.bits, "float32") if known else "float32"


def _rows(exported: Exported) -> Numbers:
    """The rows as an index holds them, float32 [rows, dim]: of length 1 for cosine, a bias behind them."""
    import numpy as np

    table = exported.tables[exported.searched]
    rows: Any = table.vectors
    if exported.similarity == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)
    if table.bias is not None:
        rows = np.concatenate([rows, table.bias[:, None]], axis=1)
    return np.ascontiguousarray(rows, dtype=np.float32)


def _queries(exported: Exported, vectors: Numbers) -> Numbers:
    """Vectors as an index is asked, float32 [n, dim]: a 1 behind them where there is a bias."""
    import numpy as np

    biased = exported.tables[exported.searched].bias is not None
    return np.concatenate([vectors, np.ones((len(vectors), 1), dtype=np.float32)], axis=1) if biased else vectors


def _index(faiss: Any, exported: Exported, rows: Numbers, kind: str) -> Any:
    """The index of some rows, which takes queries of the original width."""
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
    """An empty index with the codebooks of a table, which takes rows of the table's width."""
    import numpy as np

    book = packed.tensors["codebook"]
    runs, entries, width = book.shape
    bits = max(int(entries - 1).bit_length(), 1)
    centroids = np.zeros((runs, 2**bits, width), dtype=np.float32)
    centroids[:] = book[:, :1]  # entries that are not there are the first once more
    centroids[:, :entries] = book
    index = faiss.IndexPQ(runs * width, runs, bits, metric)
    faiss.copy_array_to_vector(centroids.ravel(), index.pq.centroids)
    index.is_trained = True
    if runs * width == packed.dim:
        return index
    return faiss.IndexPreTransform(_linear(faiss, np.eye(packed.dim, runs * width, dtype=np.float32)), index)


def _linear(faiss: Any, matrix: Numbers) -> Any:
    """What multiplies queries by float32 [from, to]."""
    import numpy as np

    turn = faiss.LinearTransform(*matrix.shape, False)
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix.T).ravel(), turn.A)
    turn.is_trained = True
    return turn


def _overlap(index: Any, exported: Exported, rows: Numbers) -> float:
    """Which share of the exact best rows an index finds, in the mean over some queries."""
    import numpy as np

    source = next(iter(exported.asking.values()), exported.tables[exported.searched])
    vectors = source.vectors[:: -(-len(source.vectors) // ASKED)] if len(source.vectors) else rows[:1]
    wide = vectors if exported.projection is None else vectors @ exported.projection.T
    count = min(BEST, len(rows))
    found = index.search(np.ascontiguousarray(_queries(exported, wide)), count)[1]
    asked = _queries(exported, vectors)
    if exported.similarity == "euclidean":  # far from the rows float32 has no digits left for distances
        centre = rows.mean(0)
        rows, asked = rows - centre, asked - centre
    scores = asked @ rows.T
    if exported.similarity == "euclidean":
        scores = 2 * scores - (rows**2).sum(1)
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    shared = [len(set(one) & set(other)) for one, other in zip(best.tolist(), found.tolist(), strict=True)]
    return round(float(np.mean(shared)) / count, 4)


FAISS = Faiss()
