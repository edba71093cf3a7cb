"""The report: its figures against the front's numbers, and the page as a browser shows it."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_studies import add_looks, make_study, scattered

from autoprune.cli.verbs import report as report_verb
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.measure.measurement import VERIFY
from autoprune.record.record import Record
from autoprune.views import plots, report
from autoprune.views.headline import headline
from autoprune.views.report.content import content

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
browsing = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed")

EVIL = "</script><img src=x onerror=window.hit=1><script>window.hit=1</script>"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return add_looks(make_study(tmp_path_factory.mktemp("home") / "runs" / "demo", 150))


def unpacked(html: str, name: str) -> str:
    packed = re.search(rf'id="{name}">([^<]*)</script>', html)
    assert packed
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def points_of(figure: Any) -> dict[str, Any]:
    """By layer, those of candidates."""
    points = [trace for trace in figure.data if trace.meta and trace.meta["kind"] == "points"]
    return {trace.meta["layer"]: trace for trace in points if trace.meta["layer"] != "looks"}


def test_every_candidate_is_drawn_once_at_its_values(record: Record) -> None:
    front = Front(record)
    drawn = points_of(plots.tradeoff(front, "size_bytes"))
    assert sorted(n for trace in drawn.values() for n in trace.customdata) == list(range(len(record.points)))
    assert sorted(drawn["front"].customdata) == sorted(point.number for point in front if point.number)
    assert sorted(drawn["fell"].customdata) == sorted(fall.point.number for fall in front.falls)
    for trace in (drawn["front"], drawn["infeasible"], drawn["presets"]):
        for number, x, y in zip(trace.customdata, trace.x, trace.y, strict=True):
            known = record.point(number).known
            assert (x, y) == (known["size_bytes"].ratio, known["quality"].ratio)
    for number, symbol in zip(drawn["front"].customdata, drawn["front"].marker.symbol, strict=True):
        assert symbol.endswith("-open") != bool(record.point(number).verified)


def test_bars_are_the_intervals_of_what_was_verified(record: Record) -> None:
    trace = points_of(plots.tradeoff(Front(record), "latency_ms"))["front"]
    for number, below, above in zip(trace.customdata, trace.error_x.arrayminus, trace.error_x.array, strict=True):
        reading = record.point(number).verified["latency_ms"]
        assert reading.interval is not None
        assert (reading.ratio - below, reading.ratio + above) == pytest.approx(reading.interval)


def test_an_unknown_cost_names_the_known_ones(record: Record) -> None:
    with pytest.raises(AutopruneError, match=r"latency_ms\.batch"):
        plots.tradeoff(Front(record), "size")


def test_growth_ends_at_the_hypervolume_of_the_search(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "runs" / "plain", 80, verified=False))
    grown = plots.growth(front)
    assert grown[-1][2] == pytest.approx(front.hypervolume)
    assert all(before[2] <= after[2] for before, after in itertools.pairwise(grown))


def test_the_page_asks_for_nothing_and_nothing_in_it_is_read_as_html(tmp_path: Path) -> None:
    record = make_study(tmp_path / "runs" / "<img src=x onerror=window.hit=1>", 30)
    html = report.page(Front(spoiled(record)))
    assert not re.search(r"(src|href)=[\"']|@import|url\(|fetch\(|XMLHttpRequest", html)
    assert "default-src 'none'" in html
    assert "<img" not in html
    assert html.count("</script>") == 3
    assert EVIL in json.loads(unpacked(html, "data"))["points"]["summary"][5]


def spoiled(record: Record) -> Record:
    """The same study with HTML in its words, its recipes and a slice's name."""
    path = record.folder / "archive.jsonl"
    lines = []
    for line in path.read_text().splitlines():
        candidate = json.loads(line)
        candidate["words"] += f" {EVIL}" if candidate["number"] else ""
        candidate["recipe"] = {**candidate["recipe"], EVIL: EVIL} if candidate["number"] else {}
        lines.append(json.dumps(candidate).replace("newcomer", "<b onclick=1>newcomer"))
    path.write_text("\n".join(lines) + "\n")
    return Record(record.folder)


