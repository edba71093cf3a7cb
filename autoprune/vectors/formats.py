"""word2vec's binary format, for vectors; the general formats of tables are in `autoprune.exports`.

It holds float32, since its readers do not know autoprune's codes. Rows are in the order of the original file. If
dimensions were cut, vectors are written as the table holds them, which changes no similarity between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError
from autoprune.exports.tables import TableFormat

if TYPE_CHECKING:
    from autoprune.artifacts.exported import Exported


class Word2Vec(TableFormat):
    """word2vec's binary format, which gensim reads."""

    name = "word2vec"

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        table = exported.tables[exported.searched]
        bad_id = next((name for name in table.ids if " " in name or "\n" in name), None)
        if bad_id is not None:
            raise AutopruneError(
                f"--format word2vec: the id {bad_id!r} holds a space or a line break, which ends an id there; take "
                "--format numpy."
            )
        with (draft / "vectors.bin").open("wb") as file:
            file.write(f"{len(table.ids)} {table.vectors.shape[1]}\n".encode())
            for name, vector in zip(table.ids, table.vectors, strict=True):
                file.write(name.encode() + b" " + vector.astype("<f4").tobytes() + b"\n")
        return {}

    def code(self, settings: Mapping[str, Any], shown: str) -> str:
        return (
            "from gensim.models import KeyedVectors; "
            f"model = KeyedVectors.load_word2vec_format({f'{shown}/vectors.bin'!r}, binary=True); "
            "print(model.most_similar(model.index_to_key[0], topn=5))"
        )

    def files(self, settings: Mapping[str, Any]) -> str:
        rows, dim = settings["tables"][settings["searched"]]
        return f"- `vectors.bin`: {rows:,} x {dim} in word2vec's binary format, each after its id"


WORD2VEC = Word2Vec()
