"""The card that ships beside an artifact, on made-up studies; one with a real artifact is in test_cli."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
import yaml
from made_studies import make_study
from rich.console import Console

from autoprune.artifacts.formats import Use
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.record.archive import Archive
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.card import card
from autoprune.views.intervals import plus_minus
from autoprune.views.terminal import print_point

MADE = {
    "files": {"model/manifest.json": {"sha256": "ab" * 32, "bytes": 1234}},
    "provenance": {"seed": 7, "versions": {"autoprune": "0.1", "torch": "2.4"}, "machine": {"cpu": "made up"}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_study(folder / "verified", seed=2)
    make_study(folder / "raw", verified=False)
    make_study(folder / "one", 1)
    return folder


def test_lost_and_gained_with_intervals(runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    point = front.pick()
    text = card(front, point)
    lines = text.split("## Lost and gained")[1].splitlines()
    for name, label in (
        ("ndcg@20", "ndcg@20, test"),
        ("latency_ms.single", "latency, single"),
        ("latency_ms.batch", "latency, batch"),
    ):
        (line,) = [line for line in lines if line.startswith(f"| {label} |")]
        assert f"{point.verified[name].ratio:.3f}x {plus_minus(point.verified[name])}" in line
    (line,) = [line for line in lines if line.startswith("| ndcg@20, validation |")]
    assert f"{point.found['ndcg@20'].value:.4f}" in line
    (line,) = [line for line in lines if line.startswith("| size_bytes |")]
    assert phrases.byte_count(point.candidate.latest().size_bytes) in line
    assert "Latency was timed on made up, 2 cores, for the verification;" in text


def test_recipe_in_words_and_as_yaml(runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    text = card(front, front.pick())
    assert front.pick().candidate.summary in text
    assert yaml.safe_load(text.split("```yaml")[1].split("```")[0]) == front.pick().candidate.recipe


def test_the_whole_folder_and_what_is_aside_are_told(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 12)
    pick = Front(record).pick()
    for point, folder, histories in ((record.baseline, 4_000_000, 0), (pick, 2_400_000, 700_000)):
        candidate = point.candidate
        for measured in candidate.measurements:
            quality, units = (
                {metric: {**held, "live": held["all"]} for metric, held in values.items()}
                for values in (measured.quality, measured.units)
            )
            more = {"asides": {"live": "told as it is"}, "quality": quality, "units": units}
            candidate = candidate.with_measurement(
                dataclasses.replace(measured, folder_bytes=folder, history_bytes=histories, **more)
            )
        record.archive.add(candidate)
    front = Front(Record(record.folder))
    text = card(front, front.record.point(pick.number))
    trade, slices = text.split("## Lost and gained")[1].split("## Slices")
    assert "| whole folder | 2.4 MB | 4 MB | 0.600x |" in trade
    assert "| of it, histories for users without a row | 700 kB | 0 B | - |" in trade
    assert "| ndcg@20, test, live |" in trade
    assert "live: told as it is." in trade
    assert "live" not in slices.split("## ")[0]
    assert phrases.folder(
        front.record.point(pick.number).candidate.latest(), front.record.baseline.candidate.latest()
    ) == (
        "the whole folder takes 2.4 MB, 0.600x of the dense model's; the histories in it (700 kB) serve users "
        "without a row"
    )
    file = io.StringIO()
    print_point(Console(width=200, file=file), front, front.record.point(pick.number))
    lines = file.getvalue().splitlines()
    assert sum(line.split()[:4] == ["folder_bytes", "2,400,000", "4,000,000", "0.600x"] for line in lines) == 2
    assert sum(line.split()[:2] == ["history_bytes", "700,000"] for line in lines) == 2
    assert any(line.split()[:1] == ["ndcg@20.live"] and "aside: told as it is" in line for line in lines)


def test_what_an_older_version_did_not_measure_is_left_out(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=False)
    measured = record.baseline.candidate.latest()
    quality, units = (
        {metric: {**held, "live": held["all"]} for metric, held in values.items()}
        for values in (measured.quality, measured.units)
    )
    newer = dataclasses.replace(measured, quality=quality, units=units, asides={"live": "told as it is"})
    record.archive.add(record.baseline.candidate.with_measurement(newer))
    front = Front(Record(record.folder))
    assert "| ndcg@20, validation, live |" in card(front, front.record.baseline)
    assert "| ndcg@20, validation, live |" not in card(front, front.record.point(1))


def test_every_slice_says_whether_it_binds(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=False)
    archive = Archive(record.folder / "archive.jsonl")
    for point in record.points:
        measured = point.candidate.latest()
        units = {metric: {**counts, "stranger": 7} for metric, counts in measured.units.items()}
        few = dataclasses.replace(measured, units=units)
        archive.add(point.candidate.with_measurement(few))
    front = Front(Record(record.folder))
    text = card(front, front.record.points[1])
    (line,) = [line for line in text.splitlines() if line.startswith("| stranger |")]
    assert "no, too few: 7 units" in line
    (line,) = [line for line in text.splitlines() if line.startswith("| tail |")]
    assert line.endswith("| yes |")


def test_requirements_say_whether_each_holds(runs: Path) -> None:
    record = Record(runs / "verified")
    front = Front(record, Limits(ceilings=["size_bytes=0.001x"]))
    text = card(front, Front(record).pick()).split("## Requirements")[1]
    (line,) = [line for line in text.splitlines() if "quality >= 0.95x" in line]
    assert line.count("holds") == 2
    (line,) = [line for line in text.splitlines() if "size_bytes <= 0.001x" in line and line.startswith("|")]
    assert line.count("**missed**") == 2


def test_a_sound_pick_has_no_warning_and_one_that_fell_has_it_on_top(runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    assert "Warning" not in card(front, front.pick())
    fall = front.falls[0]
    text = card(front, fall.point)
    assert f"**Warning: candidate {fall.point.number} fell when it was verified: it {fall.reason}.**" in text[:300]
    assert phrases.optimism(front) in text


def test_what_is_not_verified_says_how_to(runs: Path) -> None:
    front = Front(Record(runs / "raw"))
    text = card(front, front.pick())
    assert "**Not verified on test data.**" in text
    assert f"autoprune verify raw --runs {runs}" in text
    assert "test |" not in text.split("## Slices")[0]
    left = {point.number for point in front.record.points} - {point.number for point in front.finalists}
    other = next(point for point in front.record.points if point.number in left and not point.candidate.rejected)
    assert f"autoprune verify raw --all --runs {runs}" in card(front, other), "it is no finalist"


def test_how_it_was_made(runs: Path) -> None:
    front = Front(Record(runs / "verified"))
    use = Use(code="model = autoprune.load('.'); print(model.recommend(user=7, k=10))", inside="- `item`: 3 x 4")
    told = {"made": MADE, "made_by": "autoprune pick verified --to x", "use": use, "losses": ["Titles stay out."]}
    text = card(front, front.pick(), **told)  # type: ignore[arg-type]  # one by one
    assert "autoprune task=interactions task.data.path=log.csv study.name=verified && autoprune verify" in text
    assert "+presets.again=" in text
    assert str(runs) not in text, "places mean nothing elsewhere"
    assert "seed 7, autoprune 0.1, torch 2.4, made on made up." in text
    assert f"| `model/manifest.json` | 1,234 | `{'ab' * 32}` |" in text
    assert "autoprune.load('.')" in text
    assert "print(model.recommend(user=7, k=10))" in text
    assert "## Without autoprune\n\n- `item`: 3 x 4" in text
    assert "- Titles stay out." in text.split("## Before you use it")[1].split("## ")[0]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, "0 presets and 0 trials of the sampler"),
        (2, "1 preset and 0 trials of the sampler"),
        (3, "2 presets and 0 trials of the sampler"),
        (4, "2 presets and 1 trial of the sampler"),
    ],
)
def test_what_was_searched_is_counted(count: int, told: str, tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", count, verified=False)
    text = card(Front(record), record.points[-1])
    assert f"The study measured the dense model, {told}. The search:" in text


def test_the_dense_model_has_a_card(runs: Path) -> None:
    front = Front(Record(runs / "one"))
    text = card(front, front.pick())
    assert "The dense model of the study `one`" in text
    assert "None: this is the dense model." in text
    assert "without a search" not in text
    for nonsense in ("missed", "ratio |", "±", "to spare", "luck"):
        assert nonsense not in text
