"""Retrieval: nDCG against scikit-learn's, both forms of folders, judgements of what is absent."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from autoprune.encoder.benchmarks.retrieval import ndcg, nearest_documents, read_retrieval
from autoprune.errors import AutopruneError

CRANFIELD = Path(__file__).parents[2] / "shared" / "data" / "cranfield"

DOCUMENTS = 40
QUERIES = 12


def by_number(texts: Sequence[str], role: str | None = None) -> np.ndarray:
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
    # d(n) is nearest; d(n-1) and d(n+1) tie, and the first of them is not relevant (but for query 0, which has none).
    missed = (2 + 1 / np.log2(4)) / (2 + 1 / np.log2(3))
    assert rows["value"].tolist() == pytest.approx([1.0 if text == "query 0" else missed for text in rows["text"]])
    assert made.metrics["ndcg@10"](rows) == pytest.approx(rows["value"].mean())
    far = made.rows(by_number, "test", lambda text: "query 200")
    assert far["value"].tolist() == [0.0] * 6
    assert far["text"].tolist() == rows["text"].tolist(), "slices are made from the text as it is"


def test_validation_searches_among_fewer(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "a")
    made = read_retrieval(folder, validation_documents=15)
    relevant = {at for grades in made.collection.grades["validation"] for at in grades}
    assert len(made.candidates["validation"]) == 15
    assert relevant <= set(made.candidates["validation"].tolist())
    assert len(made.candidates["test"]) == DOCUMENTS
    few = read_retrieval(folder, validation_documents=1)
    assert set(few.candidates["validation"].tolist()) == relevant
    assert 0 < made.rows(by_number, "validation")["value"].mean() <= 1


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
        (
            "7 0 d399 1",
            r"judged\.txt, line 13: document 'd399' is judged, but absent\. Nearest: d.*There are 40, from",
        ),
        ("8 0 d3 1", r"judged\.txt, line 13: query '8' is judged, but absent.*There are 12, from '0' to '77'"),
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

    def by_pair(texts: Sequence[str], role: str | None = None) -> np.ndarray:
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


def test_absent_documents_of_beir_are_named(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "a")
    with (folder / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\td77\t1\n")
    with pytest.raises(AutopruneError, match=r"test\.tsv, line 26: document 'd77' is judged, but absent"):
        read_retrieval(folder)


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
    with pytest.raises(AutopruneError, match=r"corpus\.jsonl, line 2: _id '1' was there before"):
        read_retrieval(folder)


@pytest.mark.skipif(not CRANFIELD.is_dir(), reason=f"{CRANFIELD} is absent")
def test_cranfield_is_read_whole() -> None:
    made = read_retrieval(CRANFIELD)
    assert made.describe() == (
        "112 validation queries among 600 documents and 113 test queries among 1,398 documents (queries in halves; "
        "judgements number queries by position; documents without text, never answers: 2)"
    )
    assert sum(len(known) for grades in made.collection.grades.values() for known in grades) == 1612
    assert made.collection.documents[0].startswith("experimental investigation of the aerodynamics of a wing in a slip")
    assert made.collection.documents[0].count("wing in a slipstream .") == 1