def test_the_headline_is_the_pick(record: Record) -> None:
    front = Front(record)
    pick = front.pick()
    assert f"pick #{pick.number}." in headline(front)
    assert "test data" in headline(front)


def test_without_plotly_the_way_out_is_named(record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plotly.graph_objects", None)
    with pytest.raises(AutopruneError, match=r"autoprune\[plots\]"):
        report.write(Front(record), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_there_is_no_room_for_leaves_the_one_before(record: Record, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path, before = tmp_path / "page.html", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_text("a page")
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))  # no file may be larger, as if the disk were full
    try:
        with pytest.raises(OSError, match="File too large"):
            report.write(Front(record), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"page.html": "a page"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="keeps what runs from being written")
def test_a_file_that_may_not_be_written_stays(record: Record, tmp_path: Path) -> None:
    path = Path(shutil.copy(shutil.which("sleep") or "", tmp_path / "report.html"))
    with subprocess.Popen([path, "60"]) as running:  # not even root may write to it
        with pytest.raises(OSError, match="Text file busy"):
            report.write(Front(record), path)
        running.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_link_to_a_page_stays_one(record: Record, tmp_path: Path) -> None:
    page, link = tmp_path / "page.html", tmp_path / "link.html"
    link.symlink_to(page)
    assert report.write(Front(record), link) == link
    assert link.is_symlink()
    assert "<html" in page.read_text()


def test_what_was_measured_as_no_number_is_compared_by_nothing(tmp_path: Path) -> None:
    record, number = make_study(tmp_path / "s", 10, verified=False), 5
    lines = [json.loads(line) for line in record.archive.path.read_text().splitlines()]
    for parts in lines[number]["measurements"][0]["quality"].values():
        parts |= dict.fromkeys(parts, math.nan)
    record.archive.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    made = content(Front(Record(record.folder)))
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    compared = made["found"]["compare"]
    assert [at for at in range(10) if any(column[at] is None for column in compared)] == [number]
    assert {column[number] for column in compared} == {None}


def test_data_of_the_page_are_plain(record: Record) -> None:
    made = content(Front(record))
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_places_stand_for_numbers_where_one_is_missing(tmp_path: Path) -> None:
    missing = 3
    record = scattered(make_study(tmp_path / "runs" / "demo", 60), missing)
    front, made = Front(record), content(Front(record))
    numbers = made["points"]["number"]
    assert numbers == [number for number in range(60) if number != missing]
    assert [numbers[place] for place in made["front"]] == [point.number for point in front]
    assert {numbers[int(place)]: held for place, held in made["letters"].items()} == front.letters
    falls = [[numbers[place], reason] for place, reason in made["falls"]["list"]]
    assert falls == [[fall.point.number, fall.reason] for fall in front.falls]
    nearest = [numbers[place] for place, _ in made["infeasible"]["nearest"]]
    assert nearest == [near.point.number for near in front.infeasible().nearest]
    for number, command in zip(numbers, made["points"]["command"], strict=True):
        assert f"study.name=demo-{number}" in command


def test_commands_carry_the_limits_of_the_report(record: Record) -> None:
    made = content(Front(record, Limits(profile="smallest", ceilings=["size_bytes=0.02x"])))
    for verb in ("report", "front", "verify"):
        assert f"autoprune {verb} demo --for smallest --max size_bytes=0.02x" in made["commands"][verb]
    assert "autoprune pick demo {number} --to DIR" in made["commands"]["pick"]
    impossible = Front(record, Limits(profile="smallest", ceilings=["size_bytes=0.0001x"]))
    for command, _, _ in (loosenings := content(impossible)["infeasible"]["loosenings"]):
        assert "--for smallest --max size_bytes=" in command
        assert "0.0001x" not in command
    assert loosenings


def test_a_slice_that_does_not_bind_says_why(record: Record) -> None:
    metric, before = record.metric, record.baseline.candidate.latest(VERIFY)
    made = content(Front(record))
    for part in made["slices"]:
        loose = part["loose"]["tested"]
        assert bool(loose) != record.baseline.verified[part["reading"]].binds
        units = before.units[metric][part["name"]]
        assert ("too few" in loose) == (bool(loose) and units < 100)
        assert ("too faint" in loose) == (bool(loose) and units >= 100)
        assert "faint" not in loose or f"{before.quality[metric][part['name']]:.4f}" in loose
    for point, beyond in zip(record.points, made["beyond"], strict=True):
        assert beyond == list(record.beyond(point) or ())


# In a browser.


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "force-prefers-reduced-motion",
        "window-size=1400,1000",
    ):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    made.set_script_timeout(60)
    yield made
    made.quit()


