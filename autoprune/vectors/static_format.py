"""model2vec's format: a folder that splits texts into tokens and gives the mean of their vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.artifacts.formats import Export, Use
from autoprune.errors import AutopruneError
from autoprune.exports.tables import WIDENED

if TYPE_CHECKING:
    from autoprune.vectors.served import VectorIndex

TOKEN = r"[^\W_]+"
"""How texts are split if there are only words: into runs of letters and digits, as coverage counts them."""


class Model2Vec(Export):
    """What `model2vec.StaticModel.from_pretrained` reads.

    Vectors that came from such a folder keep its tokenizer: a token whose vector was removed counts as zeros. Others
    get a tokenizer of whole words, which skips unknown words. Ids that point to another row share its vector.
    """

    name = "model2vec"

    def losses(self, folder: Path) -> list[str]:
        return [WIDENED] if _served(folder).exported().tables["vectors"].coded else []

    def use(self, folder: Path, shown: str) -> Use:
        config = json.loads((folder / "config.json").read_bytes())
        inside = (
            "`tokenizer.json` takes a text apart, `model.safetensors` holds a vector for each token (float32), and the "
            f"vector of a text is the mean of those of its tokens, {config['hidden_dim']} numbers"
            f"{', at length 1' * bool(config.get('normalize'))}. model2vec 0.6 or later reads the folder."
        )
        code = f"from model2vec import StaticModel; model = StaticModel.from_pretrained({shown!r})"
        return Use(code=f"{code}; print(model.encode('hello').shape)", inside=inside)

    def fill(self, folder: Path, draft: Path) -> None:
        import numpy as np  # here, so that listing the formats does not wait for it
        import safetensors.numpy

        from autoprune.readers.model2vec import tokens_of

        served = _served(folder)
        table = served.exported().tables["vectors"]
        ids, vectors = table.ids, table.vectors
        if served.ids.numeric:
            raise AutopruneError(
                f"--format model2vec: ids must be texts, but they are whole numbers, such as {ids[0]}; use --format "
                "numpy."
            )
        source = served.came_from
        row_of = answered(served)
        tokenizer = source["tokenizer"] if source else of_words(list(row_of))
        tokens = tokens_of(tokenizer, where="the tokenizer")
        rows = np.array([row_of.get(token, len(ids)) for token in tokens])
        padded = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), dtype=np.float32)])
        shares = len(np.unique(rows)) < len(rows)  # tokens that point to another's row, and tokens without one
        tensors = {"embeddings": padded, "mapping": rows} if shares else {"embeddings": padded[rows]}
        safetensors.numpy.save_file(tensors, draft / "model.safetensors")
        config = {
            **(source["config"] if source else {"normalize": served.similarity == "cosine"}),
            "model_type": "model2vec",
            "architectures": ["StaticModel"],
            "hidden_dim": vectors.shape[1],
            "embedding_dtype": "float32",
        }
        config.pop("vocabulary_quantization", None)
        if shares:
            config["vocabulary_quantization"] = len(padded)
        _write(draft / "tokenizer.json", tokenizer)
        _write(draft / "config.json", config)
        if not shares:  # sentence-transformers does not support tokens that share a row
            _write(draft / "modules.json", _modules(normalize=bool(config.get("normalize"))))


def _served(folder: Path) -> VectorIndex:
    from autoprune.artifacts import artifact  # as above

    served: Any = artifact.load(folder, prefer="memory")
    return served  # type: ignore[no-any-return]  # only vectors have this format


def answered(served: VectorIndex) -> dict[str, int]:
    """The ids with an answer, in the order of the original file → the position of their row in `exported`."""
    places = {row: place for place, row in enumerate(served.ordered_rows.tolist())}
    names = served.catalogue.values[served.order].tolist()
    rows = served.answer_of[served.order].tolist()
    return {str(name): places[row] for name, row in zip(names, rows, strict=True) if row >= 0}


def of_words(words: Sequence[str]) -> dict[str, Any]:
    """A tokenizer of whole words, as JSON values; it lower-cases texts if all words are in lower case."""
    unknown = "[UNK]"
    while unknown in words:
        unknown = f"[{unknown}]"
    lower = all(word == word.lower() for word in words)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"} if lower else None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": TOKEN}, "behavior": "Removed", "invert": True},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: at for at, word in enumerate([unknown, *words])},
            "unk_token": unknown,
        },
    }


def _modules(*, normalize: bool) -> list[dict[str, object]]:
    """The `modules.json` by which sentence-transformers reads the same folder."""
    package = "sentence_transformers.models"
    modules: list[dict[str, object]] = [{"idx": 0, "name": "0", "path": "", "type": f"{package}.StaticEmbedding"}]
    if normalize:
        modules.append({"idx": 1, "name": "1", "path": "1_Normalize", "type": f"{package}.Normalize"})
    return modules


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


MODEL2VEC = Model2Vec()
