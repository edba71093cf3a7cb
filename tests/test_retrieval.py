"""Retrieval: nDCG against scikit-learn's, both forms of folders, judgements of what is absent."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoprune.encoder.benchmarks.hardest import fitting_queries
from autoprune.encoder.benchmarks.judgements import Collection
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.benchmarks.retrieval import Retrieval, ndcg, nearest_documents, order_of, read_retrieval
from autoprune.encoder.similarity import all_compared
from autoprune.encoder.task import EncoderTask
from autoprune.errors import AutopruneError

CRANFIELD = Path(__file__).parents[2] / "shared" / "data" / "cranfield"

DOCUMENTS = 40
QUERIES = 12


def by_number(texts: Sequence[str], **_role: str) -> np.ndarray:
    """A direction on the circle by the number in the text."""
    turn = np.array([float("".join(filter(str.isdigit, text)) or 0) for text in texts]) / 100
    return np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)


def write_beir(folder: Path, *, dev: bool = False) -> Path:
    """Query n is about document n and somewhat about n + 1; the last query has no relevant document."""
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{at}", "title": "Title" if at % 2 else "", "text": f"text {at}"} for at in range(DOCUMENTS)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)) + "\n")
    queries = [{"_id": f"q{at}", "text": f"query {at}"} for at in range(QUERIES)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n")
    lines = [f"q{at}\td{at + more}\t{2 - more}" for at in range(QUERIES - 1) for more in (0, 1)]
    lines += [f"q{QUERIES - 1}\td3\t0", f"q{QUERIES - 1}\td4\t-1"]
    header = "query-id\tcorpus-id\tscore"
    (folder / "qrels" / "test.tsv").write_text("\n".join([header, *(lines[8:] if dev else lines)]) + "\n")
    if dev:
        (folder / "qrels" / "dev.tsv").write_text("\n".join([header, *lines[:8]]) + "\n")
    return folder


def write_trec(folder: Path) -> Path:
    """The same in SGML; one text begins with its title, one document is empty."""
    folder.mkdir()
    documents = [
        f"<DOC>\n<DOCNO>d{at}</DOCNO>\n<title>title\n{at}</title><text>title {at} &amp; more</text>\n</DOC>"
        for at in range(DOCUMENTS - 1)
    ]
    documents.append("<doc><docno>empty</docno><title></title><text></text></doc>")
    (folder / "all.xml").write_text("\n".join(documents))
    topics = [f"<top>\n<num> Number: {at * 7}\n<title> query {at}\n<desc> more\n</top>" for at in range(QUERIES)]
    (folder / "topics.txt").write_text("\n".join(topics))
    (folder / "judged.txt").write_text("".join(f"{at * 7} 0 d{at}  1\r\n" for at in range(QUERIES)))
    return folder


@pytest.mark.parametrize("seed", range(20))
def test_ndcg_matches_sklearn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(seed)
    gains = draw.integers(0, 4, size=30) * (draw.random(30) < 0.4)
    gains[0] += 1
    scores = draw.permutation(30).astype(float)
    best = np.argsort(-scores)[:10]
    known = {int(at): float(gains[at]) for at in np.flatnonzero(gains)}
    expected = metrics.ndcg_score(gains[None], scores[None], k=10)
    assert ndcg([known.get(int(at), 0.0) for at in best], known) == pytest.approx(expected)


def test_ndcg_by_hand() -> None:
    assert ndcg([0.0, 2.0], {5: 2.0, 6: 1.0}) == pytest.approx((2 / np.log2(3)) / (2 + 1 / np.log2(3)))


def test_nearest_matches_a_sort_and_ties_go_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    queries, documents = draw.normal(size=(7, 4)).astype(np.float32), draw.normal(size=(50, 4)).astype(np.float32)
    expected = np.argsort(-np.round(queries @ documents.T, 6), axis=1, kind="stable")[:, :10]
    assert (nearest_documents(queries, documents, 10) == expected).all()
    monkeypatch.setattr("autoprune.encoder.benchmarks.retrieval.SCORES_AT_ONCE", 100)
    assert (nearest_documents(queries, documents, 10) == expected).all()
    alike = np.ones((15, 4), dtype=np.float32)
    assert nearest_documents(queries[:1], alike, 10).tolist() == [list(range(10))]
    assert nearest_documents(queries[:1], alike[:3], 10).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan"])
@pytest.mark.parametrize("rows", [20, 200])
def test_what_is_near_is_told_apart_far_from_0(rows: int, similarity: str) -> None:
    draw = np.random.default_rng(0)
    queries = (draw.normal(size=(rows, 64)) + 50).astype(np.float32)
    moved = [(queries + far * draw.normal(size=queries.shape)).astype(np.float32) for far in (5e-3, 1e-3)]
    documents = np.concatenate(moved)
    order = 1 if similarity == "manhattan" else 2
    far = np.linalg.norm(queries.astype(np.float64)[:, None] - documents[None], ord=order, axis=2)
    np.testing.assert_allclose(-all_compared(queries, documents, similarity), far, rtol=1e-5)
    found = nearest_documents(queries, documents, 2, similarity=similarity)
    assert (found == np.argsort(far, axis=1)[:, :2]).all()
    assert (found[:, 0] == np.arange(rows) + rows).all()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_a_vector_that_is_not_finite_is_no_answer(similarity: str, tmp_path: Path) -> None:
    made = read_retrieval(write_beir(tmp_path / "a")).under(similarity)

    def broken(texts: Sequence[str], role: str) -> np.ndarray:
        found = -by_number(texts) if role == "query" else by_number(texts)  # whatever is not opposite looks near
        if role == "document":
            found[:QUERIES] = np.nan
        return found

    assert made.rows(broken, "test")["value"].tolist() == [0.0] * 6


def test_one_vector_for_everything_is_as_good_as_chance_wherever_documents_stand() -> None:
    def constant(texts: Sequence[str], **_role: str) -> np.ndarray:
        return np.ones((len(texts), 4), dtype=np.float32) / 2

    values = []
    for drawn in range(24):
        texts = [f"{drawn} document {at}" for at in range(50)]
        scores = []
        for turned in (0, 20, 49):
            documents = texts[turned:] + texts[:turned]
            relevant = [{documents.index(text): 1.0} for text in texts[:20]]
            queries = {split: [f"query {at}" for at in range(20)] for split in ("validation", "test")}
            collection = Collection(documents=documents, queries=queries, grades=dict.fromkeys(queries, relevant))
            scores.append(Retrieval(collection).rows(constant, "test")["value"].mean())
        assert len(set(scores)) == 1
        values.append(scores[0])
    chance = (1 / np.log2(np.arange(2, 12))).sum() / 50
    assert np.mean(values) == pytest.approx(chance, abs=4 * np.std(values) / np.sqrt(len(values)))


def test_the_order_of_ties_rests_on_texts_alone() -> None:
    texts = [f"text {at}" for at in range(40)]
    order = [texts[at] for at in order_of(texts)]
    assert order == [texts[::-1][at] for at in order_of(texts[::-1])]
    assert order not in (texts, sorted(texts))
    alike = order_of(["same"] * 30).tolist()
    assert sorted(alike) == list(range(30)) != alike


def test_a_beir_folder_is_read_and_split(tmp_path: Path) -> None:
    halves = read_retrieval(write_beir(tmp_path / "a"))
    assert halves.describe() == (
        "5 validation queries among 40 documents and 6 test queries among 40 documents "
        "(queries in halves; queries left out for want of a relevant document: 1)"
    )
    assert halves.collection.documents[:2] == ["text 0", "Title text 1"]
    parts = read_retrieval(write_beir(tmp_path / "b", dev=True))
    assert parts.collection.queries["validation"] == [f"query {at}" for at in range(4)]
    assert parts.collection.grades["validation"][0] == {0: 2.0, 1: 1.0}
    assert halves.fingerprint() == read_retrieval(tmp_path / "a").fingerprint() != parts.fingerprint()


def test_who_finds_all_has_1_and_who_finds_nothing_0(tmp_path: Path) -> None:
    made = read_retrieval(write_beir(tmp_path / "a"))
    rows = made.rows(by_number, "test")
    # d(n) is nearest; d(n-1) and d(n+1) tie, and the first of them is not relevant (query 0 has none).
    missed = (2 + 1 / np.log2(4)) / (2 + 1 / np.log2(3))
    place = np.argsort(order_of(made.collection.documents))
    numbers = [int(text.split()[1]) for text in rows["text"]]
    right = [1.0 if number == 0 or place[number + 1] < place[number - 1] else missed for number in numbers]
    assert rows["value"].tolist() == pytest.approx(right)
    assert len(set(right)) == 2
    assert made.metrics["ndcg@10"](rows) == pytest.approx(rows["value"].mean())
    far = made.rows(by_number, "test", lambda text: "query 200")
    assert far["value"].tolist() == [0.0] * 6
    assert far["text"].tolist() == rows["text"].tolist(), "slices are made from the text as it is"


class Drawn:
    """An encoder whose vector of a text is drawn by it: what every model says, and noise of its own."""

    def __init__(self, noise: float = 0) -> None:
        self.noise = noise

    def __call__(self, texts: Sequence[str], role: str | None = None) -> np.ndarray:
        assert role in ("query", "document")
        found = np.stack([self._of(text) for text in texts])
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    def _of(self, text: str) -> np.ndarray:
        kind, number = text.split()
        topic = np.random.default_rng(int(number) // 7).normal(size=24)
        shared = np.random.default_rng([int(number), len(kind)]).normal(size=24)
        own = np.random.default_rng([int(number), len(kind), 1]).normal(size=24)
        return topic + shared + self.noise * own


def made_collection(*, relevant: int, own: bool) -> Collection:
    """600 documents in topics of seven; a query is about its topic, and perhaps is a document of it."""
    draw = np.random.default_rng(0)
    documents = [f"text {at}" for at in range(600)]
    documents[590] = ""
    starts = {"validation": draw.permutation(80)[:40] * 7, "test": draw.permutation(80)[:20] * 7}
    grades = {
        split: [{int(at) + more: float(1 + more % 2) for more in range(1, 1 + relevant)} for at in held]
        for split, held in starts.items()
    }
    queries = {split: [f"query {at}" for at in held] for split, held in starts.items()}
    selves = {split: [int(at) for at in held] for split, held in starts.items()} if own else {}
    return Collection(documents=documents, queries=queries, grades=grades, own=selves)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("relevant", [1, 3, 15])
@pytest.mark.parametrize(
    "documents", [pytest.param(100, marks=pytest.mark.slow), 300, pytest.param(590, marks=pytest.mark.slow)]
)
def test_validation_among_fewer_documents_is_as_hard(documents: int, relevant: int, own: bool) -> None:
    dense, smaller, held = Drawn(), Drawn(0.3), made_collection(relevant=relevant, own=own)
    part, whole = Retrieval(held, documents=documents), Retrieval(held)
    part.prepare(dense)
    assert len(part.candidates("validation")) == documents
    assert len(part.candidates("test")) == len(whole.candidates("validation")) == 599

    def scores(made: Retrieval, encode: Drawn) -> dict[str, float]:
        rows = made.rows(encode, "validation")
        return dict(zip(rows["text"], rows["value"], strict=True))

    found, right = scores(part, dense), scores(whole, dense)
    assert 0 < len(found) <= 40
    assert found == {text: right[text] for text in found}, "the dense model does not tell the part from the whole"
    found, right = scores(part, smaller), scores(whole, smaller)
    assert found != scores(part, dense)
    assert np.mean([*found.values()]) == pytest.approx(np.mean([right[text] for text in found]), abs=0.05)


@pytest.mark.parametrize("own", [False, True])
def test_a_part_for_looks_has_the_hardest_documents(encoder_task: EncoderTask, own: bool) -> None:
    dense, smaller, held = Drawn(), Drawn(0.3), made_collection(relevant=3, own=own)
    whole = Retrieval(held)
    whole.prepare(dense)
    tokenizer = encoder_task.model({}, seed=0).tokenizer
    part = whole.part(Budget(tokens=60 * len(tokenizer.encode(["text 123"])[0]), tokenizer=tokenizer))
    assert 50 <= len(part.collection.documents) <= 70
    assert "" not in part.collection.documents
    scores = [made.rows(encode, "validation")["value"].mean() for made in (part, whole) for encode in (dense, smaller)]
    assert len(part.rows(dense, "validation")) > 3
    assert scores[0] > scores[1], "a worse model is seen to be worse"
    for grades, query in zip(part.collection.grades["validation"], part.collection.queries["validation"], strict=True):
        at = held.queries["validation"].index(query)
        right = {held.documents[place]: gain for place, gain in held.grades["validation"][at].items()}
        assert grades
        assert {part.collection.documents[place]: gain for place, gain in grades.items()}.items() <= right.items()
        if own:
            itself = part.collection.own["validation"][part.collection.queries["validation"].index(query)]
            assert itself == -1 or part.collection.documents[itself] == f"text {held.own['validation'][at]}"


def test_a_part_of_validation_says_so(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "a")
    made, whole = read_retrieval(folder, documents=20), read_retrieval(folder)
    assert made.describe().startswith(
        "1 of 5 validation queries among the 20 of 40 documents that are nearest to them under the dense model or "
        "relevant and 6 test queries among 40 documents ("
    )
    assert whole.describe().startswith("5 validation queries among 40 documents and 6 test")
    assert read_retrieval(folder, documents=40).fingerprint() == whole.fingerprint() != made.fingerprint()
    assert read_retrieval(folder, documents=30).fingerprint() != made.fingerprint()


@pytest.mark.parametrize("seed", range(5))
def test_queries_that_fit_leave_room_for_what_they_need(seed: int) -> None:
    relevant = np.random.default_rng(seed).integers(1, 40, size=60).tolist()
    chosen = fitting_queries(relevant, 400, k=10, seed=seed)
    needed = [10 + min(relevant[at], 10) for at in chosen]
    assert sum(needed) <= 400 < sum(needed) + 20
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(fitting_queries(relevant, 1, k=10, seed=seed)) == 1
    assert fitting_queries(relevant, 10**6, k=10, seed=seed).tolist() == list(range(60))


def test_a_trec_folder_is_read(tmp_path: Path) -> None:
    made = read_retrieval(write_trec(tmp_path / "a"))
    assert made.describe() == (
        "6 validation queries among 39 documents and 6 test queries among 39 documents "
        "(queries in halves; documents without text, never answers: 1)"
    )
    assert made.collection.documents[3] == "title 3 & more"
    queries = {text for texts in made.collection.queries.values() for text in texts}
    assert queries == {f"query {at}" for at in range(QUERIES)}
    assert made.rows(by_number, "test")["value"].tolist() == [1.0] * 6


def test_judgements_may_number_queries_by_position(tmp_path: Path) -> None:
    folder = write_trec(tmp_path / "a")
    (folder / "judged.txt").write_text("".join(f"{at + 1} 0 d{at} 1\n" for at in range(QUERIES)))
    made = read_retrieval(folder)
    assert "judgements number queries by position" in made.describe()
    assert made.rows(by_number, "test")["value"].tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 0 d3", r"line 13: 4 fields are expected \(query, 0, document, grade, a number\), but got '7 0 d3'"),
        ("7 0 d3 good", r"line 13: 4 fields are expected"),
    ],
)
def test_a_bad_judgement_is_named(tmp_path: Path, line: str, message: str) -> None:
    folder = write_trec(tmp_path / "a")
    with (folder / "judged.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(AutopruneError, match=message):
        read_retrieval(folder)


def test_a_query_is_no_answer_to_itself(tmp_path: Path) -> None:
    documents = [{"_id": f"a{at}", "text": f"claim {at}"} for at in range(QUERIES)]
    documents += [{"_id": f"b{at}", "text": f"counter {at}"} for at in range(QUERIES)]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, documents[:QUERIES])))
    lines = ["", "query-id\tcorpus-id\tscore", *[f"a{at}\tb{at}\t1" for at in range(QUERIES)]]
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(lines))

    def by_pair(texts: Sequence[str], **_role: str) -> np.ndarray:
        """A claim is nearest to itself, then to its counter."""
        found = np.zeros((len(texts), QUERIES + 1), dtype=np.float32)
        for row, text in zip(found, texts, strict=True):
            row[int(text.split()[1])] = 1
            row[-1] = 0.3 if text.startswith("counter") else 0.0
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    made = read_retrieval(tmp_path)
    assert made.rows(by_pair, "test")["value"].eq(1).all()
    assert "no answers to themselves: 12" in made.describe()
    judged = [*lines, *[f"a{at}\ta{at}\t1" for at in range(QUERIES)]]
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(judged))
    itself = read_retrieval(tmp_path)
    assert itself.rows(by_pair, "test")["value"].eq(1).all()
    assert "themselves" not in itself.describe()
    assert itself.fingerprint() != made.fingerprint()


def test_trec_is_read_whole(tmp_path: Path) -> None:
    folder = write_trec(tmp_path / "trec")
    document = '<DOC id="1">\n<DOCNO>more</DOCNO>\n<HEAD>head</HEAD>\n<TEXT>first</TEXT>\n<TEXT>second</TEXT>\n</DOC>'
    (folder / "more.xml").write_text(document)
    (folder / "topics.txt").write_text(
        (folder / "topics.txt").read_text().replace("<title> query", "<title> Topic: query")
    )
    found = read_retrieval(folder).collection
    assert "head first second" in found.documents
    assert all(text.startswith("query") for part in found.queries.values() for text in part)


def test_trec_s_grades_may_be_decimal(tmp_path: Path) -> None:
    folder = write_trec(tmp_path / "trec")
    whole = read_retrieval(folder).fingerprint()
    (folder / "judged.txt").write_text(re.sub(r"( \d+)$", r"\1.0", (folder / "judged.txt").read_text(), flags=re.M))
    assert read_retrieval(folder).fingerprint() == whole


def test_documents_in_latin_1_are_named(tmp_path: Path) -> None:
    folder = write_trec(tmp_path / "trec")
    (folder / "more.xml").write_bytes("<DOC><DOCNO>x</DOCNO><TEXT>£5</TEXT></DOC>".encode("latin-1"))
    with pytest.raises(AutopruneError, match=r"more\.xml: the text is not UTF-8: .* at byte 27; convert it"):
        read_retrieval(folder)


def write_judgements(folder: Path, lines: Sequence[str]) -> None:
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


@pytest.mark.parametrize("form", ["beir", "trec"])
def test_what_is_judged_but_absent_is_counted(tmp_path: Path, form: str) -> None:
    """As pytrec_eval has it: who can't be found stands in the ideal list; a query that is not asked is none."""
    if form == "beir":
        folder = write_beir(tmp_path / "a")
        file, line = folder / "qrels" / "test.tsv", "{0}\t{1}\t{2}\n"
        ids = [f"q{at}" for at in range(QUERIES)]
    else:
        folder = write_trec(tmp_path / "a")
        file, line = folder / "judged.txt", "{0} 0 {1} {2}\n"
        ids = [str(at * 7) for at in range(QUERIES)]
    judged = [(ids[at], f"d{at}", 1) for at in range(QUERIES)]
    judged += [(ids[3], "gone", 2), ("nobody", "d3", 1), (ids[4], "gone", 0), (ids[5], "lost", -1)]
    judged = [one for one in judged if one[0] != ids[6]] + [(ids[6], "gone", 1), (ids[6], "lost", 1)]
    file.write_text("".join(line.format(*one) for one in judged))
    made = read_retrieval(folder)
    assert "queries that are judged, but absent: 1; documents that are judged, but absent: 2" in made.describe()
    assert "queries whose relevant documents are all absent, which score 0: 1" in made.describe()
    rows = pd.concat([made.rows(by_number, split) for split in ("validation", "test")])
    found = dict(zip(rows["text"], rows["value"], strict=True))
    assert found["query 3"] == pytest.approx(1 / (2 + 1 / np.log2(3)))
    assert found["query 6"] == 0
    assert len(found) == QUERIES
    assert all(found[f"query {at}"] == 1 for at in (0, 1, 2, 4, 5))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["q1\td399\t1", "q2\td400\t1"], "no document that is judged is there: 'd399', for one, is absent. Nearest: d"),
        (
            ["8\td3\t1", "9\td4\t1"],
            "no query that is judged is there: '8', for one, is absent.*There are 12, from 'q0'",
        ),
    ],
)
def test_judgements_of_something_else_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    folder = write_beir(tmp_path / "a")
    write_judgements(folder, lines)
    with pytest.raises(AutopruneError, match=message):
        read_retrieval(folder)


