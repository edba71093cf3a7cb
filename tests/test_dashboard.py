"""The study in optuna-dashboard: the mirror against the archive, and what a browser gets."""

from __future__ import annotations

import builtins
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from made_studies import make_study, scattered
from needed import needs

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import coordinates
from autoprune.record.archive import Candidate
from autoprune.record.record import Record
from autoprune.views.dashboard import Dashboard, mirror, serve
from autoprune.views.dashboard.mirror import leaves
from autoprune.views.dashboard.server import READ_ONLY

needs("optuna_dashboard", "optuna-dashboard is not installed: pip install 'autoprune[dashboard]'")

NOTHING = {"quality": {"min": "1.5x"}, "size_bytes": {"max": "0.01x"}}


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(make_study(tmp_path / "runs" / "made", 200))


def detail(front: Front) -> Any:
    """What the dashboard answers."""
    return Dashboard(lambda: front, front.record.archive.path).current().detail


def test_every_candidate_is_a_trial_of_its_number(front: Front) -> None:
    trials = mirror(front).trials
    assert len(trials) == len(front.record.points)
    for trial, point in zip(trials, front.record.points, strict=True):
        candidate = point.candidate
        assert trial.number == candidate.number
        assert (trial.state == optuna.trial.TrialState.PRUNED) == bool(candidate.rejected)
        if not candidate.rejected:
            readings = point.found
            expected = [readings["ndcg@20"].value, readings["size_bytes"].value, readings["latency_ms"].ratio]
            assert trial.values == pytest.approx(expected)
        assert (trial.datetime_complete - trial.datetime_start).total_seconds() == pytest.approx(candidate.seconds)
        for path, value in leaves(candidate.recipe):
            assert trial.params[path] == value
    assert any(point.candidate.rejected for point in front.record.points), "or the study shows too little"


def test_a_number_that_never_arrived_is_a_failed_trial_and_moves_no_other(front: Front) -> None:
    whole = {point.number: point.candidate.key for point in front.record.points}
    missing = next(number for number in whole if number > 5 and number not in {point.number for point in front})
    found = Front(scattered(front.record, missing))
    trials = mirror(found).trials
    assert [trial.number for trial in trials if trial.state == optuna.trial.TrialState.FAIL] == [missing]
    for point in found.record.points:
        assert point.candidate.key == whole[point.number]
        assert trials[point.number].user_attrs["again"] == found.record.command(point)
    told = detail(found)
    assert [trial["number"] for trial in told["best_trials"]] == [point.number for point in found]
    for point in found.record.points:
        assert found.record.command(point) in told["trials"][point.number]["note"]["body"]
    assert {entry["name"] for entry in told["intersection_search_space"]} >= {"base.dim", "encode.method"}


def test_feasible_by_the_dashboards_rule_matches_the_front(front: Front) -> None:
    # The front-end's rule: complete, and every entry of `constraints` at most 0.
    by_rule = {
        trial["number"]
        for trial in detail(front)["trials"]
        if trial["state"] == "Complete" and all(violation <= 0 for violation in trial["constraints"])
    }
    assert by_rule == {point.number for point in front.feasible}
    assert 0 < len(by_rule) < len(front.record.points)


def test_best_trials_of_optuna_are_the_search_front_without_what_only_certainty_keeps(front: Front) -> None:
    # The values are those of the search, and so is what Optuna makes of them and of the constraints.
    best, searched = {trial.number for trial in mirror(front).best_trials}, {point.number for point in front.searched}
    values = {point.number: coordinates(point.found, front.record.objectives) for point in front.feasible}

    def beaten(number: int) -> bool:
        return any(
            other[0] >= mine[0] and other[1] <= mine[1] and other[2] <= mine[2] and other != mine
            for mine, other in ((values[number], other) for other in values.values())
        )

    assert best == {number for number in searched if not beaten(number)}
    assert best < searched


def test_best_trials_of_the_dashboard_are_the_verified_front(front: Front) -> None:
    assert front.falls, "or the two fronts are one"
    assert [trial["number"] for trial in detail(front)["best_trials"]] == [point.number for point in front]


def test_attributes_say_what_became_of_each(front: Front) -> None:
    trials = {trial.number: trial.user_attrs for trial in mirror(front).trials}
    for point in front.record.points:
        said = trials[point.number]
        assert said["name"] == point.candidate.name
        assert said["recipe"] == (point.candidate.summary or "dense")
        assert said["again"] == front.record.command(point)
        violations = front.requirements.violations(point.found)
        assert violations == {text: said[f"violation: {text}"] for text in violations}
        if not point.candidate.rejected:
            assert said["quality / baseline"] == point.found["quality"].ratio
        else:
            assert said["rejected"] == point.candidate.rejected
        if point.verified and point.number:
            assert said["verified quality / baseline"] == point.verified["quality"].ratio
            assert " to " in said["verified quality, interval"]
            assert " to " in said["verified latency_ms, interval"]
    assert {number for number, said in trials.items() if said["front"] == "yes"} == {point.number for point in front}
    fell = {number: said["front"] for number, said in trials.items() if said["front"].startswith("fell")}
    assert fell == {fall.point.number: f"fell: {fall.reason}" for fall in front.falls}
    assert front.knee is not None
    assert [number for number, said in trials.items() if "knee" in said] == [front.knee.number]
    for name, picked in front.picks().items():
        assert picked is None or name in trials[picked.number]["picked by"]


