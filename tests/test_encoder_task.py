"""The sentence-encoder task: what is learned, what is known, what is judged."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from short_search import shorten
from tiny_encoder import HIDDEN, LONGEST, TEXTS, make_task, write_tiny_bert

import autoprune
from autoprune.artifacts.served import serve
from autoprune.config.sections import structured
from autoprune.encoder import text_task
from autoprune.encoder.benchmarks.coverage import Coverage
from autoprune.encoder.benchmarks.fidelity import Elsewhere
from autoprune.encoder.benchmarks.judgements import Collection
from autoprune.encoder.benchmarks.retrieval import Retrieval
from autoprune.encoder.bert import read_encoder
from autoprune.encoder.config import EncoderConfig, EncoderData
from autoprune.encoder.judging import UNITS
from autoprune.encoder.make import make_encoder
from autoprune.encoder.model import Encoder
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.slices import SLICES, typos
from autoprune.encoder.task import EncoderTask
from autoprune.encoder.text_task import worth
from autoprune.encoder.texts.corpus import Corpus
from autoprune.encoder.texts.counts import counted
from autoprune.encoder.tokenizer import Text, Tokenizer, Tokens
from autoprune.encoder.workloads import REQUESTS, make_requests, read_workloads
from autoprune.errors import AutopruneError
from autoprune.measure.judge import Judge
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.record.looks import CLOSER_LOOKS, Looks
from autoprune.views.card import card
from autoprune.views.phrases import byte_count


def made_by(task: EncoderTask, recipe: dict[str, object]) -> Encoder:
    context = task.context(seed=0, device=torch.device("cpu"))
    found = run(plan(recipe, base_defaults=task.base), task, context, trainer=Trainer(task.training))
    assert isinstance(found, Encoder)
    return found


def served_of(task: EncoderTask, model: Encoder) -> SentenceEncoder:
    found = serve(task.parts(model))
    assert isinstance(found, SentenceEncoder)
    return found


@pytest.fixture(scope="module")
def dense(encoder_task: EncoderTask) -> Encoder:
    return made_by(encoder_task, {})


@pytest.fixture(scope="module")
def halved(encoder_task: EncoderTask) -> Encoder:
    return made_by(encoder_task, {"rows": {"sparsity": 0.4}, "layers": {"sparsity": 0.5}})


def test_the_dense_model_comes_trained(encoder_task: EncoderTask, dense: Encoder) -> None:
    [batch] = encoder_task.batches()[:1]
    with torch.no_grad():
        assert float(encoder_task.loss(dense, batch)) < 1e-6
    assert encoder_task.validate(dense) == pytest.approx(encoder_task.validate(copy.deepcopy(dense)))


def long_texts(count: int) -> list[str]:
    """Each of more tokens than the tiny model reads."""
    return [" ".join(TEXTS[at : at + 9]) for at in range(count)]


@pytest.mark.parametrize("longest", [None, 8, 400])
def test_both_models_distil_the_same_text(tiny: Path, longest: int | None) -> None:
    """The dense model as its own student has nothing to learn, however long the texts and whatever is read of them."""
    task = make_task(tiny, [*long_texts(60), *TEXTS[:60]], longest=longest)
    [batch] = task.batches()[:1]
    model = task.model({}, seed=0)
    known = task._tokenized(model, range(len(task._train)))
    assert max(len(tokens) for tokens in known.values()) == min(longest or LONGEST, LONGEST)
    with torch.no_grad():
        assert float(task.loss(model, batch)) < 1e-6


def test_long_texts_are_distilled_on_in_passages_too(tiny: Path) -> None:
    corpus = [*long_texts(60), *TEXTS[60:120]]
    whole, task = make_task(tiny, corpus), make_task(tiny, corpus, passage_tokens=8)
    passages = task._train[len(whole._train) :]
    assert task._train[: len(whole._train)] == whole._train, "texts as they are come as before"
    assert len(passages) == len(set(passages)) > 60
    assert all(any(passage in text for text in whole._train) for passage in passages), "none is of what judges"
    assert max(len(ids) for ids in task._dense.tokenizer.encode(passages)) < 20
    assert torch.equal(task._frequency, whole._frequency), "their pieces count once"
    assert f"{len(passages):,} passages of long texts" in task.describe()
    assert task.fingerprint() != whole.fingerprint()
    drawn = torch.cat([batch for _ in range(40) for batch in task.batches()])
    assert float((drawn >= len(whole._train)).float().mean()) == pytest.approx(
        len(passages) / len(task._train), abs=0.1
    )
    with torch.no_grad():
        assert float(task.loss(task.model({}, seed=0), torch.arange(len(whole._train), len(task._train)))) < 1e-6


def test_where_no_text_is_long_a_study_stays_what_it_was(tiny: Path) -> None:
    before, now = make_task(tiny), make_task(tiny, passage_tokens=32)
    assert now._train == before._train
    assert now.fingerprint() == before.fingerprint()
    assert "passages" not in now.describe()


def test_a_smaller_vocabulary_reads_the_same_text_in_more_pieces(tiny: Path) -> None:
    task = make_task(tiny, [*long_texts(60), *TEXTS[:60]], longest=20)
    model = made_by(task, {"rows": {"sparsity": 0.4}})
    lengths = [len(tokens) for tokens in task._tokenized(model, range(len(task._train))).values()]
    assert 20 < max(lengths) <= LONGEST


def test_the_loss_goes_down(encoder_task: EncoderTask, halved: Encoder) -> None:
    model, losses = copy.deepcopy(halved), []
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    [batch] = encoder_task.batches()[:1]
    for _ in range(6):
        loss = encoder_task.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_products_in_bfloat16_teach_the_same(encoder_task: EncoderTask, halved: Encoder, tiny: Path) -> None:
    """Half the digits in matrix products: other last digits, the same loss and nearly the same gradient."""
    [batch], found = encoder_task.batches()[:1], {}
    for precision in ("float32", "bfloat16"):
        task, model = make_task(tiny, precision=precision), copy.deepcopy(halved)
        loss = task.loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        found[precision] = float(loss.detach()), torch.cat(gradients)
    (loss, gradient), (other_loss, other) = found["float32"], found["bfloat16"]
    assert other_loss != loss
    assert other_loss == pytest.approx(loss, rel=0.02)
    assert gradient.dtype == other.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(gradient, other, dim=0)) > 0.99


def test_recovery_brings_quality_back(encoder_task: EncoderTask) -> None:
    similarity = encoder_task.metrics["similarity"]
    recipes = [{"layers": {"sparsity": 0.5}}, {"prune": {"method": {"layers": {"sparsity": 0.5}}, "epochs": 12}}]
    before, after = (
        similarity(encoder_task.score(served_of(encoder_task, made_by(encoder_task, recipe)), "test"))
        for recipe in recipes
    )
    assert before < after < 1


def test_the_loss_of_fewer_dimensions_is_to_the_turned_vectors(encoder_task: EncoderTask) -> None:
    """Of principal axes nearly nothing is missing, so that the loss must be near zero before anything is learned."""
    model = made_by(encoder_task, {"dims": {"sparsity": 0.25, "importance": "pca"}})
    [batch] = encoder_task.batches()[:1]
    with torch.no_grad():
        assert float(encoder_task.loss(model, batch)) < 1e-6


def test_batches_are_drawn_by_the_seed(encoder_task: EncoderTask) -> None:
    def drawn(seed: int) -> list[list[int]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return [batch.tolist() for batch in encoder_task.batches()]

    assert drawn(0) == drawn(0) != drawn(1)
    batches = drawn(0)
    assert [len(batch) for batch in batches] == [16, 16, 16]
    assert len({text for batch in batches for text in batch}) == 48
    # of any length: the spread within batches is that of all
    texts = encoder_task._texts["train"]
    within = np.mean([np.std([len(texts[at]) for at in batch]) for batch in batches])
    assert within > 0.8 * np.std([len(text) for text in texts])


def test_an_epoch_is_as_long_of_few_texts(tiny: Path) -> None:
    task = make_task(tiny, texts_per_epoch=200)
    torch.manual_seed(0)
    drawn = torch.cat(list(task.batches()))
    times = torch.bincount(drawn, minlength=len(task._train))
    assert len(drawn) == 200
    assert set(times.tolist()) == {200 // len(task._train), 200 // len(task._train) + 1}, "each as often as the others"
    held = [
        make_task(tiny, texts_per_epoch=count).fingerprint().partition(" ")[0]
        for count in (len(task._train) - 1, len(task._train), len(task._train) + 1)
    ]
    assert held[0] == held[1] != held[2], "a study stays what it was unless its epochs were shorter"


def test_no_more_is_tokenized_for_an_update_than_it_reads(
    encoder_task: EncoderTask, halved: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a schedule cuts pieces before each of them."""
    model, read = copy.deepcopy(halved), list[str]()
    tokens = model.tokens

    def watched(texts: Sequence[Text]) -> list[Tokens]:
        read.extend(map(str, texts))
        return tokens(texts)

    monkeypatch.setattr(model, "tokens", watched)
    axis = model.axes["vocab"]
    for batch in encoder_task.batches()[:2]:
        standing = model.standing(axis)
        gone = standing[~torch.isin(standing, model.protected(axis))][-1]
        model.hide(axis, standing[standing != gone])
        read.clear()
        for _ in range(2):
            encoder_task.loss(model, batch)
            assert sorted(read) == sorted(encoder_task._distilled[at] for at in batch.tolist())