def test_a_pair_that_is_judged_twice_has_its_larger_grade_and_an_empty_query_is_left_out(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "a")
    lines = [f"q{at}\td{at}\t{grade}" for at in range(QUERIES) for grade in (1, 3, 2)]
    write_judgements(folder, lines)
    queries = (folder / "queries.jsonl").read_text().replace('"query 4"', '""')
    (folder / "queries.jsonl").write_text(queries)
    made = read_retrieval(folder)
    assert all(list(known.values()) == [3.0] for held in made.collection.grades.values() for known in held)
    assert "queries that are judged, but without text: 1" in made.describe()
    assert sum(len(held) for held in made.collection.queries.values()) == QUERIES - 1


FORMS = {
    "test.tsv": ("{0}\t{1}\t{2}", "query-id\tcorpus-id\tscore"),
    "bare.tsv": ("{0}\t{1}\t{2}", ""),
    "test.csv": ("{0},{1},{2}", "query-id,corpus-id,score"),
    "qrels.test.tsv": ("{0}\t0\t{1}\t{2}", ""),
    "trec.txt": ("{0} 0 {1} {2}", ""),
    "testing.jsonl": ('{{"query-id": "{0}", "corpus-id": "{1}", "score": {2}}}', ""),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("place", ["qrels", "."])
def test_judgements_are_read_in_the_forms_they_come_in(tmp_path: Path, name: str, place: str) -> None:
    folder = write_beir(tmp_path / "a")
    wanted = read_retrieval(folder).fingerprint()
    held = [line.split("\t") for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    (folder / "qrels" / "test.tsv").unlink()
    line, header = FORMS[name]
    written = [header, *(line.format(*fields) for fields in held)]
    (folder / place / (name if place == "qrels" else f"qrels-{name}")).write_text("\n".join(written))
    assert read_retrieval(folder).fingerprint() == wanted


@pytest.mark.parametrize("dev", ["dev", "development", "valid", "validation", "val"])
def test_splits_are_told_by_the_names_of_files(tmp_path: Path, dev: str) -> None:
    folder = write_beir(tmp_path / "a", dev=True)
    wanted = read_retrieval(folder).fingerprint()
    (folder / "qrels" / "dev.tsv").rename(folder / "qrels" / f"{dev}.tsv")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nelsewhere\td1\t1\n")
    assert read_retrieval(folder).fingerprint() == wanted
    (folder / "qrels" / "test.tsv").unlink()
    assert "2 validation queries among 40 documents and 2 test queries" in read_retrieval(folder).describe()


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"_id": 0, "title": None, "text": "text 0"}, "text 0"),
        ({"_id": "0", "text": "text 0"}, "text 0"),
        ({"_id": "0", "title": "text 0", "text": None}, "text 0"),
        ({"_id": "0", "title": "text 0"}, "text 0"),
        ({"_id": "0", "title": "", "text": "text 0", "metadata": {}}, "text 0"),
    ],
)
def test_documents_lack_this_or_that(tmp_path: Path, entry: dict[str, object], text: str) -> None:
    folder = write_beir(tmp_path / "a")
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    (folder / "corpus.jsonl").write_text("\n".join([json.dumps(entry), *lines[1:]]))
    write_judgements(folder, ["q0\t0\t1", "q1\td1\t1"])
    made = read_retrieval(folder)
    assert made.collection.documents[0] == text
    assert "absent" not in made.describe()


