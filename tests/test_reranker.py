"""Cross-encoders: scores are sentence-transformers', whatever ships; orders are judged as evaluators of them do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from needed import needs
from short_search import shorten
from tiny_encoder import TEXTS, write_tiny_bert
from tiny_reranker import FAMILIES, write_collection, write_tiny_reranker

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.formats import find_format
from autoprune.artifacts.served import Beside, serve
from autoprune.encoder import countdown
from autoprune.encoder.benchmarks.judgements import Collection
from autoprune.encoder.benchmarks.pairs import Scored
from autoprune.encoder.model import Encoder
from autoprune.encoder.parts import encoder_parts
from autoprune.encoder.reranker.asking import sentences_asking, unlabelled
from autoprune.encoder.reranker.benchmarks import kendall, overlap
from autoprune.encoder.reranker.config import RerankerConfig, RerankerData
from autoprune.encoder.reranker.first_stage import Bm25, read_run
from autoprune.encoder.reranker.labelled import read_labelled
from autoprune.encoder.reranker.make import make_reranker
from autoprune.encoder.reranker.reading import read_cross_encoder
from autoprune.encoder.reranker.served import Reranker
from autoprune.encoder.reranker.stock_format import CROSS_ENCODER
from autoprune.encoder.reranker.task import RerankerTask
from autoprune.encoder.slices import SLICES, slice_columns
from autoprune.errors import AutopruneError
from autoprune.steps.quantize import Quantize
from autoprune.testing import Examinee, TaskExam

needs("sentence_transformers")
pytest.importorskip("transformers")

LONG = " ".join(TEXTS[:6])
PAIRS = [
    ("water on the river", TEXTS[0]),
    (TEXTS[1], ""),
    ("", "x1 ☃ übergroß"),
    (LONG, "cold winter"),
    ("cold winter", LONG),
    (LONG, LONG),
    ("[SEP] not a [SEP] mark", TEXTS[2]),
]


def theirs(folder: Path) -> np.ndarray[Any, Any]:
    """The scores of sentence-transformers."""
    from sentence_transformers import CrossEncoder

    found: np.ndarray[Any, Any] = CrossEncoder(str(folder), device="cpu", local_files_only=True).predict(PAIRS)
    return found


def ours(model: Encoder, runtime: str = "torch") -> np.ndarray[Any, Any]:
    served = serve(encoder_parts(model, runtime, Beside(values={}, tensors={})))
    assert isinstance(served, Reranker)
    return served.predict(PAIRS)


def smaller(model: Encoder) -> None:
    """Layers, pieces and neurons go."""
    model.cut(model.axes["layers"], torch.tensor([0, 3]))
    for block in model.blocks:
        model.cut(model.axes[f"ffn.{block}"], torch.arange(30))
    vocab = model.axes["vocab"]
    protected = set(model.protected(vocab).tolist())
    model.cut(vocab, torch.tensor([at for at in range(model.size(vocab)) if at in protected or at % 3]))


@pytest.mark.parametrize(
    "family", [pytest.param(one, marks=() if one == "bert" else pytest.mark.slow) for one in FAMILIES]
)
def test_scores_match_sentence_transformers_whole_cut_and_written(family: str, tmp_path: Path) -> None:
    folder = write_tiny_reranker(tmp_path / "dense", family=family)
    wanted, model = theirs(folder), read_cross_encoder(str(folder))
    assert np.ptp(wanted) > 1e-3  # of which 1e-5 is little
    for runtime in ("torch", "onnx"):
        np.testing.assert_allclose(ours(model, runtime), wanted, atol=1e-5)
    smaller(model)
    found = ours(model)
    assert np.abs(found - wanted).max() > 1e-3
    artifact.save(encoder_parts(model, "torch", Beside(values={}, tensors={})), tmp_path / "made", provenance={})
    CROSS_ENCODER.write(tmp_path / "made", tmp_path / "stock")
    np.testing.assert_allclose(theirs(tmp_path / "stock"), found, atol=1e-5)
    np.testing.assert_allclose(ours(read_cross_encoder(str(tmp_path / "stock"))), found, atol=1e-5)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_reranker(tmp_path_factory.mktemp("reranker") / "bert")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("collection") / "made")


def make(dense: Path, collection: Path, depth: int = 15) -> RerankerTask:
    """The task of a tiny model and a collection."""
    data = RerankerData(retrieval=str(collection), depth=depth)
    return make_reranker(
        RerankerConfig(model=str(dense), data=data, pairs_per_epoch=64, pairs_per_update=16, precision="float32")
    )


@pytest.fixture(scope="module")
def task(dense: Path, collection: Path) -> RerankerTask:
    return make(dense, collection)


@pytest.mark.slow
class TestReranker(TaskExam):
    @pytest.fixture(autouse=True)
    def _examined(self, task: RerankerTask, dense: Path, collection: Path) -> None:
        again, other = (lambda: make(dense, collection)), (lambda: make(dense, collection, depth=14))
        self.examinee = Examinee(task, again, task.model({}, seed=0), other)


def test_what_becomes_of_a_score_is_as_declared(dense: Path, tmp_path: Path) -> None:
    folder = write_tiny_reranker(
        tmp_path / "plain", sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"}
    )
    model = read_cross_encoder(str(folder))
    np.testing.assert_allclose(ours(model), theirs(folder), atol=1e-5)
    logits = ours(model).astype(np.float64)
    np.testing.assert_allclose(ours(read_cross_encoder(str(dense))), 1 / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "has_segments"), [("bert", True), ("modernbert", False)])
def test_onnxruntime_and_tokenizers_alone_score_as_the_artifact_does(
    family: str, has_segments: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime
    import tokenizers
    import transformers

    score = "Sigmoid" if has_segments else "Identity"
    declared = {"activation_fn": f"torch.nn.{score}"}
    written = write_tiny_reranker(tmp_path / "dense", family=family, sentence_transformers=declared)
    model = read_cross_encoder(str(written))
    smaller(model)
    artifact.save(encoder_parts(model, "onnx", Beside(values={}, tensors={})), tmp_path / "made", provenance={})
    form, folder = find_format("onnx"), tmp_path / "größe 1"
    form.write(tmp_path / "made", folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(folder / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
    assert ("token_type_ids" in [one.name for one in session.get_inputs()]) is has_segments
    found = []
    for pair in PAIRS:
        read = tokenizer.encode(*pair)
        given = {"input_ids": [read.ids], "attention_mask": [read.attention_mask]}
        (logits,) = session.run(None, given | ({"token_type_ids": [read.type_ids]} if has_segments else {}))
        found.append(float(logits[0, 0]))
    served = autoprune.load(tmp_path / "made")
    scores = 1 / (1 + np.exp(-np.array(found))) if has_segments else found
    np.testing.assert_allclose(served.predict(PAIRS), scores, atol=1e-5)
    both = map(list, zip(*PAIRS, strict=True))
    fed = transformers.AutoTokenizer.from_pretrained(folder)(*both, padding=True, truncation=True, return_tensors="np")
    (logits,) = session.run(None, {one.name: fed[one.name].astype(np.int64) for one in session.get_inputs()})
    np.testing.assert_allclose(logits[:, 0], found, atol=1e-5)
    config = transformers.AutoConfig.from_pretrained(folder)
    assert (config.num_labels, config.architectures) == (1, ["BertForSequenceClassification"])
    assert [loss.split(":")[0] for loss in form.losses(tmp_path / "made")] == (
        ["Its graph gives numbers before the sigmoid"] if has_segments else []
    )
    use = form.use(folder, str(folder))
    exec(use.code, {})
    assert "[[" in capsys.readouterr().out
    assert "`logits`, float32 [batch, 1]" in use.inside
    assert "AutoModelForSequenceClassification" in use.inside
    assert "`logits`" in served.inside


def test_documents_are_ranked_and_bad_ones_refused(dense: Path) -> None:
    parts = encoder_parts(read_cross_encoder(str(dense)), "onnx", Beside(values={}, tensors={}))
    assert {"segment", "out"}.isdisjoint(name for name, bits in parts.manifest["bits"].items() if bits < 32)
    served = serve(parts)
    assert isinstance(served, Reranker)
    documents = [TEXTS[3], TEXTS[4], TEXTS[3], TEXTS[5]]
    found = served.rank("cold winter", documents)
    scores = served.predict([("cold winter", document) for document in documents])
    assert [one.place for one in found] == np.argsort(-scores, kind="stable").tolist()
    assert served.rank("cold winter", documents, top_k=2) == found[:2]
    assert served.rank("cold winter", documents, top_k=np.int64(2), batch_size=np.int32(3)) == found[:2]  # type: ignore[arg-type]
    assert served.rank("cold winter", []) == []
    for call, said in (
        (lambda: served.rank(["a"], documents), "the query is a text"),  # type: ignore[arg-type]
        (lambda: served.rank("a", "one text"), "a list of documents"),
        (lambda: served.rank("a", {"id": "a text"}), "in which each has a place"),  # type: ignore[arg-type]
        (lambda: served.rank("a", ["b", None]), "texts are strings"),  # type: ignore[list-item]
        (lambda: served.rank("a", documents, top_k=0), "top_k >= 1"),
        (lambda: served.rank("a", documents, batch_size=0), "rank: batch_size >= 1"),
        (lambda: served.predict([("a", "b")], batch_size=-1), "predict: batch_size >= 1"),
        (lambda: served.predict(["one text"]), "a pair is two texts"),  # type: ignore[list-item]
    ):
        with pytest.raises(AutopruneError, match=said):
            call()


def test_pairs_are_computed_as_many_at_a_time_as_suits_the_device(dense: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served, sizes = serve(encoder_parts(read_cross_encoder(str(dense)), "onnx", Beside(values={}, tensors={}))), []
    assert isinstance(served, Reranker)
    forward = served.encoder.forward

    def watched(ids: np.ndarray, there: np.ndarray) -> np.ndarray:
        sizes.append(len(ids))
        return forward(ids, there)

    monkeypatch.setattr(served.encoder, "forward", watched)
    monkeypatch.setattr(served.encoder, "texts_at_once", lambda tokens: 3)
    served.rank("cold winter", TEXTS[:7])
    served.predict([("cold winter", text) for text in TEXTS[:7]])
    served.predict([("cold winter", text) for text in TEXTS[:7]], batch_size=5)
    assert sizes == [3, 3, 1, 3, 3, 1, 5, 2]


def test_what_gives_no_single_score_is_refused(tmp_path: Path) -> None:
    classes = write_tiny_reranker(tmp_path / "classes", labels=3)
    with pytest.raises(AutopruneError, match=r"gives 3 numbers for a pair .*num_labels=1"):
        read_cross_encoder(str(classes))
    with pytest.raises(AutopruneError, match=r"it is no cross-encoder.*task=encoder"):
        read_cross_encoder(str(write_tiny_bert(tmp_path / "encoder")))
    with pytest.raises(AutopruneError, match="must be named"):
        read_cross_encoder(None)
    odd = write_tiny_reranker(tmp_path / "odd", sentence_transformers={"activation_fn": "my.code.Softplus"})
    with pytest.raises(AutopruneError, match=r"activation_fn 'my.code.Softplus' is unknown; Sigmoid, Identity"):
        read_cross_encoder(str(odd))


def test_what_is_found_matches_brute_force_bm25() -> None:
    documents = ["red river", "river river stone", "cold winter", "stone in the cold river bread", ""]
    search = Bm25(documents)
    lengths = [len(text.split()) for text in documents]

    def score(query: str, at: int) -> float:
        total = 0.0
        for word in query.split():
            holding = sum(word in text.split() for text in documents)
            count = documents[at].split().count(word)
            idf = np.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            total += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * lengths[at] / np.mean(lengths)))
        return float(total)

    query = "cold river"
    wanted = sorted((at for at in range(5) if score(query, at)), key=lambda at: -score(query, at))
    assert search.best(query, 10).tolist() == wanted
    assert search.best(query, 10, without=wanted[0]).tolist() == wanted[1:]
    assert search.best("nothing known", 10).tolist() == []


def test_words_without_spaces_are_found_by_two_characters() -> None:
    documents = ["我们在北京的河边走路", "冬天的山很冷", "猫", "東京タワーに登る", "แม่น้ำในฤดูหนาว", "the river 北 runs"]
    search = Bm25(documents)
    for query, wanted in (
        ("北京有河吗", [0]),
        ("冷的冬天", [1]),
        ("猫", [2]),
        ("タワーはどこ", [3]),
        ("ฤดูหนาวหนาวมาก", [4]),
        ("河", []),  # no two characters
        ("River 北", [5]),
    ):
        assert search.best(query, 10).tolist() == wanted


def test_documents_without_spaces_ask_and_are_found() -> None:
    nouns, places = "春夏秋冬山河石桥", "东西南北城村屋园"
    documents = [f"{one}天的{place}边有人。{place}边的人看{one}天。" for one in nouns for place in places]
    texts = unlabelled(documents, sentences_asking(documents, seed=0), depth=10, judged=20, seed=0)
    assert len(texts.judged.queries["test"]) == 12
    assert {query for query, _ in texts.learnt} < {part + "。" for text in documents for part in text.split("。")}


def test_no_sentence_asks_twice() -> None:
    alone = [f"Only number {at} says this." for at in range(30)]
    documents = ["All rights reserved.", *(f"{text} All rights reserved." for text in alone), f"{alone[0]} {alone[1]}"]
    asking = sentences_asking(documents, seed=0)
    assert asking.queries == ["All rights reserved.", *alone]  # the last document has nothing else to ask
    assert asking.own == [0, *[-1] * 30]


def test_orders_match_scipy() -> None:
    from scipy.stats import kendalltau

    draw = np.random.default_rng(0)
    right, found = draw.integers(0, 5, 12).astype(float), draw.integers(0, 5, 12).astype(float)
    assert kendall(right, found) == pytest.approx(kendalltau(right, found).statistic)
    assert kendall(right, np.zeros(12)) == 0.0  # a model that finds all alike agrees with nothing
    assert overlap(right, -right) < 1 == overlap(right, right)


def test_two_labels_are_told_apart_by_a_threshold_that_stays() -> None:
    draw = np.random.default_rng(0)
    scores = {split: np.round(draw.normal(size=60), 1) for split in ("validation", "test")}  # some are equal
    label = {split: (held + draw.normal(size=60) > 0).astype(float) for split, held in scores.items()}
    pairs = {
        split: Scored([f"{split} {at}" for at in range(60)], ["text"] * 60, (2 + held).tolist())
        for split, held in label.items()
    }
    known = {f"{split} {at}": one for split, held in scores.items() for at, one in enumerate(held)}

    def dense(asked: list[tuple[str, str]], moved: float = 0.0) -> np.ndarray[Any, Any]:
        return np.array([[known[query] + moved] for query, _ in asked])

    order, classes = read_labelled(pairs)
    classes.prepare(dense)
    there = np.unique(scores["validation"])
    between = (there[1:] + there[:-1]) / 2
    right = [np.mean((scores["validation"] > at) == label["validation"]) for at in between]
    wanted = np.mean((scores["test"] > between[np.argmax(right)]) == label["test"])
    found = {
        moved: [
            metric(one.rows(lambda asked, moved=moved: dense(asked, moved), "test"))
            for one in (order, classes)
            for metric in one.metrics.values()
        ]
        for moved in (0.0, 1.0)
    }
    assert found[0.0][1] == pytest.approx(wanted)
    assert found[1.0][0] == found[0.0][0]
    assert found[1.0][1] < wanted  # the same order, but scores that have moved
    assert len(read_labelled({**pairs, "test": Scored(["a", "b", "c"], ["d"] * 3, [1.0, 2.0, 3.0])})) == 1


def test_pairs_of_all_lengths_reach_every_place_and_belong_together(task: RerankerTask) -> None:
    whole, found = task.context(seed=0, device=torch.device("cpu")).whole, dict[str, list[str]]()
    for query, document in task._train:
        found.setdefault(query, []).append(document)
    assert all(any(document.startswith(own[:12]) for own in found[query]) for query, document in whole)
    lengths = [len(ids) for ids in task._dense.tokens(whole)]
    longest = task._dense.tokenizer.max_tokens
    assert 0 < sum(length == longest for length in lengths) < len(lengths)


def test_a_collapsed_model_gains_nothing_from_the_first_stage(task: RerankerTask) -> None:
    """Equal scores keep no order of BM25, and agree with nothing."""
    model = task.model({}, seed=0)
    with torch.no_grad():
        model.tables["out"].weight.zero_()
    served = task._served(model)
    rows = task.score(served, "test")
    values = {name: metric(rows) for name, metric in task.metrics.items()}
    assert values["kendall"] == 0
    lists = task.benchmarks[0].lists  # type: ignore[attr-defined]
    draw = np.random.default_rng(0)
    by_chance = [np.mean([1 / (1 + draw.integers(len(there))) for there in lists.found["test"]]) for _ in range(99)]
    assert values["mrr@10"] < np.quantile(by_chance, 0.99)


def test_the_dense_model_agrees_with_itself_and_codes_nearly(task: RerankerTask) -> None:
    assert task.main_metrics == ("ndcg@10",)
    found = {}
    for bits in (32, 8, 2):
        model = task.model({}, seed=0)
        context = task.context(seed=0, device=torch.device("cpu"))
        if bits < 32:
            step = Quantize(bits={"word": bits, "body": bits})
            step.advance(model, context, 1.0)
            step.convert(model, context)
        served = task._served(model)
        found[bits] = task.metrics["kendall"](task.score(served, "test"))
        alone = np.concatenate([served.predict([pair]) for pair in PAIRS])
        np.testing.assert_allclose(served.predict(PAIRS), alone, atol=1e-5)  # whatever stands beside a pair
    assert found[32] == 1.0
    assert 0.8 < found[8] <= 1.0
    assert found[2] < found[8]


@pytest.mark.slow
def test_it_learns_the_dense_scores(task: RerankerTask) -> None:
    model = task.model({}, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for name in ("up_1", "down_2"):
            model.tables[name].weight.mul_(0.3)
    batches = task.batches()
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(3):
        for batch in batches:
            loss = task.loss(model, batch)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])
    assert float(task.loss(task.model({}, seed=0), batches[0]).detach()) < 1e-6


def test_a_run_file_says_what_was_found(dense: Path, tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "made")
    run = tmp_path / "run.txt"
    run.write_text("".join(f"q{at} Q0 d{other} {other} {20 - other} mine\n" for at in range(24) for other in range(5)))
    config = RerankerConfig(model=str(dense), data=RerankerData(retrieval=str(folder), run=str(run), depth=4))
    lists = make_reranker(config).benchmarks[0].lists  # type: ignore[attr-defined]
    assert {tuple(sorted(there.tolist())) for there in lists.found["test"]} == {(0, 1, 2, 3)}
    for text, said in (
        ("q0 Q0 d0 first 1 mine\nq0 d0", r"run.txt, line 2: .*is expected"),
        ("other Q0 d0 1 1 mine", "has nothing for any validation query: it names 'other'"),
    ):
        run.write_text(text)
        with pytest.raises(AutopruneError, match=said):
            make_reranker(config)


def test_a_run_file_leaves_out_the_query_itself(tmp_path: Path) -> None:
    held = Collection(
        documents=TEXTS[:6],
        queries={"validation": [TEXTS[1]], "test": [TEXTS[2], "another one"]},
        grades={"validation": [{0: 1.0}], "test": [{0: 1.0}, {0: 1.0}]},
        own={"validation": [1], "test": [2, -1]},
        ids=[f"d{at}" for at in range(6)],
        query_ids={"validation": ["d1"], "test": ["d2", "q"]},
    )
    run = tmp_path / "run.txt"
    run.write_text("".join(f"{name} d{at} {9 - at}\n" for name in ("d1", "d2", "q") for at in range(6)))
    found = read_run(run, held, 3, "task.data.run")
    assert {split: [there.tolist() for there in lists] for split, lists in found.items()} == {
        "validation": [[0, 2, 3]],
        "test": [[0, 1, 3], [0, 1, 2]],
    }


def test_nothing_is_learnt_from_queries_that_labels_judge_by(dense: Path, collection: Path, tmp_path: Path) -> None:
    labelled = [json.loads(line)["text"] for line in (collection / "queries.jsonl").read_text().splitlines()]
    others = list(dict.fromkeys(" ".join(text.split()[:4]) for text in TEXTS[60:140] if len(text.split()) > 3))
    (tmp_path / "pairs.csv").write_text(
        "query,document,label\n" + "".join(f"{query},a text,{at % 3}\n" for at, query in enumerate(others[:20]))
    )
    asked = tmp_path / "asked.txt"
    asked.write_text("\n".join([*labelled, *others]))
    data = RerankerData(retrieval=str(collection), pairs=str(tmp_path / "pairs.csv"))
    config = RerankerConfig(model=str(dense), queries=str(asked), data=data)
    task = make_reranker(config)
    assert {query for query, _ in task._train} <= set(others[20:])
    assert f"queries left out, which labels judge by: {len({*labelled, *others[:20]})})" in task.describe()
    asked.write_text("\n".join([*labelled, *others[:20]]))
    with pytest.raises(
        AutopruneError, match=r"task.queries: at least 20 .* does not judge by, but of \d+ there are 0;"
    ):
        make_reranker(config)


def test_labels_are_any_numbers_and_columns_have_their_names(dense: Path, collection: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    rows = [f"{TEXTS[at]},{TEXTS[at + 1]},{at * 40 - 100}" for at in range(24)]
    config = RerankerConfig(model=str(dense), data=RerankerData(retrieval=str(collection), pairs=str(file)))
    file.write_text("\n".join(["query,document,label", *rows]))
    assert "12 validation and 12 test pairs that people labelled" in make_reranker(config).describe()
    for row, said in (
        ("a query,,1", r"line 26: document is empty"),
        (",a text,1", r"line 26: query is empty"),
        ("a query,a text,good", r"line 26: a label must be a finite number, but got 'good'"),
    ):
        file.write_text("\n".join(["query,document,label", *rows, row]))
        with pytest.raises(AutopruneError, match=said):
            make_reranker(config)


def test_perturbed_queries_are_in_the_slices_of_their_own_texts(task: RerankerTask) -> None:
    served = task._served(task.model({}, seed=0))
    whole, some = task.score(served, "test"), task.score(served, "test", "typos")
    assert not some[["benchmark", "unit", *SLICES]].isna().any(axis=None)
    for benchmark in task.benchmarks:
        queries = benchmark.lists.queries["test"]  # type: ignore[attr-defined]
        for rows, asked in ((whole, queries), (some, queries[::3])):
            found = rows.loc[rows["benchmark"] == benchmark.name, list(SLICES)].reset_index(drop=True)
            pd.testing.assert_frame_equal(found, slice_columns(asked, task._words))


def test_long_reading_is_told(task: RerankerTask, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(task, "report", said.append)
    monkeypatch.setattr(countdown, "EVERY_S", 0.0)
    task.score(task._served(task.model({}, seed=0)), "test")
    assert any(re.match(r"reading [\d,]+ texts: \d+%, about .* left", line) for line in said)


@pytest.mark.slow
def test_a_search_ends_in_a_reranker_that_ships(dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_collection(tmp_path / "made")
    front = autoprune.search(
        "task=reranker",
        f"task.model={dense}",
        "task.data.retrieval=made",
        "task.data.depth=12",
        "presets=none",
        *("study.looks=6", "study.trials=0", "study.verify_rounds=1", "study.latency_seconds=0.02"),
        "study.objectives=[quality,size]",
        *("~space.cut.heads", "~space.cut.ffn"),
        "study.name=small",
        "executor=serial",
        "requirements=none",
        "space.runtime=torch",
        "space.tune.epochs=0",
        "space.cut.rows.sparsity.vocab=0.2",
    )
    front.pick(prefer="size").save("deploy")
    served = autoprune.load("deploy")
    assert isinstance(served, Reranker)
    assert len(served.rank("cold winter", TEXTS[:4])) == 4
    assert json.loads((tmp_path / "deploy" / "model" / "manifest.json").read_text())["score"] == "sigmoid"