def wait(true: Callable[[], Any], *, seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)
    return found


def opened(driver: Any, front: Front, folder: Path) -> Path:
    """Opens the report of a front in a browser that must not complain."""
    path = report.write(front, folder / "report.html")
    driver.get_log("browser")  # of the page before
    driver.get(path.as_uri())
    wait(lambda: driver.execute_script("return document.documentElement.dataset.ready === 'yes'"))
    assert driver.get_log("browser") == []
    assert not driver.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    return path


def number_picked(driver: Any) -> int | None:
    found: int | None = driver.execute_script("return judged.pick")
    return found


def press(driver: Any, selector: str, keys: str) -> None:
    driver.find_element("css selector", selector).send_keys(keys)


@browsing
@pytest.mark.slow
def test_the_page_picks_and_fells_as_python_does(driver: Any, record: Record, tmp_path: Path) -> None:
    bare = make_study(tmp_path / "runs" / "bare", 90, verified=False, objectives=("quality", "size"))
    strict = make_study(
        tmp_path / "runs" / "strict",
        90,
        requirements={"recall@20": {"min": 0.13}, "quality": {"drop": "8%", "confidence": 0.9}},
    )
    for study in (record, bare, strict):
        opened(driver, Front(study), tmp_path)
        for floor, worst, size, latency in (
            (None, None, None, None),
            (0.95, 0.8, None, None),
            (0.97, None, 0.6, 0.9),
            (0.9, 0.7, 0.2, None),
            (1.002, None, None, None),
            (0.99, 0.97, 0.3, 0.8),
        ):
            limits: dict[str, Any] = {"quality": floor, "worst_slice": worst, "size_bytes": size}
            limits["latency_ms.batch"] = latency
            asked = Limits(
                profile=None if study is strict else "none",
                floors=[f"{name}={limits[name]}x" for name in ("quality", "worst_slice") if limits[name]],
                ceilings=[f"{name}={limits[name]}x" for name in ("size_bytes", "latency_ms.batch") if limits[name]],
            )
            front = Front(study, asked)
            # Where quality has a floor of its own, the study's floor with a confidence is replaced.
            fixed = [item in [one.text for one in front.requirements.items] for item in
                     driver.execute_script("return data.fixed.map(one => one.text)")]  # fmt: skip
            for prefer in ("quality", "size", "latency"):
                found = driver.execute_script(
                    "return judge(data, {limits: arguments[0], fixed: arguments[1], prefer: arguments[2]})",
                    limits, fixed, prefer,
                )  # fmt: skip
                assert found["front"] == [point.number for point in front]
                assert sorted(found["falls"]) == sorted(fall.point.number for fall in front.falls)
                assert found["feasible"] == [point.number for point in front.feasible]
                try:
                    picked = front.pick(prefer=prefer).number
                except AutopruneError:
                    picked = None
                assert found["pick"] == picked


