"""The command line as a user types it, from a folder of its own; in a process of its own where that matters."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from made_studies import make_study
from shell import started
from shell import typed as autoprune
from short_search import shorten

from autoprune import api
from autoprune.config.arguments import config_dir
from autoprune.errors import AutopruneError
from autoprune.record.record import Record
from autoprune.views.commands import candidate_command, search_command

SEARCH = [
    "task=interactions",
    "task.dim=16",
    "task.training.epochs=20",
    "presets=none",
    *("space.base.dim=16", "~space.prune.method", "space.prune.rows.importance=frequency"),
    *("space.prune.epochs=0", "space.encode.epochs=0"),  # few corners to build
    "space.encode.method.choose.quantize.bits.user=8",
    "study.latency_seconds=0.001",
    "study.objectives=[quality,size]",
    "requirements=none",
    "requirements.quality.drop=30%",
]


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        yield


@pytest.fixture(scope="module")
def home(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small study was run."""
    folder = tmp_path_factory.mktemp("home")
    ended = autoprune(
        folder,
        *SEARCH,
        f"task.data.path={planted}",
        *("study.looks=100", "study.trials=0", "study.name=small", "study.verify_rounds=2"),
    )
    assert ended.returncode == 0, ended.stderr
    assert "on the front" in ended.stdout
    assert "Next: autoprune pick small --to DIR" in ended.stdout
    return folder


def test_help_teaches_without_a_traceback(tmp_path: Path) -> None:
    for run, words in ((started, []), (autoprune, ["--help"])):
        ended = run(tmp_path, *words)
        assert ended.returncode == 0
        assert "autoprune front STUDY" in ended.stdout
        assert "study.trials" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["front", "verify", "show", "pick", "compare"])
def test_each_verb_explains_itself(verb: str, tmp_path: Path) -> None:
    ended = autoprune(tmp_path, verb, "--help")
    assert ended.returncode == 0
    assert "--floor" in ended.stdout
    assert "--max" in ended.stdout


@pytest.mark.slow
def test_cfg_shows_what_is_composed(tmp_path: Path) -> None:
    ended = autoprune(tmp_path, "--cfg", "job", "task=interactions")
    assert yaml.safe_load(ended.stdout)["task"]["name"] == "interactions"


@pytest.mark.slow
def test_a_search_leaves_nothing_but_its_record(home: Path) -> None:
    assert sorted(path.name for path in home.iterdir() if path.name != "deploy") == ["runs"]
    names = {path.name for path in (home / "runs" / "small").iterdir()}
    assert names == {"study.yaml", "archive.jsonl", "looks.jsonl", "machines.json", "artifacts", "lock"}


@pytest.mark.slow
def test_front_shows_the_baseline_first(home: Path) -> None:
    ended = autoprune(home, "front", "small")
    rows = [line.split() for line in ended.stdout.splitlines()]
    first = rows[rows.index(["#", "recipe", "test", "test", "size", "single"]) + 1]
    assert first[0] == "0"
    assert "baseline" in first[:3], "perhaps behind the mark of a profile that picks it"
    assert any("pick" in row for row in rows)


@pytest.mark.slow
def test_front_for_programs(home: Path) -> None:
    ended = autoprune(home, "front", "small", "--json", "--sort", "size")
    content = json.loads(ended.stdout)
    sizes = [point["verified"]["size_bytes"]["value"] for point in content["points"]]
    assert sizes == sorted(sizes)
    assert content["machine"]["verify"]["cores"] > 0
    nothing = autoprune(home, "front", "small", "--max", "size_bytes=1B", "--json")
    assert nothing.returncode == 0
    assert "--max size_bytes=" in json.loads(nothing.stdout)["explanation"]


@pytest.mark.slow
def test_a_ceiling_that_nothing_meets_is_explained(home: Path) -> None:
    ended = autoprune(home, "front", "small", "--max", "size_bytes=1B")
    assert ended.returncode == 0
    assert "meets every requirement" in ended.stdout
    assert "One of these alone would make something feasible" in ended.stdout