def test_parameters_that_every_trial_has_can_be_compared(front: Front) -> None:
    found = {entry["name"] for entry in detail(front)["intersection_search_space"]}
    assert {"base.dim", "prune.rows.sparsity.item", "prune.epochs", "encode.method"} <= found
    assert "encode.method.quantize.bits" not in found, "a conditional one"
    baseline = mirror(front).trials[0]
    assert (baseline.params["base.dim"], baseline.params["prune.rows.sparsity.item"]) == ("-", 0)


def test_leaves_are_named_by_their_paths() -> None:
    recipe = {
        "base": {"dim": 32},
        "encode": {"method": {"none": {}}},
        "prune": {"method": {"dims": {"sparsity": 0.5}}, "rows": {}, "by": [1, 2]},
    }
    assert dict(leaves(recipe)) == {
        "base.dim": 32,
        "encode.method": "none",
        "prune.method": "dims",
        "prune.method.dims.sparsity": 0.5,
        "prune.rows": "as it is",
        "prune.by": "[1, 2]",
    }
    assert dict(leaves({})) == {}


@pytest.mark.parametrize(
    ("count", "requirements", "on_front"), [(1, None, 1), (2, None, 1), (30, NOTHING, 0), (1, NOTHING, 0)]
)
def test_small_and_empty_fronts_are_shown(
    tmp_path: Path, count: int, requirements: dict[str, Any] | None, on_front: int
) -> None:
    front = Front(make_study(tmp_path / "s", count, requirements=requirements, verified=False))
    found = detail(front)
    assert len(found["trials"]) == count
    assert len(found["best_trials"]) == len(front) == on_front
    assert "read-only mirror" in found["note"]["body"]


def test_two_objectives_are_enough(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "s", 40, objectives=("quality", "size")))
    assert {trial.number for trial in mirror(front).best_trials} <= {point.number for point in front.searched}
    assert mirror(front).metric_names == ["ndcg@20", "size_bytes"]


def test_what_another_machine_timed_is_not_judged(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 5, verified=False)
    last = record.points[-1].candidate
    elsewhere = {**last.to_json(), "measurements": [{**last.latest().to_json(), "machine": "another"}]}
    record.archive.add(Candidate.from_json(elsewhere))
    trial = mirror(Front(Record(record.folder))).trials[-1]
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert "not measured on the baseline's machine" in trial.user_attrs["not judged"]
    assert "rejected" not in trial.user_attrs


@pytest.fixture
def address(front: Front) -> Iterator[str]:
    """Of `autoprune dashboard` in a process of its own, ended as people end it."""
    folder = front.record.folder
    command = [sys.executable, "-m", "autoprune", "dashboard", folder.name, "--runs", str(folder.parent), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removesuffix("/dashboard/studies/0")
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def get(url: str, method: str = "GET") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_a_browser_gets_recipes_and_constraints_and_changes_nothing(front: Front, address: str) -> None:
    (study,) = get(f"{address}/api/studies")["study_summaries"]
    assert (study["study_id"], study["study_name"]) == (0, "made")
    assert study["directions"] == ["maximize", "minimize", "minimize"]
    found = get(f"{address}/api/studies/0")
    assert found["objective_names"] == ["ndcg@20", "size_bytes", "latency_ms / baseline"]
    assert "autoprune front made" in found["note"]["body"]
    for trial, point in zip(found["trials"], front.record.points, strict=True):
        said = {entry["key"]: entry["value"] for entry in trial["user_attrs"]}
        assert said["recipe"] == (point.candidate.summary or "dense")
        assert said["feasible"] == ("yes" if point in front.feasible else "no")
        assert (point.candidate.summary or "dense") in trial["note"]["body"]
        assert len(trial["constraints"]) == len(front.requirements.items)
    assert len(get(f"{address}/api/studies/0?after=195")["trials"]) == len(front.record.points) - 195
    importances = get(f"{address}/api/studies/0/param_importances")["param_importances"]
    assert len({round(entry["importance"], 6) for entry in importances[0]}) > 1, "not all the same for want of any"
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{address}/api/studies/0", method="DELETE")
    assert refused.value.code == 403
    assert json.load(refused.value)["reason"] == READ_ONLY
    with urllib.request.urlopen(f"{address}/dashboard/studies/0", timeout=30) as page:
        assert b"Optuna Dashboard" in page.read()


def test_the_mirror_follows_the_archive(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoprune.views.dashboard.server.REST", 0)
    record = front.record
    dashboard = Dashboard(lambda: Front(Record(record.folder)), record.archive.path)
    before = dashboard.current()
    assert dashboard.current() is before
    last = record.points[-1].candidate
    record.archive.add(Candidate.from_json({**last.to_json(), "key": "new", "number": last.number + 1}))
    assert len(dashboard.current().detail["trials"]) == len(before.detail["trials"]) + 1


def test_a_taken_port_is_named(front: Front) -> None:
    dashboard = Dashboard(lambda: front, front.record.archive.path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AutopruneError, match=rf"--port {port} is in use on 127\.0\.0\.1; choose another"):
            serve(dashboard, host="127.0.0.1", port=port, ready=lambda address: pytest.fail(address))
    with pytest.raises(AutopruneError, match=r"--host 192\.0\.2\.1: .*serves this machine only"):
        serve(dashboard, host="192.0.2.1", port=0, ready=lambda address: pytest.fail(address))


def test_without_the_package_the_way_out_is_named(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("optuna_dashboard"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(AutopruneError, match=r"pip install 'autoprune\[dashboard\]'"):
        Dashboard(lambda: front, front.record.archive.path)
