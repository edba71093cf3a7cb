"""On a GPU every step comes to what it does on a CPU, and every family is searched, ships and answers there.

Skipped where there is none. `studies/gpu` says what a machine with one came to.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from exams import EXAMS, Exam, Family
from tiny_encoder import TEXTS, write_tiny_bert
from tiny_reranker import write_collection, write_tiny_reranker
from tiny_vectors import write_items, write_words
from torch import nn

import autoprune
from autoprune.artifacts.served import serve
from autoprune.machine import at_once
from autoprune.module.together import Together
from autoprune.recommender.loss import SOFTMAX_USERS, log_partition

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]

GPU = torch.device("cuda")


@pytest.fixture(scope="module", autouse=True)
def _exact_products() -> Iterator[None]:
    """Float32 as on a CPU: TF32, where somebody switched it on, rounds to 10 bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def families(exam: Exam, request: pytest.FixtureRequest) -> tuple[Family, Family]:
    """The models that the exam is about: on the CPU, and on the GPU."""
    cpu = request.getfixturevalue(exam.family)
    assert isinstance(cpu, Family)
    context, dense = cpu.task.context(seed=0, device=GPU), copy.deepcopy(cpu.dense).to(GPU)
    return cpu, dataclasses.replace(cpu, context=context, dense=dense, _made={})


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("exam", EXAMS, ids=str)
def test_every_step_comes_to_what_it_does_on_a_cpu(exam: Exam, epochs: int, families: tuple[Family, Family]) -> None:
    cpu, gpu = families
    made, expected = gpu.make(exam, epochs=epochs), cpu.made(exam, epochs=epochs)
    assert made.device.type == "cuda"
    parts, right = (family.task.parts(model) for family, model in ((gpu, made), (cpu, expected)))
    if not epochs:  # the same structure; which of rows that are alike go differs, and training draws from the device
        assert parts.tensors.keys() == right.tensors.keys()
        assert sum(held.nbytes for held in parts.tensors.values()) == pytest.approx(
            sum(held.nbytes for held in right.tensors.values()), rel=0.02
        )
    found, wanted = (family.task.validate(model) for family, model in ((gpu, made), (cpu, expected)))
    assert np.isfinite(found)
    if not epochs:
        assert found == pytest.approx(wanted, abs=0.03)
    there, here = gpu.task.score(serve(parts, device=GPU), "validation"), cpu.task.score(serve(parts), "validation")
    metric = cpu.task.metrics[cpu.task.metric]
    assert metric(there) == pytest.approx(metric(here), abs=0.01), "the artifact answers the same on both"


SMALL = [
    "space.cut.rows.sparsity.vocab=0.2",
    "~presets.vocab_third_rated",
    "~presets.vocab_half_rated",
    "~presets.narrow_rated",
    "~presets.stock_vocab_half",
]
"""A tiny vocabulary has hardly a piece that may go."""

SEARCHES = {
    "interactions": ["task.data.path={planted}", "task.dim=16", "task.training.epochs=20"],
    "encoder": ["task.model={encoder}", "task.texts={texts}", "task.texts_per_epoch=128", *SMALL],
    "reranker": [
        *("task.model={reranker}", "task.data.retrieval={collection}", "task.data.depth=12"),
        *("task.pairs_per_epoch=128", *SMALL),
    ],
    "vectors": ["task.vectors={items}"],
    "words": [
        "task.vectors={words}/words.vec",
        "task.pairs=[{words}/liked.tsv]",
        "task.analogies={words}/asked.txt",
        "task.texts=[{words}/text.txt]",
    ],
    "module": ["task.file={module}"],
}
"""What is told of a task of each family."""


@pytest.fixture(scope="module")
def places(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gpu")
    write_words(folder / "words")
    write_collection(folder / "collection")
    (folder / "texts.txt").write_text("\n".join(TEXTS))
    return {
        "planted": planted,
        "encoder": write_tiny_bert(folder / "encoder"),
        "texts": folder / "texts.txt",
        "reranker": write_tiny_reranker(folder / "reranker"),
        "collection": folder / "collection",
        "items": write_items(folder / "items"),
        "words": folder / "words",
        "module": Path(__file__).parent / "tiny_module.py",
    }


@pytest.mark.parametrize("task", SEARCHES)
def test_every_family_is_searched_verified_and_answers(task: str, places: dict[str, Path], tmp_path: Path) -> None:
    front = autoprune.search(
        f"task={task}",
        *(word.format(**places) for word in SEARCHES[task]),
        *("study.device=cuda", "study.looks=30", "study.trials=3", "study.verify_rounds=1"),
        *("study.latency_seconds=0.02", "requirements=none", f"study.dir={tmp_path}", "study.name=gpu"),
    )
    failed = Path(front.record.folder, "failed.jsonl")
    assert not front.record.failed, failed.read_text()
    assert len(front) > 1
    assert front.pick(prefer="size").verified["quality"].value > 0


def test_a_block_is_what_fits_the_memory() -> None:
    memory = torch.cuda.get_device_properties(0).total_memory
    assert at_once(GPU, memory, usual=7) == 1
    assert memory / 32 < 1000 * at_once("cuda:0", 1000, usual=7) <= memory / 16


def test_the_softmax_is_the_same_in_blocks_of_any_size() -> None:
    draw = torch.Generator().manual_seed(0)
    users, items = (torch.randn(count, 8, generator=draw) for count in (3 * SOFTMAX_USERS, 500))
    weights = torch.rand(len(users), generator=draw)
    here = log_partition(users, items, weights)
    there = log_partition(users.to(GPU), items.to(GPU), weights.to(GPU))
    assert float(there) == pytest.approx(float(here), rel=1e-5)


def test_what_is_written_into_stays_where_it_is() -> None:
    with Together(GPU):
        here, there = torch.tensor([True, False]), torch.tensor([True, True], device=GPU)
        here |= there
        assert (here.device.type, here.tolist()) == ("cpu", [True, True])
        out = torch.empty(2)
        assert torch.add(torch.ones(2), torch.ones(2, device=GPU), out=out) is out
        assert (out.device.type, out.tolist()) == ("cpu", [2.0, 2.0])
        here[:1] = ~there[:1]
        assert here.tolist() == [False, True]
        weight = nn.Parameter(torch.zeros(2, device=GPU))
        weight.data = torch.ones(2)
        assert (weight.device.type, weight.tolist()) == ("cuda", [1.0, 1.0])