@pytest.mark.slow
def test_compare_with_itself_and_with_strangers(home: Path) -> None:
    ended = autoprune(home, "compare", "small", "small", "--json")
    assert ended.returncode == 0, ended.stderr
    assert [side["beaten"] for side in json.loads(ended.stdout)["sides"]] == [{}, {}]
    assert "small beats none of small." in autoprune(home, "compare", "small", "small").stdout


@pytest.mark.slow
def test_front_under_another_floor_trains_nothing(home: Path) -> None:
    before = (home / "runs/small/archive.jsonl").stat().st_mtime_ns
    ended = autoprune(home, "front", "small", "--floor", "ndcg@20=0.99x", "--csv")
    assert ended.returncode == 0
    assert (pd.read_csv(io.StringIO(ended.stdout))["ndcg@20_ratio"] >= 0.99).all()
    assert (home / "runs/small/archive.jsonl").stat().st_mtime_ns == before


@pytest.mark.slow
def test_verify_and_record_tell_what_the_search_did_not_see(home: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(home, tmp_path / "home"))
    ended = autoprune(copied, "verify", "small", "--rounds", "3")
    assert ended.returncode == 0, ended.stderr
    assert "verified on test data" in ended.stdout
    assert "on the search's front fell" in " ".join(ended.stdout.split())
    ended = autoprune(copied, "front", "small", "--csv")
    frame = pd.read_csv(io.StringIO(ended.stdout))
    assert frame["test_ndcg@20_ratio"].notna().all()
    assert frame["verified_latency_ms_ratio"].notna().all()
    narrow = autoprune(copied, "front", "small").stdout.splitlines()
    assert ["#", "recipe", "test", "test", "size", "single"] in [line.split() for line in narrow]
    assert "for the verification, on test data" in autoprune(copied, "show", "small", "0").stdout
    ended = autoprune(copied, "record", "small", "--to", "studies/small")
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in (copied / "studies/small").iterdir()} == {"study.yaml", "front.csv", "front.png"}
    assert "still to do: write studies/small/README.md" in ended.stdout


@pytest.mark.slow
def test_show_gives_a_command_that_makes_the_candidate_again(home: Path) -> None:
    shown = autoprune(home, "show", "small", "2")
    command = shown.stdout.split("to repeat it")[1].strip().splitlines()[0]
    quick = ["study.verify_rounds=0", "study.latency_seconds=0.001", "~space.prune", "~space.encode"]
    ended = started(home, *shlex.split(command)[1:], *quick)
    assert ended.returncode == 0, ended.stderr
    keys = [Record(home / "runs" / name).point(number).candidate.key for name, number in (("small", 2), ("small-2", 1))]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_pick_ships_a_folder_that_answers_in_a_clean_process(home: Path) -> None:
    ended = started(home, "pick", "small", "--for", "none", "--to", "deploy/")
    assert ended.returncode == 0, ended.stderr
    card = (home / "deploy" / "README.md").read_text()
    held = json.loads((home / "deploy" / "artifact.json").read_text())
    for name, file in held["files"].items():
        assert f"| `{name}` | {file['bytes']:,} | `{file['sha256']}` |" in card
    assert f"key `{held['provenance']['key']}`, seed {held['provenance']['seed']}" in card
    assert "autoprune pick small --for none --to deploy/" in card
    assert "±" in card
    code = "import autoprune; print(autoprune.load('deploy').recommend(user=42, k=3))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
    assert ended.stdout.count("Recommendation(") == 3
    again = autoprune(home, "pick", "small", "--for", "none", "--to", "deploy/")
    assert again.returncode == 2
    assert "exists already" in again.stderr