@pytest.mark.slow
@browsing
def test_a_slider_moves_the_pick_and_says_so(driver: Any, record: Record, tmp_path: Path) -> None:
    opened(driver, Front(record), tmp_path)
    assert number_picked(driver) == Front(record).pick().number
    driver.execute_script(
        "const range = document.getElementById('range-quality'); range.value = 0.99;"
        "range.dispatchEvent(new Event('input'))"
    )
    wanted = Front(record, Limits(floors=["quality=0.99x"])).pick()
    assert number_picked(driver) == wanted.number != Front(record).pick().number
    told = driver.find_element("id", "pick")
    assert told.get_attribute("aria-live") == "polite"
    assert f"autoprune pick demo {wanted.number} --to DIR" in told.text
    assert f"{wanted.verified['quality'].ratio:.3f}x" in told.text
    # The slider itself answers to the keyboard.
    press(driver, "#range-size_bytes", "\ue012")
    assert driver.execute_script("return state.limits.size_bytes") is not None
    # What is no limit is refused.
    for nonsense in ("-1", "0"):
        driver.execute_script("setLimit(data.sliders[0], 0.98); changed()")
        press(driver, "#limit-quality", "\ue009a\ue000" + nonsense + "\ue004")
        assert driver.execute_script("return state.limits.quality") == 0.98
        assert driver.find_element("id", "limit-quality").get_attribute("value") == "0.98"
    command = driver.execute_script("return document.querySelector('#pick .again:last-child code').textContent")
    assert "--floor quality=0.98x" in command
    assert "--prefer size" in command


@browsing
@pytest.mark.slow
def test_profiles_set_the_sliders(driver: Any, record: Record, tmp_path: Path) -> None:
    opened(driver, Front(record), tmp_path)
    for name in ("accuracy_critical", "balanced", "latency_sensitive", "smallest"):
        driver.find_element("css selector", f"[data-profile={name}]").click()
        front = Front(record, Limits(profile=name))
        assert number_picked(driver) == (front.pick().number if front.feasible else None)
        assert driver.execute_script("return state.prefer") == front.requirements.prefer
    assert driver.find_element("id", "limit-quality").get_attribute("value") == "0.9"


@browsing
@pytest.mark.slow
def test_a_candidate_is_shown_by_keyboard_and_by_click(driver: Any, record: Record, tmp_path: Path) -> None:
    opened(driver, Front(record), tmp_path)
    press(driver, "#list tbody tr[tabindex='0']", "\ue011")  # Home
    first = driver.execute_script("return Number(document.activeElement.dataset.number)")
    press(driver, f"#list tr[data-number='{first}']", "\ue015")  # down
    second = driver.execute_script("return Number(document.activeElement.dataset.number)")
    assert second != first
    press(driver, f"#list tr[data-number='{second}']", "\n")
    told = driver.find_element("id", "detail").text
    assert record.point(second).candidate.summary in told
    assert "ndcg@20.tail" in told
    assert f"{record.point(second).known['worst_slice'].ratio:.3f}x" in told
    assert record.command(record.point(second)) in driver.execute_script(
        "return document.querySelector('#detail').textContent"
    )
    place = driver.execute_script(
        "const plot = document.getElementById('plot-size'); plot.scrollIntoView();"
        "const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();"
        "const trace = plot.data.find(one => one.meta && one.meta.layer === 'baseline');"
        "return [box.x + xaxis._offset + xaxis.d2p(trace.x[0]), box.y + yaxis._offset + yaxis.d2p(trace.y[0])]"
    )
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    mouse = ActionBuilder(driver)
    mouse.pointer_action.move_to_location(round(place[0]) - 3, round(place[1]) - 3)
    mouse.pointer_action.move_to_location(round(place[0]), round(place[1])).pause(0.3).click()
    mouse.perform()
    wait(lambda: "the dense model" in driver.find_element("id", "detail").text, seconds=10)


@browsing
@pytest.mark.slow
def test_the_page_shows_the_intervals_of_python(driver: Any, record: Record, tmp_path: Path) -> None:
    opened(driver, Front(record), tmp_path)
    for point in [one for one in Front(record) if one.verified and one.number]:
        for name in ("latency_ms.single", "quality"):
            reading = point.verified[name]
            assert reading.interval is not None
            low, high = reading.interval
            found = driver.execute_script("return lowerEnd(...arguments)", name, reading.ratio, high - reading.ratio)
            assert found == pytest.approx(low)


