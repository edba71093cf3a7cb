"""Random overrides and damaged files: either it works, or one message says what is wrong; nobody else speaks.

Every case is drawn from its own seed: `AUTOPRUNE_FUZZ=SEED` moves all of them, to look further by hand.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import random
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from made_studies import make_study
from tiny_encoder import TEXTS

import autoprune
from autoprune import cli
from autoprune.artifacts import artifact
from autoprune.artifacts.served import Beside
from autoprune.config.compose import compose_sections
from autoprune.config.sections import structured
from autoprune.config.settings import StudyConfig
from autoprune.families import task_maker
from autoprune.recommender.task import RecommenderTask

SEED = int(os.environ.get("AUTOPRUNE_FUZZ", "0"))

FOREIGN = [
    "Traceback",
    "HYDRA_FULL_ERROR",
    "hydra.cc",
    "site-packages",
    "Error executing",
    "LexerNoViable",
    "mismatched",
]
FOREIGN += ["viable alternative", "full_key", "object_type", "huggingface.co/docs", "[y/N]", "Warning:"]
FOREIGN += ["DictConfig", "ListConfig", "Union[", "type hint", "could not be converted", "Could not delete"]
"""What others say, or would have people do."""

ODD = ["", " ", "\0", "NaN", "inf", "-1", "1e999", "9" * 400, "[" * 2000, "{" * 900, "é", "\ufeff", "'", '"', ",", "\t"]
ODD += ["null", "true", "../..", "/dev/null", "~", "${x}", "\x1b[31m", "\ud800", "a" * 5000, "::", "0x1F", "2026-99-99"]
"""In place of what belongs there."""

Case = Callable[[random.Random, Path], None]


def spoken(run: Callable[[], object]) -> str:
    """What a call says on stderr; it must work, or end with one message of ours and exit code 2."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), warnings.catch_warnings():
        warnings.simplefilter("always")
        try:
            run()
        except autoprune.AutopruneError as error:  # nothing else may come out of a call from Python
            stderr.write(f"autoprune: {error}")
            code = 2
        except SystemExit as ended:  # of the command line
            code = int(ended.code or 0)
    said = stderr.getvalue()
    assert code in (0, 2), f"exit code {code}"
    assert (code == 2) == said.startswith("autoprune: "), said
    assert said.count("autoprune: ") <= 1, said
    assert [word for word in FOREIGN if word in said + stdout.getvalue()] == [], said
    return said


