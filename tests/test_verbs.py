"""What the verbs are given, and what they offer to type next; on made-up studies, in this process."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from made_studies import make_study
from rich.console import Console

from autoprune import cli
from autoprune.artifacts import artifact
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.fronts.profiles import load_profile
from autoprune.measure.measurement import VERIFY, Measurement
from autoprune.models.model import Model
from autoprune.recommender.task import RecommenderTask
from autoprune.record.archive import Archive
from autoprune.record.point import all_names
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.card import card
from autoprune.views.compare import compare
from autoprune.views.front_json import front_json
from autoprune.views.snapshot import row
from autoprune.views.terminal import print_front, print_point, print_verified

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies: one not verified, one verified, one of two main metrics; to be copied."""
    folder = tmp_path_factory.mktemp("made")
    make_study(folder / "raw", verified=False)
    make_study(folder / "verified")
    make_study(folder / "both", metrics=("ndcg@20", "recall@20"))
    return folder


@pytest.fixture(autouse=True)
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder where one stands, with the studies in runs/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(made, "runs")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; gives the exit code, stdout and stderr."""

    def run(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["autoprune", *shlex.split(line)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    return run


def shown(show: object, *args: object) -> str:
    file = io.StringIO()
    assert callable(show)
    show(Console(width=200, file=file), *args)
    return file.getvalue()


def changed(record: Record, change: object) -> Record:
    """The study with every verified measurement changed."""
    assert callable(change)
    archive = Archive(record.folder / "archive.jsonl")
    for point in record.points:
        if point.verified:
            archive.add(point.candidate.with_measurement(change(point.candidate.latest(VERIFY))))
    return Record(record.folder)


def test_ctrl_c_in_a_verb_says_what_is_kept(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autoprune.cli.verbs.print_front", stopped)
    code, _, stderr = ran("front raw")
    assert code == 130
    assert stderr.startswith("Stopped. Finished work is kept")


def test_the_cache_is_shown_and_cleared(ran: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for place in (
        "runs/.store/a.pt",
        "runs/.store/b-1.tmp",
        "home/autoprune/vectors/c/d.npy",
        "home/autoprune/counts/e.npz",
    ):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_bytes(b"kept" * 500)
    ended, said, _ = ran("cache")
    assert ended == 0
    first, second, third, fourth = said.splitlines()
    assert first.endswith("2 files, 4 kB kept in runs/.store")
    assert "vectors of texts: 1 files, 2 kB kept" in second
    assert "counts of general English: 1 files, 2 kB kept" in third
    assert "kernels: 0 files, 0 B kept" in fourth
    assert "2 files, 4 kB deleted" in ran("cache --clear")[1]
    assert "0 files" in ran("cache")[1].splitlines()[0]
    assert Path("runs/verified/study.yaml").exists()
    assert "0 files" in ran("cache --runs nowhere")[1].splitlines()[0]


def test_usage_keeps_its_exit_codes(ran: Run) -> None:
    assert ran("front --help")[0] == 0
    code, _, stderr = ran("front raw --nosuch")
    assert code == 2
    assert "--nosuch" in stderr


def test_a_command_that_is_offered_asks_for_the_same_front(ran: Run) -> None:
    _, stdout, _ = ran("front raw --for smallest --max size_bytes=0.2x --prefer latency")
    offered = stdout.rstrip().splitlines()[-1].strip()
    assert offered == "autoprune verify raw --for smallest --max size_bytes=0.2x --prefer latency"
    record = Record(Path("runs/raw"))
    front = Front(record, Limits(ceilings=["size_bytes=0.2x"]))
    point = front.pick()
    for text in (card(front, point), shown(print_front, front), shown(print_point, front, point)):
        assert "autoprune verify raw --max size_bytes=0.2x" in text
    assert Front(record).limits.flags == []


def test_what_is_preferred_is_picked(ran: Run) -> None:
    for prefer in ("quality", "size", "latency"):
        found = json.loads(ran(f"front verified --prefer {prefer} --json")[1])
        assert (found["prefer"], found["pick"]) == (
            prefer,
            Front(Record(Path("runs/verified"))).pick(prefer=prefer).number,
        )
    code, _, stderr = ran("front verified --prefer speed")
    assert code == 2
    assert "objective 'speed' is unknown" in stderr


@pytest.mark.parametrize("content", [b"", b"study: x\n", b"a: [", b"\xff\xfe\xff", b"definition: 3\noverrides: []\n"])
def test_a_damaged_study_yaml_is_one_message(content: bytes) -> None:
    path = Path("runs/raw/study.yaml")
    path.write_bytes(content)
    with pytest.raises(AutopruneError, match=r"runs/raw/study.yaml: .*(?s:.)*search anew under another study.name"):
        Record(path.parent)


def test_what_was_recorded_is_no_study_but_tells_its_command() -> None:
    path = Path("runs/raw/study.yaml")
    path.write_text(yaml.safe_dump({"study": "raw", "command": "autoprune task=x", "definition": {}}))
    with pytest.raises(AutopruneError, match=r"without its candidates(?s:.)*autoprune task=x"):
        Record(path.parent)


def test_a_profile_that_is_no_text_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(AutopruneError, match=r"b\.yaml: the file is not valid YAML"):
        load_profile(str(path))


@pytest.mark.parametrize("place", ["runs/raw", "runs/raw/", "./runs/raw"])
def test_a_study_is_found_by_its_path(place: str, ran: Run) -> None:
    code, stdout, _ = ran(f"front {place}")
    assert code == 0
    assert stdout.rstrip().endswith("autoprune verify raw")
    assert ran(f"compare {place} verified")[0] == 0
    assert ran(f"show {place} 1")[0] == 0


def test_a_study_is_found_from_where_it_lies(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("runs/raw")
    assert ran("front .")[0] == 0
    monkeypatch.chdir("..")
    assert "autoprune verify raw --runs ." in ran("front raw")[1]


def test_where_no_study_is_the_way_to_one_is_told(ran: Run) -> None:
    assert "'runs' holds no study 'rwa'. Did you mean raw?" in ran("front runs/rwa")[2]
    code, _, stderr = ran("front raw --runs nowhere")
    assert code == 2
    assert "--runs" in stderr
    assert "autoprune task=… study.name=raw" in stderr


def test_why_a_slice_does_not_bind() -> None:
    baseline = Record(Path("runs/verified")).baseline.candidate.latest()
    few = dataclasses.replace(baseline, units={"ndcg@20": {"tail": 99}})
    faint = dataclasses.replace(baseline, quality={"ndcg@20": {"tail": 0.0041}})
    assert phrases.why_idle(few, "ndcg@20", "tail") == "too few: 99 units"
    assert phrases.why_idle(faint, "ndcg@20", "tail") == "too faint: 0.0041 in the baseline"

    def fainter(measured: Measurement) -> Measurement:
        parts = {name: {**held, "tail": held["tail"] / 100} for name, held in measured.quality.items()}
        return dataclasses.replace(measured, quality=parts)

    record = changed(Record(Path("runs/verified")), fainter)
    front = Front(record)
    text = card(front, front.pick())
    assert "no, too faint: 0.0005 in the baseline" in text
    assert "does not bind, too faint: 0.0005 in the baseline" in shown(print_point, front, front.pick())
    lost = next(point for point in record.points if point.verified and record.beyond(point))
    assert f"- It {phrases.beyond(record, lost)}." in card(front, lost)
    assert "of tail, which is too faint in the baseline to bind" in phrases.beyond(record, lost)


def test_points_timed_in_few_processes_are_counted() -> None:
    record = Record(Path("runs/verified"))
    assert phrases.thinly_timed(Front(record)) == ""

    def fewer(measured: Measurement) -> Measurement:
        latency = {name: dataclasses.replace(one, rounds=one.rounds[:2]) for name, one in measured.latency.items()}
        return dataclasses.replace(measured, latency=latency)

    front = Front(changed(record, fewer))
    count = sum(point.number > 0 for point in front)
    told = f"{count} of {count} points were timed in fewer than 5 processes:\n  autoprune verify verified"
    assert phrases.thinly_timed(front) == told
    assert told in shown(print_front, front)


def test_other_requirements_are_told_in_a_comparison() -> None:
    one = Record(Path("runs/verified"))
    strict = Front(one, Limits(floors=["quality=0.99x"]))
    assert not any("own requirements" in note for note in compare(Front(one), Front(one)).notes)
    (note,) = [note for note in compare(Front(one), strict).notes if "own requirements" in note]
    assert "quality >= 0.95x" in note
    assert "quality >= 0.99x" in note
    assert "--for or --floor" in note


def test_an_empty_csv_says_why_on_stderr(ran: Run) -> None:
    code, stdout, stderr = ran("front raw --max size_bytes=1B --csv")
    assert code == 0
    (columns,) = stdout.splitlines()
    assert columns.startswith("number,name,recipe,front,pick,")
    assert "meets every requirement" in stderr
    code, stdout, stderr = ran("front raw --csv --json")
    assert (code, stdout) == (2, "")
    assert "leave the other out" in stderr


def test_an_interval_stands_next_to_its_ratio() -> None:
    front = Front(Record(Path("runs/verified")))
    for names in (all_names([row(front, point) for point in front.finalists]), list(front.to_frame().columns)):
        at = names.index("test_ndcg@20_ratio")
        assert names[at + 1 : at + 3] == ["test_ndcg@20_low", "test_ndcg@20_high"]
        assert names[-1] in ("recipe", "artifact")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--floor worst_slice=1x", "No candidate of 39 meets every requirement"),
        (
            "--floor quality=1x:0.999999 --floor worst_slice=0.1x",
            "of them meet it by their values, but not by the bound, so this is doubt, not loss",
        ),
        ("--floor worst_slice=1x --max latency_ms=1x --prefer latency", "Nearest misses:"),
        ("--for accuracy_critical --floor worst_slice=1x --prefer quality", "worst_slice >= 1x: missed by"),
    ],
)
def test_the_dense_model_ships_only_for_who_asks_for_it(
    words: str, why: str, ran: Run, task: RecommenderTask, dense: Model
) -> None:
    artifact.save(task.parts(dense), Record(Path("runs/raw")).baseline.folder, provenance={})
    code, _, stderr = ran(f"pick raw --to out {words}")
    assert code == 2
    assert stderr.startswith("autoprune: nothing was written, because the pick is the dense model itself; --dense")
    assert why in stderr
    assert not Path("out").exists()
    for word, to in (("--dense", "asked"), ("0", "named")):
        code, stdout, stderr = ran(f"pick raw {word} --to {to} {words}")
        assert code == 0, stderr
        assert (Path(to) / "artifact.json").is_file()
        assert "candidate 0 of raw (baseline" in stdout


def test_where_not_even_the_dense_model_fits_none_is_shipped(ran: Run) -> None:
    code, _, stderr = ran("pick raw --to out --floor quality=1.4x --dense")
    assert code == 2
    assert "No candidate of 39 meets every requirement" in stderr
    assert not Path("out").exists()


def test_where_others_fit_too_it_is_said_what_the_dense_model_is_best_in(ran: Run) -> None:
    record = make_study(Path("runs/best"), 30, verified=False, requirements={"ndcg@20": {"min": "0.5x"}})
    best = record.baseline.candidate.latest()
    for point in record.points[1:]:
        measured = point.candidate.latest()
        if measured.quality:
            lost = {name: {part: 0.9 * value for part, value in parts.items()} for name, parts in best.quality.items()}
            record.archive.add(point.candidate.with_measurement(dataclasses.replace(measured, quality=lost)))
    code, _, stderr = ran("pick best --prefer quality --to out")
    assert code == 2
    assert "Other candidates are feasible, but none is better in quality; try --prefer size" in stderr
    assert Front(Record(Path("runs/best"))).pick(prefer="size").number


def test_where_what_is_preferred_was_not_measured_the_dense_model_is_not_called_best(ran: Run) -> None:
    record = make_study(Path("runs/bare"), 30, verified=False, requirements={})
    lines = [json.loads(line) for line in record.archive.path.read_text().splitlines()]
    for line in lines[1:]:
        line["measurements"] = [{**one, "latency": {}} for one in line["measurements"]]
    record.archive.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    definition = record.folder / "study.yaml"
    definition.write_text(definition.read_text().replace("    - latency\n", ""))
    code, _, stderr = ran("pick bare --prefer latency --to out")
    assert code == 2
    said = " ".join(stderr.split())
    assert re.search(r"latency_ms was not measured for (\d+) of \1; to measure it: autoprune verify bare --all", said)
    assert "none is better" not in said


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize(
    ("study", "limits", "sort", "shown_too"),
    [
        ("both", Limits(), "quality", ["recall@20"]),
        ("both", Limits(), "recall@20", ["recall@20"]),
        ("both", Limits(), "recall@20.tail", ["recall@20", "recall@20.tail"]),
        ("verified", Limits(), "quality", []),
        ("verified", Limits(), "recall@20", ["recall@20"]),
        ("verified", Limits(), "memory_bytes", ["memory_bytes"]),
        ("verified", Limits(floors=["recall@20=0.5x"]), "size", ["recall@20"]),
        (
            "verified",
            Limits(floors=["ndcg@20.tail=0.5x"], ceilings=["latency_ms.batch=3x"]),
            "latency",
            ["ndcg@20.tail", "latency_ms.batch"],
        ),
    ],
)
def test_what_is_required_or_sorted_by_has_a_column(
    study: str, limits: Limits, sort: str, shown_too: list[str], width: int
) -> None:
    front, file = Front(Record(Path("runs") / study), limits), io.StringIO()
    print_front(Console(width=width, file=file), front, sort=sort)
    lines = file.getvalue().splitlines()
    start = next(at for at, line in enumerate(lines) if line.split()[:1] == ["#"])
    head = "".join(lines[start - 1 : start + 1])
    for name in ("recall@20", "ndcg@20.tail", "recall@20.tail", "memory_bytes", "latency_ms.batch"):
        there = all(part in head for part in name.split("."))
        assert there or name not in shown_too
    for point in front:
        row = next(line for line in lines[start:] if line.split()[:1] == [str(point.number)])
        for name in shown_too if point.number else []:
            assert phrases.ratio(point.known[name].ratio) in row
    assert {f"{name}_ratio" for name in shown_too} <= set(front.to_frame().columns)
    assert front_json(front)["metrics"] == (["ndcg@20", "recall@20"] if study == "both" else ["ndcg@20"])


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(floors=["quality=0.97x"]),
        Limits(floors=["recall@20.tail=0.9x"], ceilings=["latency_ms=2x"]),
        Limits(profile="none"),
    ],
)
def test_verify_says_which_requirements_hold_by_their_bounds(limits: Limits) -> None:
    front = Front(Record(Path("runs/verified")), limits)
    text, pick = shown(print_verified, front), front.pick()
    if not front.requirements.items:
        assert "bound at 95 %" not in text
        return
    for item in front.requirements.items:
        reading = pick.verified[item.reading]
        (row,) = [line for line in text.splitlines() if line.startswith(f"{item.text} ")]
        bound = reading.bound(0.95, upper=item.ceiling)
        assert f"{reading.ratio:.3f}x" in row
        assert f"{bound:.3f}x" in row
        assert ("holds by value alone" in row) == (bound > item.limit if item.ceiling else bound < item.limit)
    told = [line for line in text.splitlines() if line.startswith("Others on the front")]
    others = [point for point in front if point.number not in (0, pick.number)]
    assert all(any(str(point.number) in line for line in told) for point in others)
    for page in (shown(print_point, front, pick), card(front, pick)):
        assert ("by value alone" in page.lower()) == ("holds by value alone" in text)
