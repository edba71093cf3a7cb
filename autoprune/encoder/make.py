"""Makes the sentence-encoder tasks from a config: reads the model, the texts and the benchmarks."""

from __future__ import annotations

from pathlib import Path

from autoprune.encoder.benchmarks.benchmark import Benchmark
from autoprune.encoder.benchmarks.classification import read_classification
from autoprune.encoder.benchmarks.pairs import lee_pairs, read_pairs
from autoprune.encoder.benchmarks.retrieval import read_retrieval
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.config import LEE, EncoderConfig
from autoprune.encoder.task import EncoderTask
from autoprune.encoder.texts.files import read_elsewhere, read_texts
from autoprune.errors import AutopruneError, doing
from autoprune.extras import need
from autoprune.tasks.task import TaskMaker

PACKAGES = ("tokenizers", "transformers", "onnx", "onnxruntime", "sklearn")
"""Packages that come with the extra `text`."""


def make_encoder(config: EncoderConfig) -> EncoderTask:
    """A sentence encoder, judged by fidelity to the dense model and by what the config names.

    Raises:
        AutopruneError: a package is not installed, or the model, the texts or a benchmark cannot be used.
    """
    for package in PACKAGES:
        need(package, "text", f"task={config.name}")
    config.check()
    # Everything small is read and checked before the model.
    benchmarks = _read_benchmarks(config)
    with doing("task.texts"):
        corpus = read_texts(config.texts)
    with doing(where := "task.data.elsewhere"):
        elsewhere = read_elsewhere(config.data.elsewhere, where=where) if config.data.elsewhere else None
    with doing("task.model"):
        encoder = read_encoder(config.model, prompts=config.prompts)
    return EncoderTask(config, encoder, corpus, benchmarks, elsewhere=elsewhere)


def make_stsb(config: EncoderConfig) -> EncoderTask:
    """A sentence encoder, judged by the pairs of STS-B as well.

    Raises:
        AutopruneError: the path of STS-B is missing, or as for `make_encoder`.
    """
    if not config.data.path:
        raise AutopruneError(
            "task.data.path: the folder of STS-B (stsb-en-dev.csv and stsb-en-test.csv, or any of such names) must be "
            "given: task=stsb task.data.path=FOLDER."
        )
    return make_encoder(config)


def _read_benchmarks(config: EncoderConfig) -> list[Benchmark]:
    data, seed, benchmarks = config.data, config.seed, list[Benchmark]()
    if data.pairs and data.path:
        raise AutopruneError(
            f"task.data.pairs: pairs are given twice, as {data.pairs!r} and as task.data.path={data.path!r}; give one."
        )
    pairs, where = (data.pairs, "task.data.pairs") if data.pairs else (data.path, "task.data.path")
    with doing(where):
        if pairs == LEE:
            benchmarks.append(lee_pairs(seed=seed))
        elif pairs:
            benchmarks.append(read_pairs(Path(pairs), scale=data.scale, seed=seed, where=where))
    with doing(where := "task.data.retrieval"):
        if data.retrieval:
            documents = data.documents if isinstance(data.documents, int) else None
            benchmarks.append(read_retrieval(Path(data.retrieval), documents=documents, seed=seed, where=where))
    with doing(where := "task.data.classification"):
        if data.classification:
            benchmarks.append(read_classification(Path(data.classification), seed=seed, where=where))
    return benchmarks


LOCATED = ("data.path", "model", "texts", "data.pairs", "data.retrieval", "data.classification", "data.elsewhere")

ENCODER = TaskMaker(config=EncoderConfig, make=make_encoder, idle=EncoderConfig.idle, located=LOCATED)
STSB = TaskMaker(config=EncoderConfig, make=make_stsb, idle=EncoderConfig.idle, located=LOCATED)