def typed(*words: str) -> Callable[[], object]:
    """`autoprune WORDS`, in this process."""

    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["autoprune", *words])
            patch.setenv("HYDRA_FULL_ERROR", "1")
            cli.main()

    return run


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content with a few things wrong."""
    for _ in range(draw.choice([1, 1, 2, 4])):
        at, to = sorted(draw.randrange(len(content) + 1) for _ in range(2))
        lines = content.split(b"\n")
        line = draw.randrange(len(lines))
        kind = draw.randrange(9)
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content = content[:at] + content[to:]
        elif kind == 2:
            content = content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
        elif kind == 3:
            content = content[:at] + draw.choice(ODD).encode("utf-8", "surrogatepass") + content[at:]
        elif kind == 4:
            content = b"\n".join([*lines[:line], lines[line], *lines[line:]])
        elif kind == 5:
            content = b"\n".join([*lines[:line], *lines[line + 1 :]])
        elif kind == 6:
            words = lines[line].split(draw.choice([b",", b":", b" ", b"\t"]))
            words[draw.randrange(len(words))] = draw.choice(ODD).encode("utf-8", "surrogatepass")
            content = b"\n".join([*lines[:line], b",".join(words), *lines[line + 1 :]])
        elif kind == 7:
            content = draw.choice(
                [b"", b"\n", b"[]", b"{}", b"null", b"0", b"\x00" * 64, b"\x1f\x8b", b"PAR1PAR1", b"PK\x03\x04"]
            )
        else:
            content = content[:at] + bytes(draw.randrange(32) for _ in range(3)) + content[at:]
    return content


def altered(value: object, draw: random.Random) -> object:
    """A tree of plain values with one of them replaced, or taken out."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        if draw.random() < 0.15:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: altered(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        return [*value[:at], altered(value[at], draw), *value[at + 1 :]]
    return draw.choice(
        [None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x", [], {}, [[]], {"x": 1}, draw.choice(ODD)]
    )


def spoil(file: Path, draw: random.Random) -> None:
    """Damages a file, or puts something else where it was."""
    if file.suffix == ".jsonl" and draw.random() < 0.5:
        lines = file.read_text().splitlines()
        at = draw.randrange(len(lines))
        with contextlib.suppress(ValueError):  # a table under a name of JSON lines
            lines[at] = json.dumps(altered(json.loads(lines[at]), draw))
        file.write_text("".join(f"{line}\n" for line in lines))
        return
    if file.suffix in (".json", ".yaml") and draw.random() < 0.6:
        tree = altered(yaml.safe_load(file.read_text()), draw)
        text = json.dumps(tree) if file.suffix == ".json" else yaml.safe_dump(tree)
        file.write_text(text, errors="replace")
        return
    kind = draw.random()
    if kind < 0.9:
        file.write_bytes(damaged(file.read_bytes(), draw))
        return
    file.unlink()
    if kind < 0.93:
        file.mkdir()
    elif kind < 0.96:
        file.symlink_to(file.name)


def overrides(draw: random.Random, folder: Path) -> None:
    keys = ["task.data.path", "task.data.split", "task.metric", "task.metrics", "task.dim", "task.training.epochs"]
    keys += ["task.texts", "task.data.pairs", "task.data.scale", "task.model", "task.data", "task", "space", "presets"]
    keys += ["study.name", "study.trials", "study.seed", "study.objectives", "study.dir", "study", "requirements"]
    keys += ["space.prune.epochs", "space.prune.method", "presets.mine", "requirements.quality.drop", "hydra.job.name"]
    keys += ["requirements.recall@20.min", "requirements.prefer", "study.latency_seconds", "nosuch", "task.nosuch.key"]
    values = [
        *ODD,
        "a.csv",
        "[a,b]",
        "{a:1}",
        "{a:{b:[c}",
        "1,2",
        "choice(1,2)",
        "range(1,3)",
        "glob(*)",
        "o'neil",
        "0.5",
    ]
    values += ["x y", "(", "=", "a=b", "'x", "\\", "int(x)", "str(", "${task.name}", "${oc.env:NOSUCH}", "${", "#", "@"]
    task = draw.choice(["movielens", "interactions", "encoder", "stsb", "own"])
    words = [f"task={task}"]
    words += [
        f"{draw.choice(['', '', '', '+', '++', '~'])}{draw.choice(keys)}{draw.choice(['=', '=', '=', ''])}"
        f"{draw.choice(values)}"
        for _ in range(draw.choice([1, 1, 2, 3]))
    ]
    if task == "own" or draw.random() < 0.3:  # with a folder of one's own nothing is composed beforehand
        words.insert(0, f"hydra.searchpath=[{folder / 'conf'}]")
    own = folder / "conf" / "task"
    own.mkdir(parents=True, exist_ok=True)
    (own / "own.yaml").write_bytes(
        damaged(b"defaults:\n  - interactions\n  - _self_\ndim: 8\ndata:\n  path: x.csv\n", draw)
    )

    def run() -> None:
        content = compose_sections(words)
        structured(StudyConfig, content["study"], "study").check()
        structured(task_maker(content["task"].get("name")).config, content["task"], "task").check()

    spoken(run)


def command_lines(draw: random.Random, folder: Path) -> None:
    flags = ["--multirun", "--cfg", "job", "--info", "--nosuch", "--config-dir", "-x", "--resolve", "", "--package"]
    words = [draw.choice(["task=interactions", "task=stsb", "task=encoder"]), "task.data.path=no such.csv"]
    words += ["task.model=./nosuch"]
    words += draw.choices([*flags, "=", "a=b=c", "~", "+", "++", "--", "study.seed=1,2", "task.dim=x", *ODD[3:]], k=2)
    draw.shuffle(words)
    with contextlib.chdir(folder):
        spoken(typed(*words))


@functools.cache
def log() -> str:
    """A table of interactions as text."""
    rows = [
        f"{user},{(user + 7 * at) % 40},{5 if at % 3 else 1},{1_600_000_000 + at}"
        for user in range(210)
        for at in range(8)
    ]
    return "\n".join(["user,item,rating,timestamp", *rows])


@functools.cache
def log_in_parquet() -> bytes:
    return pd.read_csv(io.StringIO(log())).to_parquet()


def interactions(draw: random.Random, folder: Path) -> None:
    name = draw.choice(["r.csv", "r.tsv", "r.inter", "r.txt", "r.parquet", "r.csv.gz", "u.data", "folder"])
    path = folder / name
    if name == "folder":
        path.mkdir()
        for part in ("train", "valid", "test"):
            lines = "\n".join(f"{user} " + " ".join(str((user + at) % 20) for at in range(6)) for user in range(12))
            (path / f"{part}.txt").write_text(lines)
        spoil(path / draw.choice(["train.txt", "valid.txt", "test.txt"]), draw)
    elif name == "r.parquet":
        path.write_bytes(log_in_parquet())
        spoil(path, draw)
    else:
        path.write_text(log().replace(",", draw.choice([",", ",", "\t", ";", "::", " "])))
        spoil(path, draw)
    data = {"path": str(path), "split": draw.choice([None, None, "random", "global", "per_user"])}
    data |= draw.choice([{}, {}, {"min_rating": 2.0}, {"columns": {"user": draw.choice(["user", "nosuch", "", "0"])}}])
    maker = task_maker("interactions")
    spoken(lambda: maker.make(structured(maker.config, {"data": data}, "task")).describe())


def benchmarks(draw: random.Random, folder: Path) -> None:
    pytest.importorskip("sklearn")
    from autoprune.encoder.benchmarks.classification import read_classification
    from autoprune.encoder.benchmarks.pairs import read_pairs
    from autoprune.encoder.benchmarks.retrieval import read_retrieval
    from autoprune.encoder.texts.files import read_texts

    texts, kind = TEXTS[:60], draw.choice(["pairs", "retrieval", "classification", "texts"])
    if kind == "pairs":
        file = folder / draw.choice(["p.csv", "p.tsv", "p.jsonl"])
        file.write_text(
            "sentence1,sentence2,score\n"
            + "\n".join(f'"{a}","{b}",{at % 6}' for at, (a, b) in enumerate(pairwise(texts)))
        )
        spoil(file, draw)
        spoken(lambda: read_pairs(file))
    elif kind == "retrieval":
        (folder / "qrels").mkdir()
        lines = [json.dumps({"_id": f"d{at}", "title": "", "text": text}) for at, text in enumerate(texts)]
        (folder / "corpus.jsonl").write_text("\n".join(lines))
        (folder / "queries.jsonl").write_text("\n".join(line.replace('"d', '"q') for line in lines[:30]))
        (folder / "qrels" / "test.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "\n".join(f"q{at}\td{at}\t1" for at in range(30))
        )
        spoil(folder / draw.choice(["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]), draw)
        spoken(lambda: read_retrieval(folder))
    elif kind == "classification":
        file = folder / draw.choice(["c.csv", "c.tsv", "c.jsonl"])
        file.write_text("text,category\n" + "\n".join(f'"{text}",{"ab"[at % 2]}' for at, text in enumerate(texts)))
        spoil(file, draw)
        spoken(lambda: read_classification(file))
    else:
        file = folder / draw.choice(["t.txt", "t.csv", "t.jsonl", "t.xml"])
        file.write_text("text\n" + "\n".join(texts))
        spoil(file, draw)
        spoken(lambda: read_texts([str(file)]))


def verbs(draw: random.Random, folder: Path) -> None:
    make_study(folder / "runs" / "s", draw.choice([1, 3, 8]), verified=draw.random() < 0.5)
    study = folder / "runs" / "s"
    spoil(study / draw.choice(["study.yaml", "archive.jsonl", "archive.jsonl", "machines.json"]), draw)
    odd = draw.choice(ODD)
    words = draw.choice(
        [
            ["front", "s"],
            ["front", "s", "--csv"],
            ["front", "s", "--json"],
            ["front", "s", "--floor", f"ndcg@20={odd}"],
            ["front", "s", "--sort", odd],
            ["front", odd],
            ["show", "s", "0"],
            ["show", "s", odd],
            ["compare", "s", "s"],
            ["pick", "s", "--to", "deploy"],
            ["pick", "s", "--to", odd],
            ["verify", "s", "--rounds", "1"],
            ["verify", "s", "--rounds", odd],
            ["dashboard", "s", "--port", odd or "x"],
            ["record", "s", "--to", odd or "x"] if odd.strip() in ("", "x") else ["front", "s", "--all"],
        ]
    )
    with contextlib.chdir(folder):
        spoken(typed(*words))


def reseal(artifact: Path, file: Path) -> None:
    """Makes the sums of an artifact those of a file as it now is: damage that they do not tell."""
    card = artifact / "artifact.json"
    content = json.loads(card.read_text())
    held = file.read_bytes()
    del content["sha256"]
    sums = {"bytes": len(held), "sha256": hashlib.sha256(held).hexdigest()}
    content["files"][str(file.relative_to(artifact))] = sums
    whole = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    card.write_text(json.dumps({**content, "sha256": whole}))


def artifacts(draw: random.Random, folder: Path, *, made: Path) -> None:
    shutil.copytree(made, folder / "a")
    names = ["artifact.json", "model/manifest.json", "model/tensors.safetensors", "beside/values.json"]
    file = folder / "a" / draw.choice([*names, "beside/tensors.safetensors"])
    spoil(file, draw)
    card = folder / "a" / "artifact.json"
    resealed = file != card and file.is_file() and draw.random() < 0.7
    if resealed:
        reseal(folder / "a", file)

    def run() -> None:
        served = autoprune.load(folder / "a")
        if not resealed:
            served.recommend(user=0, k=3)

    spoken(run)


def encoder_artifacts(draw: random.Random, folder: Path, *, made: Path) -> None:
    shutil.copytree(made / draw.choice(["onnx", "torch"]), folder / "a")
    file = draw.choice(sorted((folder / "a" / "model").iterdir()))
    spoil(file, draw)
    if file.is_file():
        reseal(folder / "a", file)
    spoken(
        lambda: autoprune.load(folder / "a").encode(["water", "The river was cold, and the bread old. é \ud800" * 9])
    )


def encoders(draw: random.Random, folder: Path, *, made: Path) -> None:
    from autoprune.encoder.bert import read_encoder

    shutil.copytree(made, folder / "m")
    files = sorted(path for path in (folder / "m").rglob("*") if path.is_file())
    spoil(draw.choice(files), draw)
    spoken(lambda: read_encoder(str(folder / "m")))


@pytest.fixture(scope="module")
def made(task: RecommenderTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of a recommender."""
    folder = tmp_path_factory.mktemp("made") / "artifact"
    artifact.save(task.parts(task.model(task.base, seed=0)), folder, provenance={"key": "0", "recipe": {}, "seed": 0})
    return folder


@pytest.fixture(scope="module")
def made_encoders(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an encoder's artifacts by their runtime."""
    from autoprune.encoder.bert import read_encoder
    from autoprune.encoder.parts import encoder_parts

    folder, model = tmp_path_factory.mktemp("encoders"), read_encoder(str(tiny))
    for runtime in ("onnx", "torch"):
        parts = encoder_parts(model, runtime, Beside(values={}, tensors={}))
        artifact.save(parts, folder / runtime, provenance={"key": "0", "recipe": {}, "seed": 0})
    return folder


@pytest.fixture
def places(tmp_path: Path) -> Callable[[], Path]:
    """Makes empty folders."""

    def place() -> Path:
        folder = tmp_path / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    return place


def check(case: Callable[..., None], numbers: range, place: Callable[[], Path], **given: Path) -> None:
    for number in numbers:
        seed = f"{case.__name__} {SEED} {number}"
        state = torch.get_rng_state()
        try:
            case(random.Random(seed), place(), **given)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{seed}: {type(error).__name__}: {error}") from error
        assert torch.equal(state, torch.get_rng_state())


FAST: dict[Case, int] = {overrides: 4, interactions: 16, benchmarks: 16, verbs: 12}
SLOW: dict[Case, int] = {overrides: 150, command_lines: 30, interactions: 700, benchmarks: 950, verbs: 250}


@pytest.mark.parametrize("case", FAST, ids=lambda case: case.__name__)
def test_a_few_cases_work_or_end_with_one_message(case: Case, places: Callable[[], Path]) -> None:
    check(case, range(FAST[case]), places)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=lambda case: case.__name__)
def test_cases_work_or_end_with_one_message(case: Case, places: Callable[[], Path]) -> None:
    check(case, range(FAST.get(case, 0), SLOW[case]), places)


def empty_parquet(folder: Path) -> Callable[[], object]:
    (folder / "e.parquet").mkdir()
    maker, data = task_maker("interactions"), {"path": str(folder / "e.parquet"), "columns": {"user": "0"}}
    return lambda: maker.make(structured(maker.config, {"data": data}, "task"))


def return_in_a_first_line(folder: Path) -> Callable[[], object]:
    from autoprune.encoder.texts.files import read_texts

    (folder / "t.csv").write_bytes(b"tex\r\x1a\x1bt\nN")
    return lambda: read_texts([str(folder / "t.csv")])


def archive_line(folder: Path, change: Callable[[dict[str, Any]], object]) -> Callable[[], object]:
    """A study of which one measurement is changed."""
    make_study(folder / "s", 3, verified=True)
    path = folder / "s" / "archive.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines[-1])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lambda: autoprune.front("s", runs=folder).letters


def other_draws(folder: Path) -> Callable[[], object]:
    return archive_line(folder, lambda line: line["measurements"][-1].update(draws=[1.0, 1.0]))


def no_search(folder: Path) -> Callable[[], object]:
    return archive_line(folder, lambda line: [one.update(purpose="x") for one in line["measurements"]])


def long_group(_: Path) -> Callable[[], object]:
    return lambda: compose_sections(["hydra.job.name" + "a" * 400 + "=x"])


def long_number(_: Path) -> Callable[[], object]:
    return lambda: structured(StudyConfig, {"latency_seconds": int("9" * 400)}, "study")


def long_default(folder: Path) -> Callable[[], object]:
    (folder / "task").mkdir()
    (folder / "task" / "own.yaml").write_text(f"defaults: [interactions, _self_{'a' * 400}]\n")
    return lambda: compose_sections([f"hydra.searchpath=[{folder}]", "task=own", "task.data.path=a b.csv"])


def number_for_a_file(folder: Path) -> Callable[[], object]:
    (folder / "task").mkdir()
    (folder / "task" / "own.yaml").write_text("3\n")
    return lambda: compose_sections([f"hydra.searchpath=[{folder}]", "task=own"])


FOUND: dict[Callable[[Path], Callable[[], object]], str] = {
    empty_parquet: r"no columns in it",
    return_in_a_first_line: r"which column is text",
    other_draws: r"\A\Z",  # what was damaged is as good as not verified
    no_search: r"archive\.jsonl:\d+: the line is not a candidate",
    long_group: r"the config file 'hydra\.job\.namea+' cannot be read: File name too long",
    long_default: r"the config file '_self_a+(\.yaml)?' cannot be read: File name too long",
    number_for_a_file: r"a config file does not hold a mapping",
    long_number: r"study\.latency_seconds: a number must not have more than 308 digits",
}
"""What other seeds have found."""


@pytest.mark.parametrize("made", FOUND, ids=lambda made: made.__name__)
def test_what_was_found_ends_with_one_message(made: Callable[[Path], Callable[[], object]], tmp_path: Path) -> None:
    assert re.search(FOUND[made], spoken(made(tmp_path)))


def test_a_damaged_artifact_ends_with_one_message(made: Path, places: Callable[[], Path]) -> None:
    check(artifacts, range(10), places, made=made)


@pytest.mark.slow
def test_damaged_artifacts_end_with_one_message(made: Path, places: Callable[[], Path]) -> None:
    check(artifacts, range(10, 250), places, made=made)


def test_a_damaged_artifact_of_an_encoder_ends_with_one_message(
    made_encoders: Path, places: Callable[[], Path]
) -> None:
    check(encoder_artifacts, range(6), places, made=made_encoders)


@pytest.mark.slow
def test_damaged_artifacts_of_encoders_end_with_one_message(made_encoders: Path, places: Callable[[], Path]) -> None:
    check(encoder_artifacts, range(6, 300), places, made=made_encoders)


@pytest.mark.slow
def test_damaged_encoders_end_with_one_message(tiny: Path, places: Callable[[], Path]) -> None:
    check(encoders, range(500), places, made=tiny)
