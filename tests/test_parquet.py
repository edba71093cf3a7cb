"""Parquet is read by its columns, whatever pandas or another writer notes beside them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoprune.errors import AutopruneError
from autoprune.recommender.data.columns import Columns
from autoprune.recommender.data.log import Log, read_log

pa = pytest.importorskip("pyarrow", reason="parquet needs pyarrow (pip install 'autoprune[parquet]')")
pq = pytest.importorskip("pyarrow.parquet")

Frame = pd.DataFrame

FRAME = Frame({"user": ["b", "a", "NA", "a"], "item": [7, 5, 2**53 + 1, 7], "time": [40, 30, 21, 1]})
EXPECTED = [("b", 7, 40.0), ("a", 5, 30.0), ("NA", 2**53 + 1, 21.0), ("a", 7, 1.0)]


def rows(log: Log) -> list[tuple[object, ...]]:
    times = [None] * len(log.user) if log.time is None else log.time.tolist()
    return [(log.users[u], log.items[i], t) for u, i, t in zip(log.user, log.item, times, strict=True)]


def arrow(**types: object) -> Callable[[Path], None]:
    """Writes the frame without pandas' metadata, with columns of other types."""

    def write(path: Path) -> None:
        table = pa.Table.from_pandas(FRAME, preserve_index=False).replace_schema_metadata()
        for name, kind in types.items():
            table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
        pq.write_table(table, path)

    return write


