"""The formats that vectors can be written in: word2vec's, numpy's, parquet and an index of Faiss; and what such share.

All of them hold float32: who reads them knows no codes of autoprune. Rows stand in the order of the original file.
Where dimensions were cut, vectors are written as the table holds them, which changes no similarity among them. An index
of Faiss takes queries of the original width all the same; beside `.npy` and parquet lies the projection that queries
are multiplied by.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.artifacts.formats import Format, Obstacle
from autoprune.errors import AutopruneError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from autoprune.vectors.served import VectorIndex


class VectorFormat(Format):
    """A folder of files that other libraries read.

    Attributes:
        asks: Python that asks `model` for something.
    """

    asks: str

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return [] if manifest.get("kind") == "vectors" else [Obstacle(reason="it is no table of vectors")]

    def write(self, folder: Path, to: Path) -> None:
        from autoprune.artifacts import artifact  # here, because it waits for numpy

        if to.exists():
            raise AutopruneError(f"--to {str(to)!r} exists already; name a new folder or remove it first.")
        served: Any = artifact.load(folder)
        to.parent.mkdir(parents=True, exist_ok=True)
        draft = to.parent / f".draft-{to.name}-{os.getpid()}"
        try:
            draft.mkdir()
            self.fill(served, draft)
            draft.rename(to)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def size_bytes(self, folder: Path) -> int:
        """Of all files but the card."""
        return sum(path.stat().st_size for path in folder.iterdir() if path.name != "README.md")

    def example(self, folder: Path) -> str:
        return self.asks

    @abstractmethod
    def fill(self, served: VectorIndex, folder: Path) -> None:
        """Writes the files into an empty folder."""


class Word2Vec(VectorFormat):
    """word2vec's binary format, which gensim reads."""

    name = "word2vec"
    loading = (
        "from gensim.models import KeyedVectors; "
        "model = KeyedVectors.load_word2vec_format({folder!r} + '/vectors.bin', binary=True)"
    )
    asks = "model.most_similar(model.index_to_key[0], topn=5)"

    def fill(self, served: VectorIndex, folder: Path) -> None:
        ids, vectors = held(served)
        spaced = next((one for one in ids if one.split() != [one]), None)
        if spaced is not None:
            raise AutopruneError(
                f"--format word2vec: the id {spaced!r} holds a space, which ends an id there; take --format numpy."
            )
        with (folder / "vectors.bin").open("wb") as file:
            file.write(f"{len(ids)} {vectors.shape[1]}\n".encode())
            for name, vector in zip(ids, vectors, strict=True):
                file.write(name.encode() + b" " + vector.astype("<f4").tobytes() + b"\n")


class Numpy(VectorFormat):
    """`.npy` with the ids beside, which `task=vectors task.vectors=…/vectors.npy` reads again."""

    name = "numpy"
    loading = "import numpy; model = numpy.load({folder!r} + '/vectors.npy')"
    asks = "model.shape"

    def fill(self, served: VectorIndex, folder: Path) -> None:
        import numpy as np  # here, because to ask what can be written nobody waits for it

        ids, vectors = held(served)
        np.save(folder / "vectors.npy", vectors)
        (folder / "vectors_ids.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
        _write_projection(served, folder)


class Parquet(VectorFormat):
    """A table of id and vector."""

    name = "parquet"
    loading = "import pandas; model = pandas.read_parquet({folder!r} + '/vectors.parquet')"
    asks = "model.head()"

    def fill(self, served: VectorIndex, folder: Path) -> None:
        import importlib.util

        import pandas as pd

        if importlib.util.find_spec("pyarrow") is None:
            raise AutopruneError(
                "--format parquet needs the package pyarrow, which is not installed: pip install 'autoprune[parquet]'."
            )
        ids, vectors = held(served)
        pd.DataFrame({"id": ids, "vector": list(vectors)}).to_parquet(folder / "vectors.parquet", index=False)
        _write_projection(served, folder)


class Faiss(VectorFormat):
    """An exact index of Faiss that takes the queries the artifact takes, and the ids of its rows."""

    name = "faiss"
    loading = "import faiss; model = faiss.read_index({folder!r} + '/index.faiss')"
    asks = "model.ntotal"

    def fill(self, served: VectorIndex, folder: Path) -> None:
        import numpy as np

        from autoprune.packing.arrays import norms
        from autoprune.packing.product import load_faiss

        faiss = load_faiss()
        ids, vectors = held(served)
        rows = vectors / norms(vectors)[:, None].clip(min=1e-12) if served.similarity == "cosine" else vectors
        flat = faiss.IndexFlatL2 if served.similarity == "euclidean" else faiss.IndexFlatIP
        index = flat(rows.shape[1])
        index.add(rows)
        if served.projection is not None:
            turn = faiss.LinearTransform(served.width, rows.shape[1], False)
            faiss.copy_array_to_vector(np.ascontiguousarray(served.projection.T).ravel(), turn.A)
            turn.is_trained = True
            index = faiss.IndexPreTransform(turn, index)
        if served.similarity == "cosine":
            index = faiss.IndexPreTransform(faiss.NormalizationTransform(served.width, 2.0), index)
        faiss.write_index(index, str(folder / "index.faiss"))
        (folder / "ids.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")


def held(served: VectorIndex) -> tuple[list[str], npt.NDArray[np.float32]]:
    """The ids and the vectors as the table holds them, float32 [rows, dim], in the order of the original file."""
    import numpy as np

    rows = served.ordered_rows
    vectors: npt.NDArray[np.float32] = np.ascontiguousarray(served.rows(rows))
    return [str(one) for one in served.ids.values[rows].tolist()], vectors


def _write_projection(served: VectorIndex, folder: Path) -> None:
    import numpy as np

    if served.projection is not None:
        np.save(folder / "projection.npy", served.projection)


WORD2VEC, NUMPY, PARQUET, FAISS = Word2Vec(), Numpy(), Parquet(), Faiss()
