"""Tables of every format give the same interactions, and what is wrong with one is said with its place."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import autoprune
from autoprune import machine
from autoprune.errors import AutopruneError
from autoprune.recommender.data import tables as readers
from autoprune.recommender.data.columns import Columns
from autoprune.recommender.data.interactions import split_log
from autoprune.recommender.data.log import Log, read_log

USERS, EACH = 220, 12

Frame = pd.DataFrame


def table(seed: int = 0) -> Frame:
    """220 users with string ids and 12 films each, rated and timed, in no order."""
    draw = np.random.default_rng(seed)
    films = np.concatenate([draw.choice(60, size=EACH, replace=False) for _ in range(USERS)])
    frame = Frame(
        {
            "user_id": np.repeat([f"u{number:03}é" for number in range(USERS)], EACH),
            "movieId": films + 1,
            "rating": draw.integers(1, 11, USERS * EACH) / 2,
            "timestamp": draw.permutation(USERS * EACH) + 10**9,
        }
    )
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def inter(frame: Frame, path: Path) -> None:
    types = {"user_id": "token", "movieId": "token", "rating": "float", "timestamp": "float"}
    frame.rename(columns={name: f"{name}:{kind}" for name, kind in types.items()}).to_csv(path, sep="\t", index=False)


def dated(frame: Frame) -> Frame:
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s"))


WRITERS: dict[str, Any] = {
    "a.csv": lambda frame, path: frame.to_csv(path, index=False),
    "b.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";"),
    "c.csv": lambda frame, path: frame.to_csv(path, encoding="utf-8-sig"),  # pandas' index stands first
    "d.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "e.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "f.inter": inter,
    "g.parquet": lambda frame, path: frame.to_parquet(path),
    "h.csv": lambda frame, path: dated(frame).to_csv(path, index=False),
    "i.parquet": lambda frame, path: dated(frame).to_parquet(path),
    "j.parquet": lambda frame, path: frame.astype({"movieId": float}).to_parquet(path),
    "k.csv": lambda frame, path: frame.astype({"movieId": float}).to_csv(path, index=False),
    "l.parquet": lambda frame, path: frame.astype({"user_id": "category", "movieId": "Int64"}).to_parquet(path),
    "m.csv": lambda frame, path: frame.rename(columns={"user_id": "User ID", "movieId": "item"}).to_csv(path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("chunk", [500, 10**6])
def test_every_format_gives_the_same(name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CHUNK_ROWS", chunk)
    frame = table()
    WRITERS[name](frame, tmp_path / name)
    columns = frame[["user_id", "movieId", "timestamp"]].set_axis(["user", "item", "time"], axis=1)
    data = split_log(read_log(tmp_path / name), where=name)
    assert data.how == "80/10/10 per user by time"
    assert data.users[0] == "u000é"
    assert data.items[0] == 1
    assert data.fingerprint() == split_log(Log.of([columns]), where=name).fingerprint()


def test_without_times_the_split_is_random(tmp_path: Path) -> None:
    table().drop(columns="timestamp").to_csv(tmp_path / "a.csv", index=False)
    log = read_log(tmp_path / "a.csv")
    assert split_log(log, where="a").how == "80/10/10 per user at random"
    with pytest.raises(AutopruneError, match=r"task\.data\.split: per_user needs times, but a has none; .*use random"):
        split_log(log, "per_user", where="a")
    with pytest.raises(AutopruneError, match=r"which column is the timestamp\? .*columns\.timestamp=NAME.*: user_id"):
        read_log(tmp_path / "a.csv", timed=True)


def test_low_ratings_are_left_out(tmp_path: Path) -> None:
    frame = table()
    frame.to_csv(tmp_path / "a.csv", index=False)
    log = read_log(tmp_path / "a.csv", min_rating=4)
    assert len(log.user) == (frame["rating"] >= 4).sum()
    assert log.users.values.tolist() == sorted(frame[frame["rating"] >= 4]["user_id"].unique())


def test_a_row_that_repeats_counts_once_at_its_first_time(tmp_path: Path) -> None:
    frame = table()
    frame.to_csv(tmp_path / "a.csv", index=False)
    later = frame.assign(timestamp=frame["timestamp"] + 10**6)
    pd.concat([later, frame, frame]).to_csv(tmp_path / "b.csv", index=False)
    once, often = (split_log(read_log(tmp_path / name), where="x").fingerprint() for name in ("a.csv", "b.csv"))
    assert once == often


def ids(tmp_path: Path, *users: object) -> list[int | str]:
    (tmp_path / "ids.csv").write_text("user,item\n" + "".join(f"{user},1\n" for user in users))
    found: list[int | str] = read_log(tmp_path / "ids.csv").users.values.tolist()
    return found


def test_ids_are_numbers_only_where_all_are(tmp_path: Path) -> None:
    assert ids(tmp_path, 10, 9, -3) == [-3, 9, 10]
    assert ids(tmp_path, "1.0", "2", "1") == [1, 2]
    assert ids(tmp_path, "01", "1", "x") == ["01", "1", "x"]
    assert ids(tmp_path, 2**63 - 1, 5) == [5, 2**63 - 1]
    assert ids(tmp_path, 2**63, 5) == ["5", "9223372036854775808"]
    assert ids(tmp_path, "1.5", "2") == ["1.5", "2"]
    assert ids(tmp_path, True, False) == ["False", "True"]
    assert ids(tmp_path, "c0ffee00-0000-4000-8000-000000000000", 7) == ["7", "c0ffee00-0000-4000-8000-000000000000"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_ids_of_parquet_are_those_of_csv(ending: str, tmp_path: Path) -> None:
    for users in ([1.0, 2.5], [True, False], np.array([2**63, 1], dtype=np.uint64), [1.0, 3.0]):
        frame = Frame({"user": users, "item": [1, 2]})
        frame.to_csv(tmp_path / "a.csv") if ending == "csv" else frame.to_parquet(tmp_path / "a.parquet")
        words = sorted(str(user) for user in Frame({"u": users})["u"].tolist())
        found = read_log(tmp_path / f"a.{ending}").users.values.tolist()
        assert found == ([1, 3] if words == ["1.0", "3.0"] else words)


def test_a_folder_of_tables_is_taken_as_it_is_split(tmp_path: Path) -> None:
    frame = table()
    place = frame.groupby("user_id").cumcount()
    for name, chosen in (("train", place < 10), ("valid", place == 10), ("test", place == 11)):
        inter(frame[chosen], tmp_path / f"films.{name}.inter")
    data = split_log(read_log(tmp_path), where="films")
    assert data.how == "as its files are"
    assert [part.counts.unique().tolist() for part in (data.train, data.validation, data.test)] == [[10], [1], [1]]
    (tmp_path / "films.valid.inter").unlink()
    drawn = split_log(read_log(tmp_path), where="films")
    assert drawn.how == "as its files are, a tenth of train drawn for validation"
    assert drawn.validation.counts.unique().tolist() == [1]
    assert drawn.test.counts.unique().tolist() == [1]
    frame.to_csv(tmp_path / "test.csv")
    with pytest.raises(AutopruneError, match=r"one train, one test .* films\.train\.inter|test\.csv"):
        read_log(tmp_path)


@pytest.mark.parametrize("name", ["val", "dev", "validation"])
def test_a_validation_file_is_read_by_all_its_usual_names(name: str, tmp_path: Path) -> None:
    frame = table()
    place = frame.groupby("user_id").cumcount()
    for split, chosen in (("train", place < 10), (name, place == 10), ("test", place == 11)):
        frame[chosen].to_csv(tmp_path / f"{split}.csv", index=False)
    log = read_log(tmp_path)
    assert (split_log(log, where="here").how, len(log.user)) == ("as its files are", len(frame))
    assert not any("not read" in note for note in log.notes)
    (tmp_path / "items.tsv").write_text("item\ttitle\n")
    (tmp_path / "README.md").write_text("read me")
    assert f"not read in {tmp_path}: items.tsv" in read_log(tmp_path).notes


BAD = {
    "usr,item\na,b\n": r"column is the user\? Name it: task\.data\.columns\.user=NAME\. Its columns are: usr, item",
    "user,user_id,item\na,b,c\n": r"user and user_id may each be the user; say which: task\.data\.columns\.user=user",
    "": r"the file is empty; its first line names the columns",
    "user,item\n": r"there are no rows",
    'user,item\na,b\n,c\nb,c\n"",d\n': r"'user' names no user in 2 of 4 rows, the first is row 2 \(nothing, 'c'\)",
    "user,item\na,b\na\n": r"'item' names no item in 1 of 2 rows, the first is row 2 \('a', nothing\); take",
    "user,item\na,b\na,b,c\n": r"cannot be read: .*Expected 2 fields in line 3, saw 3",
    "user,item\na,b,c\na,b,c\n": r"the rows have more fields than the first line",
    "user,item,time\na,b,1\na,c,soon\n": r"'time': a number or an ISO 8601 date is expected, but row 2 holds 'soon'",
    "user,item,time\na,b,2026-01-01\na,c,31/12/2026\n": r"'time': .* row 2 holds '31/12/2026'",
    "user,item,time\na,b,1\na,c,\n": r"'time' holds no time in 1 of 2 rows, .* \('a', 'c', nothing\); .*=random",
    "1::242::3::good\n": r"columns have no names, and .* not show which is which\. .* first row is: 1, 242, 3, good",
}


@pytest.mark.parametrize("content", BAD)
def test_what_is_wrong_with_a_table_is_said_with_its_place(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(AutopruneError, match=BAD[content]) as caught:
        read_log(path)
    assert str(path) in str(caught.value)


def test_ratings_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item,stars\na,b,5\na,c,good\n")
    with pytest.raises(AutopruneError, match=r"'stars': a number is expected, but row 2 holds 'good'"):
        read_log(path, min_rating=4)
    path.write_text("user,item,stars\na,b,5\n")
    with pytest.raises(AutopruneError, match=r"no row is rated task\.data\.min_rating=6 or more"):
        read_log(path, min_rating=6)
    path.write_text("user,item\na,b\n")
    with pytest.raises(AutopruneError, match=r"which column is the rating\?"):
        read_log(path, min_rating=6)


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("who,what,user\na,b,c\n")
    assert read_log(path, columns=Columns(user="who", item="what")).users.values.tolist() == ["a"]
    with pytest.raises(AutopruneError, match=r"^task\.data\.columns\.item: .* has no column 'wat'\. Did you mean what"):
        read_log(path, columns=Columns(item="wat"))
    with pytest.raises(AutopruneError, match=r"'who' cannot be the user and the item"):
        read_log(path, columns=Columns(user="who", item="who"))


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match=r"there is no file or folder"):
        read_log(tmp_path / "a.csv")
    with pytest.raises(AutopruneError, match=r"holds neither train\.txt and test\.txt .*name the file itself: .*\.csv"):
        read_log(tmp_path)
    (tmp_path / "a.parquet").write_text("user,item\n")
    with pytest.raises(AutopruneError, match=r"a\.parquet cannot be read: .*"):
        read_log(tmp_path / "a.parquet")


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_text("")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AutopruneError, match=r"parquet needs pyarrow, which .*: pip install 'autoprune\[parquet\]'"):
        read_log(tmp_path / "a.parquet")


WORDS = [
    "task=interactions",
    "presets=none",
    "requirements=none",
    "study.trials=0",
    "study.looks=0",
    "study.name=s",
    "task.dim=8",
    "study.verify_rounds=0",
]


def test_ids_that_are_strings_travel_from_csv_to_recommendation(tmp_path: Path) -> None:
    frame = table()
    frame.assign(movieId=[f"f{film:02}" for film in frame["movieId"]]).to_csv(tmp_path / "a.csv", index=False)
    words = [*WORDS, f"task.data.path={tmp_path / 'a.csv'}", f"study.dir={tmp_path / 'runs'}", "task.training.epochs=2"]
    front = autoprune.search(*words, "study.latency_seconds=0.02")
    front.pick().save(str(tmp_path / "deploy"))
    model = autoprune.load(str(tmp_path / "deploy"))
    best = model.recommend(user="u007é", k=3)
    assert len(best) == 3
    assert all(isinstance(item.item, str) and item.item[0] == "f" for item in best)
    assert len(model.recommend(history=["f01", "f02"], k=3)) == 3
    assert model.vector(item="f01").shape == (8,)
    with pytest.raises(
        AutopruneError, match=r"user 7 is unknown\. Ids are strings here, such as 'u000é'\. Give history"
    ):
        model.recommend(user=7)
    with pytest.raises(AutopruneError, match=r"history: item 1 is unknown; leave it out\. Ids are strings here"):
        model.recommend(history=[1])


def test_tables_that_do_not_fit_into_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Path
) -> None:
    from autoprune.recommender import task as recommender

    monkeypatch.setattr(recommender, "memory", lambda: 40_000 + 256 * 120 * 4)  # tables, and blocks of scores
    words = [*WORDS, f"task.data.path={planted}", f"study.dir={tmp_path / 'runs'}"]
    with pytest.raises(
        AutopruneError, match=r"^task\.dim: 240 users and 120 items x 8 .* x 5 \(weights.*At most 5 dimensions fit"
    ):
        autoprune.search(*words, "space.base.dim=8")
    assert not (tmp_path / "runs").exists()
    assert machine.memory() > 10**8