def moments(unit: str, zone: str | None = None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        times = pd.to_datetime(FRAME["time"], unit="s", utc=zone is not None).dt.as_unit(unit)  # type: ignore[arg-type]
        FRAME.assign(time=times.dt.tz_convert(zone) if zone else times).to_parquet(path)

    return write


def encoded(path: Path) -> None:
    table = pa.Table.from_pandas(FRAME).replace_schema_metadata()
    pq.write_table(pa.table({name: table[name].dictionary_encode() for name in table.column_names}), path)


def extended(path: Path) -> None:
    """A type of pandas' own beside what is read."""
    FRAME.assign(month=pd.period_range("2026-01", periods=4, freq="M")).to_parquet(path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "plain": lambda path: FRAME.to_parquet(path),
    "index": lambda path: FRAME.set_index("user").to_parquet(path),
    "index of two": lambda path: FRAME.set_index(["user", "item"]).to_parquet(path),
    "index of all": lambda path: FRAME.assign(x=1).set_index(["user", "item", "time"]).to_parquet(path),
    "index of the time": lambda path: FRAME.set_index("time").to_parquet(path),
    "index without a name": lambda path: FRAME.set_axis([9, 3, 5, 1]).to_parquet(path),
    "range": lambda path: FRAME.set_axis(pd.RangeIndex(10, 50, 10, name="row")).to_parquet(path),
    "categories": lambda path: FRAME.astype("category").to_parquet(path),
    "nullable": lambda path: FRAME.convert_dtypes().to_parquet(path),
    "arrow's": lambda path: FRAME.convert_dtypes(dtype_backend="pyarrow").to_parquet(path),
    "objects": lambda path: FRAME.astype(object).to_parquet(path),
    "no metadata": arrow(),
    "large strings": arrow(user=pa.large_string()),
    "string views": arrow(user=pa.string_view()),
    "bytes": arrow(user=pa.binary()),
    "large bytes": arrow(user=pa.large_binary()),
    "dictionaries": encoded,
    "decimals": arrow(item=pa.decimal128(20, 0)),
    "unsigned": arrow(item=pa.uint64(), time=pa.uint8()),
    "strings": arrow(item=pa.string(), time=pa.string()),
    "seconds": moments("s"),
    "nanoseconds": moments("ns"),
    "zone": moments("us", "Asia/Kolkata"),
    "extension": extended,
    "many row groups": lambda path: FRAME.to_parquet(path, row_group_size=1),
    "brotli": lambda path: FRAME.to_parquet(path, compression="brotli"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_gives_the_same(name: str, tmp_path: Path) -> None:
    for path in (tmp_path / "a.parquet", tmp_path / "without_suffix"):
        WRITERS[name](path)
        assert rows(read_log(path)) == EXPECTED


def test_ids_that_are_uuids_are_words(tmp_path: Path) -> None:
    users = [uuid.UUID(int=number) for number in (2, 1)]
    held = pa.table({"user": pa.array([user.bytes for user in users], pa.uuid()), "item": [1, 2]})
    pq.write_table(held, tmp_path / "a.parquet")
    assert rows(read_log(tmp_path / "a.parquet")) == [(str(users[0]), 1, None), (str(users[1]), 2, None)]


def test_days_are_times(tmp_path: Path) -> None:
    arrow(time=pa.int32())(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.set_column(2, "time", table["time"].cast(pa.date32())), tmp_path / "a.parquet")
    assert rows(read_log(tmp_path / "a.parquet")) == [(user, item, day * 86400) for user, item, day in EXPECTED]


@pytest.mark.parametrize("missing", [None, np.nan, ""])
def test_nothing_is_nobody_in_parquet(missing: object, tmp_path: Path) -> None:
    for name in ("user", "item"):
        frame = FRAME.astype(object)
        frame.loc[1, name] = missing
        frame.astype({name: str} if missing == "" else {}).to_parquet(tmp_path / "a.parquet")
        with pytest.raises(AutopruneError, match=rf"'{name}' names no {name} in 1 of 4 rows, the first is row 2"):
            read_log(tmp_path / "a.parquet")


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    for place, name in enumerate(["part-0.parquet", "part-1.parquet"]):
        FRAME.iloc[2 * place : 2 * place + 2].set_index("user").to_parquet(tmp_path / name)
    (tmp_path / "_SUCCESS").write_text("")
    assert rows(read_log(tmp_path)) == EXPECTED


@pytest.mark.parametrize("by", ["user", "item", "time", "day"])
def test_a_folder_partitioned_by_a_column_is_one_table(by: str, tmp_path: Path) -> None:
    FRAME.assign(day=["x", "x", "y", "y"]).to_parquet(tmp_path / "log", partition_cols=[by])
    assert sorted(rows(read_log(tmp_path / "log"))) == sorted(EXPECTED)


def test_folders_above_what_is_named_are_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "user=9" / "rating=5" / "log"
    folder.mkdir(parents=True)
    FRAME.drop(columns="time").to_parquet(folder / "a.parquet")
    for path in (folder / "a.parquet", folder):
        assert rows(read_log(path)) == [(user, item, None) for user, item, _ in EXPECTED]
        with pytest.raises(AutopruneError, match=r"which column is the rating\?"):
            read_log(path, min_rating=1)


@pytest.mark.parametrize("named", ["{}.parquet", "films.{}.parquet", "{}-00000-of-00001.parquet", "{}"])
def test_a_folder_of_train_and_test_is_taken_as_it_is_split(named: str, tmp_path: Path) -> None:
    for name, part in (("train", FRAME[:3]), ("test", FRAME[3:])):
        part.set_index("user").to_parquet(tmp_path / named.format(name))
    log = read_log(tmp_path)
    assert log.split is not None
    assert sorted(zip(rows(log), log.split.tolist(), strict=True)) == sorted(
        ((user, item, None), split) for (user, item, _), split in zip(EXPECTED, [0, 0, 0, 2], strict=True)
    )


def test_columns_are_given_by_position_or_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    FRAME.set_axis(["0", "1", "when"], axis=1).to_parquet(path)
    assert rows(read_log(path, columns=Columns(user="0", item="1", timestamp="2"))) == EXPECTED
    plain = read_log(path, columns=Columns(user="0", item="1"))
    assert plain.time is None
    FRAME.assign(time=[1.6e9, 1.5e9, 1.4e9, 1.3e9]).rename(columns={"time": "t_dat"}).to_parquet(path)
    note, _ = read_log(path).notes
    assert note == "column 't_dat' looks like times and is not used (task.data.columns.timestamp=t_dat uses it)"
    with pytest.raises(AutopruneError, match=r"^task\.data\.header: .* is parquet, which names its columns"):
        read_log(path, header=True)


def test_columns_of_lists_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user": ["a"], "item": [1], "tags": [["x", "y"]]}), path)
    assert rows(read_log(path)) == [("a", 1, None)]
    with pytest.raises(AutopruneError, match=r"'tags' holds lists; an id is a number or a string"):
        read_log(path, columns=Columns(item="tags"))
    shutil.copy(path, tmp_path / "b.bin")
    (tmp_path / "b.bin").write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AutopruneError, match=r"b\.bin cannot be read: "):
        read_log(tmp_path / "b.bin")


@pytest.mark.parametrize(("kind", "most"), [("float32", 2**24), ("float64", 2**53)])
def test_ids_that_floats_cannot_tell_apart_are_refused(kind: str, most: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    Frame({"user": [1, 2], "item": np.array([1, most - 1], dtype=kind)}).to_parquet(path)
    assert rows(read_log(path)) == [(1, 1, None), (2, most - 1, None)]
    Frame({"user": [1, 2], "item": np.array([1, most + 1], dtype=kind)}).to_parquet(path)
    with pytest.raises(AutopruneError, match=rf"'item' holds {kind} numbers such as .* write it as whole numbers"):
        read_log(path)


def test_names_that_stand_twice_matter_only_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.Table.from_arrays([pa.array([1]), pa.array([7]), *[pa.array([5])] * 2], names=[*"ab", "x", "x"]), path
    )
    assert rows(read_log(path, columns=Columns(user="a", item="b"))) == [(1, 7, None)]
    with pytest.raises(AutopruneError, match=r"has 2 columns 'x'; rename them"):
        read_log(path, columns=Columns(user="a", item="3"))


def test_shards_of_a_split_are_joined_and_none_may_lack(tmp_path: Path) -> None:
    for number, (name, part) in enumerate([("train", FRAME[:1]), ("train", FRAME[1:3]), ("test", FRAME[3:])]):
        shard = f"{number}-of-00002" if name == "train" else "0-of-00001"
        part.to_parquet(tmp_path / f"{name}-0000{shard}.parquet")
    log = read_log(tmp_path)
    assert log.split is not None
    assert sorted(log.split.tolist()) == [0, 0, 0, 2]
    assert {user for user, _, _ in rows(log)} == {"a", "b", "NA"}
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(AutopruneError, match=r"holds 1 of 2 shards of train: train-00000-of-00002\.parquet"):
        read_log(tmp_path)