def test_folders_that_are_no_collection_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match=r"task\.data\.path: there is no folder"):
        read_retrieval(tmp_path / "none")
    with pytest.raises(AutopruneError, match=r"has no documents and no queries and no judgements.*BEIR's form"):
        read_retrieval(tmp_path)
    folder = write_beir(tmp_path / "a")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t0\n")
    with pytest.raises(
        AutopruneError, match=r"each need a query with a relevant document, but .* has 0 for validation"
    ):
        read_retrieval(folder)
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(AutopruneError, match=r"has no qrels/test\.tsv"):
        read_retrieval(folder)
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n')
    with pytest.raises(AutopruneError, match=r"corpus\.jsonl, line 2: _id '1' was there before, with another text"):
        read_retrieval(folder)


def test_lines_that_stand_twice_or_say_nothing_are_counted(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "a")
    plain = read_retrieval(folder).describe()
    for name, more in (("corpus", ['{"_id": "x"}', '{"_id": "y", "contents": "a"}']), ("queries", ['{"_id": "z"}'])):
        lines = (folder / f"{name}.jsonl").read_text().splitlines()
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, *lines[:3], *more]))
    assert "again" not in plain
    said = read_retrieval(folder).describe()
    assert "lines of corpus.jsonl that stand there again: 3; lines of queries.jsonl that stand there again: 3" in said
    assert "documents without text, never answers: 2" in said
    assert "among 40 documents" in said
    lines = [f'{{"_id": "d{at}", "contents": "a"}}' for at in range(DOCUMENTS)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    with pytest.raises(AutopruneError, match="there are 40 documents, but none of them has a text"):
        read_retrieval(folder)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_judgements_in_csv_may_quote_ids(separator: str, tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "a")
    corpus = (folder / "corpus.jsonl").read_text()
    (folder / "corpus.jsonl").write_text(corpus.replace('"_id": "d', '"_id": "a,d;'))
    (folder / "qrels" / "test.tsv").unlink()
    lines = [f'q{at}{separator}"a,d;{at}"{separator}1' for at in range(QUERIES)]
    (folder / "qrels" / "test.csv").write_text("\n".join([separator.join(["query-id", "corpus-id", "score"]), *lines]))
    made = read_retrieval(folder)
    assert "absent" not in made.describe()
    assert sum(len(held) for held in made.collection.queries.values()) == QUERIES


@pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"{CRANFIELD} is absent")
def test_cranfield_is_read_whole() -> None:
    made = read_retrieval(CRANFIELD)
    assert made.describe() == (
        "112 validation queries among 1,398 documents and 113 test queries among 1,398 documents (queries in halves; "
        "judgements number queries by position; documents without text, never answers: 2)"
    )
    assert sum(len(known) for grades in made.collection.grades.values() for known in grades) == 1612
    assert made.collection.documents[0].startswith("experimental investigation of the aerodynamics of a wing in a slip")
    assert made.collection.documents[0].count("wing in a slipstream .") == 1