def test_what_fills_up_an_update_teaches_nothing(
    encoder_task: EncoderTask, halved: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    [batch], losses = encoder_task.batches()[:1], []
    for even in (1, 128):
        monkeypatch.setattr(text_task, "TOKENS_MULTIPLE", even)
        losses.append(float(encoder_task.loss(halved, batch).detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_text_of_no_tokens_teaches_nothing(encoder_task: EncoderTask, halved: Encoder) -> None:
    [batch] = encoder_task.batches()[:1]
    whole = float(encoder_task.loss(halved, batch[1:]).detach())
    known = encoder_task._tokenized(halved, batch.tolist())
    kept, known[int(batch[0])] = known[int(batch[0])], np.zeros(0, dtype=np.int32)
    assert float(encoder_task.loss(halved, batch).detach()) == pytest.approx(whole, rel=1e-5)
    known[int(batch[0])] = kept


def test_the_fingerprint_is_of_what_is_held_wherever_it_lies(tiny: Path, tmp_path: Path) -> None:
    known = make_task(tiny).fingerprint()
    moved = make_task(tiny, name="other", texts="/somewhere/else.txt")
    assert moved.fingerprint() == known
    assert make_task(tiny, TEXTS[:119]).fingerprint() != known
    assert make_task(tiny, texts_per_update=8).fingerprint() != known
    assert make_task(write_tiny_bert(tmp_path / "model", seed=1)).fingerprint() != known


def test_the_name_of_a_folder_is_no_part_of_the_fingerprint(tiny: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(tiny, tmp_path / "elsewhere"))
    assert make_task(elsewhere).fingerprint() == make_task(tiny).fingerprint()


def test_dense_vectors_are_computed_once_on_a_machine(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told: list[str] = []
    first = make_task(tiny)
    first.report = told.append
    found = first.teacher.vectors(TEXTS[:20])
    assert told == ["embedding texts with the dense model: 0 of 20"]
    files = list((tmp_path / "autoprune" / "vectors").rglob("*"))
    assert [path.suffix for path in files if path.is_file()] == [".npy"]
    again = make_task(tiny)
    again.report = told.append
    np.testing.assert_array_equal(again.teacher.vectors(TEXTS[:20]), found)
    assert len(told) == 1
    [path] = [path for path in files if path.is_file()]
    path.write_bytes(path.read_bytes()[:50])  # as a full disk may leave it
    np.testing.assert_array_equal(again.teacher.vectors(TEXTS[:20]), found)
    assert len(told) == 2
    for other in (found[:5], found[:, :5], found.astype(np.float64)):
        np.save(path, other)
        np.testing.assert_array_equal(again.teacher.vectors(TEXTS[:20]), found)


def test_a_cache_that_cannot_be_written_ends_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file, where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("autoprune.encoder.teacher.CHUNK_TEXTS", 8)
    told: list[str] = []
    task = make_task(tiny)
    task.report = told.append
    assert task.teacher.vectors(TEXTS[:20]).shape == (20, HIDDEN)
    assert len(told) == 4
    [said] = [message for message in told if not message.startswith("embedding texts")]
    assert said.startswith(f"vectors of texts cannot be kept in {tmp_path / 'cache'}")
    assert said.endswith("(Not a directory)")


def test_coverage_is_lost_with_the_vocabulary(encoder_task: EncoderTask, dense: Encoder, halved: Encoder) -> None:
    coverage = encoder_task.metrics["coverage"]
    whole, part = (coverage(encoder_task.score(served_of(encoder_task, one), "test")) for one in (dense, halved))
    assert whole == 1.0
    assert 0.3 < part < 0.98


def test_coverage_of_long_texts_is_lost_as_well(tiny: Path) -> None:
    task = make_task(tiny, long_texts(120))
    served = served_of(task, made_by(task, {"rows": {"sparsity": 0.4}}))
    reached = task._dense.tokenizer.reached(task._texts["test"])
    endless = Tokenizer.read(served._tokenizer.to_json(), max_tokens=10_000)
    wanted = [LONGEST / len(ids) for ids in endless.encode(reached)]
    found = task._coverage.rows(served, "test")["value"]
    assert found.tolist() == pytest.approx(wanted)
    assert found.max() < 0.95
    assert task._coverage.rows(served_of(task, task.model({}, seed=0)), "test")["value"].eq(1).all()


def test_a_study_of_texts_that_are_read_whole_stays_what_it_was(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What coverage is has changed for long ones alone."""
    found = list[str]()
    for cuts in (Coverage.cuts, False):
        monkeypatch.setattr(Coverage, "cuts", cuts)
        found += [make_task(tiny, corpus).fingerprint() for corpus in (TEXTS[:120], long_texts(120))]
    assert found[0] == found[2]
    assert found[1] != found[3]


def test_half_of_a_surrogate_pair_ends_no_task(tiny: Path) -> None:
    task = make_task(tiny, [*TEXTS[:119], "water \ud83d stone"])
    assert np.isfinite(task.score(served_of(task, task.model({}, seed=0)), "test")["value"]).all()
    [batch] = task.batches()[:1]
    assert torch.isfinite(task.loss(task.model({}, seed=0), batch))


def test_prompts_can_be_told_where_the_folder_declares_none(tiny: Path, tmp_path: Path) -> None:
    """As the card of e5 alone has them."""
    told = {"query": "river: ", "document": "stone: "}
    folder = shutil.copytree(tiny, tmp_path / "declares")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": told}))
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    plain, given, declared, other = (
        make_encoder(EncoderConfig(model=str(model), texts=[str(texts)], prompts=prompts))
        for model, prompts in ((tiny, None), (tiny, told), (folder, None), (folder, {"query": "bread: "}))
    )
    assert "'river: ' before query, 'stone: ' before document" in given.describe()
    assert given.fingerprint() == declared.fingerprint() != plain.fingerprint()
    assert given._train == declared._train != plain._train
    served, wanted = (served_of(task, task.model({}, seed=0)) for task in (given, declared))
    for role in ("query", "document", None):
        np.testing.assert_array_equal(served.encode(TEXTS[:3], role=role), wanted.encode(TEXTS[:3], role=role))
    assert other._dense.architecture.prompts.of("query") == "bread: "
    assert other._dense.architecture.prompts.of("document") == "", "they stand in place of all that are declared"


def test_where_documents_are_searched_it_is_told_that_there_are_no_prompts(tiny: Path) -> None:
    made = Collection(documents=TEXTS, queries={"validation": TEXTS[:9], "test": TEXTS[9:12]}, grades={})
    held = [Retrieval(made, documents=None)]
    told = [
        EncoderTask(EncoderConfig(), read_encoder(str(tiny), prompts=prompts), Corpus.of(TEXTS[:60], "made"), judged)
        for prompts, judged in ((None, held), ({"query": "river: "}, held), (None, []))
    ]
    assert ["set task.prompts" in task.describe() for task in told] == [True, False, False]


def test_requests_of_texts_without_spaces_are_as_long(tiny: Path) -> None:
    task = make_task(tiny, ["-".join([text] * 9).replace(" ", "-") for text in TEXTS[:120]])
    lengths = {len(task.model({}, seed=0).tokens([text])[0]) for [text] in task._requests["1x16"]}
    assert lengths == {16}


def test_made_up_requests_take_words_until_the_next_is_too_much(encoder_task: EncoderTask) -> None:
    tokenizer, words = encoder_task._dense.tokenizer, " ".join(TEXTS).split()
    read = list[str]()

    class Watched(Tokenizer):
        """Sees what is tokenised."""

        def encode(self, texts: Sequence[Text]) -> list[Tokens]:
            read.extend(texts)
            return super().encode(texts)

    watched = Watched(tokenizer.content, max_tokens=4096)
    told = read_workloads({"short": "1x9", "long": "1x2000"})
    found = make_requests(watched, {"texts": TEXTS}, told)
    assert len(read) < 2 * REQUESTS * 14, "and not once for every word"
    draw = np.random.default_rng(0)
    for name, one in told.items():
        for [text] in found[name]:
            start, taken = int(draw.integers(len(words))), 1
            own = words[start:] + words * 2  # longer than what is asked for
            while name == "short" and len(watched.encode([" ".join(own[: taken + 1])])[0]) <= 9:
                taken += 1
            assert len(watched.encode([text])[0]) == one.tokens
            assert text.startswith(" ".join(own[:taken]))
            assert name == "long" or text.removeprefix(" ".join(own[:taken])).replace(" a", "") == ""


def test_requests_have_the_tokens_that_are_told(encoder_task: EncoderTask, dense: Encoder) -> None:
    served = served_of(encoder_task, dense)
    for name, one in read_workloads(None).items():
        requests = encoder_task._requests[name]
        assert len({tuple(request) for request in requests}) == len(requests)
        for request in requests:
            read = [min(tokens, LONGEST) for tokens in served.count(request)[0].tolist()]
            assert read == [min(int(one.tokens), LONGEST)] * one.texts
        assert np.asarray(encoder_task.workloads(served)[name]()).shape == (one.texts, served.out)
    assert list(encoder_task.workloads(served)) == list(encoder_task.workload_names)


def test_workloads_are_the_users(tiny: Path) -> None:
    task = make_task(tiny, workloads={"index": "4xtexts", "query": "1x5"})
    assert task.workload_names == ("index", "query")
    assert task.workload_items == {"index": 4, "query": 1}
    assert all(len(request) == 4 and set(request) <= set(TEXTS[:120]) for request in task._requests["index"])
    assert {len(ids) for [text] in task._requests["query"] for ids in task._dense.tokenizer.encode([text])} == {5}
    assert task.fingerprint() != make_task(tiny).fingerprint()


@pytest.mark.parametrize(
    ("workloads", "words"),
    [
        ({}, "at least one"),
        ({"a.b": "1x16"}, r"^task\.workloads\.a\.b: a name has letters"),
        ({"query": "16"}, "TEXTSxTOKENS must be given, such as 1x16"),
        ({"query": "0x16"}, "with 1 to 4096 texts, but got '0x16'"),
        ({"query": "1x2"}, "3 <= tokens"),
        ({"query": "1xquerys"}, "Did you mean queries"),
        ({"query": "1xqueries"}, "which is not given"),
    ],
)
def test_workloads_that_cannot_be(encoder_task: EncoderTask, workloads: dict[str, str], words: str) -> None:
    with pytest.raises(AutopruneError, match=words):
        read_workloads(workloads, there=list(encoder_task._own_texts()))


def test_workloads_have_names() -> None:
    with pytest.raises(AutopruneError, match=r"^task\.workloads: a mapping such as"):
        structured(EncoderConfig, {"workloads": ["1x16"]}, "task")


def test_rows_have_slices_and_units_of_their_own(encoder_task: EncoderTask, halved: Encoder) -> None:
    served = served_of(encoder_task, halved)
    rows = encoder_task.score(served, "validation")
    assert set(rows["benchmark"]) == {"pairs", "similarities", "neighbours", "coverage"}
    assert set(rows.columns) == {"benchmark", "unit", "value", "gold", *SLICES}
    assert rows["unit"].is_unique
    assert (rows["unit"] // UNITS).nunique() == 4
    for name, slices in SLICES.items():
        assert set(rows[name].dropna()) <= set(slices)
    assert rows["length"].nunique() == 2
    again = encoder_task.score(served, "validation")
    assert again.equals(rows)


def test_a_metric_counts_the_units_of_its_own_benchmark(encoder_task: EncoderTask, dense: Encoder) -> None:
    served = served_of(encoder_task, dense)
    rows, units = encoder_task.score(served, "validation"), Judge(encoder_task, "validation", served).baseline.units
    for metric, benchmark in (("spearman", "pairs"), ("overlap@10", "neighbours"), ("coverage", "coverage")):
        mine = rows[rows["benchmark"] == benchmark]
        assert units[metric]["all"] == len(mine)
        assert units[metric]["short"] == (mine["length"] == "short").sum()
    assert len({counts["all"] for counts in units.values()}) > 1


def test_perturbed_texts_are_harder(encoder_task: EncoderTask, dense: Encoder) -> None:
    assert encoder_task.perturbations == ("typos",), "upper case is nothing new to a tokenizer that lower-cases"
    served, metrics = served_of(encoder_task, dense), encoder_task.metrics
    plain, typos = encoder_task.score(served, "test"), encoder_task.score(served, "test", "typos")
    assert plain["unit"].tolist() == typos["unit"].tolist()
    for name in ("similarity", "overlap@10", "coverage"):
        assert metrics[name](typos) < metrics[name](plain)


def test_validation_is_the_metric_on_validation_data(encoder_task: EncoderTask, halved: Encoder) -> None:
    rows = encoder_task.score(served_of(encoder_task, halved), "validation")
    assert encoder_task.metric == "spearman"
    assert encoder_task.validate(halved) == pytest.approx(encoder_task.metrics["spearman"](rows), abs=1e-3)


def test_an_unknown_metric_is_refused(tiny: Path) -> None:
    with pytest.raises(AutopruneError, match=r"task\.metric.*similarty"):
        make_task(tiny, metric="similarty")
    assert make_task(tiny, metric="similarity").metric == "similarity"


def test_what_must_not_be_lost_is_a_metric_of_every_labelled_benchmark(encoder_task: EncoderTask, tiny: Path) -> None:
    assert encoder_task.main_metrics == ("spearman",), "fidelity and coverage repeat the dense model"
    assert make_task(tiny, metric="similarity").main_metrics == ("similarity", "spearman")
    more = copy.copy(encoder_task)
    grades = {split: [{0: 1.0}] for split in ("validation", "test")}
    queries = {split: [TEXTS[0]] for split in grades}
    more.benchmarks = (Retrieval(Collection(documents=TEXTS[:5], queries=queries, grades=grades)), *more.benchmarks)
    assert more.main_metrics == ("spearman", "ndcg@10")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"texts_per_update": 1}, "task.texts_per_update >= 2"),
        ({"texts_per_epoch": 1}, "task.texts_per_epoch >= 2"),
        ({"prompts": {"querry": "q: "}}, r"task\.prompts 'querry' is unknown. Did you mean query"),
        ({"longest": 4}, "task.longest >= 8"),
        ({"data": EncoderData(documents=99)}, "task.data.documents: a number >= 100 or all must be given, but got 99"),
        ({"data": EncoderData(documents="most")}, "task.data.documents: .* but got 'most'"),
        ({"similarities": -1.0}, "task.similarities >= 0"),
        ({"seed": -1}, "task.seed >= 0"),
        ({"precision": "half"}, "task.precision .half. is unknown"),
    ],
)
def test_settings_that_cannot_be(tiny: Path, entries: dict[str, object], words: str) -> None:
    with pytest.raises(AutopruneError, match=words):
        make_task(tiny, **entries)


def test_the_description_says_what_is_there(encoder_task: EncoderTask, tiny: Path) -> None:
    words = encoder_task.describe()
    for part in (str(tiny), "4 layers", "214 pieces", "120 texts", "pairs that people scored"):
        assert part in words
    assert "task.texts=general,FILE counts general English as well" in words


def test_pieces_that_occur_come_first_and_placeholders_last(encoder_task: EncoderTask) -> None:
    context = encoder_task.context(seed=0, device=torch.device("cpu"))
    tokenizer = encoder_task._dense.tokenizer
    worth, counts = context.frequency["vocab"], tokenizer.frequency(encoder_task._texts["train"])
    pieces = tokenizer.pieces
    seen = [at for at in range(len(pieces)) if counts[at]]
    letters = [at for at, piece in enumerate(pieces) if piece.removeprefix("##") == "e"]
    rest = [at for at, piece in enumerate(pieces) if not counts[at] and len(piece.removeprefix("##")) > 1]
    assert rest
    assert worth[seen].min() > worth[rest].max()
    assert worth[letters].min() > worth[rest].max()


def test_pieces_of_scripts_that_texts_do_not_use_go_first(encoder_task: EncoderTask) -> None:
    tokenizer = encoder_task._dense.tokenizer
    content = copy.deepcopy(tokenizer.content)
    for piece in ("##ть", "мир", "wörter"):
        content["model"]["vocab"][piece] = len(content["model"]["vocab"])
    more = Tokenizer(content, max_tokens=LONGEST)
    assert worth(more, TEXTS)[-3:].tolist() == [0, 0, 1]
    assert worth(more, [*TEXTS, "Мир"])[-3:].tolist() == [1, 3, 1]
    assert worth(more, TEXTS, ["Мир"])[-2] > 3, "a piece of general English, of which there is little, counts for more"


def test_general_english_counts_as_much_as_own_texts_and_is_neither_learnt_nor_judged(
    tiny: Path, encoder_task: EncoderTask
) -> None:
    own = TEXTS[:120]
    general = [" ".join(reversed(text.split())) for text in TEXTS[120:]] * 40
    task = EncoderTask(
        EncoderConfig(model=str(tiny)), read_encoder(str(tiny)), replace(Corpus.of(own, "made"), general=general), []
    )
    assert not set(general) & {text for texts in task._texts.values() for text in texts}
    assert task._train == encoder_task._train
    assert set(general) & set(task._calibration)
    assert set(task._train) & set(task._calibration)
    tokenizer = task._dense.tokenizer
    ours, theirs = tokenizer.frequency(task._texts["train"]), tokenizer.frequency(general)
    both = worth(tokenizer, task._texts["train"], general).numpy()
    assert theirs.sum() > 20 * ours.sum()
    at = int(np.argmax(ours - theirs / theirs.sum() * ours.sum()))  # a piece that is own texts' more than English's
    least = ours[at] / ours.sum() + theirs[at] / theirs.sum()
    assert both[at] >= 2 * least * max(ours.sum(), theirs.sum())
    assert (both >= worth(tokenizer, task._texts["train"]).numpy()).all()
    assert "120 texts (made), and" in task.describe()
    assert "task.texts=general,FILE" not in task.describe()
    assert task.fingerprint() != encoder_task.fingerprint()


def test_texts_from_elsewhere_are_judged_and_nothing_is_learnt_of_them(tiny: Path) -> None:
    general = [" ".join([*reversed(text.split()), text[:at]]) for at in range(1, 8) for text in TEXTS]
    corpus = replace(Corpus.of(TEXTS[:60], "made"), general=general)
    task = EncoderTask(
        EncoderConfig(model=str(tiny)), read_encoder(str(tiny)), corpus, [], elsewhere=Corpus.of(general, "general")
    )
    [bench] = [one for one in task.benchmarks if isinstance(one, Elsewhere)]
    judged = {*bench.texts["validation"], *bench.texts["test"]}
    assert len(judged) > 50
    assert not judged & {*task._train, *task._calibration}, "the half of what importance is measured on is left out"
    assert not judged & set(task._general), "nor do their words count"
    assert task.main_metrics == ("similarity",), "floors on quality are none on it"
    assert task.looked_at == ("similarity", "elsewhere")
    dense = served_of(task, task.model({}, seed=0))
    harmed = task.model({}, seed=0)
    with torch.no_grad():
        harmed.tables["word"].weight += 0.1 * torch.randn_like(harmed.tables["word"].weight)
    for split in ("validation", "test"):
        assert task.metrics["elsewhere"](task.score(dense, split)) == pytest.approx(1.0)
        assert task.metrics["elsewhere"](task.score(served_of(task, harmed), split)) < 0.999
    assert task.metrics["elsewhere"](task.look(served_of(task, harmed))) < 0.999, "looks ask it as well"
    assert "elsewhere, the dense model's cosines of up to" in task.describe()


def test_what_is_distilled_on_is_embedded_before_anything_is_trained(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    task = EncoderTask(EncoderConfig(model=str(tiny)), read_encoder(str(tiny)), Corpus.of(TEXTS, "made"), [])
    told: list[str] = []
    task.report = told.append  # type: ignore[method-assign]
    task.ready()
    assert any("embedding texts with the dense model" in message for message in told)
    told.clear()
    assert len(task._wanted) == len(task._train)
    assert not told, "it is read from the disk"


def test_counts_are_kept_and_damaged_ones_made_anew(
    encoder_task: EncoderTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tokenizer = encoder_task._dense.tokenizer
    first = counted(tokenizer, TEXTS)
    assert first.pieces.tolist() == tokenizer.frequency(TEXTS).tolist()
    assert first.characters == tokenizer.characters(TEXTS)
    (kept,) = (tmp_path / "autoprune" / "counts").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "frequency", lambda *_: pytest.fail("it was counted before"))
        again = counted(tokenizer, TEXTS)
    assert again.pieces.tolist() == first.pieces.tolist()
    assert again.characters == first.characters
    kept.write_bytes(kept.read_bytes()[:100])
    assert counted(tokenizer, TEXTS).pieces.tolist() == first.pieces.tolist()
    assert counted(tokenizer, TEXTS[1:]).pieces.tolist() != first.pieces.tolist()


def write_tokenizer(folder: Path, kind: str) -> None:
    """Of `BPE` or of `WordLevel`, trained on texts."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(getattr(tokenizers.models, kind)(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = getattr(tokenizers.trainers, f"{kind.replace('BPE', 'Bpe')}Trainer")
    made.train_from_iterator(TEXTS, trainer(vocab_size=120, special_tokens=special))
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}'
    )
    (folder / "vocab.txt").unlink(missing_ok=True)


def test_a_tokenizer_that_can_lose_no_pieces_keeps_its_vocabulary_and_says_so(tmp_path: Path) -> None:
    write_tokenizer(write_tiny_bert(tmp_path / "model"), "WordLevel")
    task = make_task(tmp_path / "model")
    assert "the vocabulary stays whole: its tokenizer (WordLevel) can lose no pieces" in task.describe()
    space = {"runtime": "onnx", "cut": {"layers": {"sparsity": 0.5}, "rows": {"sparsity": 0.5}}, "tune": {"epochs": 1}}
    assert task.suited(space) == {"runtime": "onnx", "cut": {"layers": {"sparsity": 0.5}}, "tune": {"epochs": 1}}
    assert "vocab" not in task.model({}, seed=0).axes
    write_tokenizer(tmp_path / "model", "BPE")
    task = make_task(tmp_path / "model")
    assert task.suited(space) == space
    assert "vocab" in task.model({}, seed=0).axes


@pytest.mark.parametrize("documents", [100, 2000, "all"])
def test_how_many_documents_validation_has_is_told(documents: int | str) -> None:
    told: EncoderConfig = structured(EncoderConfig, {"data": {"documents": documents}}, "task")
    told.check()
    assert told.data.documents == documents


def test_the_hardest_documents_are_those_of_the_dense_model(tiny: Path) -> None:
    """The task tells its benchmarks the dense model, which scores the same in the part as in the whole."""
    found: dict[int | None, dict[str, float]] = {}
    queries = {"validation": [typos(text) for text in TEXTS[:30]], "test": [typos(text) for text in TEXTS[30:40]]}
    grades = {"validation": [{at: 1.0} for at in range(30)], "test": [{at: 1.0} for at in range(30, 40)]}
    for documents in (None, 110):
        made = Retrieval(Collection(documents=TEXTS, queries=queries, grades=grades), documents=documents)
        task = EncoderTask(EncoderConfig(), read_encoder(str(tiny)), Corpus.of(TEXTS[:60], "made"), [made])
        [bench] = [one for one in task.benchmarks if isinstance(one, Retrieval)]
        assert len(bench.candidates("validation")) == (documents or len(TEXTS))
        rows = bench.rows(served_of(task, task.model({}, seed=0)).encode, "validation")
        found[documents] = dict(zip(rows["text"], rows["value"], strict=True))
    assert len(found[110]) == 10
    assert found[110] == {text: found[None][text] for text in found[110]}


def test_choices_that_come_to_the_same_on_the_model_are_one(encoder_task: EncoderTask) -> None:
    """Of its four layers a sixth and a third are one; of four heads a quarter is one in every layer."""
    layers, heads = {"any_of": [0.0, 0.17, 0.34, 0.5]}, {"any_of": [0.0, 0.25]}
    found = encoder_task.suited({"cut": {"layers": {"sparsity": layers}, "heads": {"sparsity": heads}}})
    assert found == {"cut": {"layers": {"sparsity": {"any_of": [0.0, 0.25, 0.5]}}, "heads": {"sparsity": heads}}}


def test_a_space_stays_as_it_is_where_pieces_can_go(encoder_task: EncoderTask) -> None:
    space = {"cut": {"rows": {"sparsity": 0.5}}}
    assert encoder_task.suited(space) == space


@pytest.mark.slow
def test_a_dense_model_that_is_worth_nothing_is_refused(
    tiny: Path, dense: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    told = ["task=encoder", f"task.model={tiny}", "task.texts=texts.txt", "task.data.pairs=pairs.csv"]
    told += [
        "presets=none",
        *("~space.cut", "~space.tune", "~space.encode"),
        *("study.looks=0", "study.trials=0", "study.verify_rounds=0"),
        "study.name=s",
        "study.latency_seconds=0.01",
    ]
    vectors = dense.calibrate(TEXTS).detach().numpy()
    cosines = (vectors[:-1] * vectors[1:]).sum(axis=1) / np.linalg.norm(vectors[:-1], axis=1)
    cosines /= np.linalg.norm(vectors[1:], axis=1)

    def write(sign: int) -> None:
        scores = 0.5 + sign * cosines / 2
        pairs = [
            f"{one},{other},{score:.4f}" for (one, other), score in zip(itertools.pairwise(TEXTS), scores, strict=True)
        ]
        (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\n" + "\n".join(pairs))

    write(-1)
    with pytest.raises(
        AutopruneError, match=r"spearman: the dense model has -1\.0000.*If larger scores mean less similar"
    ):
        autoprune.search(*told, "requirements=none")
    with pytest.raises(AutopruneError, match=r"spearman: the dense model has -1\.0000"):
        autoprune.search(*told, "task.metric=similarity", "requirements=none", "++requirements.spearman.drop=5%")
    write(1)
    assert len(autoprune.search(*told, "requirements=none")) == 1


@pytest.mark.slow
def test_a_study_of_ones_own_model_texts_and_pairs_is_verified(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    rows = [f"{one},{other},{number % 6}" for number, (one, other) in enumerate(itertools.pairwise(TEXTS))]
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\n" + "\n".join(rows[:120]))
    front = autoprune.search(
        "task=encoder",
        f"task.model={tiny}",
        "task.texts=texts.txt",
        "task.data.pairs=pairs.csv",
        "task.metric=similarity",  # the scores are nobody's
        "presets=none",
        "requirements=none",
        "space=index",
        *("~space.cut.rows", "~space.cut.ffn", "~space.cut.heads"),
        "space.tune.epochs=0",
        "task.workloads={index: 4xtexts, query: 1x8}",
        "study.objectives=[quality,size,index]",
        *("study.looks=12", "study.trials=2"),
        "study.name=own",
        "study.latency_seconds=0.02",
        "study.verify_rounds=1",
    )
    assert all(point.verified for point in front)
    assert {point.candidate.recipe.get("runtime") for point in front} >= {"onnx"}
    closer = Looks(front.record.folder / CLOSER_LOOKS).found.values()
    assert any(look.number and "compensated" in look.summary for look in closer), (
        "codes were fitted before any was made"
    )
    assert {"vector_bytes", "latency_ms.index"} <= set(front.record.names)
    assert "vector_bytes" in front.columns
    small = front.pick(prefer="index")
    told = small.known["vector_bytes"]
    assert told.value < 4 * HIDDEN == told.value / told.ratio
    served = small.load()
    assert isinstance(served, SentenceEncoder)
    assert served.encode("a bird", role="document").nbytes == told.value
    assert served.encode("a bird", role="query").dtype == np.float32
    page = card(front, small)
    assert f"| vectors of a million texts | {byte_count(1e6 * told.value)} |" in page
    assert " a second |" in page


def test_a_look_has_rows_of_the_main_metrics_alone(encoder_task: EncoderTask, halved: Encoder) -> None:
    served = served_of(encoder_task, halved)
    rows = encoder_task.look(served)
    assert set(rows["benchmark"]) == {"pairs", "near pairs"}
    assert set(rows.columns) == set(encoder_task.score(served, "validation").columns)
    assert rows.equals(encoder_task.look(served_of(encoder_task, halved)))
    assert np.isfinite(encoder_task.metrics["spearman"](rows))


@pytest.mark.parametrize("closer", [False, True])
def test_a_look_tells_how_near_a_model_is_to_the_dense_one(
    encoder_task: EncoderTask, halved: Encoder, closer: bool
) -> None:
    dense, found = (
        encoder_task.look(served_of(encoder_task, model), closer=closer)
        for model in (encoder_task.model({}, seed=0), halved)
    )
    assert encoder_task.near(dense) == {"spearman": pytest.approx(1.0)}
    near = encoder_task.near(found)["spearman"]
    assert near < 0.999
    rows = found[found["benchmark"] == "near pairs"]
    assert near == pytest.approx(rows["value"].corr(rows["gold"], method="spearman"))
    assert encoder_task.metrics["spearman"](found) == encoder_task.metrics["spearman"](
        found[found["benchmark"] == "pairs"]
    ), "what is asked beside changes no metric"


@pytest.mark.parametrize("metric", ["similarity", "overlap@10", "coverage"])
def test_a_look_at_fidelity_finds_the_dense_model_whole(tiny: Path, metric: str) -> None:
    task = make_task(tiny, metric=metric)
    model = task.model({}, seed=0)
    assert task.metrics[metric](task.look(served_of(task, model))) == pytest.approx(1, abs=1e-6)


def test_a_look_at_coverage_alone_needs_no_labels(tiny: Path) -> None:
    task = make_task(tiny, metric="coverage", data=EncoderData())
    assert task.metrics["coverage"](task.look(served_of(task, task.model({}, seed=0)))) == 1


def test_a_look_reads_as_many_tokens_as_it_may(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.encoder.judging.LOOK_TOKENS", 150)
    monkeypatch.setattr("autoprune.encoder.benchmarks.part.LONGEST", 9)
    task = make_task(tiny)
    served = served_of(task, task.model({}, seed=0))
    asked = list[str]()

    def vectors(_: SentenceEncoder, texts: list[str], **_more: object) -> np.ndarray:
        asked.extend(texts)
        return np.ones((len(texts), HIDDEN), np.float32)

    monkeypatch.setattr(SentenceEncoder, "vectors", vectors)
    rows = task.look(served)  # the first one has the dense model read the same texts
    assert not task.near(rows), "all vectors are alike"
    asked.clear()
    assert 3 <= (task.look(served_of(task, task.model({}, seed=0)))["benchmark"] == "pairs").sum() < 29
    lengths = task.model({}, seed=0).tokenizer.count(asked)[0]
    assert lengths.max() == 9
    assert 120 < lengths.sum() <= 150
    asked.clear()
    assert task.looks_closer
    task.look(served, closer=True)
    asked.clear()
    task.look(served_of(task, task.model({}, seed=0)), closer=True)
    assert 150 < task.model({}, seed=0).tokenizer.count(asked)[0].sum() <= 600