@browsing
@pytest.mark.slow
def test_layers_and_colours_switch(driver: Any, record: Record, tmp_path: Path) -> None:
    opened(driver, Front(record), tmp_path)
    for box in driver.find_elements("css selector", "#layers input"):
        layer = box.get_attribute("value")
        traces = (
            "return document.getElementById('plot-size').data"
            ".filter(one => one.meta && one.meta.layer === arguments[0]).map(one => one.visible !== false)"
        )
        assert any(driver.execute_script(traces, layer))
        press(driver, f"#layers input[value={layer}]", " ")
        wait(lambda: not any(driver.execute_script(traces, layer)))  # noqa: B023  # asked at once
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = driver.execute_script(ground)
    driver.find_element("id", "theme").click()
    assert driver.execute_script(ground) != light
    assert driver.execute_script("return document.getElementById('plot-size')._fullLayout.font.color") == "#e8eaed"
    assert driver.get_log("browser") == []


@browsing
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["baseline", "two", "unverified", "infeasible", "spoiled"])
def test_odd_studies_open_without_an_error(driver: Any, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / ("odd" if kind != "spoiled" else "<img src=x onerror=window.hit=1>")
    if kind == "infeasible":
        record = make_study(folder, 40, requirements={"quality": {"min": "1.5x"}, "size_bytes": {"max": "0.5x"}})
    else:
        record = make_study(folder, {"baseline": 1, "two": 2}.get(kind, 40), verified=kind != "unverified")
    record = spoiled(record) if kind == "spoiled" else record
    opened(driver, Front(record), tmp_path)
    text = driver.find_element("tag name", "body").text
    if kind == "infeasible":
        assert "meets every requirement" in text
        assert "Nearest misses" in text
        assert number_picked(driver) is None
    if kind == "unverified":
        assert "autoprune verify odd" in text
    driver.execute_script("document.getElementById('which').value = 'all'; rows = 1000; drawList()")
    for number in range(min(4, len(record.points))):
        driver.execute_script("choose(arguments[0]); draw()", number)
    assert driver.execute_script("return window.hit") is None
    assert driver.get_log("browser") == []


@browsing
@pytest.mark.slow
def test_what_a_page_takes_grows_with_its_candidates_and_no_faster(driver: Any, tmp_path: Path) -> None:
    judging = "const since = performance.now(); judge(data, state); follow(); return performance.now() - since"
    sizes, seconds = list[int](), list[float]()
    for count in (250, 2000):
        record = make_study(tmp_path / "runs" / str(count), count)
        path = opened(driver, Front(record), tmp_path / str(count))
        driver.execute_script("setLimit(data.sliders[0], 0.97)")
        sizes.append(path.stat().st_size)
        seconds.append(min(driver.execute_script(judging) for _ in range(5)))
    assert sizes[1] < 8 * sizes[0]
    assert seconds[1] < 4 * 8 * max(seconds[0], 1.0), "were it quadratic, it would be 64 times as much"
    wanted = Front(record, Limits(floors=["quality=0.97x"]))
    assert number_picked(driver) == wanted.pick().number


def test_the_command_writes_the_file(record: Record, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    limits = Limits(floors=["quality=0.9x"], ceilings=["size_bytes=0.5x"])
    report_verb(record, to=tmp_path / "a" / "page.html", limits=limits)
    assert "page.html" in capsys.readouterr().out
    made = json.loads(unpacked((tmp_path / "a" / "page.html").read_text(), "data"))
    assert made["profiles"][0]["limits"] == {"quality": 0.9, "worst_slice": 0.8, "size_bytes": 0.5}
    study = yaml.safe_load((record.folder / "study.yaml").read_text())
    assert study["definition"]["task"]["metric"] == made["metric"]