BAD = {
    "fornt small": "neither a verb nor key=value. Did you mean front or report?",
    "front nosuch": "holds no study 'nosuch'",
    "front small --floor ndgc@20=0.9x": "Did you mean ndcg@20",
    "front small --floor 0.9": "NAME=LIMIT must be given",
    "front small --for fastest": "requirements profile 'fastest' is unknown",
    "verify nosuch": "holds no study 'nosuch'",
    "verify small --floor ndgc@20=0.9x": "Did you mean ndcg@20",
    "record small --to runs/small": "name another folder with --to",
    "front small --sort sise": "Did you mean size",
    "front small --max quality=1x": "quality cannot have 'max'",
    "front small --max size_bytes=": "a limit such as 10MB or 0.5x must be given",
    "verify small --rounds 0": "rounds: a whole number >= 1 must be given",
    "compare small nosuch": "holds no study 'nosuch'",
    "show small 99": "candidate 99 is unknown: study 'small' has 0 to",
    "pick small --floor quality=9x --to x": "meets every requirement",
    "task=film": "there is no such task",
    "study.trails=3": "Did you mean trials?",
    "requirements.latncy_ms.max=4": "Did you mean latency_ms",
    "task=interactions": "task.data.path: a table (task.data.path=ratings.csv, also .tsv",
    "task=movielens =3": "an override must have the form key=value",
    "study.name=[x": "study.name: a name consists of letters",
}


@pytest.mark.parametrize("words", BAD)
@pytest.mark.slow
def test_bad_input_gets_one_message_and_exit_code_2(words: str, home: Path) -> None:
    before = sorted(home.rglob("*"))
    ended = autoprune(home, *words.split())
    assert ended.returncode == 2
    assert BAD[words] in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert sorted(home.rglob("*")) == before


@pytest.mark.slow
def test_multirun_runs_a_study_for_each_combination(planted: Path, tmp_path: Path) -> None:
    words = [*SEARCH[:-2], f"task.data.path={planted}", "study.looks=0", "study.trials=0", "study.seed=1,2"]
    words.append("study.verify_rounds=0")
    ended = autoprune(tmp_path, "--multirun", "requirements=none,accuracy_critical", *words)
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "runs").glob("interactions-*/study.yaml"))) == 4


