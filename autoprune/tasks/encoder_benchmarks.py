"""A sentence-encoder task from its config: the model, the texts, and what embeddings are judged by."""

from __future__ import annotations

from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.models.bert import read_encoder
from autoprune.tasks.benchmark import Benchmark
from autoprune.tasks.classification import read_classification
from autoprune.tasks.encoder import EncoderTask
from autoprune.tasks.encoder_config import EncoderConfig
from autoprune.tasks.pairs import lee_pairs, read_pairs
from autoprune.tasks.retrieval import read_retrieval
from autoprune.tasks.texts import packaged_texts, read_texts

LEE = "lee"
"""In place of a path of pairs: those that come inside gensim."""


def read_task(config: EncoderConfig) -> EncoderTask:
    """The task that a config describes.

    Raises:
        AutopruneError: the model, the texts or a benchmark cannot be used.
    """
    config.check()
    data = config.data
    if config.name == "stsb" and not data.path:
        raise AutopruneError(
            "task.data.path: the folder of STS-B (stsb-en-dev.csv and stsb-en-test.csv, or any of such names) must be "
            "given: task=stsb task.data.path=FOLDER."
        )
    benchmarks: list[Benchmark] = []
    pairs, where = (data.pairs, "task.data.pairs") if data.pairs else (data.path, "task.data.path")
    if pairs:
        benchmarks.append(
            lee_pairs(seed=config.seed) if pairs == LEE else read_pairs(Path(pairs), scale=data.scale, where=where)
        )
    if data.retrieval:
        benchmarks.append(read_retrieval(Path(data.retrieval), where="task.data.retrieval"))
    if data.classification:
        benchmarks.append(read_classification(Path(data.classification), where="task.data.classification"))
    # Everything small is read, and refused, before the model.
    corpus = read_texts(config.texts) if config.texts else packaged_texts()
    return EncoderTask(config, read_encoder(config.model), corpus, benchmarks)
