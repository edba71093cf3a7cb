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
    if data.pairs and data.path:
        raise AutopruneError(
            f"task.data.pairs: pairs are given twice, as {data.pairs!r} and as task.data.path={data.path!r}; give one."
        )
    seed, benchmarks = config.seed, list[Benchmark]()
    pairs, where = (data.pairs, "task.data.pairs") if data.pairs else (data.path, "task.data.path")
    if pairs:
        benchmarks.append(
            lee_pairs(seed=seed) if pairs == LEE else read_pairs(Path(pairs), scale=data.scale, seed=seed, where=where)
        )
    if data.retrieval:
        benchmarks.append(read_retrieval(Path(data.retrieval), seed=seed, where="task.data.retrieval"))
    if data.classification:
        benchmarks.append(read_classification(Path(data.classification), seed=seed, where="task.data.classification"))
    # Everything small is read, and refused, before the model.
    corpus = read_texts(config.texts) if config.texts else packaged_texts()
    return EncoderTask(config, read_encoder(config.model), corpus, benchmarks)