@pytest.mark.slow
def test_ctrl_c_leaves_a_usable_front_and_the_search_goes_on(planted: Path, tmp_path: Path) -> None:
    words = [*SEARCH, f"task.data.path={planted}", "study.looks=100", "study.trials=0", "study.name=long"]
    words.append("study.verify_rounds=0")
    process = subprocess.Popen(
        [sys.executable, "-m", "autoprune", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # whoever runs the tests in the background may have it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    looks = tmp_path / "runs/long/looks.jsonl"
    while process.poll() is None and (not looks.exists() or looks.read_bytes().count(b"\n") < 20):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. Finished work is kept; the same command continues it." in stderr
    assert "Traceback" not in stderr
    assert autoprune(tmp_path, "front", "long").returncode == 0
    before = looks.read_bytes()
    assert autoprune(tmp_path, *words).returncode == 0
    assert looks.read_bytes().startswith(before[: before.rindex(b"\n")])
    assert len(Record(tmp_path / "runs" / "long").points) > 1


@pytest.mark.slow
def test_ctrl_c_in_a_verification_leaves_no_process(home: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(home, tmp_path / "home"))
    process = subprocess.Popen(
        [sys.executable, "-m", "autoprune", "verify", "small", "--rounds", "500"],
        cwd=copied,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as above
    )
    archive = copied / "runs/small/archive.jsonl"
    before, deadline = archive.stat().st_size, time.monotonic() + 120
    while time.monotonic() < deadline and archive.stat().st_size == before:
        time.sleep(0.05)
    tasks = Path(f"/proc/{process.pid}/task")
    children = [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.strip() == "Stopped. Finished work is kept; the same command continues it."
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert autoprune(copied, "front", "small").returncode == 0


@pytest.mark.slow
def test_own_configs_are_named_wherever_the_study_is_told_again(planted: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    task = {"defaults": ["interactions", "_self_"], "dim": 12, "training": {"epochs": 5}}
    (tmp_path / "mine" / "task" / "ours.yaml").write_text(yaml.safe_dump(task))
    words = [word for word in SEARCH if not word.startswith(("task", "study.obj"))]
    words += ["task=ours", f"task.data.path={planted}", "study.trials=0", "study.name=own", "study.verify_rounds=0"]
    words += ["study.looks=40"]  # all that it can find takes minutes
    ended = autoprune(tmp_path, "--config-dir", "mine", *words)
    assert ended.returncode == 0, ended.stderr
    assert yaml.safe_load((tmp_path / "runs/own/study.yaml").read_text())["config_dir"] == "mine"
    made = (tmp_path / "runs/own/archive.jsonl").read_bytes()
    with contextlib.chdir(tmp_path):  # from Python it is the same study, which is gone on with
        assert len(api.search(*words, config_dir="mine")) > 0
    assert (tmp_path / "runs/own/archive.jsonl").read_bytes() == made, "nothing was measured again"
    assert autoprune(tmp_path, "verify", "own", "--rounds", "1").returncode == 0
    again = autoprune(tmp_path, "show", "own", "0").stdout.split("to repeat it")[1].strip().splitlines()[0]
    assert again.startswith("autoprune --config-dir mine task=ours")
    made = autoprune(tmp_path, *shlex.split(again)[1:])
    assert made.returncode == 0, made.stderr
    assert autoprune(tmp_path, "record", "own", "--to", "kept").returncode == 0
    kept = yaml.safe_load((tmp_path / "kept" / "study.yaml").read_text())
    assert kept["command"].startswith("autoprune --config-dir mine ")
    assert autoprune(tmp_path, "front", "own-0").returncode == 0


def test_a_folder_of_configs_that_is_not_there_is_refused_from_python(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(AutopruneError, match=r"there is no folder of configs 'mine'"):
        api.search("task=movielens", config_dir="mine")
    with pytest.raises(AutopruneError, match=r"config_dir, a folder of your own configs, must be a string or a path"):
        api.search("task=movielens", config_dir=3)  # type: ignore[arg-type]


def test_config_dir_is_read_from_every_way_to_write_it() -> None:
    assert config_dir(["task=x", "--config-dir", "a b"]) == "a b"
    assert config_dir(["--config-dir=mine", "task=x"]) == "mine"
    assert config_dir(["-cd", "/srv/mine"]) == "/srv/mine"
    assert config_dir(["task=x", "study.dir=--config-dir"]) is None


def test_a_told_again_command_names_no_place(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=False)
    path = record.folder / "study.yaml"
    content = yaml.safe_load(path.read_text())
    overrides = ["task=interactions", "task.data.path=/srv/me/log.csv"]
    path.write_text(yaml.safe_dump({**content, "overrides": overrides, "config_dir": "/srv/me/own configs"}))
    record = Record(record.folder)
    assert search_command(record).startswith("autoprune --config-dir 'path/to/own configs' task=interactions")
    assert record.command(record.points[3]).startswith("autoprune --config-dir '/srv/me/own configs' task=")
    assert "/srv" not in candidate_command(record, record.points[3])


QUICK = ["task.dim=8", "task.training.epochs=5", "presets=none", "requirements=none", "~space.prune", "~space.encode"]
QUICK += ["study.trials=0", "study.latency_seconds=0.001", "study.verify_rounds=0"]


def write_log(path: Path) -> None:
    """A small table of interactions."""
    rows = [f"{user},{(user + 7 * at) % 40},{1_600_000_000 + 60 * at}" for user in range(220) for at in range(10)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["user,item,timestamp", *rows]))


@pytest.mark.slow
def test_a_relative_place_is_found_from_everywhere_and_a_new_one_is_remembered(tmp_path: Path) -> None:
    home, other, moved = tmp_path / "home", tmp_path / "other", tmp_path / "moved"
    other.mkdir()
    write_log(home / "o'neil (größe),1.csv")
    words = ["task=interactions", "study.name=two", *QUICK]
    ended = autoprune(home, *words, "task.data.path=o'neil (größe),1.csv")
    assert ended.returncode == 0, ended.stderr
    verified = autoprune(other, "verify", str(home / "runs" / "two"), "--rounds", "1")
    assert verified.returncode == 0, verified.stderr
    for folder, study in ((home, "two"), (other, str(home / "runs" / "two"))):
        again = autoprune(folder, "show", study, "0").stdout.split("to repeat it")[1].strip().splitlines()[0]
        made = autoprune(folder, *shlex.split(again)[1:], "study.dir=again")
        assert made.returncode == 0, made.stderr
    home.rename(moved)  # with all that is in it
    assert autoprune(other, "verify", str(moved / "runs" / "two"), "--rounds", "1", "--again").returncode == 0
    (moved / "o'neil (größe),1.csv").rename(other / "new.csv")
    lost = autoprune(moved, "verify", "two", "--rounds", "1", "--again")
    assert lost.returncode == 2
    assert "task.data.path=…" in lost.stderr
    assert autoprune(moved, *words, f"task.data.path={other / 'new.csv'}").returncode == 0
    assert autoprune(moved, "verify", "two", "--rounds", "1", "--again").returncode == 0


@pytest.mark.slow
def test_a_place_that_stands_in_a_file_of_ones_own_is_found_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_log(home / "r.csv")
    (home / "mine" / "task").mkdir(parents=True)
    task = {"defaults": ["interactions", "_self_"], "data": {"path": "r.csv"}}
    (home / "mine" / "task" / "ours.yaml").write_text(yaml.safe_dump(task))
    ended = autoprune(home, "--config-dir", "mine", "task=ours", "study.name=own", *QUICK)
    assert ended.returncode == 0, ended.stderr
    study = home / "runs" / "own"
    assert autoprune(tmp_path, "verify", str(study), "--rounds", "1").returncode == 0
    content = yaml.safe_load((study / "study.yaml").read_text())
    assert content["places"] == {"task.data.path": "r.csv"}
    assert content["latency_seconds"] == 0.001
    for added in ("places", "latency_seconds", "started_in"):  # as older versions wrote it
        del content[added]
    content["overrides"] = ["task=interactions", "task.data.path=r.csv", *QUICK]
    (study / "study.yaml").write_text(yaml.safe_dump(content))
    assert autoprune(home, "verify", "own", "--rounds", "1", "--again").returncode == 0


UNREADABLE = {
    "archive": lambda study: (study / "archive.jsonl").write_bytes(b"\xff\xfe\n"),
    "archive is a folder": lambda study: [(study / "archive.jsonl").unlink(), (study / "archive.jsonl").mkdir()],
    "study is a folder": lambda study: [(study / "study.yaml").unlink(), (study / "study.yaml").mkdir()],
    "study leads to itself": lambda study: [
        (study / "study.yaml").unlink(),
        (study / "study.yaml").symlink_to("study.yaml"),
    ],
    "study is empty": lambda study: (study / "study.yaml").write_text(""),
    "study is nested": lambda study: (study / "study.yaml").write_text("[" * 500),
}


@pytest.mark.parametrize("damage", UNREADABLE)
def test_a_study_that_cannot_be_read_gets_one_message(damage: str, tmp_path: Path) -> None:
    UNREADABLE[damage](make_study(tmp_path / "runs" / "s", 2, verified=False).folder)
    ended = autoprune(tmp_path, "front", "s")
    assert ended.returncode == 2
    assert ended.stderr.startswith("autoprune: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["front"],
        ["front", "s", "--nosuch"],
        ["show", "s", "x"],
        ["verify", "s", "--rounds", "many"],
        ["--nosuch", "task=stsb"],
        ["--cfg", "all of it"],
        ["--experimental-rerun", "job.pickle"],
        ["--config-dir", "nosuch", "task=stsb"],
        ["--resolve", "task=stsb"],
        ["task=null"],
        ["~task"],
        ["front", "x" * 300],
        ["front", "a\0b"],
    ],
    ids=" ".join,
)
def test_a_line_that_cannot_be_read_gets_one_message(words: list[str], tmp_path: Path) -> None:
    ended = autoprune(tmp_path, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("autoprune: ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
def test_output_ends_well_wherever_it_goes(tmp_path: Path) -> None:
    make_study(tmp_path / "runs" / "größe", 40)
    program = f"{shlex.quote(sys.executable)} -m autoprune front größe"

    def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )

    plain = shell(program, PYTHONIOENCODING="ascii")
    assert (plain.returncode, plain.stderr, plain.stdout.isascii()) == (0, "", True)
    assert shell(program, LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0").returncode == 0
    assert shell(f"{program} >&-").returncode == 0
    assert shell(f"{program} >/dev/full").stderr.startswith("autoprune: the output")
    headed = shell(f"{program} --csv --all | head -c 10; exit ${{PIPESTATUS[0]}}")
    assert headed.returncode in (0, 2)
    assert "Traceback" not in headed.stderr
